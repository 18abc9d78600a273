//! With `delete`, what the point has not got goes; what the backup does not know stays.

use std::fs;
use std::os::unix::fs::symlink;
use std::process::Command;

use dbakfs::format::record::{Flags, Status};
use dbakfs::restore::{KeptBecause, Notice};

use crate::shelf::{Shelf, dir, file};

#[test]
fn what_the_point_does_not_have_goes_with_all_below_it() {
    let shelf = Shelf::of(&dir("", vec![dir("d", vec![file("f", b"x")]), file("m", b"y")]));
    let dest = tempfile::tempdir().unwrap();
    let at = |name: &str| dest.path().join(name);
    for directory in ["a/b/c", "d/e/f", "z"] {
        fs::create_dir_all(at(directory)).unwrap();
    }
    for name in ["a/b/1", "d/2", "d/e/3", "n", "a.txt"] {
        fs::write(at(name), b"extra").unwrap();
    }
    symlink("/", at("root")).unwrap();
    let (report, notices) = shelf.restore(dest.path(), true);
    assert!(notices.is_empty(), "{notices:?}");
    // a, a/b, a/b/c, a/b/1, d/e, d/e/f, d/e/3, d/2, z, n, a.txt, root
    assert_eq!(report.removed, 12);
    let mut left: Vec<_> = fs::read_dir(dest.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    left.sort();
    assert_eq!(left, ["d", "m"]);
    assert_eq!(fs::read_dir(at("d")).unwrap().count(), 1);
}

#[test]
fn nothing_goes_below_a_directory_that_was_not_read_to_its_end_or_was_left_out() {
    let unread = dir("unread", vec![dir("below", vec![file("f", b"x")]), file("g", b"a file here")])
        .with(|item| item.status = Status::Unread);
    let left_out = dir("left-out", vec![]).with(|item| item.flags = Flags::LEFT_OUT);
    let shelf = Shelf::of(&dir("", vec![unread, left_out, dir("whole", vec![])]));
    let dest = tempfile::tempdir().unwrap();
    let at = |name: &str| dest.path().join(name);
    for name in ["unread/extra", "unread/below/extra", "unread/g/extra", "left-out/extra", "whole/extra"] {
        fs::create_dir_all(at(name)).unwrap();
    }
    let (report, notices) = shelf.restore(dest.path(), true);
    for name in ["unread/extra", "unread/below/extra", "unread/g/extra", "left-out/extra"] {
        assert!(at(name).is_dir(), "{name} stays");
    }
    assert!(!at("whole/extra").exists());
    assert_eq!(fs::read(at("unread/below/f")).unwrap(), b"x");
    assert_eq!((report.incomplete, report.removed, report.not_removed), (2, 1, 1));
    let is_told = |path| notices.iter().any(|n| matches!(n, Notice::Incomplete { path: told } if *told == at(path)));
    assert!(is_told("unread") && is_told("left-out"));
    let is_kept =
        |n: &Notice| matches!(n, Notice::Kept { path, why: KeptBecause::Incomplete } if *path == at("unread/g"));
    assert!(notices.iter().any(is_kept));
    assert!(fs::read_dir(at("unread")).unwrap().count() == 3, "no temporary is left");
}

#[test]
fn what_never_could_be_read_is_not_made_and_what_was_only_read_before_is() {
    let never = |name| {
        file(name, b"").with(|item| {
            item.status = Status::Unread;
            item.flags = Flags::NO_CONTENT;
        })
    };
    let older = file("older", b"the last version").with(|item| item.status = Status::Unread);
    let shelf = Shelf::of(&dir("", vec![never("a"), never("b"), older]));
    let dest = tempfile::tempdir().unwrap();
    fs::write(dest.path().join("a"), b"still here").unwrap();
    let (report, notices) = shelf.restore(dest.path(), true);
    assert_eq!(fs::read(dest.path().join("a")).unwrap(), b"still here");
    assert!(!dest.path().join("b").exists());
    assert_eq!(fs::read(dest.path().join("older")).unwrap(), b"the last version");
    assert_eq!((report.never_read, report.older, report.removed), (2, 1, 0));
    assert_eq!(notices.len(), 3);
}

#[test]
fn store_inside_the_destination_is_spared() {
    let temp = tempfile::tempdir().unwrap();
    let dest = temp.path().join("dest");
    fs::create_dir_all(dest.join("backups")).unwrap();
    fs::write(dest.join("extra"), b"x").unwrap();
    let shelf = Shelf::at(&dest.join("backups/store"), &dir("", vec![file("f", b"x")]), temp);
    let (report, notices) = shelf.restore(&dest, true);
    assert!(matches!(&*notices, [Notice::Kept { why: KeptBecause::Store, .. }]), "{notices:?}");
    assert_eq!((report.removed, report.not_removed), (1, 1));
    assert!(dest.join("f").is_file() && !dest.join("extra").exists());
    shelf.restore(&dest, true);
}

#[test]
fn mounted_file_systems_are_not_crossed() {
    let temp = tempfile::tempdir().unwrap();
    let dest = temp.path().join("dest");
    let (gone, here) = (dest.join("gone/mnt"), dest.join("here"));
    fs::create_dir_all(&gone).unwrap();
    fs::create_dir_all(&here).unwrap();
    fs::create_dir_all(temp.path().join("bound")).unwrap();
    fs::write(temp.path().join("bound/f"), b"of another").unwrap();
    let bind = |at: &std::path::Path| {
        let mount = Command::new("mount").arg("--bind").arg(temp.path().join("bound")).arg(at).status();
        mount.is_ok_and(|status| status.success())
    };
    if !bind(&gone) {
        eprintln!("NOT TESTED: this user may not mount, so that mounts are spared is LEFT OUT");
        return;
    }
    assert!(bind(&here));
    let shelf = Shelf::of(&dir("", vec![dir("here", vec![file("g", b"x")])]));
    let (report, notices) = shelf.restore(&dest, true);
    for mounted in [&gone, &here] {
        assert!(Command::new("umount").arg(mounted).status().unwrap().success());
    }
    assert_eq!(fs::read(temp.path().join("bound/f")).unwrap(), b"of another");
    assert_eq!(fs::read(temp.path().join("bound/g")).unwrap(), b"x", "it is restored into");
    let kept = notices.iter().filter(|notice| matches!(notice, Notice::Kept { why: KeptBecause::Mounted, .. }));
    assert_eq!((kept.count(), report.not_removed, report.removed), (2, 2, 0));
}
