//! What never changes is asked for once; what changes is seen.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::time::Duration;

use dbakfs_mount::Message;
use dbakfs_mount::tree::NodeId;

use crate::memory::Body;
use crate::rig::{Rig, errno};

const ROOT: NodeId = NodeId::ROOT;
const HOUR: Duration = Duration::from_secs(3600);

fn count(path: &Path) -> usize {
    fs::read_dir(path).unwrap().count()
}

#[test]
fn what_never_changes_is_asked_for_once() {
    let Some(rig) = Rig::new(|tree| {
        let sub = tree.dir(ROOT, "sub");
        for number in 0..100 {
            tree.file(sub, number.to_string(), vec![1; 10_000]);
        }
        tree.absent_forever.store(true, Ordering::Relaxed);
    }) else {
        return;
    };
    let walk = || {
        for entry in fs::read_dir(rig.path("sub")).unwrap() {
            let entry = entry.unwrap();
            assert_eq!(entry.metadata().unwrap().len(), 10_000);
            assert_eq!(fs::read(entry.path()).unwrap().len(), 10_000);
        }
        assert_eq!(errno(fs::metadata(rig.path("sub/none"))), libc::ENOENT);
    };
    walk();
    let first = rig.messages();
    assert!(first.get(Message::Lookup) <= 3, "the listing brings the attributes: {first:?}");
    walk();
    let second = rig.messages();
    for kind in [Message::Lookup, Message::GetAttr, Message::ReadDirPlus, Message::Read] {
        assert_eq!(second.get(kind), first.get(kind), "{kind:?}");
    }
}

#[test]
fn an_entry_announced_after_ls_and_a_failed_stat_appears() {
    let Some(rig) = Rig::new(|tree| {
        let live = tree.dir(ROOT, "live");
        tree.file(live, "old", "");
        tree.live(live, HOUR);
        tree.absent_forever.store(true, Ordering::Relaxed);
    }) else {
        return;
    };
    let live = NodeId(2);
    assert_eq!(count(&rig.path("live")), 1);
    assert_eq!(errno(fs::metadata(rig.path("live/new"))), libc::ENOENT);

    rig.tree.file(live, "new", "here");
    rig.tree.change(live, |node| node.attr.mtime.secs += 1);
    assert_eq!(errno(fs::metadata(rig.path("live/new"))), libc::ENOENT, "remembered as missing");
    rig.live().invalidate_node(live).unwrap();
    rig.live().invalidate_entry(live, b"new").unwrap();
    assert_eq!(fs::read(rig.path("live/new")).unwrap(), b"here");
    assert_eq!(count(&rig.path("live")), 2);
    assert_eq!(fs::metadata(rig.path("live")).unwrap().mtime(), 1_700_000_001);
}

#[test]
fn an_entry_that_was_removed_and_announced_is_gone_though_it_had_been_read() {
    let Some(rig) = Rig::new(|tree| {
        let live = tree.dir(ROOT, "live");
        tree.file(tree.dir(live, "point"), "file", "data");
        tree.live(live, HOUR);
    }) else {
        return;
    };
    assert_eq!(fs::read(rig.path("live/point/file")).unwrap(), b"data");
    assert_eq!(count(&rig.path("live")), 1);
    rig.tree.unlink(NodeId(2), "point");
    rig.live().invalidate_node(NodeId(2)).unwrap();
    rig.live().invalidate_entry(NodeId(2), b"point").unwrap();
    assert_eq!(errno(fs::metadata(rig.path("live/point"))), libc::ENOENT);
    assert_eq!(count(&rig.path("live")), 0);
}

#[test]
fn a_live_directory_is_listed_afresh_without_any_notice() {
    let Some(rig) = Rig::new(|tree| tree.live(ROOT, Duration::ZERO)) else { return };
    assert_eq!(count(&rig.point.path()), 0);
    assert_eq!(errno(fs::metadata(rig.path("new"))), libc::ENOENT);
    rig.tree.file(ROOT, "new", "");
    assert_eq!(count(&rig.point.path()), 1);
    assert!(fs::metadata(rig.path("new")).is_ok());
}

#[test]
fn a_link_that_changes_is_never_stale() {
    let Some(rig) = Rig::new(|tree| {
        tree.symlink(ROOT, "latest", "one");
        tree.fleeting.store(true, Ordering::Relaxed);
    }) else {
        return;
    };
    for target in ["one", "two", "three-is-longer"] {
        // Another target is another node: the kernel keeps what a node points to.
        rig.tree.unlink(ROOT, "latest");
        rig.tree.symlink(ROOT, "latest", target);
        for _ in 0..2 {
            assert_eq!(fs::read_link(rig.path("latest")).unwrap(), PathBuf::from(target));
            assert_eq!(fs::symlink_metadata(rig.path("latest")).unwrap().len(), target.len() as u64);
        }
    }
    assert_eq!(rig.messages().get(Message::ReadLink), 3, "each target is asked for once");
}

#[test]
fn a_file_that_changes_with_its_time_is_read_afresh() {
    let Some(rig) = Rig::new(|tree| {
        let file = tree.file(ROOT, "report", "first");
        tree.live(file, Duration::ZERO);
    }) else {
        return;
    };
    assert_eq!(fs::read(rig.path("report")).unwrap(), b"first");
    rig.tree.change(NodeId(2), |node| {
        node.body = Body::File(vec![(0, b"again".to_vec())]);
        node.attr.mtime.nanos += 1;
    });
    assert_eq!(fs::read(rig.path("report")).unwrap(), b"again");
}

#[test]
fn notices_among_many_readers_hang_nobody() {
    const POINTS: usize = 200;
    let Some(rig) = Rig::new(|tree| {
        let live = tree.dir(ROOT, "live");
        tree.live(live, HOUR);
        tree.live(tree.dir(ROOT, "hidden"), HOUR);
        tree.absent_forever.store(true, Ordering::Relaxed);
    }) else {
        return;
    };
    let [live, hidden] = ["live", "hidden"].map(|name| NodeId(fs::metadata(rig.path(name)).unwrap().ino()));
    std::thread::scope(|scope| {
        for reader in 0..6 {
            let rig = &rig;
            scope.spawn(move || {
                let mut seen = 0;
                while seen < POINTS {
                    let listed = count(&rig.path("live"));
                    assert!(listed >= seen, "entries went away");
                    seen = listed;
                    // Also those that are not there yet, so that the kernel remembers their absence.
                    for name in [seen, seen + reader, seen / 2] {
                        let _ = fs::read(rig.path(&format!("live/{name}/file")));
                    }
                }
            });
        }
        for number in 0..POINTS {
            let name = number.to_string();
            // Whole before it can be seen.
            let point = rig.tree.dir(hidden, &name);
            rig.tree.file(point, "file", name.as_bytes());
            rig.tree.link(live, &name, point);
            rig.live().invalidate_node(live).unwrap();
            rig.live().invalidate_entry(live, name.as_bytes()).unwrap();
        }
    });
    for number in 0..POINTS {
        let name = number.to_string();
        assert_eq!(fs::read(rig.path(&format!("live/{name}/file"))).unwrap(), name.as_bytes());
    }
}

#[test]
fn notices_about_the_unknown_and_after_the_end_are_harmless() {
    let Some(rig) = Rig::new(|_| ()) else { return };
    let live = rig.live();
    live.invalidate_node(NodeId(4711)).unwrap();
    live.invalidate_attr(ROOT).unwrap();
    live.invalidate_entry(NodeId(4711), b"name").unwrap();
    live.invalidate_entry(ROOT, b"none").unwrap();
    rig.unmount().unwrap();
    assert!(rig.wait_timeout(Duration::from_secs(20)));
    live.invalidate_node(ROOT).unwrap();
    live.invalidate_entry(ROOT, b"none").unwrap();
}
