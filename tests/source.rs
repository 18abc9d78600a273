//! What the library reads of a source is what is there: the awkward tree, seen by the walk and by plain calls.

#![allow(clippy::unwrap_used, reason = "a helper that fails is a test that fails")]

mod support;

use std::collections::BTreeMap;
use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::fs::{FileExt, PermissionsExt, symlink};
use std::path::Path;

use dbakfs::format::{Kind, Stat};
use dbakfs::source::xattr::{xattrs_at, xattrs_of};
use dbakfs::source::{Descend, OpenDir, OpenFile, Options, Walk, open_file, read_link};
use support::awkward;
use support::tree::{Entry, Tree, hash_of, look};

fn broken(claims: &[(&'static str, bool)]) -> Vec<&'static str> {
    claims.iter().filter(|(_, holds)| !holds).map(|(claim, _)| *claim).collect()
}

/// The tree at `root` as the library reads it.
fn read(root: &Path) -> Tree {
    let walk = Walk::start(root, Options::default()).unwrap();
    let mut tree = Tree::new();
    let mut inodes = BTreeMap::new();
    let root_dir = &walk.root().dir;
    let root_entry = entry(&walk.root().stat, Vec::new(), xattrs_of(root_dir.fd().unwrap()).unwrap());
    tree.insert(Vec::new(), root_entry);
    for listing in walk {
        assert!(listing.error.is_none());
        for found in &listing.entries {
            let (name, stat) = (listing.name(found), found.stat.unwrap());
            assert_eq!(found.descend == Descend::Yes, stat.meta.kind == Kind::Directory);
            let mut path = listing.dir.place().relative();
            if !path.is_empty() {
                path.push(b'/');
            }
            path.extend_from_slice(name);
            let content = content(&listing.dir, name, &stat);
            let xattrs = xattrs_at(listing.dir.fd().unwrap(), name).unwrap();
            inodes.entry((stat.dev, stat.ino)).or_insert_with(Vec::new).push(path.clone());
            tree.insert(path, entry(&stat, content, xattrs));
        }
    }
    for mut names in inodes.into_values() {
        names.sort();
        for name in &names {
            tree.get_mut(name).unwrap().first_name = names[0].clone();
        }
    }
    tree
}

fn entry(stat: &Stat, content: Vec<u8>, xattrs: Vec<(Vec<u8>, Vec<u8>)>) -> Entry {
    let meta = &stat.meta;
    Entry {
        mode: meta.kind.mode_bits() | meta.mode,
        uid: meta.uid,
        gid: meta.gid,
        rdev: meta.rdev,
        size: meta.size,
        mtime: (meta.mtime.secs, meta.mtime.nanos.into()),
        content,
        xattrs: xattrs.into_iter().collect(),
        first_name: Vec::new(),
        nlink: meta.nlink.into(),
        allocated_bytes: stat.allocated_bytes,
    }
}

fn content(dir: &OpenDir, name: &[u8], stat: &Stat) -> Vec<u8> {
    match stat.meta.kind {
        Kind::Symlink => read_link(dir.fd().unwrap(), name).unwrap(),
        Kind::File => {
            let file = open_file(dir, name, stat).unwrap();
            let hash = hash_of(&copy_by_extents(&file));
            if stat.meta.size < 10_000_000 {
                let mut whole = Vec::new();
                file.read_whole(&mut whole).unwrap();
                assert_eq!(blake3::hash(&whole).as_bytes(), hash.as_slice(), "both ways of reading agree");
            }
            assert!(file.settled(stat).unwrap().is_none());
            hash
        }
        _ => Vec::new(),
    }
}

fn copy_by_extents(file: &OpenFile) -> File {
    let copy = tempfile::tempfile().unwrap();
    copy.set_len(file.stat().meta.size).unwrap();
    for extent in file.extents() {
        let extent = extent.unwrap();
        let mut buffer = vec![0; usize::try_from(extent.end - extent.start).unwrap()];
        assert_eq!(file.read_at(&mut buffer, extent.start).unwrap(), buffer.len());
        copy.write_all_at(&buffer, extent.start).unwrap();
    }
    copy
}

#[test]
fn awkward_tree_is_read_as_it_is() {
    let temp = tempfile::tempdir().unwrap();
    awkward::make(temp.path());
    let claims = awkward::check_trees(&look(temp.path()), &read(temp.path()));
    assert!(claims.len() > 50, "{} claims were checked", claims.len());
    assert_eq!(broken(&claims), <[&str; 0]>::default());
}

#[test]
fn awkward_trees_are_made_alike() {
    let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    awkward::make(one.path());
    awkward::make(other.path());
    assert_eq!(broken(&awkward::check(one.path(), other.path())), <[&str; 0]>::default());
}

/// Each change to a copy breaks the claims that it should: a check that sees nothing would be worse than none.
#[test]
fn check_notices_every_loss() {
    type Loss = (&'static str, fn(&Path));
    let losses: &[Loss] = &[
        ("no entry is missing", |dir| std::fs::remove_file(dir.join("fifo")).unwrap()),
        ("no entry was added", |dir| std::fs::write(dir.join("extra"), b"").unwrap()),
        ("directory of 3,000 entries is complete", |dir| std::fs::remove_file(dir.join("crowd/77")).unwrap()),
        ("permissions are the same", |dir| {
            std::fs::set_permissions(dir.join("crowd/1"), PermissionsExt::from_mode(0o600)).unwrap();
        }),
        ("setuid", |dir| std::fs::set_permissions(dir.join("setuid"), PermissionsExt::from_mode(0o755)).unwrap()),
        ("mtimes are the same to the nanosecond", |dir| {
            let at = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_nanos(1);
            File::options().write(true).open(dir.join("crowd/2")).unwrap().set_modified(at).unwrap();
        }),
        ("contents and link targets are the same", |dir| {
            File::options().write(true).open(dir.join("size-5242880")).unwrap().write_all_at(b"!", 4_000_000).unwrap();
        }),
        ("dangling symlink", |dir| {
            std::fs::remove_file(dir.join("dangling")).unwrap();
            symlink("elsewhere", dir.join("dangling")).unwrap();
        }),
        ("sizes are the same", |dir| {
            File::options().write(true).open(dir.join("trailing-hole")).unwrap().set_len(9_999_999).unwrap();
        }),
        ("kinds are the same", |dir| {
            std::fs::remove_file(dir.join("socket")).unwrap();
            std::fs::write(dir.join("socket"), b"").unwrap();
        }),
        ("extended attributes are the same", |dir| {
            let file = File::open(dir.join("xattr-file")).unwrap();
            dbakfs::source::xattr::set_xattr_of(file.as_fd(), b"user.bytes", b"a").unwrap();
        }),
        ("default ACL of a directory", |dir| {
            let acl_dir = File::open(dir.join("acl-dir")).unwrap();
            dbakfs::source::xattr::remove_xattr_of(acl_dir, b"system.posix_acl_default").unwrap();
        }),
        ("the same names are hard links of each other", |dir| {
            std::fs::remove_file(dir.join("links/two")).unwrap();
            std::fs::write(dir.join("links/two"), b"one file of three names").unwrap();
        }),
        ("holes are kept", |dir| {
            let file = File::options().write(true).open(dir.join("sparse")).unwrap();
            file.write_all_at(&vec![0; 1 << 20], 0).unwrap();
        }),
    ];
    let (original, copy) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    awkward::make(original.path());
    let original = look(original.path());
    awkward::make(copy.path());
    let mut broken_before = 0;
    for (claim, lose) in losses {
        lose(copy.path());
        let broken = broken(&awkward::check_trees(&original, &look(copy.path())));
        assert!(broken.contains(claim), "unnoticed: {claim}; broken are {broken:?}");
        assert!(broken.len() >= broken_before);
        broken_before = broken.len();
    }
}
