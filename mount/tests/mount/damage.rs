//! What is damaged fails alone.

use std::fs;
use std::process::{Command, Stdio};
use std::time::Duration;

use dbakfs_mount::Message;
use dbakfs_mount::tree::NodeId;
use rustix::process::{Pid, Signal};

use crate::rig::{Rig, errno};

const ROOT: NodeId = NodeId::ROOT;

#[test]
fn a_damaged_node_is_eio_and_its_neighbours_are_whole() {
    let Some(rig) = Rig::new(|tree| {
        for name in ["bad-file", "good-file"] {
            tree.file(ROOT, name, "data");
        }
        for name in ["bad-dir", "good-dir"] {
            tree.file(tree.dir(ROOT, name), "inside", "data");
        }
        let link = tree.symlink(ROOT, "bad-link", "target");
        tree.change(link, |node| node.damaged = true);
        for node in [2, 6] {
            tree.change(NodeId(node), |node| node.damaged = true);
        }
    }) else {
        return;
    };
    assert_eq!(fs::read_dir(rig.point.path()).unwrap().count(), 5);
    assert_eq!(errno(fs::read(rig.path("bad-file"))), libc::EIO);
    assert_eq!(errno(fs::read_dir(rig.path("bad-dir")).and_then(|mut list| list.next().unwrap())), libc::EIO);
    assert_eq!(errno(fs::read(rig.path("bad-dir/inside"))), libc::EIO);
    assert_eq!(errno(fs::read_link(rig.path("bad-link"))), libc::EIO);
    assert_eq!(fs::read(rig.path("good-file")).unwrap(), b"data");
    assert_eq!(fs::read(rig.path("good-dir/inside")).unwrap(), b"data");
}

#[test]
fn a_panic_in_the_tree_costs_one_answer_and_not_the_mount() {
    let Some(rig) = Rig::new(|tree| {
        let bad = tree.file(ROOT, "bad", "data");
        tree.change(bad, |node| node.panics = true);
        tree.file(ROOT, "good", "data");
    }) else {
        return;
    };
    // More often than there are threads.
    for _ in 0..20 {
        assert_eq!(errno(fs::read(rig.path("bad"))), libc::EIO);
    }
    assert_eq!(fs::read(rig.path("good")).unwrap(), b"data");
}

#[test]
fn a_listing_goes_as_far_as_it_can_and_then_says_so() {
    let Some(rig) = Rig::new(|tree| {
        for name in ["one", "two", "bad", "four"] {
            let node = tree.file(ROOT, name, name);
            if name == "bad" {
                tree.change(node, |node| node.attr.mode = 0);
            }
        }
    }) else {
        return;
    };
    let mut list = fs::read_dir(rig.point.path()).unwrap();
    for name in ["one", "two"] {
        assert_eq!(list.next().unwrap().unwrap().file_name(), name);
    }
    assert_eq!(errno(list.next().unwrap()), libc::EIO);
    assert_eq!(fs::read(rig.path("four")).unwrap(), b"four");
    assert_eq!(errno(fs::metadata(rig.path("bad"))), libc::EIO);
}

#[test]
fn a_reader_that_is_interrupted_or_killed_disturbs_nothing() {
    let Some(rig) = Rig::new(|tree| {
        let slow = tree.file(ROOT, "slow", vec![1; 1 << 20]);
        tree.change(slow, |node| node.slow = Duration::from_millis(300));
        tree.file(ROOT, "quick", "data");
    }) else {
        return;
    };
    let read = || {
        let before = rig.messages().get(Message::Read);
        let input = format!("if={}", rig.path("slow").display());
        let dd = Command::new("dd").args([&input, "bs=64k"]).stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
        while rig.messages().get(Message::Read) == before {
            std::thread::yield_now();
        }
        dd.unwrap()
    };
    // dd catches this signal and goes on.
    let interrupted = read();
    for _ in 0..3 {
        rustix::process::kill_process(Pid::from_child(&interrupted), Signal::USR1).unwrap();
        std::thread::sleep(Duration::from_millis(20));
    }
    let output = interrupted.wait_with_output().unwrap();
    assert!(output.status.success() && output.stdout == vec![1; 1 << 20]);

    rig.live().invalidate_node(NodeId(2)).unwrap();
    let mut killed = read();
    killed.kill().unwrap();
    killed.wait().unwrap();
    assert_eq!(fs::read(rig.path("quick")).unwrap(), b"data");
    assert!(fs::read(rig.path("slow")).unwrap() == vec![1; 1 << 20]);
}
