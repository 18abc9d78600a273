//! Which entries are one inode, and which are not.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::Path;

use super::shown::time_of;
use crate::support::cli::Place;

fn inode(path: impl AsRef<Path>) -> (u64, u64) {
    let meta = fs::symlink_metadata(path).unwrap();
    (meta.dev(), meta.ino())
}

#[test]
fn hard_links_are_one_inode_and_equal_files_are_not() {
    let place = Place::with_store();
    fs::create_dir(place.src().join("dir")).unwrap();
    for (name, content) in [("a", "linked"), ("equal", "linked"), ("solo", "alone")] {
        fs::write(place.src().join(name), content.repeat(200)).unwrap();
    }
    fs::hard_link(place.src().join("a"), place.src().join("dir/b")).unwrap();
    fs::hard_link(place.src().join("a"), place.src().join("c")).unwrap();
    symlink("a", place.src().join("link")).unwrap();
    fs::hard_link(place.src().join("link"), place.src().join("dir/link")).unwrap();
    place.backup(&[]);
    // A differential that lists one of the names only.
    fs::write(place.src().join("other"), "changed").unwrap();
    place.backup(&[]);
    fs::write(place.src().join("c"), "all three change").unwrap();
    place.backup(&[]);
    let Some(_mount) = place.mount(&[]) else { return };
    let points: Vec<String> =
        place.run(["list", "--json"]).json().iter().map(|point| point["point"].as_str().unwrap().to_owned()).collect();
    assert_eq!(points.len(), 3);
    for point in &points {
        let at = |name: &str| place.mnt().join(point).join(name);
        assert_eq!((inode(at("a")), inode(at("a"))), (inode(at("dir/b")), inode(at("c"))), "{point}");
        assert_eq!(inode(at("link")), inode(at("dir/link")));
        assert_eq!(
            ["a", "dir/b", "c", "solo", "link"].map(|name| fs::symlink_metadata(at(name)).unwrap().nlink()),
            [3, 3, 3, 1, 2]
        );
        let distinct: BTreeSet<_> = ["a", "equal", "solo", "link", "dir", ""].map(|name| inode(at(name))).into();
        assert_eq!(distinct.len(), 6, "{point}");
        let content = fs::read(at("a")).unwrap();
        assert!(content == fs::read(at("dir/b")).unwrap() && content == fs::read(at("c")).unwrap());
    }
    let first_of = |point: &String| inode(place.mnt().join(point).join("a"));
    assert_eq!(first_of(&points[0]), first_of(&points[1]));
    assert_ne!(first_of(&points[1]), first_of(&points[2]));
}

#[test]
fn unchanged_file_is_one_inode_at_all_points_also_across_a_new_full() {
    let place = Place::with_store();
    fs::create_dir(place.src().join("dir")).unwrap();
    for name in ["kept", "dir/kept", "changed", "renamed"] {
        fs::write(place.src().join(name), name.repeat(300)).unwrap();
    }
    fs::write(place.src().join("tiny"), "t").unwrap();
    symlink("kept", place.src().join("link")).unwrap();
    let mut points = Vec::new();
    for (round, more) in [&[][..], &[], &["--full"], &[], &["--full"], &[]].into_iter().enumerate() {
        fs::write(place.src().join("changed"), format!("{round}")).unwrap();
        let made = place.backup(more);
        assert_eq!(made["type"], if round % 2 == 0 { "full" } else { "differential" });
        points.push(time_of(&made));
    }
    let Some(_mount) = place.mount(&[]) else { return };
    let inodes = |name: &str| -> Vec<_> { points.iter().map(|point| inode(place.shown(point).join(name))).collect() };
    for name in ["kept", "dir/kept", "tiny", "link", "renamed"] {
        let inodes = inodes(name);
        assert!(inodes.iter().all(|inode| *inode == inodes[0]), "{name}: {inodes:?}");
    }
    // A version is one inode, and a directory a point's own.
    for name in ["changed", "dir", ""] {
        let inodes = inodes(name);
        let distinct: BTreeSet<_> = inodes.iter().collect();
        assert_eq!(distinct.len(), points.len(), "{name}: {inodes:?}");
    }
}

#[test]
fn changed_owner_or_mode_is_another_inode_with_the_same_data() {
    use std::os::unix::fs::PermissionsExt;
    let place = Place::with_store();
    fs::write(place.src().join("file"), "content").unwrap();
    let first = time_of(&place.backup(&[]));
    fs::set_permissions(place.src().join("file"), fs::Permissions::from_mode(0o600)).unwrap();
    let second = time_of(&place.backup(&[]));
    let Some(_mount) = place.mount(&[]) else { return };
    let at = |point: &str| place.shown(point).join("file");
    assert_ne!(inode(at(&first)), inode(at(&second)));
    assert_ne!(fs::metadata(at(&first)).unwrap().mode() & 0o7777, 0o600);
    assert_eq!(fs::metadata(at(&second)).unwrap().mode() & 0o7777, 0o600);
    assert_eq!(fs::read(at(&first)).unwrap(), fs::read(at(&second)).unwrap());
}

#[test]
fn inodes_are_the_same_when_the_store_is_mounted_again() {
    let place = Place::with_store();
    fs::write(place.src().join("file"), "content").unwrap();
    let first = time_of(&place.backup(&[]));
    let Some(mount) = place.mount(&[]) else { return };
    let number = |path: &str| fs::metadata(place.shown(&first).join(path)).unwrap().ino();
    let before = (number(""), number("file"));
    mount.end();
    fs::write(place.src().join("file"), "changed").unwrap();
    place.backup(&["--full"]);
    let Some(_mount) = place.mount(&[]) else { return };
    assert_eq!(before, (number(""), number("file")));
}
