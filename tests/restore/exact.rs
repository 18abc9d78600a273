//! What is restored is what was there.

use std::collections::BTreeMap;
use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use dbakfs::format::Timestamp;
use dbakfs::restore::{Options, RestoreError};
use rustix::fs::{Mode, OFlags, openat};

use crate::shelf::{Item, Shelf, dir, file};
use crate::support::awkward;
use crate::support::tree::{compare, look};

fn broken(claims: &[(&'static str, bool)]) -> Vec<&'static str> {
    claims.iter().filter(|(_, holds)| !holds).map(|(claim, _)| *claim).collect()
}

/// Inode and ctime of everything below `root`.
fn identities(root: &Path) -> BTreeMap<std::path::PathBuf, (u64, i64, i64)> {
    let mut found = BTreeMap::new();
    let mut waiting = vec![root.to_owned()];
    while let Some(path) = waiting.pop() {
        // Deeper than PATH_MAX.
        let Ok(meta) = fs::symlink_metadata(&path) else { continue };
        if meta.is_dir() {
            waiting.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        }
        found.insert(path, (meta.ino(), meta.ctime(), meta.ctime_nsec()));
    }
    found
}

#[test]
fn awkward_tree_comes_back_exactly_and_a_second_restore_touches_nothing() {
    let source = tempfile::tempdir().unwrap();
    awkward::make(source.path());
    let shelf = Shelf::of(&Item::of(source.path()));
    let temp = tempfile::tempdir().unwrap();
    let dest = temp.path().join("made/with its parents");
    let first = shelf.restore_quietly(&dest);
    assert_eq!(broken(&awkward::check(source.path(), &dest)), [""; 0]);
    assert_eq!((first.entries, first.kept), (first.made, 0));

    let before = identities(&dest);
    let (second, notices) = shelf.restore(&dest, true);
    assert!(notices.is_empty(), "{notices:?}");
    assert_eq!((second.made, second.removed, second.written_bytes, second.kept), (0, 0, 0, first.entries));
    let after = identities(&dest);
    let touched: Vec<_> = after.iter().filter(|(path, id)| before.get(*path) != Some(id)).collect();
    assert!(touched.is_empty(), "{touched:?}");
}

#[test]
fn everything_that_was_changed_is_put_right_again() {
    let source = tempfile::tempdir().unwrap();
    awkward::make(source.path());
    let shelf = Shelf::of(&Item::of(source.path()));
    let dest = tempfile::tempdir().unwrap();
    shelf.restore_quietly(dest.path());
    let at = |name: &str| dest.path().join(name);
    fs::write(at("size-4096"), b"shorter").unwrap();
    fs::write(at("size-65536"), vec![1; 65_536]).unwrap();
    fs::set_permissions(at("setuid"), PermissionsExt::from_mode(0o666)).unwrap();
    fs::remove_file(at("links/one")).unwrap();
    fs::write(at("links/one"), b"one file of three names").unwrap();
    fs::remove_dir(at("empty-dir")).unwrap();
    fs::write(at("sparse"), b"").unwrap();
    fs::File::options().write(true).open(at("trailing-hole")).unwrap().set_len(5_000).unwrap();
    fs::remove_file(at("fifo")).unwrap();
    for number in 0..100 {
        fs::remove_file(at(&format!("crowd/{number}"))).unwrap();
    }
    let (report, notices) = shelf.restore(dest.path(), false);
    assert!(notices.is_empty() && report.is_exact(), "{notices:?}");
    assert_eq!(broken(&awkward::check(source.path(), dest.path())), [""; 0]);
}

#[test]
fn file_whose_hole_was_filled_gets_its_hole_back() {
    let sparse = file("sparse", b"").with(|item| {
        item.meta.size = 50 << 20;
        item.data = vec![(8 << 20, vec![7; 4_096])];
    });
    let hole = file("hole", b"").with(|item| item.meta.size = 30 << 20);
    let shelf = Shelf::of(&dir("", vec![sparse, hole]));
    let dest = tempfile::tempdir().unwrap();
    shelf.restore_quietly(dest.path());
    let blocks = |name: &str| fs::metadata(dest.path().join(name)).unwrap().blocks();
    assert!(blocks("sparse") <= 16 && blocks("hole") == 0);
    for name in ["sparse", "hole"] {
        let bytes = fs::read(dest.path().join(name)).unwrap();
        fs::write(dest.path().join(name), bytes).unwrap();
        assert!(blocks(name) > 10_000);
    }
    shelf.restore_quietly(dest.path());
    assert!(blocks("sparse") <= 16 && blocks("hole") == 0);
    let bytes = fs::read(dest.path().join("sparse")).unwrap();
    assert!(bytes.len() == 50 << 20 && bytes[8 << 20..][..4_096] == [7; 4_096]);
}

#[test]
fn part_of_a_point_is_restored_by_its_path() {
    let root = dir("", vec![dir("a", vec![dir("b", vec![file("f", b"below")])]), file("g", b"beside")]);
    let shelf = Shelf::of(&root);
    let temp = tempfile::tempdir().unwrap();
    let options = Options { sync: true, ..Options::default() };
    shelf.try_restore("/a/b/", &temp.path().join("one"), &options).unwrap();
    assert_eq!(fs::read(temp.path().join("one/f")).unwrap(), b"below");
    assert_eq!(fs::metadata(temp.path().join("one")).unwrap().mtime(), 1_400_000_000);
    shelf.try_restore("a/b/f", &temp.path().join("two"), &options).unwrap();
    assert_eq!(fs::read(temp.path().join("two/f")).unwrap(), b"below");
    assert_eq!(fs::read_dir(temp.path().join("two")).unwrap().count(), 1);
    let missing = shelf.try_restore("a/x", &temp.path().join("three"), &options);
    assert!(matches!(missing, Err(RestoreError::NoSuchPath { .. })));
    assert!(!temp.path().join("three").exists(), "nothing was made");
}

#[test]
fn default_acl_of_the_destination_leaks_into_nothing() {
    let acl: Vec<u8> = [2_u32.to_le_bytes().to_vec()]
        .into_iter()
        .chain([(0x01, 7), (0x02, 7), (0x04, 7), (0x10, 7), (0x20, 7)].map(|(tag, permissions): (u16, u16)| {
            let id = if tag == 2 { 1_234_u32 } else { u32::MAX };
            [&tag.to_le_bytes()[..], &permissions.to_le_bytes(), &id.to_le_bytes()].concat()
        }))
        .collect::<Vec<_>>()
        .concat();
    let root = dir("", vec![dir("d", vec![file("f", b"x"), dir("e", vec![])]), file("g", &[3; 1_000])]);
    let shelf = Shelf::of(&root);
    let plain = tempfile::tempdir().unwrap();
    shelf.restore_quietly(plain.path());
    let dest = tempfile::tempdir().unwrap();
    rustix::fs::setxattr(dest.path(), "system.posix_acl_default", &acl, rustix::fs::XattrFlags::empty()).unwrap();
    shelf.restore_quietly(dest.path());
    assert_eq!(broken(&compare(&look(plain.path()), &look(dest.path()))), [""; 0]);
}

#[test]
fn attributes_that_the_point_does_not_have_are_removed() {
    let known = (b"user.known".to_vec(), b"1".to_vec());
    let root = dir("", vec![file("f", b"x").with(|item| item.xattrs = vec![known]), dir("d", vec![])]);
    let shelf = Shelf::of(&root);
    let dest = tempfile::tempdir().unwrap();
    shelf.restore_quietly(dest.path());
    let before = look(dest.path());
    let ino = fs::metadata(dest.path().join("f")).unwrap().ino();
    for (name, attr) in [("f", "user.extra"), ("f", "user.known"), ("d", "user.extra"), ("", "user.extra")] {
        let flags = rustix::fs::XattrFlags::empty();
        rustix::fs::setxattr(dest.path().join(name), attr, b"other", flags).unwrap();
    }
    shelf.restore_quietly(dest.path());
    assert_eq!(look(dest.path()), before);
    assert_eq!(fs::metadata(dest.path().join("f")).unwrap().ino(), ino, "only its metadata were put right");
}

#[test]
fn tree_of_5000_levels_is_restored_and_removed() {
    const LEVELS: usize = 5_000;
    // The test's own items are nested, and so are their drops.
    let body = || {
        let mut item = file("bottom", b"here");
        for level in 0..LEVELS {
            item = dir("d", vec![item]).with(|item| item.meta.mtime = Timestamp::new(level as i64, 1));
        }
        let root = dir("", vec![item, file("f", b"x")]);
        let shelf = Shelf::of(&root);
        let temp = tempfile::tempdir().unwrap();
        let dest = temp.path().join("dest");
        shelf.restore_quietly(&dest);
        let mut at: OwnedFd = fs::File::open(&dest).unwrap().into();
        for level in (0..LEVELS).rev() {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
            at = openat(&at, "d", flags, Mode::empty()).unwrap();
            let stat = dbakfs::source::stat::stat_of(at.as_fd()).unwrap();
            assert_eq!(stat.meta.mtime, Timestamp::new(level as i64, 1));
        }
        assert!(dbakfs::source::stat::stat_at(at.as_fd(), "bottom").is_ok());
        drop(at);
        let (again, _) = shelf.restore(&dest, true);
        assert_eq!((again.made, again.kept), (0, LEVELS as u64 + 3));
        let empty = Shelf::of(&dir("", vec![file("d", b"a file where the tree was")]));
        let (report, notices) = empty.restore(&dest, true);
        assert!(notices.is_empty(), "{notices:?}");
        assert_eq!(report.removed, LEVELS as u64 + 2);
        assert_eq!(fs::read(dest.join("d")).unwrap(), b"a file where the tree was");
    };
    std::thread::Builder::new().stack_size(512 << 20).spawn(body).unwrap().join().unwrap();
}
