//! Whichever thread makes an entry, and in whatever order: what is there in the end is what the point holds.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

use dbakfs::format::record::Flags;
use dbakfs::restore::{Notice, Options, RestoreError};

use crate::shelf::{Item, Shelf, dir, file, link};

fn packs(store: &Path) -> Vec<PathBuf> {
    let directories = fs::read_dir(store.join("packs")).unwrap();
    directories
        .flat_map(|directory| fs::read_dir(directory.unwrap().path()).unwrap())
        .map(|pack| pack.unwrap().path())
        .collect()
}

/// Bytes that no compressor shrinks, others for each seed.
fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut state = (seed + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    std::iter::repeat_with(&mut next).take(len).collect()
}

fn holed(name: &str, seed: u64) -> Item {
    file(name, b"").with(|item| {
        item.data = vec![(1 << 20, noise(seed, 3 << 20)), (6 << 20, noise(seed + 1, 69_632))];
        item.meta.size = 8 << 20;
    })
}

/// More directories than may wait to be finished, and files of every kind of content in more blocks than may be open.
fn broad() -> Item {
    let directory = |number: u64| {
        let mut items = vec![
            file("empty", b""),
            file("tiny", &number.to_le_bytes()),
            file("small", &noise(number, 9_000)),
            file("runnable", &noise(number, 700)).with(|item| item.meta.mode = 0o755),
            link("link", b"small"),
            dir("nothing", vec![]),
        ];
        if number.is_multiple_of(40) {
            items.push(file("large", &noise(number, 5 << 20)));
            items.push(holed("holed", number));
            items.push(dir("below", vec![file("small", &noise(number + 7, 90_000))]));
        }
        dir(&format!("{number:03}"), items).with(|item| {
            item.meta.mode = if number.is_multiple_of(3) { 0o555 } else { 0o700 };
            item.meta.mtime.secs += i64::try_from(number).unwrap();
        })
    };
    dir("", vec![dir("many", (0..400).map(directory).collect()), file("last", &noise(5, 1 << 20))])
}

/// Everything that an item says, and nothing of how it was found.
fn flat(item: &Item, path: &Path, found: &mut Vec<String>) {
    let path = path.join(String::from_utf8(item.name.clone()).unwrap());
    let data: Vec<_> = item.data.iter().map(|(at, bytes)| (at, bytes.len(), blake3::hash(bytes))).collect();
    found.push(format!("{} {:?} {data:?}", path.display(), item.meta));
    item.children.iter().for_each(|child| flat(child, &path, found));
}

fn lines(root: &Item) -> Vec<String> {
    let mut found = Vec::new();
    flat(root, Path::new("/"), &mut found);
    found.sort();
    found
}

#[test]
fn broad_tree_comes_back_exactly_and_stays_as_it_is() {
    let root = broad();
    let shelf = Shelf::of(&root);
    let temp = tempfile::tempdir().unwrap();
    let dest = temp.path().join("dest");
    let report = shelf.restore_quietly(&dest);
    let wanted = lines(&root);
    let found = lines(&Item::of(&dest));
    assert_eq!(found.len(), wanted.len());
    for (found, wanted) in found.iter().zip(&wanted) {
        assert_eq!(found, wanted);
    }
    assert_eq!((report.entries, report.made), (wanted.len() as u64, wanted.len() as u64));
    let again = shelf.restore_quietly(&dest);
    assert_eq!((again.made, again.kept), (0, report.made));

    // What is missing, or has another content, in a directory that is there already.
    for number in 0..400 {
        fs::remove_file(dest.join(format!("many/{number:03}/small"))).unwrap();
        fs::write(dest.join(format!("many/{number:03}/tiny")), b"other...").unwrap();
    }
    fs::write(dest.join("many/040/holed"), b"short").unwrap();
    let mended = shelf.restore_quietly(&dest);
    assert_eq!((mended.made, mended.kept), (801, report.made - 801));
    assert_eq!(lines(&Item::of(&dest)), wanted);
}

#[test]
fn names_of_a_large_file_come_after_all_of_it() {
    let named = |name: &str| {
        file(name, &noise(1, 20 << 20)).with(|item| {
            item.ino = 1;
            item.meta.nlink = 3;
        })
    };
    let shelf = Shelf::of(&dir("", vec![named("a"), named("b"), dir("d", vec![named("c")])]));
    for older in [None, Some(b"older")] {
        let dest = tempfile::tempdir().unwrap();
        if let Some(older) = older {
            fs::write(dest.path().join("a"), older).unwrap();
        }
        shelf.restore_quietly(dest.path());
        let ino = |name: &str| fs::metadata(dest.path().join(name)).unwrap().ino();
        assert_eq!((ino("a"), ino("a")), (ino("b"), ino("d/c")));
        assert_eq!(fs::read(dest.path().join("d/c")).unwrap(), noise(1, 20 << 20));
    }
    for pack in packs(&shelf.store) {
        let mut bytes = fs::read(&pack).unwrap();
        // Each block, but for the tables at the end.
        let end = bytes.len() - (64 << 10);
        bytes[100..end].iter_mut().step_by(64 << 10).for_each(|byte| *byte ^= 1);
        fs::write(&pack, bytes).unwrap();
    }
    let dest = tempfile::tempdir().unwrap();
    let (report, notices) = shelf.restore(dest.path(), false);
    assert!(notices.iter().all(|notice| matches!(notice, Notice::Damaged { .. })), "{notices:?}");
    assert_eq!((report.damaged, report.made), (3, 1), "a directory, and no name of what is not whole");
    assert_eq!(fs::read_dir(dest.path()).unwrap().count(), 1);
}

#[test]
fn restore_that_is_stopped_while_threads_work_leaves_whole_files_only() {
    let unread = file("a", b"").with(|item| item.flags = Flags::NO_CONTENT);
    let large = |name: &str, seed| file(name, &noise(seed, 30 << 20));
    let shelf = Shelf::of(&dir("", vec![unread, large("b", 1), holed("c", 2), large("d", 3), dir("e", vec![])]));
    let dest = tempfile::tempdir().unwrap();
    fs::write(dest.path().join("d"), b"older").unwrap();
    let options = Options::default();
    let stop = |_| options.cancel.store(true, Ordering::Relaxed);
    let outcome = shelf.restore_telling("", dest.path(), &options, &mut { stop });
    assert!(matches!(outcome, Err(RestoreError::Cancelled)), "{outcome:?}");
    let read = |name: &str| fs::read(dest.path().join(name)).ok();
    assert!(read("b").is_none_or(|bytes| bytes == noise(1, 30 << 20)));
    assert!(read("c").is_none_or(|bytes| bytes.len() == 8 << 20 && bytes[1 << 20..4 << 20] == noise(2, 3 << 20)));
    assert!(read("d").is_some_and(|bytes| bytes == b"older" || bytes == noise(3, 30 << 20)));
    for entry in fs::read_dir(dest.path()).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(["b", "c", "d", "e"].contains(&&*name), "{name}");
    }
}
