//! Names of one inode are names of one inode again, and of no other.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::shelf::{Item, Shelf, dir, file};

fn linked(name: &str, content: &[u8], ino: u64, nlink: u32) -> Item {
    file(name, content).with(|item| {
        item.ino = ino;
        item.meta.nlink = nlink;
    })
}

/// Two groups of equal content: a, d/a, d/e/a and b, d/b; and a single file.
fn shelf() -> Shelf {
    let e = dir("e", vec![linked("a", b"same", 1, 3)]);
    let d = dir("d", vec![linked("a", b"same", 1, 3), linked("b", b"same", 2, 2), e]);
    Shelf::of(&dir("", vec![linked("a", b"same", 1, 3), linked("b", b"same", 2, 2), file("c", b"same"), d]))
}

fn is_right(dest: &Path) -> bool {
    let look = |name: &str| {
        let meta = fs::metadata(dest.join(name)).unwrap();
        (meta.ino(), meta.nlink())
    };
    let (a, b, c) = (look("a"), look("b"), look("c"));
    let groups = a == look("d/a") && a == look("d/e/a") && b == look("d/b");
    groups && (a.1, b.1, c.1) == (3, 2, 1) && a.0 != b.0 && c.0 != a.0 && c.0 != b.0
}

#[test]
fn names_of_one_inode_become_links() {
    let dest = tempfile::tempdir().unwrap();
    let shelf = shelf();
    shelf.restore_quietly(dest.path());
    assert!(is_right(dest.path()));
    let report = shelf.restore_quietly(dest.path());
    assert_eq!((report.made, report.kept), (0, 9));
}

#[test]
fn wrong_links_are_put_right() {
    let shelf = shelf();
    let names = ["a", "b", "c", "d/a", "d/b", "d/e/a"];
    let all_linked = |dest: &Path| {
        fs::write(dest.join("a"), b"same").unwrap();
        for name in &names[1..] {
            fs::hard_link(dest.join("a"), dest.join(name)).unwrap();
        }
    };
    let none_linked = |dest: &Path| names.iter().for_each(|name| fs::write(dest.join(name), b"same").unwrap());
    let swapped = |dest: &Path| {
        fs::write(dest.join("a"), b"same").unwrap();
        fs::hard_link(dest.join("a"), dest.join("d/b")).unwrap();
        fs::write(dest.join("b"), b"same").unwrap();
        fs::hard_link(dest.join("b"), dest.join("d/a")).unwrap();
    };
    let ways: [&dyn Fn(&Path); 3] = [&all_linked, &none_linked, &swapped];
    for make in ways {
        let dest = tempfile::tempdir().unwrap();
        fs::create_dir_all(dest.path().join("d/e")).unwrap();
        make(dest.path());
        // Also where all metadata are right, so that nothing but the links is wrong.
        for is_settled in [false, true] {
            if is_settled {
                names.iter().for_each(|name| drop(fs::remove_file(dest.path().join(name))));
                make(dest.path());
                for entry in names {
                    let path = dest.path().join(entry);
                    if path.exists() {
                        let time = std::time::UNIX_EPOCH + std::time::Duration::new(1_400_000_000, 5);
                        fs::File::open(path).unwrap().set_modified(time).unwrap();
                    }
                }
            }
            let (report, notices) = shelf.restore(dest.path(), false);
            assert!(notices.is_empty() && report.is_exact(), "{notices:?}");
            assert!(is_right(dest.path()));
        }
    }
}

#[test]
fn inode_with_names_outside_of_the_point_is_never_changed() {
    let temp = tempfile::tempdir().unwrap();
    let (outside, dest) = (temp.path().join("outside"), temp.path().join("dest"));
    fs::create_dir(&dest).unwrap();
    fs::write(&outside, b"same").unwrap();
    for name in ["a", "c"] {
        fs::hard_link(&outside, dest.join(name)).unwrap();
    }
    let before = fs::metadata(&outside).unwrap();
    shelf().restore_quietly(&dest);
    assert!(is_right(&dest));
    let after = fs::metadata(&outside).unwrap();
    assert_eq!((after.mode(), after.mtime(), after.ino()), (before.mode(), before.mtime(), before.ino()));
    assert_eq!((after.nlink(), fs::read(&outside).unwrap()), (1, b"same".to_vec()));
}

#[test]
fn links_of_a_part_are_those_of_its_names() {
    let dest = tempfile::tempdir().unwrap();
    let shelf = shelf();
    for _ in 0..2 {
        shelf.try_restore("d", dest.path(), &dbakfs::restore::Options::default()).unwrap();
        let look = |name: &str| fs::metadata(dest.path().join(name)).unwrap();
        assert_eq!((look("a").ino(), look("a").nlink(), look("b").nlink()), (look("e/a").ino(), 2, 1));
    }
}
