//! What a point holds, read through the library and put in the words of [`crate::support::tree`].

use std::collections::BTreeMap;

use dbakfs::format::record::{Birth, xattrs};
use dbakfs::format::{Kind, Point};
use dbakfs::overlay::PointTree;
use dbakfs::repository::{ReadError, Reader};

use crate::support::tree::{Entry, Tree};

/// What stands for the content of a file that never could be read.
pub(crate) const NEVER_READ: &[u8] = b"never read";

/// What a point holds, as [`crate::support::tree::look`] would see it.
pub(crate) fn shown(reader: &Reader, point: &Point) -> Tree {
    let tree = reader.tree(point).unwrap();
    let mut seen = BTreeMap::new();
    let root = tree.root().unwrap();
    walk(reader, &tree, &root, Vec::new(), &mut seen);
    let has_xattrs = seen.values().any(|(entry, _)| !entry.xattrs.is_empty());
    assert_eq!(point.has_xattrs, has_xattrs, "point {} says so of its attributes", point.number);
    let mut first_of: BTreeMap<Birth, Vec<u8>> = BTreeMap::new();
    for (path, (_, birth)) in &seen {
        first_of.entry(*birth).or_insert_with(|| path.clone());
    }
    let named = |path: Vec<u8>, entry: Entry, birth: Birth| {
        // A directory is one of a kind, whatever its birth.
        let is_directory = entry.kind() == libc::S_IFDIR;
        let first_name = if is_directory { path.clone() } else { first_of[&birth].clone() };
        (path, Entry { first_name, ..entry })
    };
    seen.into_iter().map(|(path, (entry, birth))| named(path, entry, birth)).collect()
}

fn walk(
    reader: &Reader,
    tree: &PointTree,
    node: &dbakfs::overlay::Node,
    path: Vec<u8>,
    seen: &mut BTreeMap<Vec<u8>, (Entry, Birth)>,
) {
    let record = *node.entry.record();
    let meta = record.meta;
    let mut content = Vec::new();
    match meta.kind {
        Kind::Symlink => content = node.entry.inline().to_vec(),
        Kind::File => {
            let mut bytes = Vec::new();
            let len = usize::try_from(meta.size).unwrap();
            content = match reader.read(tree.catalog(node.layer), &node.entry, 0, len, &mut bytes) {
                Ok(()) => blake3::hash(&bytes).as_bytes().to_vec(),
                Err(ReadError::NeverRead) => NEVER_READ.to_vec(),
                Err(error) => panic!("{error}"),
            };
        }
        _ => {}
    }
    let entry = Entry {
        mode: meta.kind.mode_bits() | meta.mode,
        uid: meta.uid,
        gid: meta.gid,
        rdev: meta.rdev,
        size: meta.size,
        mtime: (meta.mtime.secs, meta.mtime.nanos.into()),
        content,
        xattrs: xattrs(node.entry.xattrs()).map(|(name, value)| (name.to_vec(), value.to_vec())).collect(),
        first_name: Vec::new(),
        nlink: meta.nlink.into(),
        allocated_bytes: 0,
    };
    assert!(seen.insert(path.clone(), (entry, record.birth)).is_none(), "listed twice: {path:?}");
    if node.is_directory() {
        let mut entries = tree.entries(tree.directory(node).unwrap());
        while let Some(child) = entries.next_node().unwrap() {
            let mut below = path.clone();
            if !below.is_empty() {
                below.push(b'/');
            }
            below.extend_from_slice(child.entry.name());
            walk(reader, tree, &child, below, seen);
        }
    }
}

/// What a tree is apart from where its bytes lie.
pub(crate) fn kept(tree: &Tree) -> Tree {
    tree.iter().map(|(path, entry)| (path.clone(), Entry { allocated_bytes: 0, ..entry.clone() })).collect()
}
