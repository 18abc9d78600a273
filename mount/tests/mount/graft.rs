//! Questions for extended attributes are refused for good, and what has some is attached from a second connection.

use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use dbakfs_mount::tree::{NodeId, Tree};
use dbakfs_mount::{Graft, Message, MountError, MountOptions, Mounted, Stub, Unmounted, mountpoint};
use rustix::mount::UnmountFlags;

use crate::lifecycle::{SERVE, Server};
use crate::memory::Memory;
use crate::rig::{Point, errno, mount_lines, shout};

const SOON: Duration = Duration::from_secs(20);
const NAME: &str = "user.colour";

/// Two trees of one mount. The first holds `old/file`, without attributes.
struct Pair {
    first: Arc<Memory>,
    second: Arc<Memory>,
    mounted: Mounted,
    point: Point,
}

fn trees() -> (Arc<Memory>, Arc<Memory>) {
    let trees = [Memory::new(), Memory::new()].map(|tree| {
        let old = tree.dir(NodeId::ROOT, "old");
        tree.file(old, "file", "old data");
        tree.live(NodeId::ROOT, Duration::ZERO);
        Arc::new(tree)
    });
    let [first, second] = trees;
    (first, second)
}

fn xattr(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut value = vec![0; 64];
    let length = rustix::fs::lgetxattr(path, NAME, value.as_mut_slice())?;
    value.truncate(length);
    Ok(value)
}

/// A directory with a file that has an attribute, below `parent`.
fn coloured(tree: &Memory, parent: NodeId, name: &str) {
    let directory = tree.dir(parent, name);
    let file = tree.file(directory, "file", name);
    tree.change(file, |file| file.xattrs.push((NAME.into(), b"red".to_vec())));
}

/// The stub `name` of the first tree, which nobody sees.
fn stub(tree: &Memory, parent: NodeId, name: &str) -> Stub {
    let node = tree.unnamed_dir(parent);
    Stub { parent, name: name.into(), attr: tree.attr(node).unwrap() }
}

fn graft_of(path: impl Into<PathBuf>, hidden: &[&Stub]) -> Graft {
    Graft { path: path.into(), hidden: hidden.iter().map(|stub| (*stub).clone()).collect() }
}

impl Pair {
    /// A mount that has refused; nothing, said loudly, where none ever does.
    fn refusing() -> Option<Self> {
        let pair = Self::undecided(false)?;
        match errno(xattr(&pair.path("old/file"))) {
            libc::EOPNOTSUPP => Some(pair),
            _ => {
                assert!(pair.mounted.admits_xattrs());
                shout("SKIPPED: this kernel cannot clone a part of a detached mount");
                None
            }
        }
    }

    fn undecided(has_xattrs: bool) -> Option<Self> {
        let point = Point::new()?;
        let (first, second) = trees();
        let options = MountOptions { allow_other: true, ..MountOptions::default() };
        let (one, two) = (Arc::clone(&first), Arc::clone(&second));
        let mounted = dbakfs_mount::mount_grafting(one, two, has_xattrs, &point.path(), &options).unwrap();
        Some(Self { first, second, mounted, point })
    }

    fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.point.path().join(name)
    }

    /// Makes `name` in the second tree and shows it in the first.
    fn graft(&self, name: &str) -> Graft {
        coloured(&self.second, NodeId::ROOT, name);
        let stub = stub(&self.first, NodeId::ROOT, name);
        let graft = graft_of(name, &[&stub]);
        self.attach(&graft);
        graft
    }

    fn attach(&self, graft: &Graft) {
        let stub = graft.hidden.last().unwrap().clone();
        let show = || _ = self.first.link(stub.parent, &stub.name, stub.attr.node);
        assert!(self.mounted.graft(graft, show).unwrap());
    }

    /// Every mount at or below the mount point.
    fn mounts(&self) -> usize {
        mounts_below(&self.point.path())
    }
}

fn mounts_below(path: &Path) -> usize {
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap();
    table.lines().filter(|line| Path::new(line.split(' ').nth(4).unwrap()).starts_with(path)).count()
}

#[test]
fn what_has_no_attributes_is_asked_for_them_once_and_never_again() {
    let Some(pair) = Pair::refusing() else { return };
    for _ in 0..10 {
        assert_eq!(errno(xattr(&pair.path("old/file"))), libc::EOPNOTSUPP);
        let listed = rustix::fs::llistxattr(pair.path("old/file"), &mut [0_u8; 64][..]);
        assert!(matches!(listed, Ok(0) | Err(rustix::io::Errno::OPNOTSUPP)), "{listed:?}");
    }
    let counts = pair.mounted.messages();
    assert_eq!((counts.get(Message::GetXattr), counts.get(Message::ListXattr)), (1, 1));
    assert!(!pair.mounted.admits_xattrs());
}

#[test]
fn attributes_that_come_before_the_first_question_are_answered() {
    let Some(pair) = Pair::undecided(false) else { return };
    assert!(pair.mounted.admits_xattrs());
    coloured(&pair.first, NodeId::ROOT, "new");
    assert_eq!(xattr(&pair.path("new/file")).unwrap(), b"red");
    assert_eq!(errno(xattr(&pair.path("old/file"))), libc::ENODATA);
    assert_eq!(xattr(&pair.path("new/file")).unwrap(), b"red");
    assert_eq!(pair.mounts(), 1);
}

#[test]
fn attributes_that_are_there_from_the_start_are_answered() {
    let Some(pair) = Pair::undecided(true) else { return };
    assert_eq!(errno(xattr(&pair.path("old/file"))), libc::ENODATA);
    assert!(pair.mounted.admits_xattrs());
}

#[test]
fn a_graft_is_seen_whole_or_not_at_all_by_whoever_asks_without_pause() {
    let Some(pair) = Pair::refusing() else { return };
    let device = fs::metadata(pair.path("old/file")).unwrap().dev();
    let names: Vec<String> = (0..20).map(|number| format!("new-{number}")).collect();
    let (is_over, seen) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let mut known = vec![false; names.len()];
                while !is_over.load(Ordering::Relaxed) || known.contains(&false) {
                    for (name, known) in names.iter().zip(&mut known) {
                        let directory = pair.path(name);
                        match fs::symlink_metadata(&directory) {
                            Ok(found) => {
                                assert_ne!(found.dev(), device, "the stub of {name} was seen");
                                assert_eq!(xattr(&directory.join("file")).unwrap(), b"red");
                                *known = true;
                            }
                            Err(error) => {
                                assert!(!*known, "{name} was there before: {error}");
                                assert!(matches!(error.raw_os_error(), Some(libc::ENOENT | libc::EINTR)), "{error}");
                            }
                        }
                        // A listing names nothing that cannot be looked at.
                        for entry in fs::read_dir(pair.point.path()).unwrap() {
                            let listed = fs::symlink_metadata(entry.unwrap().path()).unwrap();
                            assert!(listed.nlink() > 0);
                        }
                        seen.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        }
        for name in &names {
            let before = seen.load(Ordering::Relaxed);
            pair.graft(name);
            while seen.load(Ordering::Relaxed) < before + 10 {
                std::thread::yield_now();
            }
        }
        is_over.store(true, Ordering::Relaxed);
    });
    assert_eq!(pair.mounts(), 1 + names.len());
    assert!(pair.mounted.lost_grafts().unwrap().is_empty());
    // All of them on one device more, and what was there before where it was.
    let devices: std::collections::BTreeSet<u64> =
        names.iter().map(|name| fs::metadata(pair.path(name)).unwrap().dev()).collect();
    assert_eq!(devices.len(), 1);
    assert_eq!(fs::metadata(pair.path("old/file")).unwrap().dev(), device);
    assert!(mountpoint::is_dbakfs_mount(&pair.path("new-0")).unwrap());
    let grafts = devices.first().map(|&device| (libc::major(device), libc::minor(device))).unwrap();
    assert!(mountpoint::is_dbakfs_device(grafts).unwrap());
}

#[test]
fn grafts_are_mounted_by_the_rules_of_the_first_mount() {
    let Some(pair) = Pair::refusing() else { return };
    pair.graft("new");
    let rules = |path: PathBuf| {
        let line = mount_lines(&path).pop().unwrap();
        let (mount, file_system) = line.split_once(" - ").unwrap();
        // The options of the mount, and type, source and options of the file system.
        (mount.split(' ').nth(5).unwrap().to_owned(), file_system.to_owned())
    };
    assert_eq!(rules(pair.path("new")), rules(pair.point.path()));
}

#[test]
fn a_graft_in_a_directory_that_nobody_sees_yet_comes_with_it() {
    let Some(pair) = Pair::refusing() else { return };
    let directory = pair.second.dir(NodeId::ROOT, "source");
    coloured(&pair.second, directory, "new");
    let source = stub(&pair.first, NodeId::ROOT, "source");
    let new = stub(&pair.first, source.attr.node, "new");
    let shown = || {
        pair.first.link(source.attr.node, "new", new.attr.node);
        pair.first.link(NodeId::ROOT, "source", source.attr.node);
    };
    assert!(fs::symlink_metadata(pair.path("source")).is_err());
    assert!(pair.mounted.graft(&graft_of("source/new", &[&source, &new]), shown).unwrap());
    assert_eq!(xattr(&pair.path("source/new/file")).unwrap(), b"red");
}

#[test]
fn what_the_second_tree_does_not_show_is_not_attached_and_can_be_later() {
    let Some(pair) = Pair::refusing() else { return };
    let hidden = stub(&pair.first, NodeId::ROOT, "new");
    let graft = graft_of("new", &[&hidden]);
    let failed = pair.mounted.graft(&graft, || panic!("shown without its content"));
    assert!(failed.unwrap_err().to_string().starts_with("cannot clone"));
    assert_eq!(errno(fs::symlink_metadata(pair.path("new"))), libc::ENOENT);
    coloured(&pair.second, NodeId::ROOT, "new");
    pair.attach(&graft);
    assert_eq!(xattr(&pair.path("new/file")).unwrap(), b"red");
}

#[test]
fn a_graft_that_somebody_unmounts_is_reported_and_can_be_made_again() {
    let Some(pair) = Pair::refusing() else { return };
    let graft = pair.graft("new");
    pair.graft("other");
    assert!(pair.mounted.lost_grafts().unwrap().is_empty());
    rustix::mount::unmount(pair.path("new"), UnmountFlags::empty()).unwrap();
    pair.first.unlink(NodeId::ROOT, "new");
    assert_eq!(pair.mounted.lost_grafts().unwrap(), [PathBuf::from("new")]);
    assert!(pair.mounted.lost_grafts().unwrap().is_empty());
    pair.attach(&graft);
    assert_eq!(xattr(&pair.path("new/file")).unwrap(), b"red");
}

#[test]
fn a_graft_is_taken_away_with_its_name() {
    let Some(pair) = Pair::refusing() else { return };
    let graft = pair.graft("new");
    pair.first.unlink(NodeId::ROOT, "new");
    pair.mounted.remove_graft(&graft).unwrap();
    assert_eq!(errno(fs::symlink_metadata(pair.path("new"))), libc::ENOENT);
    assert_eq!(pair.mounts(), 1);
    assert!(pair.mounted.lost_grafts().unwrap().is_empty());
}

#[test]
fn unmounting_takes_all_grafts_and_does_not_find_the_mount_busy() {
    for by_path in [false, true] {
        let Some(pair) = Pair::refusing() else { return };
        let grafts = ["a", "b"].map(|name| pair.graft(name));
        // By hand it is: the kernel counts what is mounted inside.
        assert_eq!(rustix::mount::unmount(pair.point.path(), UnmountFlags::empty()), Err(rustix::io::Errno::BUSY));
        let part = mountpoint::unmount(&pair.path("a"));
        assert!(matches!(part, Err(MountError::Part { of, .. }) if of == pair.point.path()));
        let unmounted = if by_path { mountpoint::unmount(&pair.point.path()) } else { pair.mounted.unmount() };
        assert_eq!(unmounted.unwrap(), Unmounted::Clean);
        assert_eq!(pair.mounts(), 0);
        assert!(pair.mounted.wait_timeout(SOON));
        assert!(!pair.mounted.graft(&grafts[0], || panic!("shown after the end")).unwrap());
    }
}

#[test]
fn umount_of_the_whole_tree_by_hand_ends_both_connections() {
    let Some(pair) = Pair::refusing() else { return };
    pair.graft("new");
    assert!(Command::new("umount").arg("-R").arg(pair.point.path()).status().unwrap().success());
    assert!(pair.mounted.wait_timeout(SOON));
    assert_eq!(pair.mounts(), 0);
}

#[test]
fn a_user_inside_a_graft_is_served_to_the_end() {
    let Some(pair) = Pair::refusing() else { return };
    pair.graft("new");
    let mut open = File::open(pair.path("new/file")).unwrap();
    assert_eq!(pair.mounted.unmount().unwrap(), Unmounted::Detached);
    assert_eq!(pair.mounts(), 0);
    assert!(!pair.mounted.wait_timeout(Duration::from_millis(100)));
    let mut data = String::new();
    open.read_to_string(&mut data).unwrap();
    assert_eq!(data, "new");
    drop(open);
    assert!(pair.mounted.wait_timeout(SOON));
}

#[test]
fn a_mount_that_has_left_the_tree_takes_no_grafts() {
    let Some(pair) = Pair::refusing() else { return };
    let _open = File::open(pair.path("old/file")).unwrap();
    rustix::mount::unmount(pair.point.path(), UnmountFlags::DETACH).unwrap();
    coloured(&pair.second, NodeId::ROOT, "new");
    let hidden = stub(&pair.first, NodeId::ROOT, "new");
    assert!(!pair.mounted.graft(&graft_of("new", &[&hidden]), || panic!("shown nowhere")).unwrap());
}

#[test]
fn nothing_is_attached_to_what_covers_the_mount() {
    let Some(pair) = Pair::refusing() else { return };
    coloured(&pair.second, NodeId::ROOT, "new");
    let graft = graft_of("new", &[&stub(&pair.first, NodeId::ROOT, "new")]);
    let flags = rustix::mount::MountFlags::empty();
    rustix::mount::mount("elsewhere", pair.point.path(), "tmpfs", flags, None).unwrap();
    fs::create_dir(pair.path("new")).unwrap();
    let covered = pair.mounted.graft(&graft, || panic!("shown in another file system"));
    assert!(matches!(covered, Err(MountError::Covered { .. })), "{covered:?}");
    assert_eq!(fs::read_dir(pair.path("new")).unwrap().count(), 0);
    rustix::mount::unmount(pair.point.path(), UnmountFlags::empty()).unwrap();
    pair.attach(&graft);
    assert_eq!(xattr(&pair.path("new/file")).unwrap(), b"red");
}

/// Serves with a graft in a process of its own, started by the tests below.
#[test]
fn child_grafts() {
    let Some(path) = std::env::var_os(SERVE) else { return };
    let (first, second) = trees();
    coloured(&second, NodeId::ROOT, "new");
    let hidden = stub(&first, NodeId::ROOT, "new");
    let options = MountOptions::default();
    let mounted = dbakfs_mount::mount_grafting(Arc::clone(&first), second, false, Path::new(&path), &options).unwrap();
    let _ = xattr(&Path::new(&path).join("old/file"));
    let show = || _ = first.link(NodeId::ROOT, "new", hidden.attr.node);
    if !mounted.admits_xattrs() {
        assert!(mounted.graft(&graft_of("new", &[&hidden]), show).unwrap());
    }
    println!("serving");
    mounted.wait();
}

fn served_with_graft() -> Option<(Point, Server)> {
    let point = Point::new()?;
    let server = Server::start_test("graft::child_grafts", &point.path());
    if mounts_below(&point.path()) == 2 {
        return Some((point, server));
    }
    shout("SKIPPED: this kernel cannot clone a part of a detached mount");
    None
}

#[test]
fn dead_grafts_are_healed_with_the_dead_mount() {
    let Some((point, mut server)) = served_with_graft() else { return };
    server.kill();
    assert_eq!(errno(fs::read_dir(point.path())), libc::ENOTCONN);
    let (first, _) = trees();
    let mounted = dbakfs_mount::mount(first, &point.path(), &MountOptions::default()).unwrap();
    assert_eq!(fs::read(point.path().join("old/file")).unwrap(), b"old data");
    assert_eq!(mounts_below(&point.path()), 1);
    assert_eq!(mounted.unmount().unwrap(), Unmounted::Clean);
}

#[test]
fn dead_grafts_are_unmounted_with_the_dead_mount() {
    let Some((point, mut server)) = served_with_graft() else { return };
    server.kill();
    assert_ne!(mountpoint::unmount(&point.path()).unwrap(), Unmounted::Already);
    assert_eq!(mounts_below(&point.path()), 0);
}

#[test]
fn a_server_that_hangs_with_a_graft_is_unmounted_within_seconds() {
    let Some((point, mut server)) = served_with_graft() else { return };
    server.stop();
    let begun = std::time::Instant::now();
    assert_ne!(mountpoint::unmount(&point.path()).unwrap(), Unmounted::Already);
    assert!(begun.elapsed() < Duration::from_secs(15));
    assert_eq!(mounts_below(&point.path()), 0);
    server.kill();
}

#[test]
fn another_process_unmounts_both_and_the_server_ends() {
    let Some((point, mut server)) = served_with_graft() else { return };
    assert_eq!(mountpoint::unmount(&point.path()).unwrap(), Unmounted::Clean);
    assert_eq!(mounts_below(&point.path()), 0);
    assert!(server.ended_well());
}
