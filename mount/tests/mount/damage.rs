//! What is damaged fails alone.

use std::fs;

use dbakfs_mount::tree::NodeId;

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
