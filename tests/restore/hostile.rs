//! A catalog that no backup wrote does no harm.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use dbakfs::format::Kind;
use dbakfs::restore::Notice;

use crate::shelf::{Shelf, dir, file, item, link};
use crate::support::awkward::is_root;

#[test]
fn impossible_metadata_are_refused_one_by_one() {
    let root = dir(
        "",
        vec![
            file("owner", b"x").with(|item| (item.meta.uid, item.meta.gid) = (u32::MAX, u32::MAX)),
            file("huge", b"").with(|item| item.meta.size = u64::MAX),
            file("attribute", b"x").with(|item| {
                let attribute = |name: &[u8]| (name.to_vec(), b"v".to_vec());
                item.xattrs = [&b"system.odd"[..], b"user.\0", b"", b"user.good"].map(attribute).to_vec();
            }),
            item("empty-link", Kind::Symlink, 0o777),
            link("nul", b"a\0b"),
            file("time", b"x").with(|item| item.meta.mtime.secs = i64::MAX),
            file("good", b"x"),
        ],
    );
    let shelf = Shelf::of(&root);
    let dest = tempfile::tempdir().unwrap();
    let (report, notices) = shelf.restore(dest.path(), false);
    let lost = |name: &str| {
        let path = dest.path().join(name);
        let is_told = notices.iter().any(
            |notice| matches!(notice, Notice::Failed { path: told, .. } | Notice::Damaged { path: told, .. } if *told == path),
        );
        is_told && fs::symlink_metadata(path).is_err()
    };
    assert!(lost("huge") && lost("empty-link") && lost("nul"), "{notices:?}");
    assert_eq!(fs::read(dest.path().join("good")).unwrap(), b"x");
    assert_eq!(fs::read(dest.path().join("owner")).unwrap(), b"x");
    assert_eq!((report.owners.count, report.attributes.count), (1, 1));
    assert_eq!(report.owners.first, Some(dest.path().join("owner")));
    assert_eq!(fs::read_dir(dest.path()).unwrap().count(), 4);
}

#[test]
fn owner_that_cannot_be_given_takes_the_set_id_bits_with_it() {
    if !is_root() {
        return;
    }
    let setuid = file("setuid", b"x").with(|item| {
        item.meta.mode = 0o6755;
        item.meta.uid = u32::MAX;
    });
    let shelf = Shelf::of(&dir("", vec![setuid]));
    let dest = tempfile::tempdir().unwrap();
    let (report, _) = shelf.restore(dest.path(), false);
    use std::os::unix::fs::MetadataExt;
    assert_eq!(fs::metadata(dest.path().join("setuid")).unwrap().mode() & 0o7777, 0o2755);
    assert_eq!((report.owners.count, report.modes.count), (1, 1));
    assert!(report.is_complete() && !report.is_exact());
}

/// Every name below `root`, with the bytes of files and the targets of links.
fn all(root: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    let mut waiting = vec![root.to_owned()];
    while let Some(path) = waiting.pop() {
        let meta = fs::symlink_metadata(&path).unwrap();
        let bytes = if meta.is_symlink() {
            fs::read_link(&path).unwrap().as_os_str().as_bytes().to_vec()
        } else if meta.is_dir() {
            waiting.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
            Vec::new()
        } else {
            fs::read(&path).unwrap()
        };
        found.push((path, bytes));
    }
    found.sort();
    found
}

#[test]
fn links_of_a_store_lead_nobody_out_of_the_destination() {
    let temp = tempfile::tempdir().unwrap();
    let (outside, dest) = (temp.path().join("outside"), temp.path().join("dest"));
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("f"), "untouched").unwrap();
    let before = all(&outside);
    let target = outside.as_os_str().as_bytes();
    // First links, then, over them, directories and files of the same names with entries in them; and the other way round.
    let links = ["a", "b", "c"].map(|name| link(name, if name == "a" { b"../outside" } else { target }));
    let links = Shelf::of(&dir("", links.to_vec()));
    let below = |name: &str| dir(name, vec![file("f", b"written"), dir("g", vec![file("h", b"deeper")])]);
    let tree = Shelf::of(&dir("", vec![below("a"), below("b"), file("c", &[7; 5000])]));
    for delete in [false, true] {
        for shelf in [&links, &tree, &links, &tree] {
            let (report, notices) = shelf.restore(&dest, delete);
            assert!(report.is_exact() && notices.is_empty(), "{notices:?}");
            assert_eq!(all(&outside), before);
        }
        assert_eq!(fs::read(dest.join("a/g/h")).unwrap(), b"deeper");
        assert_eq!(fs::read_dir(temp.path()).unwrap().count(), 2, "nothing beside DEST");
    }
}

#[test]
fn links_that_somebody_put_into_the_destination_are_not_followed_by_one_entry_of_any_kind() {
    let temp = tempfile::tempdir().unwrap();
    let (outside, dest) = (temp.path().join("outside"), temp.path().join("dest"));
    fs::create_dir(&outside).unwrap();
    fs::create_dir(&dest).unwrap();
    let names = ["dir", "file", "inline", "link", "fifo", "twice-1", "twice-2"];
    for name in names {
        fs::write(outside.join(name), "untouched").unwrap();
        symlink(outside.join(name), dest.join(name)).unwrap();
    }
    let before = all(&outside);
    let twice = |name: &str| file(name, &[9; 3000]).with(|item| (item.ino, item.meta.nlink) = (77, 2));
    let shelf = Shelf::of(&dir(
        "",
        vec![
            dir("dir", vec![file("x", b"x")]),
            file("file", &[7; 5000]),
            file("inline", b"x"),
            link("link", b"elsewhere"),
            crate::shelf::fifo("fifo"),
            twice("twice-1"),
            twice("twice-2"),
        ],
    ));
    let (report, notices) = shelf.restore(&dest, false);
    assert!(report.is_exact() && notices.is_empty(), "{notices:?}");
    assert_eq!(all(&outside), before);
    assert_eq!(fs::read(dest.join("twice-2")).unwrap(), [9; 3000]);
}

#[test]
fn odd_names_are_names_and_nothing_else() {
    let names =
        ["\n", "a\nb", "...", " ", "-rf", "~", "\\", "..\\..\\x", "%2e%2e", "\u{202e}x", "\x1b[2J", "C:", "nul"];
    let shelf = Shelf::of(&dir("", names.iter().map(|name| file(name, name.as_bytes())).collect()));
    let temp = tempfile::tempdir().unwrap();
    let dest = temp.path().join("dest");
    shelf.restore_quietly(&dest);
    for name in names {
        assert_eq!(fs::read(dest.join(name)).unwrap(), name.as_bytes());
    }
    assert_eq!((fs::read_dir(&dest).unwrap().count(), fs::read_dir(temp.path()).unwrap().count()), (names.len(), 1));
}

#[test]
fn ten_thousand_directories_inside_one_another_are_restored_and_compared() {
    let mut item = file("last", b"the end");
    for _ in 0..10_000 {
        item = dir("d", vec![item]);
    }
    item.name.clear();
    let temp = tempfile::tempdir().unwrap();
    let dest = temp.path().join("dest");
    // What makes and drops such a tree by hand recurses; what is tested does not.
    let (shelf, item) = std::thread::Builder::new()
        .stack_size(256 << 20)
        .spawn(move || (Shelf::of(&item), std::mem::ManuallyDrop::new(item)))
        .unwrap()
        .join()
        .unwrap();
    drop(
        std::thread::Builder::new()
            .stack_size(256 << 20)
            .spawn(move || drop(std::mem::ManuallyDrop::into_inner(item)))
            .unwrap()
            .join(),
    );
    let report = shelf.restore_quietly(&dest);
    assert_eq!((report.entries, report.made), (10_001, 10_001));
    let again = shelf.restore_quietly(&dest);
    assert_eq!((again.made, again.kept), (0, 10_001));
    // The library of this test would run out of the length of paths.
    let removed = std::process::Command::new("rm").arg("-rf").arg(&dest).status().unwrap();
    assert!(removed.success() && !dest.exists());
}
