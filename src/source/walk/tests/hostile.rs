//! The walk of trees that are deep, closed, changing or dead, and the end of a walk that nobody wants any more.

use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::time::{Duration, Instant};

use rustix::fs::{Mode, mkdirat, unlinkat};

use super::super::*;
use super::{make, start, text, verdict};

#[test]
fn unreadable_directory_is_told_with_its_error() {
    if rustix::process::geteuid().is_root() {
        // Root reads everything: the test runs itself once more as nobody.
        let temp = tempfile::tempdir().unwrap();
        std::fs::set_permissions(temp.path(), PermissionsExt::from_mode(0o777)).unwrap();
        let copy = temp.path().join("tests");
        std::fs::copy(std::env::current_exe().unwrap(), &copy).unwrap();
        let name = "source::walk::tests::hostile::unreadable_directory_is_told_with_its_error";
        let mut child = std::process::Command::new(copy);
        child.args(["--exact", name]).env("TMPDIR", temp.path());
        let child = std::os::unix::process::CommandExt::uid(&mut child, 65_534).output().unwrap();
        assert!(child.status.success() && text(&child.stdout).contains("1 passed"), "{}", text(&child.stdout));
        return;
    }
    let temp = tempfile::tempdir().unwrap();
    make(temp.path(), &["closed/x", "open/y"]);
    let set_mode =
        |mode| std::fs::set_permissions(temp.path().join("closed"), PermissionsExt::from_mode(mode)).unwrap();
    set_mode(0o000);
    let listings: Vec<Listing> = start(temp.path()).collect();
    set_mode(0o700);
    assert_eq!(listings.len(), 3);
    let closed = &listings[1];
    assert!(closed.last && closed.entries.is_empty());
    assert_eq!(closed.dir.place().relative(), b"closed");
    assert_eq!(closed.error.as_ref().unwrap().kind(), io::ErrorKind::PermissionDenied);
    assert_eq!(closed.dir.fd().unwrap_err(), Errno::ACCESS);
    assert!(listings[2].error.is_none() && listings[2].entries.len() == 1);
}

/// Makes a chain of `depth` directories named `d` below `root`, with a file in the deepest.
fn make_deep(root: &Path, depth: usize) {
    let mut at = File::open(root).unwrap();
    for _ in 0..depth {
        mkdirat(&at, "d", Mode::RWXU).unwrap();
        at = open_untouched(at.as_fd(), "d", OFlags::DIRECTORY).unwrap().into();
    }
    rustix::fs::mkfifoat(&at, "deepest", Mode::RUSR).unwrap();
}

/// Removes what `make_deep` made: the standard library would hold a descriptor for each level.
fn remove_deep(root: &Path) {
    let mut at = File::open(root).unwrap();
    while let Ok(next) = open_untouched(at.as_fd(), "d", OFlags::DIRECTORY) {
        at = next.into();
    }
    unlinkat(&at, "deepest", rustix::fs::AtFlags::empty()).unwrap();
    let root = root.metadata().unwrap().ino();
    while at.metadata().unwrap().ino() != root {
        at = open_untouched(at.as_fd(), "..", OFlags::DIRECTORY).unwrap().into();
        unlinkat(&at, "d", rustix::fs::AtFlags::REMOVEDIR).unwrap();
    }
}

fn open_below(root: &Path) -> usize {
    let links = std::fs::read_dir("/proc/self/fd").unwrap();
    links.filter(|link| link.as_ref().is_ok_and(|l| l.path().read_link().is_ok_and(|to| to.starts_with(root)))).count()
}

#[test]
fn tree_of_five_thousand_levels_is_walked_with_a_bounded_number_of_open_directories() {
    let temp = tempfile::tempdir().unwrap();
    let root = temp.path().canonicalize().unwrap();
    make_deep(&root, 5_000);
    // A second branch at each of a few levels, so that the walk has work left on its way up.
    for depth in [0, 1, 40, 700] {
        let mut path = root.clone();
        path.extend(std::iter::repeat_n("d", depth));
        std::fs::create_dir(path.join("e")).unwrap();
    }
    let (mut listings, mut most_open, mut branches) = (0, 0, Vec::new());
    for listing in start(&root) {
        assert!(listing.error.is_none());
        listings += 1;
        if listings % 250 == 0 {
            most_open = most_open.max(open_below(&root));
        }
        if listing.dir.place().name() == b"e" {
            branches.push(listing.dir.place().relative().len());
        }
        if listing.entries.iter().any(|found| listing.name(found) == b"deepest") {
            assert_eq!(listing.dir.path().as_os_str().len(), root.as_os_str().len() + 10_000);
        }
    }
    for depth in [700, 40, 1, 0] {
        let mut path = root.clone();
        path.extend(std::iter::repeat_n("d", depth));
        std::fs::remove_dir(path.join("e")).unwrap();
    }
    remove_deep(&root);
    assert_eq!(listings, 5_005);
    assert_eq!(branches, [1_401, 81, 3, 1], "deepest first");
    assert!(most_open < 110, "{most_open} directories were open at once");
}

/// A tree of more directories than wait for the consumer, so that the walk stands still in its midst.
fn make_wide(root: &Path) -> Vec<String> {
    let names: Vec<String> = (0..WAITING_LISTINGS * 2).map(|number| format!("d{number:03}")).collect();
    for name in &names {
        make(root, &[&format!("{name}/inside")]);
    }
    names
}

#[test]
fn directory_swapped_for_another_is_told_as_an_error() {
    let temp = tempfile::tempdir().unwrap();
    let names = make_wide(temp.path());
    make(temp.path(), &["other/secret"]);
    let mut walk = start(temp.path());
    let first = walk.next().unwrap();
    assert!(first.last);
    let [.., vanished, link, swapped] = names.as_slice() else { panic!("the tree is wide") };
    for name in [vanished, link, swapped] {
        std::fs::rename(temp.path().join(name), temp.path().join(format!("moved-{name}"))).unwrap();
    }
    std::fs::rename(temp.path().join("other"), temp.path().join(swapped)).unwrap();
    symlink("/etc", temp.path().join(link)).unwrap();
    let told: Vec<Listing> = walk.collect();
    let kind_of = |name: &str| {
        let listing = told.iter().find(|listing| listing.dir.place().name() == name.as_bytes()).unwrap();
        assert!(listing.entries.is_empty() && listing.last);
        listing.error.as_ref().unwrap().kind()
    };
    assert_eq!(kind_of(swapped), io::ErrorKind::StaleNetworkFileHandle);
    assert_eq!(kind_of(link), io::ErrorKind::StaleNetworkFileHandle);
    assert_eq!(kind_of(vanished), io::ErrorKind::NotFound);
    assert_eq!(told.len(), names.len() + 1, "each directory that was told has its listing");
}

#[test]
fn moved_ancestor_does_not_lead_the_walk_astray() {
    let temp = tempfile::tempdir().unwrap();
    let root = temp.path().canonicalize().unwrap();
    // Far below the directories that stay open, more work than waits for the consumer; then something on the way up.
    let deep: String = "x/".repeat(60);
    for number in 0..WAITING_LISTINGS * 2 {
        make(&root, &[&format!("{deep}{number:03}/")]);
    }
    make(&root, &["x/x/y/", "elsewhere/"]);
    let mut walk = start(&root);
    let before: Vec<Listing> = walk.by_ref().take(60).collect();
    assert_eq!(before.len(), 60);
    // The third level leaves its parents; `..` of it is now a directory of somebody else's.
    std::fs::rename(root.join("x/x/x"), root.join("elsewhere/x")).unwrap();
    let rest: Vec<Listing> = walk.collect();
    assert!(rest.iter().all(|listing| listing.error.is_none()), "the way down from the root is found");
    let last = rest.iter().map(|listing| text(&listing.dir.place().relative())).next_back();
    assert_eq!(last.as_deref(), Some("x/x/y"));
}

#[test]
fn cancelled_walk_ends_promptly_and_says_so() {
    let temp = tempfile::tempdir().unwrap();
    make_wide(temp.path());
    let options = Options::default();
    let cancel = Arc::clone(&options.cancel);
    let mut walk = Walk::start(temp.path(), options).unwrap();
    assert!(walk.next().is_some() && !walk.is_cancelled());
    cancel.store(true, Ordering::Relaxed);
    let rest = walk.by_ref().count();
    assert!(rest <= WAITING_LISTINGS + 1 && walk.is_cancelled(), "{rest} listings came after the end");
    assert!(walk.next().is_none());
}

#[test]
fn dropped_walk_closes_everything() {
    let temp = tempfile::tempdir().unwrap();
    let root = temp.path().canonicalize().unwrap();
    make_wide(&root);
    let mut walk = start(&root);
    walk.next();
    drop(walk);
    let begun = Instant::now();
    while open_below(&root) > 0 {
        assert!(begun.elapsed() < Duration::from_secs(20), "the thread goes on without anybody listening");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn root_only_stays_open_when_the_walk_is_done() {
    let temp = tempfile::tempdir().unwrap();
    let root = temp.path().canonicalize().unwrap();
    make(&root, &["a/b/c/", "d"]);
    let mut walk = start(&root);
    assert_eq!(walk.by_ref().count(), 4);
    assert_eq!(open_below(&root), 1);
}

#[test]
fn few_open_files_slow_the_walk_and_break_nothing() {
    if std::env::var_os("DBAKFS_FEW_FILES").is_none() {
        // The limit is the process's: the test runs itself once more, alone.
        let name = "source::walk::tests::hostile::few_open_files_slow_the_walk_and_break_nothing";
        let mut child = std::process::Command::new(std::env::current_exe().unwrap());
        let child = child.args(["--exact", name]).env("DBAKFS_FEW_FILES", "1").output().unwrap();
        assert!(child.status.success() && text(&child.stdout).contains("1 passed"), "{}", text(&child.stdout));
        return;
    }
    let temp = tempfile::tempdir().unwrap();
    make_deep(temp.path(), 100);
    for number in 0..WAITING_LISTINGS * 2 {
        std::fs::create_dir(temp.path().join(number.to_string())).unwrap();
    }
    let few = rustix::process::Rlimit { current: Some(40), maximum: Some(40) };
    rustix::process::setrlimit(rustix::process::Resource::Nofile, few).unwrap();
    let mut listings = 0;
    for listing in start(temp.path()) {
        assert!(listing.error.is_none(), "{:?}", listing.error);
        listings += 1;
        std::thread::sleep(Duration::from_millis(1));
    }
    assert_eq!(listings, 1 + 100 + WAITING_LISTINGS * 2);
    remove_deep(temp.path());
}

/// Mounts a FUSE file system that calls itself dbakfs and never answers; `None` where that is not allowed.
fn mount_silent(at: &Path) -> Option<File> {
    let server = File::options().read(true).write(true).open("/dev/fuse").ok()?;
    let fd = std::os::fd::AsRawFd::as_raw_fd(&server);
    let data = std::ffi::CString::new(format!("fd={fd},rootmode=40000,user_id=0,group_id=0")).unwrap();
    let flags = rustix::mount::MountFlags::empty();
    rustix::mount::mount("silent", at, "fuse.dbakfs", flags, Some(data.as_c_str())).ok()?;
    Some(server)
}

#[test]
fn mount_that_does_not_answer_is_told_and_does_not_hold_up_the_walk() {
    for is_dead in [false, true] {
        let temp = tempfile::tempdir().unwrap();
        make(temp.path(), &["sub/mnt here/", "sub/z/", "y"]);
        let at = temp.path().join("sub/mnt here");
        let Some(server) = mount_silent(&at) else {
            eprintln!("cannot mount FUSE here: NOT TESTED");
            return;
        };
        let server = if is_dead { None } else { Some(server) };
        let (sender, receiver) = crossbeam_channel::bounded(1);
        let root = temp.path().to_owned();
        let thread = std::thread::spawn(move || sender.send(start(&root).collect::<Vec<Listing>>()));
        let listings = receiver.recv_timeout(Duration::from_secs(20));
        // Ends whatever still waits for an answer.
        drop(server);
        rustix::mount::unmount(&at, rustix::mount::UnmountFlags::DETACH).unwrap();
        thread.join().unwrap().unwrap();
        let listings = listings.expect("the walk waits for the mount's server");
        assert_eq!(verdict(&listings[1], "mnt here"), Descend::Mount);
        assert_eq!(listings[1].entries[0].stat.unwrap().meta.kind, Kind::Directory);
        assert_eq!(listings.len(), 3, "the root, sub and sub/z");
    }
}
