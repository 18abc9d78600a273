//! What a tree has ceased to show goes out of the kernel's memory when nobody is inside any more, and not before.

use std::fs::{self, File};
use std::io::Read;
use std::os::fd::AsRawFd;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use dbakfs_mount::tree::{NodeId, Tree};
use dbakfs_mount::{Leaving, Side, Stub};

use crate::rig::{Rig, errno};

/// A mount of `point/a/b/file` and `point/c/file`, its names live.
fn rig() -> Option<(Rig, NodeId)> {
    let mut point = NodeId::ROOT;
    let rig = Rig::new(|tree| {
        point = tree.dir(NodeId::ROOT, "point");
        let a = tree.dir(point, "a");
        let (b, c) = (tree.dir(a, "b"), tree.dir(point, "c"));
        tree.file(b, "file", "data of b");
        tree.file(c, "file", "data of c");
        tree.live(NodeId::ROOT, Duration::ZERO);
    })?;
    Some((rig, point))
}

fn leaving(rig: &Rig, point: NodeId) -> Leaving {
    let stub = Stub { parent: NodeId::ROOT, name: b"point".to_vec(), attr: rig.tree.attr(point).unwrap() };
    Leaving { path: "point".into(), hidden: vec![stub] }
}

/// The tree ceases to show the point, and the kernel is told.
fn hide(rig: &Rig) {
    rig.tree.unlink(NodeId::ROOT, "point");
    rig.live().invalidate_entry(NodeId::ROOT, b"point").unwrap();
}

fn below(directory: &File, name: &str) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}/{name}", directory.as_raw_fd()))
}

#[test]
fn what_nobody_uses_goes_with_its_name() {
    let Some((rig, point)) = rig() else { return };
    assert!(!rig.live().holds(point).unwrap(), "it was never looked up");
    assert_eq!(fs::read_to_string(rig.path("point/a/b/file")).unwrap(), "data of b");
    assert!(rig.live().holds(point).unwrap());
    hide(&rig);
    assert!(!rig.live().holds(point).unwrap());
}

#[test]
fn what_was_used_goes_when_its_last_user_has_left_and_is_undisturbed_till_then() {
    let Some((rig, point)) = rig() else { return };
    let inside = File::open(rig.path("point/a")).unwrap();
    let mut open = File::open(rig.path("point/a/b/file")).unwrap();
    hide(&rig);
    let leaving = leaving(&rig, point);
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        // Nobody else sees the name, whatever happens.
        let looking = scope.spawn(|| {
            let mut looks = 0;
            while !is_over.load(Ordering::Relaxed) {
                assert_eq!(errno(fs::symlink_metadata(rig.path("point"))), libc::ENOENT);
                assert_eq!(errno(fs::symlink_metadata(rig.path("point/a"))), libc::ENOENT);
                assert_eq!(fs::read_dir(rig.point.path()).unwrap().count(), 0);
                looks += 1;
            }
            looks
        });
        for _ in 0..200 {
            rig.shake_off(Side::First, &leaving).unwrap();
            assert!(rig.live().holds(point).unwrap());
            assert_eq!(fs::read_to_string(below(&inside, "b/file")).unwrap(), "data of b");
            assert_eq!(fs::read_to_string(below(&inside, "../c/file")).unwrap(), "data of c");
            assert_eq!(fs::read_dir(below(&inside, "")).unwrap().count(), 1);
        }
        is_over.store(true, Ordering::Relaxed);
        assert!(looking.join().unwrap() > 10);
    });
    drop(inside);
    assert!(rig.live().holds(point).unwrap(), "a file below is open");
    let mut data = String::new();
    open.read_to_string(&mut data).unwrap();
    assert_eq!(data, "data of b");
    drop(open);
    // Descriptors are closed for good a moment after.
    for _ in 0..100 {
        rig.shake_off(Side::First, &leaving).unwrap();
        if !rig.live().holds(point).unwrap() {
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("the kernel still holds a directory that nobody uses");
}
