//! Sources of odd shapes: links to them, single files, depth, crowds, holes, and names of any bytes.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt, symlink};

use dbakfs::pack::Pack;
use dbakfs::storage::Storage;
use rustix::fs::{Mode, OFlags, mkdirat, openat};

use crate::support::cli::Place;
use crate::support::points::{History, changes, count, noise, same};
use crate::support::tree::look;

#[test]
fn a_link_to_a_directory_is_that_directory() {
    let place = Place::with_store();
    fs::write(place.src().join("a"), "a").unwrap();
    symlink("src", place.path("link")).unwrap();
    place.run(["backup", "link"]).exits(0);
    // The same place by another way is no other source.
    place.run(["backup", "src", "--name", "link"]).exits(0).prints("nothing changed");
    let Some(mount) = place.mount(&[]) else { return };
    same("link", &look(&place.src()), &look(&place.mnt().join("link/latest")));
    mount.end();
}

#[test]
fn a_single_file_is_a_directory_with_it_alone() {
    let place = Place::with_store();
    fs::write(place.src().join("config.toml"), "one").unwrap();
    fs::write(place.src().join("other"), "other").unwrap();
    place.run(["backup", "src/config.toml"]).exits(0);
    place.run(["backup", "src/config.toml"]).exits(0).prints("nothing changed");
    fs::write(place.src().join("config.toml"), "two").unwrap();
    place.run(["backup", "src/config.toml"]).exits(0);
    assert_eq!(place.differing("config.toml/latest"), ["config.toml updated"]);
    let Some(mount) = place.mount(&[]) else { return };
    let points: Vec<_> =
        place.points().iter().map(|point| place.mnt().join(point["point"].as_str().unwrap())).collect();
    for (point, content) in points.iter().zip(["one", "two"]) {
        assert_eq!(fs::read_to_string(point.join("config.toml")).unwrap(), content);
        assert_eq!(fs::read_dir(point).unwrap().count(), 1);
    }
    mount.end();
}

#[test]
fn names_of_any_bytes_are_kept() {
    let place = Place::with_store();
    let (src, mut history) = (place.src(), History::default());
    // Every byte that a name may hold, alone and twice, and the longest names.
    for byte in (1..=255).filter(|byte| ![b'/', b'.'].contains(byte)) {
        fs::write(src.join(OsStr::from_bytes(&[byte])), [byte]).unwrap();
        fs::create_dir(src.join(OsStr::from_bytes(&[byte, byte]))).unwrap();
    }
    for name in [vec![0xff; 255], b"...".to_vec(), b". ".to_vec(), b"a\x01".to_vec(), vec![b'\n'; 255]] {
        fs::write(src.join(OsStr::from_bytes(&name)), &name).unwrap();
    }
    symlink(OsStr::from_bytes(b"\xfe\xff"), src.join(OsStr::from_bytes(b"\xff-link"))).unwrap();
    history.backup(&place, &[]);
    fs::remove_file(src.join(OsStr::from_bytes(&[0xff; 255]))).unwrap();
    fs::write(src.join(OsStr::from_bytes(b"\x80")), "changed").unwrap();
    assert_eq!(changes(&history.backup(&place, &[])), [0, 2, 1]);
    history.check(&place);
    let ran = place.run(["ls", "src/latest"]).exits(0);
    assert_eq!(ran.stdout.lines().count(), 253 * 2 + 6, "each name is one line");
}

#[test]
fn five_thousand_levels_are_walked_and_shown() {
    let place = Place::with_store();
    let levels = 5_000;
    let descend = |make: bool, begin: &std::path::Path| {
        let mut at: OwnedFd = File::open(begin).unwrap().into();
        for _ in 0..levels {
            if make {
                mkdirat(&at, "d", Mode::RWXU).unwrap();
            }
            at = openat(at.as_fd(), "d", OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).unwrap();
        }
        at
    };
    let bottom = descend(true, &place.src());
    let create = OFlags::CREATE | OFlags::WRONLY | OFlags::CLOEXEC;
    let file = File::from(openat(&bottom, "bottom", create, Mode::RUSR).unwrap());
    file.write_all_at(b"first", 0).unwrap();
    let full = place.backup(&[]);
    assert_eq!((count(&full, "directories"), count(&full, "files")), (levels + 1, 1));
    file.write_all_at(b"other", 0).unwrap();
    let next = place.backup(&[]);
    assert_eq!(changes(&next), [0, 1, 0]);
    let Some(mount) = place.mount(&[]) else { return };
    for (point, content) in [(&full, b"first"), (&next, b"other")] {
        let bottom = descend(false, &place.mnt().join(point["point"].as_str().unwrap()));
        let file = File::from(openat(&bottom, "bottom", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).unwrap());
        let mut read = [0; 5];
        file.read_exact_at(&mut read, 0).unwrap();
        assert_eq!(&read, content);
    }
    mount.end();
}

#[test]
fn a_crowd_in_one_directory_is_complete_and_only_its_changes_are_listed() {
    let place = Place::with_store();
    let (src, mut history) = (place.src(), History::default());
    fs::create_dir(src.join("crowd")).unwrap();
    for number in 0..10_000 {
        fs::write(src.join(format!("crowd/{number}")), number.to_string()).unwrap();
    }
    history.backup(&place, &[]);
    for number in (0..10_000).step_by(1_000) {
        fs::remove_file(src.join(format!("crowd/{number}"))).unwrap();
        fs::write(src.join(format!("crowd/{number}-new")), "new").unwrap();
    }
    assert_eq!(changes(&history.backup(&place, &[])), [10, 1, 10]);
    history.check(&place);
}

#[test]
fn holes_stay_holes() {
    let place = Place::with_store();
    let (src, mut history) = (place.src(), History::default());
    let sparse = |name: &str, len: u64, data: &[(u64, usize)]| {
        let file = File::create(src.join(name)).unwrap();
        file.set_len(len).unwrap();
        for (at, len) in data {
            file.write_all_at(&noise(*at, *len), *at).unwrap();
        }
    };
    sparse("empty", 1 << 40, &[]);
    sparse("middle", 40_000_000, &[(20_000_000, 10_000)]);
    sparse("ends", 10_000_000, &[(0, 4_096), (9_995_904, 4_096)]);
    sparse("many", 20_000_000, &(0..50).map(|n| (n * 400_000, 4_096)).collect::<Vec<_>>());
    // Zeros that are written are no hole, but they need no place either.
    fs::write(src.join("zeros"), vec![0; 3_000_000]).unwrap();
    // The mount of a file this long is not read through: looking at it would take hours.
    let empty = src.join("empty");
    let full = place.backup(&["--name", "long"]);
    fs::remove_file(&empty).unwrap();
    assert!(count(&full, "read_bytes") < 4_000_000 && count(&full, "stored_bytes") < 1_000_000, "{full}");

    history.backup(&place, &[]);
    // A hole is filled, another is made.
    File::options().write(true).open(src.join("middle")).unwrap().write_all_at(&noise(7, 5_000), 30_000_000).unwrap();
    sparse("ends", 10_000_000, &[(9_995_904, 4_096)]);
    let next = history.backup(&place, &[]);
    assert!(count(&next, "stored_bytes") < 50_000, "{next}");
    history.check(&place);

    let Some(mount) = place.mount(&[]) else { return };
    let long = place.mnt().join(full["point"].as_str().unwrap()).join("empty").metadata().unwrap();
    assert_eq!((long.len(), long.blocks()), (1 << 40, 0));
    let middle = File::open(place.shown("latest/middle")).unwrap();
    assert!(middle.metadata().unwrap().blocks() < 100);
    let data = rustix::fs::seek(&middle, rustix::fs::SeekFrom::Data(0)).unwrap();
    assert!((19_000_000..=20_000_000).contains(&data), "{data}");
    drop(middle);
    mount.end();
}

#[test]
fn an_empty_source_is_a_point() {
    let place = Place::with_store();
    let mut history = History::default();
    let full = history.backup(&place, &[]);
    assert_eq!((changes(&full), count(&full, "directories")), ([1, 0, 0], 1));
    assert_eq!((place.backup(&[])["outcome"].as_str(), place.packs().len()), (Some("unchanged"), 0));
    history.check(&place);
}

#[test]
fn files_that_fit_into_a_block_of_small_files_travel_together() {
    let place = Place::with_store();
    for (name, bytes) in [("a", 300_000), ("b", 300_000), ("c", 3_000_000)] {
        fs::write(place.src().join(name), noise(name.as_bytes()[0].into(), bytes)).unwrap();
    }
    place.backup(&[]);
    let storage = Storage::open_root(&place.store()).unwrap();
    let packs = dbakfs::pack::list(&storage).unwrap();
    let blocks = packs.into_iter().flat_map(|pack| Pack::open(&storage, pack).unwrap().blocks().to_vec());
    let mut lengths: Vec<u32> = blocks.map(|block| block.raw_len).collect();
    lengths.sort_unstable();
    assert_eq!(lengths.pop(), Some(600_000), "{lengths:?}");
    assert!(lengths.iter().all(|len| *len <= 512 << 10) && lengths.iter().sum::<u32>() == 3_000_000, "{lengths:?}");
}
