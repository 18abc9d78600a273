//! Looks at a whole tree, and compares two.
//!
//! Owns what two trees must have in common to be the same backup. Its invariant: everything is looked up relative to
//! an open directory, so a path may be longer than the kernel accepts; a level costs one descriptor and one call.

use std::collections::BTreeMap;
use std::ffi::{CStr, CString};
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::fs::FileExt;
use std::path::Path;

use rustix::fs::{AtFlags, Dir, Mode, OFlags, lgetxattr, llistxattr, openat, readlinkat, statat};

/// Bytes by which a sparse file may have grown in the copy: blocks differ from one file system to the next.
const HOLE_SLACK_BYTES: u64 = 128 << 10;

/// All entries of a tree by their path below its root, which is the empty path.
pub(crate) type Tree = BTreeMap<Vec<u8>, Entry>;

/// All that a backup must keep of an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    /// `S_IFMT` and the permission bits.
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) rdev: u64,
    /// Of a regular file, else 0.
    pub(crate) size: u64,
    /// Seconds and nanoseconds.
    pub(crate) mtime: (i64, u64),
    /// The hash of a file's content, or a link's target.
    pub(crate) content: Vec<u8>,
    pub(crate) xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
    /// The first path, in order, of the same inode: its own if it has but one.
    pub(crate) first_name: Vec<u8>,
    pub(crate) nlink: u64,
    pub(crate) allocated_bytes: u64,
}

impl Entry {
    pub(crate) fn kind(&self) -> u32 {
        self.mode & libc::S_IFMT
    }

    pub(crate) fn permissions(&self) -> u32 {
        self.mode & 0o7777
    }

    /// Whether it is the same as `copy` in all that a backup keeps; sparse files may differ a little in their blocks.
    pub(crate) fn is_kept_by(&self, copy: &Self) -> bool {
        let comparable = Self { allocated_bytes: self.allocated_bytes, nlink: self.nlink, ..copy.clone() };
        *self == comparable && self.holes_are_kept_by(copy)
    }

    pub(crate) fn holes_are_kept_by(&self, copy: &Self) -> bool {
        self.allocated_bytes >= self.size || copy.allocated_bytes <= self.allocated_bytes + HOLE_SLACK_BYTES
    }
}

/// Looks at everything below `root`.
pub(crate) fn look(root: &Path) -> Tree {
    let fd = File::open(root).unwrap();
    let mut tree = Tree::new();
    let mut firsts = BTreeMap::new();
    tree.insert(Vec::new(), entry(fd.as_fd(), c".", Vec::new(), &mut firsts));
    look_below(fd.as_fd(), &mut Vec::new(), &mut tree, &mut firsts);
    // The order of the walk is not that of the paths: the first name is settled once all are known.
    let mut first_of: BTreeMap<Vec<u8>, Vec<u8>> = BTreeMap::new();
    for (path, entry) in &tree {
        first_of.entry(entry.first_name.clone()).or_insert_with(|| path.clone());
    }
    for entry in tree.values_mut() {
        entry.first_name = first_of[&entry.first_name].clone();
    }
    tree
}

type Firsts = BTreeMap<(u64, u64), Vec<u8>>;

fn look_below(dir: BorrowedFd<'_>, path: &mut Vec<u8>, tree: &mut Tree, firsts: &mut Firsts) {
    let names: Vec<CString> = Dir::read_from(dir).unwrap().map(|found| found.unwrap().file_name().to_owned()).collect();
    let len = path.len();
    for name in names.iter().filter(|name| !matches!(name.to_bytes(), b"." | b"..")) {
        if len > 0 {
            path.push(b'/');
        }
        path.extend_from_slice(name.to_bytes());
        let entry = entry(dir, name, path.clone(), firsts);
        let is_dir = entry.kind() == libc::S_IFDIR;
        tree.insert(path.clone(), entry);
        if is_dir {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            match openat(dir, name, flags, Mode::empty()) {
                Ok(below) => look_below(below.as_fd(), path, tree, firsts),
                Err(error) => eprintln!("not looked into: {}: {error}", String::from_utf8_lossy(path)),
            }
        }
        path.truncate(len);
    }
}

fn entry(dir: BorrowedFd<'_>, name: &CStr, path: Vec<u8>, firsts: &mut Firsts) -> Entry {
    let stat = statat(dir, name, AtFlags::SYMLINK_NOFOLLOW).unwrap();
    let kind = stat.st_mode & libc::S_IFMT;
    let is_device = matches!(kind, libc::S_IFCHR | libc::S_IFBLK);
    Entry {
        mode: stat.st_mode,
        uid: stat.st_uid,
        gid: stat.st_gid,
        rdev: if is_device { stat.st_rdev } else { 0 },
        size: if kind == libc::S_IFREG { u64::try_from(stat.st_size).unwrap() } else { 0 },
        mtime: (stat.st_mtime, stat.st_mtime_nsec),
        content: match kind {
            libc::S_IFREG => content(dir, name),
            libc::S_IFLNK => readlinkat(dir, name, Vec::new()).unwrap().into_bytes(),
            _ => Vec::new(),
        },
        xattrs: xattrs(dir, name),
        first_name: firsts.entry((stat.st_dev, stat.st_ino)).or_insert(path).clone(),
        nlink: if kind == libc::S_IFDIR { 1 } else { stat.st_nlink },
        allocated_bytes: u64::try_from(stat.st_blocks).unwrap() * 512,
    }
}

fn content(dir: BorrowedFd<'_>, name: &CStr) -> Vec<u8> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match openat(dir, name, flags, Mode::empty()) {
        Ok(file) => hash_of(&File::from(file)),
        Err(error) => error.to_string().into_bytes(),
    }
}

/// The hash of the bytes of `file`, holes included.
pub(crate) fn hash_of(file: &File) -> Vec<u8> {
    let mut hasher = blake3::Hasher::new();
    let mut buffer = vec![0; 1 << 20];
    let mut at = 0;
    loop {
        let read = file.read_at(&mut buffer, at).unwrap();
        if read == 0 {
            return hasher.finalize().as_bytes().to_vec();
        }
        hasher.update(&buffer[..read]);
        at += read as u64;
    }
}

fn xattrs(dir: BorrowedFd<'_>, name: &CStr) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let mut path = format!("/proc/self/fd/{}/", dir.as_raw_fd()).into_bytes();
    path.extend_from_slice(name.to_bytes());
    let mut buffer = vec![0; 64 << 10];
    let len = llistxattr(&*path, &mut buffer[..]).unwrap_or(0);
    let names = buffer[..len].to_vec();
    let names = names.split(|byte| *byte == 0).filter(|name| !name.is_empty() && *name != b"security.evm");
    names
        .map(|name| {
            let len = lgetxattr(&*path, name, &mut buffer[..]).unwrap();
            (name.to_vec(), buffer[..len].to_vec())
        })
        .collect()
}

/// What must be the same of every entry of two trees, each as a claim, and whether it is.
///
/// A claim that does not hold is explained on standard error by the first paths that break it.
pub(crate) fn compare(original: &Tree, copy: &Tree) -> Vec<(&'static str, bool)> {
    let both = || original.iter().filter_map(|(path, entry)| Some((path, entry, copy.get(path)?)));
    let same = |claim: &'static str, holds: &dyn Fn(&Entry, &Entry) -> bool| {
        let broken: Vec<&Vec<u8>> = both().filter(|(_, a, b)| !holds(a, b)).map(|(path, ..)| path).collect();
        (claim, explain(claim, &broken))
    };
    let missing: Vec<&Vec<u8>> = original.keys().filter(|path| !copy.contains_key(*path)).collect();
    let added: Vec<&Vec<u8>> = copy.keys().filter(|path| !original.contains_key(*path)).collect();
    let (no_missing, no_added) = ("no entry is missing", "no entry was added");
    vec![
        (no_missing, explain(no_missing, &missing)),
        (no_added, explain(no_added, &added)),
        same("kinds are the same", &|a, b| a.kind() == b.kind()),
        same("permissions are the same", &|a, b| a.permissions() == b.permissions()),
        same("owners are the same", &|a, b| (a.uid, a.gid) == (b.uid, b.gid)),
        same("mtimes are the same to the nanosecond", &|a, b| a.mtime == b.mtime),
        same("sizes are the same", &|a, b| a.size == b.size),
        same("contents and link targets are the same", &|a, b| a.content == b.content),
        same("device numbers are the same", &|a, b| a.rdev == b.rdev),
        same("extended attributes are the same", &|a, b| a.xattrs == b.xattrs),
        same("the same names are hard links of each other", &|a, b| a.first_name == b.first_name),
        same("holes are kept", &Entry::holes_are_kept_by),
    ]
}

fn explain(claim: &str, broken: &[&Vec<u8>]) -> bool {
    for path in broken.iter().take(5) {
        let path = String::from_utf8_lossy(path);
        eprintln!("not so: {claim}: {:?}", path.chars().take(200).collect::<String>());
    }
    broken.is_empty()
}
