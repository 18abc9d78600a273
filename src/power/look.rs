//! All that a backup keeps of a tree, as text: of a directory, and of a point in time.
//!
//! Owns what two trees must have in common. Refuses to compare. Its invariant: two trees give the same text if and only if a backup of one is a backup of the
//! other.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::fs::{lgetxattr, llistxattr};

use crate::format::Kind;
use crate::format::record;
use crate::overlay::{Node, PointTree};
use crate::repository::Reader;

/// A line for each entry, by its path.
pub(super) type Shown = BTreeMap<String, String>;

/// A directory of the file system.
pub(super) fn directory(root: &Path) -> Shown {
    let mut shown = Shown::new();
    below(root, "", &mut shown, &mut HashMap::new());
    shown
}

fn below(path: &Path, name: &str, shown: &mut Shown, firsts: &mut HashMap<u64, String>) {
    let stat = fs::symlink_metadata(path).unwrap();
    let content = if stat.is_file() {
        fs::read(path).unwrap()
    } else if stat.is_symlink() {
        fs::read_link(path).unwrap().into_os_string().into_vec()
    } else {
        Vec::new()
    };
    let mut buffer = [0; 4096];
    let len = llistxattr(path, &mut buffer[..]).unwrap();
    let names = buffer[..len].to_vec();
    let mut xattrs = Vec::new();
    for name in names.split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        let len = lgetxattr(path, name, &mut buffer[..]).unwrap();
        xattrs.push((name.to_vec(), buffer[..len].to_vec()));
    }
    xattrs.sort();
    let first = firsts.entry(stat.ino()).or_insert_with(|| name.to_owned()).clone();
    let size = if stat.is_file() { stat.size() } else { 0 };
    let mtime = (stat.mtime(), u32::try_from(stat.mtime_nsec()).unwrap());
    let kind = Kind::from_mode(stat.mode()).unwrap();
    let owner = (stat.uid(), stat.gid());
    shown.insert(name.to_owned(), line(kind, stat.mode() & 0o7777, owner, size, mtime, &content, &xattrs, &first));
    if stat.is_dir() {
        let mut names: Vec<_> = fs::read_dir(path).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort_by(|one, two| one.as_bytes().cmp(two.as_bytes()));
        for below_it in names {
            let text = below_it.to_str().unwrap();
            let name = if name.is_empty() { text.to_owned() } else { format!("{name}/{text}") };
            below(&path.join(&below_it), &name, shown, firsts);
        }
    }
}

/// A point in time: what can be read of it. What cannot is told to `wrong`.
pub(super) fn point(reader: &Reader, tree: &PointTree, wrong: &mut dyn FnMut(String)) -> Shown {
    let mut shown = Shown::new();
    match tree.root() {
        Ok(root) => node(reader, tree, &root, "", &mut shown, &mut HashMap::new(), wrong),
        Err(error) => wrong(error.to_string()),
    }
    shown
}

fn node(
    reader: &Reader,
    tree: &PointTree,
    node_: &Node,
    name: &str,
    shown: &mut Shown,
    firsts: &mut HashMap<record::Birth, String>,
    wrong: &mut dyn FnMut(String),
) {
    let record = node_.entry.record();
    let meta = record.meta;
    let content = match meta.kind {
        Kind::File => {
            let mut content = Vec::new();
            if let Err(error) = reader.read(tree.catalog(node_.layer), &node_.entry, 0, usize::MAX, &mut content) {
                return wrong(format!("{name:?} cannot be read: {error}"));
            }
            content
        }
        Kind::Symlink => node_.entry.inline().to_vec(),
        _ => Vec::new(),
    };
    let xattrs: Vec<_> =
        record::xattrs(node_.entry.xattrs()).map(|(name, value)| (name.to_vec(), value.to_vec())).collect();
    let first = if meta.kind == Kind::Directory || meta.nlink < 2 {
        name.to_owned()
    } else {
        firsts.entry(record.birth).or_insert_with(|| name.to_owned()).clone()
    };
    let mtime = (meta.mtime.secs, meta.mtime.nanos);
    let owner = (meta.uid, meta.gid);
    shown.insert(name.to_owned(), line(meta.kind, meta.mode, owner, meta.size, mtime, &content, &xattrs, &first));
    if meta.kind == Kind::Directory {
        let mut entries = match tree.directory(node_) {
            Ok(directory) => tree.entries(directory),
            Err(error) => return wrong(format!("{name:?} cannot be listed: {error}")),
        };
        loop {
            match entries.next_node() {
                Ok(Some(child)) => {
                    let own = String::from_utf8(child.entry.name().to_vec()).unwrap();
                    let path = if name.is_empty() { own } else { format!("{name}/{own}") };
                    node(reader, tree, &child, &path, shown, firsts, wrong);
                }
                Ok(None) => return,
                Err(error) => return wrong(format!("{name:?} cannot be listed: {error}")),
            }
        }
    }
}

#[allow(clippy::too_many_arguments, reason = "everything that a backup keeps")]
fn line(
    kind: Kind,
    mode: u32,
    owner: (u32, u32),
    size: u64,
    mtime: (i64, u32),
    content: &[u8],
    xattrs: &[(Vec<u8>, Vec<u8>)],
    first: &str,
) -> String {
    let content = blake3::hash(content);
    format!("{kind:?} {mode:o} {owner:?} {size} {mtime:?} {content} {xattrs:?} as {first:?}")
}
