//! A store as the mount shows it, asked as the kernel asks.
//!
//! What must hold: what is listed is found under the same number, positions of a listing rise, and no number that was never given out does harm.

use std::collections::BTreeSet;
use std::sync::Arc;

use dbakfs::format::record::is_name;
use dbakfs::view::{View, Views};
use dbakfs_mount::Tree;
use dbakfs_mount::tree::{Attr, Lookup, NodeId, Seek};

use super::shape::two;
use super::stage::{DIFFERENTIAL, FULL, on_stage};

const MOST_NODES: usize = 500;
const READ_BYTES: usize = 64 << 10;

/// Asks everything that can be asked of one node, whatever it is.
fn ask(view: &View, node: NodeId, size: u64) {
    let mut bytes = Vec::new();
    for offset in [0, size / 2, size] {
        bytes.clear();
        let read = view.read(node, offset, READ_BYTES, &mut bytes);
        assert!(bytes.len() <= READ_BYTES, "more than was asked for");
        assert!(read.is_err() || offset <= size || bytes.is_empty());
        for what in [Seek::Data, Seek::Hole] {
            assert!(view.seek(node, offset, what).unwrap_or(offset) >= offset, "a seek goes on");
        }
    }
    let mut pushed = 0;
    view.ahead(node, 0, 4096, &mut |_, offset, _| {
        assert!(offset.is_multiple_of(4096), "the kernel keeps pages");
        pushed += 1;
        pushed < 64
    });
    let _ = (view.read_link(node), view.parent(node));
    for name in view.xattr_names(node).unwrap_or_default().split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        let _ = view.xattr(node, name);
    }
}

fn walk(view: &Arc<View>) {
    let mut waiting = vec![NodeId::ROOT];
    let mut met: BTreeSet<NodeId> = waiting.iter().copied().collect();
    while let Some(directory) = waiting.pop() {
        let mut listed: Vec<(Vec<u8>, Attr, u64)> = Vec::new();
        let is_whole = view.read_dir(directory, 0, &mut |entry| {
            assert!(is_name(entry.name), "a name that no directory can hold");
            assert!(entry.next > listed.last().map_or(0, |before| before.2) && entry.next < 1 << 62, "positions rise");
            listed.push((entry.name.to_vec(), entry.attr, entry.next));
            listed.len() < MOST_NODES
        });
        for (name, attr, next) in &listed {
            if is_whole.is_ok() {
                let found = view.lookup(directory, name).expect("what is listed can be looked up");
                let Lookup::Found(found, _) = found else { panic!("what is listed is not found") };
                assert_eq!(found.node, attr.node, "one name, two numbers");
            }
            let _ = view.read_dir(directory, *next, &mut |entry| {
                assert!(entry.next > *next, "a listing that goes on goes on");
                false
            });
            if met.len() < MOST_NODES && met.insert(attr.node) {
                ask(view, attr.node, attr.size);
                waiting.push(attr.node);
            }
        }
    }
}

/// A differential over a full, as a mount shows both.
pub fn shown(data: &[u8]) {
    on_stage(|stage| {
        let (full, differential) = two(data);
        stage.put_catalog(FULL, full);
        stage.put_catalog(DIFFERENTIAL, differential);
        let views = Views::new(stage.reader()).expect("the scratch store is listed");
        let view = views.second();
        walk(&view);
        let hash = blake3::hash(data);
        for number in hash.as_bytes().chunks_exact(8) {
            let number = u64::from_le_bytes(number.try_into().expect("eight bytes"));
            // Anything at all, and what looks like a node of one of these backups.
            for node in [number, number >> 32, number >> 6, u64::from(DIFFERENTIAL.0) << 36 | number >> 50] {
                let _ = (view.attr(NodeId(node)), view.lookup(NodeId(node), b"a"));
                ask(&view, NodeId(node), 1 << 20);
            }
        }
    });
}
