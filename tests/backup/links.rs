//! Hard links: at each point the names of an inode are the names of one inode.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::SystemTime;

use crate::support::cli::Place;
use crate::support::points::{History, changes, count, noise};

fn link(src: &Path, from: &str, to: &str) {
    let _ = fs::remove_file(src.join(to));
    fs::hard_link(src.join(from), src.join(to)).unwrap();
}

#[test]
fn links_come_go_and_point_elsewhere() {
    let place = Place::with_store();
    let (src, mut history) = (place.src(), History::default());
    fs::create_dir_all(src.join("dir/sub")).unwrap();
    fs::write(src.join("a"), noise(1, 100_000)).unwrap();
    fs::write(src.join("x"), noise(2, 100_000)).unwrap();
    fs::write(src.join("tiny"), "tiny").unwrap();
    link(&src, "a", "dir/b");
    link(&src, "tiny", "dir/tiny");
    let full = history.backup(&place, &[]);
    // Each inode is read once, and its bytes are kept once.
    assert_eq!((count(&full, "read_bytes"), count(&full, "files")), (200_004, 5));
    assert!(count(&full, "stored_bytes") < 250_000);

    let steps: [(&str, &dyn Fn()); 9] = [
        ("a new name", &|| link(&src, "a", "dir/sub/c")),
        ("one more, that sorts first", &|| link(&src, "a", "0")),
        ("the first name goes", &|| fs::remove_file(src.join("0")).unwrap()),
        ("a name points to another inode", &|| link(&src, "x", "dir/b")),
        ("and back", &|| link(&src, "a", "dir/b")),
        ("a name becomes a file of its own", &|| {
            fs::remove_file(src.join("dir/b")).unwrap();
            fs::write(src.join("dir/b"), noise(1, 100_000)).unwrap();
        }),
        ("the content changes under all names", &|| fs::write(src.join("a"), noise(3, 120_000)).unwrap()),
        ("all but one go", &|| {
            fs::remove_file(src.join("dir/sub/c")).unwrap();
            fs::remove_file(src.join("dir/tiny")).unwrap();
        }),
        ("everything is one inode", &|| ["a", "x", "dir/b", "dir/sub/c"].iter().for_each(|n| link(&src, "tiny", n))),
    ];
    for (number, (what, step)) in steps.iter().enumerate() {
        step();
        eprintln!("step {number}: {what}");
        let done = history.backup(&place, if number == 4 { &["--full"] } else { &[] });
        assert_eq!(place.backup(&[])["outcome"], "unchanged", "{what}");
        assert!(count(&done, "read_bytes") <= 350_000, "{done}");
    }
    history.check(&place);
}

#[test]
fn twins_that_swap_their_names_are_told_apart() {
    let place = Place::with_store();
    let (src, mut history) = (place.src(), History::default());
    let time = SystemTime::UNIX_EPOCH;
    // Two inodes that differ in nothing but their numbers, of two names each.
    for name in ["a", "c"] {
        fs::write(src.join(name), noise(1, 10_000)).unwrap();
        fs::File::open(src.join(name)).unwrap().set_modified(time).unwrap();
    }
    link(&src, "a", "b");
    link(&src, "c", "d");
    history.backup(&place, &[]);
    // a, b | c, d becomes a, d | c, b and then a, c | b, d.
    for (step, [b, d]) in [["c", "a"], ["a", "c"]].iter().enumerate() {
        link(&src, b, "b");
        link(&src, d, "d");
        let done = history.backup(&place, &[]);
        assert_eq!(count(&done, "stored_bytes"), 0, "step {step}");
        assert_eq!(place.backup(&[])["outcome"], "unchanged", "step {step}");
    }
    fs::remove_file(src.join("c")).unwrap();
    fs::remove_file(src.join("d")).unwrap();
    link(&src, "a", "c");
    fs::write(src.join("d"), noise(1, 10_000)).unwrap();
    history.backup(&place, &[]);
    history.backup(&place, &["--full", "--force"]);
    history.check(&place);
}

#[test]
fn unchanged_links_are_neither_listed_nor_read() {
    let place = Place::with_store();
    let src = place.src();
    fs::create_dir(src.join("dir")).unwrap();
    fs::write(src.join("a"), noise(1, 100_000)).unwrap();
    link(&src, "a", "dir/b");
    fs::write(src.join("z"), "z").unwrap();
    Place::settle();
    place.backup(&[]);
    fs::write(src.join("z"), "other").unwrap();
    let done = place.backup(&[]);
    assert_eq!((changes(&done), count(&done, "read_bytes")), ([0, 1, 0], 5));
    assert_eq!(place.differing("src/latest"), ["z updated"]);
}

#[test]
fn one_inode_at_all_points_and_under_all_names() {
    let place = Place::with_store();
    let (src, mut points) = (place.src(), Vec::new());
    fs::create_dir(src.join("dir")).unwrap();
    fs::write(src.join("a"), noise(1, 10_000)).unwrap();
    link(&src, "a", "dir/b");
    fs::write(src.join("alone"), "alone").unwrap();
    for (number, more) in ["--full", "--auto", "--auto", "--full", "--auto"].iter().enumerate() {
        fs::write(src.join("changing"), number.to_string()).unwrap();
        points.push(place.backup(&[more])["point"].as_str().unwrap().to_owned());
    }
    let Some(mount) = place.mount(&[]) else { return };
    let mut inodes: BTreeMap<&str, Vec<u64>> = BTreeMap::new();
    for point in &points {
        for name in ["a", "dir/b", "alone", "changing"] {
            let stat = place.mnt().join(point).join(name).metadata().unwrap();
            assert_eq!(stat.nlink(), if matches!(name, "a" | "dir/b") { 2 } else { 1 }, "{name}");
            inodes.entry(name).or_default().push(stat.ino());
        }
    }
    for name in ["a", "dir/b", "alone"] {
        assert!(inodes[name].iter().all(|ino| *ino == inodes[name][0]), "{name}: {inodes:?}");
    }
    assert_eq!(inodes["a"], inodes["dir/b"]);
    let changing: std::collections::BTreeSet<_> = inodes["changing"].iter().collect();
    assert_eq!(changing.len(), points.len(), "each version is an inode of its own");
    mount.end();
}
