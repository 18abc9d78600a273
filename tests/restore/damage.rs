//! A damaged store costs what is damaged, and nothing else.

use std::fs;

use dbakfs::restore::Notice;

use crate::shelf::{Shelf, dir, file};

#[test]
fn damaged_file_leaves_the_older_one_and_everything_else_is_restored() {
    let large = |name| file(name, &(0..6_u32 << 20).map(|at| at.wrapping_mul(at).to_le_bytes()[1]).collect::<Vec<_>>());
    let root = dir(
        "",
        vec![
            file("small", &[1; 5_000]),
            file("tiny", b"in the catalog"),
            large("large"),
            dir("d", vec![file("other", &[2; 6_000]), file("tiny", b"too")]),
        ],
    );
    let shelf = Shelf::of(&root);
    let dest = tempfile::tempdir().unwrap();
    for name in ["small", "large"] {
        fs::write(dest.path().join(name), b"older").unwrap();
    }
    shelf.damage_packs();
    let (report, notices) = shelf.restore(dest.path(), true);
    assert_eq!(fs::read(dest.path().join("tiny")).unwrap(), b"in the catalog");
    assert_eq!(fs::read(dest.path().join("d/tiny")).unwrap(), b"too");
    let damaged: Vec<_> = notices
        .iter()
        .map(|notice| if let Notice::Damaged { path, .. } = notice { path } else { panic!("{notice:?}") })
        .collect();
    assert!(!damaged.is_empty() && !report.is_complete());
    assert_eq!(report.damaged, damaged.len() as u64);
    for path in damaged {
        let name = path.strip_prefix(dest.path()).unwrap();
        if name.starts_with("d") {
            assert!(!path.exists(), "no short file is left");
        } else {
            assert_eq!(fs::read(path).unwrap(), b"older");
        }
    }
    let entries = fs::read_dir(dest.path()).unwrap().map(|entry| entry.unwrap().file_name());
    assert!(entries.into_iter().all(|name| ["small", "tiny", "large", "d"].iter().any(|known| name == *known)));
}

#[test]
fn damage_in_the_middle_of_a_large_file_leaves_nothing_short() {
    let noise: Vec<u8> = (0..8_u64 << 20).map(|at| (at.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8).collect();
    let shelf = Shelf::of(&dir("", vec![file("large", &noise)]));
    let pack = fs::read_dir(shelf.store.join("packs")).unwrap().next().unwrap().unwrap().path();
    let pack = fs::read_dir(pack).unwrap().next().unwrap().unwrap().path();
    let mut bytes = fs::read(&pack).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(pack, bytes).unwrap();
    for older in [None, Some(vec![5; 100]), Some(noise.clone())] {
        let dest = tempfile::tempdir().unwrap();
        if let Some(older) = &older {
            fs::write(dest.path().join("large"), older).unwrap();
        }
        let (report, _) = shelf.restore(dest.path(), true);
        assert_eq!((report.damaged, report.made), (1, 0));
        assert_eq!(fs::read(dest.path().join("large")).ok(), older);
        assert_eq!(fs::read_dir(dest.path()).unwrap().count(), usize::from(older.is_some()));
    }
}
