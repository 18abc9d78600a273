//! What stands where an entry must go is replaced, and nothing is reached through a link.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use dbakfs::restore::{Options, RestoreError};

use crate::shelf::{Item, Shelf, dir, fifo, file, link};
use crate::support::tree::{compare, look};

/// One item of each kind, all called `x`.
fn kinds() -> Vec<Item> {
    vec![
        file("x", b"a file"),
        file("x", &[9; 100_000]),
        dir("x", vec![dir("sub", vec![file("f", b"1")]), file("g", b"2")]),
        dir("x", vec![]),
        link("x", b"somewhere"),
        link("x", b"elsewhere"),
        fifo("x"),
    ]
}

fn is_same(one: &Path, other: &Path) -> bool {
    compare(&look(one), &look(other)).iter().all(|(_, holds)| *holds)
}

#[test]
fn every_kind_replaces_every_other() {
    for new in kinds() {
        let shelf = Shelf::of(&dir("", vec![new.clone(), file("y", b"beside")]));
        let plain = tempfile::tempdir().unwrap();
        shelf.restore_quietly(plain.path());
        for old in kinds() {
            let dest = tempfile::tempdir().unwrap();
            Shelf::of(&dir("", vec![old.clone()])).restore_quietly(dest.path());
            // An existing directory keeps what it has besides; that is another test's.
            let (report, notices) = shelf.restore(dest.path(), true);
            assert!(notices.is_empty() && report.is_exact(), "{notices:?}");
            assert!(is_same(plain.path(), dest.path()), "{:?} over {:?}", new.meta.kind, old.meta.kind);
        }
    }
}

#[test]
fn links_in_the_destination_are_replaced_and_never_followed() {
    let temp = tempfile::tempdir().unwrap();
    let (outside, dest) = (temp.path().join("outside"), temp.path().join("dest"));
    fs::create_dir_all(outside.join("sub")).unwrap();
    fs::write(outside.join("f"), b"untouched").unwrap();
    fs::write(outside.join("sub/f"), b"untouched too").unwrap();
    let before = look(&outside);
    fs::create_dir(&dest).unwrap();
    symlink(&outside, dest.join("d")).unwrap();
    symlink(outside.join("f"), dest.join("f")).unwrap();
    symlink(outside.join("sub"), dest.join("extra")).unwrap();
    symlink("../outside/f", dest.join("p")).unwrap();
    let root = dir(
        "",
        vec![
            dir("d", vec![file("f", b"inside"), dir("sub", vec![file("f", b"inside too")])]),
            file("f", b"inside"),
            fifo("p"),
        ],
    );
    let shelf = Shelf::of(&root);
    let (report, notices) = shelf.restore(&dest, true);
    assert!(notices.is_empty() && report.is_exact(), "{notices:?}");
    assert_eq!(look(&outside), before);
    assert_eq!(fs::read(dest.join("d/sub/f")).unwrap(), b"inside too");
    assert!(fs::symlink_metadata(dest.join("d")).unwrap().is_dir());
    assert!(fs::symlink_metadata(dest.join("f")).unwrap().is_file());
    assert!(fs::symlink_metadata(dest.join("extra")).is_err(), "the link went, not what it names");
}

#[test]
fn destination_may_be_a_link_and_must_be_a_directory_outside_of_the_store() {
    let temp = tempfile::tempdir().unwrap();
    let shelf = Shelf::of(&dir("", vec![file("f", b"x")]));
    fs::create_dir(temp.path().join("real")).unwrap();
    symlink("real", temp.path().join("link")).unwrap();
    shelf.restore_quietly(&temp.path().join("link"));
    assert_eq!(fs::read(temp.path().join("real/f")).unwrap(), b"x");
    assert!(fs::symlink_metadata(temp.path().join("link")).unwrap().is_symlink());

    let refused = |path: &Path| shelf.try_restore("", path, &Options::default()).unwrap_err();
    assert!(matches!(refused(&temp.path().join("real/f")), RestoreError::NotADirectory { .. }));
    let before = look(&shelf.store);
    for inside in ["", "packs", "new/er"] {
        assert!(matches!(refused(&shelf.store.join(inside)), RestoreError::InsideStore { .. }));
    }
    assert_eq!(before.len(), look(&shelf.store).len());
}

#[test]
fn what_the_destination_has_besides_stays() {
    let shelf = Shelf::of(&dir("", vec![dir("d", vec![file("f", b"x")])]));
    let dest = tempfile::tempdir().unwrap();
    fs::create_dir_all(dest.path().join("d/mine")).unwrap();
    fs::write(dest.path().join("d/mine/thesis"), b"years").unwrap();
    let report = shelf.restore_quietly(dest.path());
    assert_eq!((report.removed, report.kept, report.made), (0, 2, 1));
    assert_eq!(fs::read(dest.path().join("d/mine/thesis")).unwrap(), b"years");
}

#[test]
fn nothing_of_a_stopped_restore_is_half_written() {
    let shelf = Shelf::of(&dir("", vec![file("f", &[1; 3 << 20])]));
    let dest = tempfile::tempdir().unwrap();
    fs::write(dest.path().join("f"), b"old").unwrap();
    let options = Options::default();
    options.cancel.store(true, std::sync::atomic::Ordering::Relaxed);
    assert!(matches!(shelf.try_restore("", dest.path(), &options), Err(RestoreError::Cancelled)));
    assert_eq!(fs::read(dest.path().join("f")).unwrap(), b"old");
    assert_eq!(fs::read_dir(dest.path()).unwrap().count(), 1);
}
