//! Entries that go, come back as something else, or move.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use crate::support::cli::Place;
use crate::support::points::{History, changes, count, noise};

fn remove(path: &Path) {
    if path.symlink_metadata().unwrap().is_dir() {
        fs::remove_dir_all(path).unwrap();
    } else {
        fs::remove_file(path).unwrap();
    }
}

/// Makes `path` something of the named kind, with content of its own in this `round`.
fn make(path: &Path, kind: &str, round: u32) {
    match kind {
        "file" => fs::write(path, format!("file of round {round}")).unwrap(),
        "large" => fs::write(path, noise(round.into(), 200_000)).unwrap(),
        "link" => symlink(format!("target of round {round}"), path).unwrap(),
        "dir" => {
            fs::create_dir_all(path.join("below")).unwrap();
            fs::write(path.join("below/inside"), format!("inside of round {round}")).unwrap();
            fs::write(path.join(format!("only in round {round}")), "x").unwrap();
        }
        "empty" => fs::create_dir(path).unwrap(),
        "none" => {}
        other => panic!("{other}"),
    }
}

const KINDS: [&str; 6] = ["file", "large", "link", "dir", "empty", "none"];

#[test]
fn every_kind_becomes_every_other_and_comes_back() {
    let place = Place::with_store();
    let (src, mut history) = (place.src(), History::default());
    // Each pair of kinds one after the other, then back, then as it was before.
    for (round, more) in ["--full", "--auto", "--auto", "--full", "--auto", "--auto"].iter().enumerate() {
        for before in KINDS {
            for after in KINDS {
                let path = src.join(format!("{before}-{after}"));
                let (now, last) = if round % 2 == 0 { (before, after) } else { (after, before) };
                if round > 0 && last != "none" {
                    remove(&path);
                }
                make(&path, now, u32::try_from(round).unwrap());
            }
        }
        history.backup(&place, &[more]);
    }
    history.check(&place);
    assert_eq!(place.backup(&[])["outcome"], "unchanged");
}

#[test]
fn what_became_of_each_entry_is_listed() {
    let place = Place::with_store();
    let (src, mut history) = (place.src(), History::default());
    fs::create_dir_all(src.join("gone/deep/down")).unwrap();
    fs::create_dir_all(src.join("again")).unwrap();
    fs::create_dir_all(src.join("emptied")).unwrap();
    fs::create_dir_all(src.join("named/sub")).unwrap();
    fs::create_dir_all(src.join("kept/sub")).unwrap();
    let files = ["gone/deep/down/file", "again/1", "again/2", "again/3", "emptied/1", "named/sub/x", "kept/sub/x"];
    for (seed, path) in (0..).zip(files) {
        fs::write(src.join(path), noise(seed, 20_000)).unwrap();
    }
    fs::write(src.join("file"), "as it is").unwrap();
    fs::create_dir(src.join("turned")).unwrap();
    fs::write(src.join("turned/inside"), "inside").unwrap();
    let full = history.backup(&place, &[]);
    assert_eq!(count(&full, "stored_bytes") / 20_000, 7);

    fs::remove_dir_all(src.join("gone")).unwrap();
    fs::remove_dir_all(src.join("again")).unwrap();
    fs::create_dir(src.join("again")).unwrap();
    fs::write(src.join("again/2"), "other").unwrap();
    fs::remove_file(src.join("emptied/1")).unwrap();
    fs::rename(src.join("named"), src.join("renamed")).unwrap();
    fs::rename(src.join("file"), src.join("moved file")).unwrap();
    remove(&src.join("turned"));
    fs::write(src.join("turned"), "now a file").unwrap();
    let next = history.backup(&place, &[]);
    let expected = [
        "again updated",
        "again/1 deleted",
        "again/2 updated",
        "again/3 deleted",
        "emptied updated",
        "emptied/1 deleted",
        "file deleted",
        "gone deleted",
        "moved file new",
        "named deleted",
        "renamed new",
        "renamed/sub new",
        "renamed/sub/x new",
        "turned new",
    ];
    assert_eq!(place.differing("src/latest"), expected);
    // The root is updated, too. Renaming stores nothing; what is below a directory that is gone is not counted.
    assert_eq!((changes(&next), count(&next, "stored_bytes")), ([5, 4, 6], 0));
    history.check(&place);

    // All of it gone, and a little of it back under the old name.
    history = History::default();
    for entry in fs::read_dir(&src).unwrap() {
        remove(&entry.unwrap().path());
    }
    let next = history.backup(&place, &[]);
    assert_eq!((changes(&next)[2], count(&next, "files"), count(&next, "directories")), (7, 0, 1));
    fs::create_dir_all(src.join("gone/deep")).unwrap();
    let next = history.backup(&place, &[]);
    let differing = place.differing("src/latest");
    for claim in ["gone updated", "gone/deep updated", "gone/deep/down deleted", "again deleted"] {
        assert!(differing.contains(&claim.to_owned()), "{claim}: {differing:?}");
    }
    assert_eq!((count(&next, "directories"), differing.len()), (3, 9));
    history.check(&place);
}
