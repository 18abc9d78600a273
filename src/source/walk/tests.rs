use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::time::{Duration, Instant};

use proptest::prelude::*;
use rustix::fs::{Mode, mkdirat, unlinkat};

use super::*;

/// What the walk of a small tree said, directory by directory: its path and its entries' names.
type Told = Vec<(String, Vec<String>)>;

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn start(root: &Path) -> Walk {
    Walk::start(root, Options::default()).unwrap()
}

fn told(walk: Walk) -> Told {
    let mut told = Told::new();
    let mut open = false;
    for listing in walk {
        assert!(listing.error.is_none(), "{}: {:?}", listing.dir.path().display(), listing.error);
        let path = text(&listing.dir.place().relative());
        if !open {
            told.push((path.clone(), Vec::new()));
        }
        let (current, names) = told.last_mut().unwrap();
        assert_eq!(*current, path, "one directory's listings follow each other");
        names.extend(listing.entries.iter().map(|found| text(listing.name(found))));
        open = !listing.last;
    }
    assert!(!open, "the last directory ends with `last`");
    told
}

fn verdict(listing: &Listing, name: &str) -> Descend {
    listing.entries.iter().find(|found| listing.name(found) == name.as_bytes()).unwrap().descend
}

/// The tree as a plain recursion would tell it.
fn model(root: &Path, relative: &str, out: &mut Told) {
    let mut entries: Vec<_> = std::fs::read_dir(root.join(relative)).unwrap().map(Result::unwrap).collect();
    entries.sort_by_key(std::fs::DirEntry::file_name);
    let names = entries.iter().map(|entry| text(entry.file_name().as_bytes())).collect();
    out.push((relative.to_owned(), names));
    for entry in entries.iter().filter(|entry| entry.file_type().unwrap().is_dir()) {
        let name = text(entry.file_name().as_bytes());
        model(root, &if relative.is_empty() { name } else { format!("{relative}/{name}") }, out);
    }
}

fn make(root: &Path, paths: &[&str]) {
    for path in paths {
        let full = root.join(path);
        if path.ends_with('/') {
            std::fs::create_dir_all(full).unwrap();
        } else {
            std::fs::create_dir_all(full.parent().unwrap()).unwrap();
            std::fs::write(full, path).unwrap();
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn random_trees_are_told_in_preorder(
        paths in prop::collection::vec((prop::collection::vec("[ab.-]{1,3}", 1..6), any::<bool>()), 0..40)
    ) {
        let temp = tempfile::tempdir().unwrap();
        for (components, is_dir) in paths {
            let components: Vec<String> =
                components.into_iter().map(|part| if part.trim_matches('.').is_empty() { "z".into() } else { part }).collect();
            let path = temp.path().join(components.join("/"));
            // A path may run into a file that an earlier one made: then the tree simply has less.
            if is_dir {
                let _ = std::fs::create_dir_all(path);
            } else if std::fs::create_dir_all(path.parent().unwrap()).is_ok() {
                let _ = std::fs::write(path, b"");
            }
        }
        let mut expected = Told::new();
        model(temp.path(), "", &mut expected);
        prop_assert_eq!(told(start(temp.path())), expected);
    }
}

#[test]
fn stat_and_kind_of_each_entry_are_told() {
    let temp = tempfile::tempdir().unwrap();
    make(temp.path(), &["dir/", "file"]);
    symlink("dir", temp.path().join("link")).unwrap();
    let _socket = UnixListener::bind(temp.path().join("socket")).unwrap();
    let listing = start(temp.path()).next().unwrap();
    let kinds: Vec<Kind> = listing.entries.iter().map(|found| found.stat.unwrap().meta.kind).collect();
    assert_eq!(kinds, [Kind::Directory, Kind::File, Kind::Symlink, Kind::Socket]);
    let file = listing.entries[1].stat.unwrap();
    assert_eq!((file.meta.size, file.ino), (4, temp.path().join("file").metadata().unwrap().ino()));
    assert!(listing.taken_at.secs >= file.meta.mtime.secs);
}

#[test]
fn large_directory_comes_in_batches_in_order() {
    let temp = tempfile::tempdir().unwrap();
    for number in 0..1_500 {
        File::create(temp.path().join(format!("{}-{number}", number % 7))).unwrap();
    }
    std::fs::create_dir(temp.path().join("3-sub")).unwrap();
    let listings: Vec<Listing> = start(temp.path()).collect();
    let shape: Vec<_> = listings.iter().map(|listing| (listing.entries.len(), listing.last)).collect();
    assert_eq!(shape, [(1_024, false), (477, true), (0, true)]);
    let names: Vec<&[u8]> = listings.iter().flat_map(|l| l.entries.iter().map(|found| l.name(found))).collect();
    assert!(names.is_sorted_by(|a, b| a < b));
}

#[test]
fn directory_of_exactly_one_batch_ends_with_it() {
    let temp = tempfile::tempdir().unwrap();
    for number in 0..BATCH_ENTRIES {
        File::create(temp.path().join(number.to_string())).unwrap();
    }
    let shape: Vec<_> = start(temp.path()).map(|listing| (listing.entries.len(), listing.last)).collect();
    assert_eq!(shape, [(BATCH_ENTRIES, true)]);
}

#[test]
fn symlink_loops_are_not_followed() {
    let temp = tempfile::tempdir().unwrap();
    make(temp.path(), &["a/b/"]);
    symlink("..", temp.path().join("a/b/up")).unwrap();
    symlink(temp.path(), temp.path().join("a/root")).unwrap();
    let told = told(start(temp.path()));
    let dirs: Vec<&str> = told.iter().map(|(dir, _)| dir.as_str()).collect();
    assert_eq!(dirs, ["", "a", "a/b"]);
}

#[test]
fn source_given_as_a_link_is_followed() {
    let temp = tempfile::tempdir().unwrap();
    make(temp.path(), &["real/x"]);
    symlink("real", temp.path().join("link")).unwrap();
    let walk = start(&temp.path().join("link"));
    assert_eq!(walk.root().path, temp.path().canonicalize().unwrap().join("real"));
    assert_eq!(told(walk), [(String::new(), vec!["x".to_owned()])]);
}

#[test]
fn single_file_is_a_tree_of_one_entry() {
    let temp = tempfile::tempdir().unwrap();
    make(temp.path(), &["a", "b", "c/"]);
    let mut exclude = Exclude::builder();
    let exclude = exclude.pattern("b".as_ref()).unwrap().finish().unwrap();
    let walk = Walk::start(&temp.path().join("b"), Options { exclude, ..Options::default() }).unwrap();
    assert_eq!(walk.root().only.as_deref(), Some(&b"b"[..]));
    assert_eq!(walk.root().dir.path(), temp.path().canonicalize().unwrap());
    assert_eq!(told(walk), [(String::new(), vec!["b".to_owned()])]);
}

#[test]
fn source_that_is_no_tree_is_refused() {
    assert!(matches!(Walk::start(Path::new("/dev/null"), Options::default()), Err(StartError::Kind { .. })));
    let missing = Walk::start(Path::new("/nowhere/at/all"), Options::default()).unwrap_err();
    assert_eq!(missing.to_string(), "cannot open the source /nowhere/at/all");
}

#[test]
fn excluded_entries_are_not_told_and_not_entered() {
    let temp = tempfile::tempdir().unwrap();
    make(temp.path(), &["a.o", "keep.o", "target/x", "sub/target/y", "sub/a.o", "sub/b", "logs"]);
    let mut exclude = Exclude::builder();
    for pattern in ["*.o", "!keep.o", "/target", "logs/"] {
        exclude.pattern(pattern.as_ref()).unwrap();
    }
    let options = Options { exclude: exclude.finish().unwrap(), ..Options::default() };
    let told = told(Walk::start(temp.path(), options).unwrap());
    let expected = [("", &["keep.o", "logs", "sub"][..]), ("sub", &["b", "target"]), ("sub/target", &["y"])];
    assert_eq!(told, expected.map(|(dir, names)| (dir.to_owned(), names.iter().map(ToString::to_string).collect())));
}

#[test]
fn tagged_cache_keeps_only_its_tag() {
    let temp = tempfile::tempdir().unwrap();
    make(temp.path(), &["cache/deep/x", "cache/y", "fake/CACHEDIR.TAG", "fake/kept"]);
    let tag = b"Signature: 8a477f597d28d172789f06886806bc55\n# made by a test\n";
    std::fs::write(temp.path().join("cache/CACHEDIR.TAG"), tag).unwrap();
    let options = Options { exclude_caches: true, ..Options::default() };
    let walk: Vec<Listing> = Walk::start(temp.path(), options).unwrap().collect();
    let said: Vec<_> = walk.iter().map(|listing| (listing.entries.len(), listing.cache)).collect();
    assert_eq!(said, [(2, false), (1, true), (2, false)]);
    assert_eq!(walk[1].name(&walk[1].entries[0]), b"CACHEDIR.TAG");
    assert_eq!(told(start(temp.path())).len(), 4, "without the option a cache is like any other directory");
}

#[test]
fn stores_are_told_and_not_entered_unless_they_are_the_source() {
    let temp = tempfile::tempdir().unwrap();
    make(temp.path(), &["in-use/x", "other/store.toml", "other/packs/00/", "other/catalogs/", "almost/store.toml"]);
    make(temp.path(), &["almost/packs/"]);
    let in_use = temp.path().join("in-use").metadata().unwrap();
    let never_enter = vec![FileId { dev: in_use.dev(), ino: in_use.ino() }];
    let options = Options { never_enter, ..Options::default() };
    let listings: Vec<Listing> = Walk::start(temp.path(), options.clone()).unwrap().collect();
    assert_eq!(verdict(&listings[0], "in-use"), Descend::Store);
    assert_eq!(verdict(&listings[0], "other"), Descend::Store);
    assert_eq!(verdict(&listings[0], "almost"), Descend::Yes);
    assert_eq!(listings.len(), 3, "the root, almost and almost/packs");
    for store in ["other", "in-use"] {
        let listing = Walk::start(&temp.path().join(store), options.clone()).unwrap().next().unwrap();
        assert!(!listing.entries.is_empty());
    }
}

#[test]
fn other_file_systems_are_entered_only_if_wanted() {
    let dev = Path::new("/dev").metadata().unwrap().dev();
    if Path::new("/").metadata().unwrap().dev() == dev {
        eprintln!("/dev lies on the root's file system: not tested");
        return;
    }
    for (one_file_system, expected) in [(true, Descend::OtherFilesystem), (false, Descend::Yes)] {
        let options = Options { one_file_system, ..Options::default() };
        let listing = Walk::start(Path::new("/"), options).unwrap().next().unwrap();
        assert_eq!(verdict(&listing, "dev"), expected);
    }
}

#[test]
fn unreadable_directory_is_told_with_its_error() {
    if rustix::process::geteuid().is_root() {
        // Root reads everything: the test runs itself once more as nobody.
        let temp = tempfile::tempdir().unwrap();
        std::fs::set_permissions(temp.path(), PermissionsExt::from_mode(0o777)).unwrap();
        let copy = temp.path().join("tests");
        std::fs::copy(std::env::current_exe().unwrap(), &copy).unwrap();
        let name = "source::walk::tests::unreadable_directory_is_told_with_its_error";
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
        let name = "source::walk::tests::few_open_files_slow_the_walk_and_break_nothing";
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

/// Measures the walk of the tree named by `DBAKFS_WALK`: run it alone, in a release build.
#[test]
#[ignore = "a measurement"]
fn speed() {
    let Some(root) = std::env::var_os("DBAKFS_WALK") else { return };
    for _ in 0..5 {
        let begun = Instant::now();
        let (listings, entries) = start(Path::new(&root)).fold((0, 0), |(l, e), x| (l + 1, e + x.entries.len()));
        println!("{listings} listings, {entries} entries, {:?}", begun.elapsed());
    }
}
