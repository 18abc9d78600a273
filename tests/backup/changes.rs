//! What counts as a change, what is read for it, and what is stored.

use std::fs::{self, File};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;

use rustix::fs::{XattrFlags, setxattr};

use crate::support::awkward::is_root;
use crate::support::cli::Place;
use crate::support::points::{History, changes, count, noise};

fn modified(path: &Path) -> SystemTime {
    path.metadata().unwrap().modified().unwrap()
}

fn set_modified(path: &Path, time: SystemTime) {
    File::open(path).unwrap().set_modified(time).unwrap();
}

/// Puts the content of `path` into a new inode of the same name, mode and mtime.
fn new_inode(path: &Path) {
    let (dir, aside) = (path.parent().unwrap(), path.with_extension("aside"));
    let (time, dir_time) = (modified(path), modified(dir));
    fs::copy(path, &aside).unwrap();
    set_modified(&aside, time);
    fs::rename(&aside, path).unwrap();
    set_modified(dir, dir_time);
}

#[test]
fn another_ctime_or_inode_alone_is_no_change_and_is_read_but_once() {
    let place = Place::with_store();
    let src = place.src();
    fs::create_dir(src.join("dir")).unwrap();
    for (name, len) in [("large", 3_000_000), ("dir/middle", 50_000), ("tiny", 100), ("untouched", 10_000)] {
        fs::write(src.join(name), noise(len as u64, len)).unwrap();
    }
    Place::settle();
    let full = place.backup(&[]);
    assert_eq!(count(&full, "read_bytes"), 3_060_100);

    for name in ["large", "tiny", "dir"] {
        let mode = src.join(name).metadata().unwrap().permissions();
        fs::set_permissions(src.join(name), mode).unwrap();
    }
    new_inode(&src.join("dir/middle"));
    Place::settle();
    let again = place.backup(&[]);
    assert_eq!((again["outcome"].as_str(), count(&again, "read_bytes")), (Some("unchanged"), 3_050_100));
    assert_eq!((changes(&again), place.points().len(), place.packs().len()), ([0, 0, 0], 1, 1));
    let again = place.backup(&[]);
    assert_eq!((again["outcome"].as_str(), count(&again, "read_bytes")), (Some("unchanged"), 0));

    // It does not come back when something else has changed, nor with the next full.
    fs::write(src.join("untouched"), noise(1, 10_000)).unwrap();
    let next = place.backup(&[]);
    assert_eq!((changes(&next), count(&next, "read_bytes")), ([0, 1, 0], 10_000));
    assert_eq!(place.differing("src/latest"), ["untouched updated"]);
    Place::settle();
    let full = place.backup(&["--full", "--force"]);
    assert!(count(&full, "read_bytes") <= 10_000, "{full}");
    assert_eq!(count(&full, "stored_bytes"), 0);
    let after = place.backup(&[]);
    assert_eq!((after["outcome"].as_str(), count(&after, "read_bytes")), (Some("unchanged"), 0));
}

#[test]
fn other_metadata_update_the_entry_and_store_no_data() {
    let place = Place::with_store();
    let (src, mut history) = (place.src(), History::default());
    for name in ["mode", "owner", "time", "attribute", "rewritten", "same"] {
        fs::write(src.join(name), noise(name.len() as u64, 40_000)).unwrap();
    }
    fs::create_dir(src.join("dir")).unwrap();
    fs::write(src.join("dir/inside"), "inside").unwrap();
    history.backup(&place, &[]);

    fs::set_permissions(src.join("mode"), PermissionsExt::from_mode(0o4700)).unwrap();
    fs::set_permissions(src.join("dir"), PermissionsExt::from_mode(0o700)).unwrap();
    set_modified(&src.join("time"), SystemTime::UNIX_EPOCH);
    setxattr(src.join("attribute"), "user.one", b"value", XattrFlags::empty()).unwrap();
    fs::write(src.join("rewritten"), noise(9, 40_000)).unwrap();
    let mut expected = vec!["attribute", "dir", "mode", "rewritten", "time"];
    if is_root() {
        chown(src.join("owner"), Some(1_234), Some(4_321)).unwrap();
        expected.insert(3, "owner");
    }
    let next = history.backup(&place, &[]);
    let expected: Vec<String> = expected.iter().map(|name| format!("{name} updated")).collect();
    assert_eq!(place.differing("src/latest"), expected);
    assert_eq!((changes(&next), count(&next, "stored_bytes")), ([0, expected.len() as u64, 0], 0));
    assert!(next["stored_bytes"].as_u64().unwrap() > 0, "the catalog is counted");

    // An attribute with another value, then without it.
    setxattr(src.join("attribute"), "user.one", b"other", XattrFlags::empty()).unwrap();
    let next = history.backup(&place, &[]);
    assert_eq!((changes(&next), count(&next, "stored_bytes")), ([0, expected.len() as u64, 0], 0));
    rustix::fs::removexattr(src.join("attribute"), "user.one").unwrap();
    history.backup(&place, &[]);
    history.check(&place);
}

#[test]
fn equal_bytes_store_nothing_wherever_they_are() {
    let place = Place::with_store();
    let src = place.src();
    fs::write(src.join("large"), noise(1, 5_000_000)).unwrap();
    fs::write(src.join("small"), noise(2, 20_000)).unwrap();
    let full = place.backup(&[]);
    assert!(count(&full, "stored_bytes") > 5_000_000);

    // Rewritten with the same bytes: only the time has changed.
    for name in ["large", "small"] {
        fs::write(src.join(name), fs::read(src.join(name)).unwrap()).unwrap();
    }
    let next = place.backup(&[]);
    assert_eq!((changes(&next), count(&next, "stored_bytes")), ([0, 2, 0], 0));
    // Copied, and moved.
    fs::copy(src.join("large"), src.join("copy")).unwrap();
    fs::rename(src.join("small"), src.join("moved")).unwrap();
    let next = place.backup(&[]);
    assert_eq!((changes(&next), count(&next, "stored_bytes")), ([2, 2, 1], 0));
    assert_eq!(place.differing("src/latest"), ["copy new", "large updated", "moved new", "small deleted"]);
    // A little more at the end of the large one stores but a little.
    let mut grown = noise(1, 5_000_000);
    grown.extend(noise(3, 1_000));
    grown.splice(2_500_000..2_500_000, noise(4, 1_000));
    fs::write(src.join("large"), grown).unwrap();
    let next = place.backup(&[]);
    let stored = count(&next, "stored_bytes");
    assert!((2_000..2_000_000).contains(&stored), "{stored}");
}

#[test]
fn checksum_reads_everything_that_is_otherwise_not_read() {
    let place = Place::with_store();
    fs::write(place.src().join("large"), noise(1, 1_000_000)).unwrap();
    fs::write(place.src().join("small"), noise(1, 1_000)).unwrap();
    Place::settle();
    place.backup(&[]);
    for (more, read) in [(&[][..], 0), (&["--checksum"], 1_001_000), (&[], 0)] {
        let done = place.backup(more);
        assert_eq!((done["outcome"].as_str(), count(&done, "read_bytes")), (Some("unchanged"), read));
    }
    assert_eq!(place.points().len(), 1);
}

#[test]
fn a_recheck_alone_makes_no_point_and_ends() {
    let place = Place::with_store();
    fs::write(place.src().join("fresh"), noise(1, 10_000)).unwrap();
    assert_eq!(count(&place.backup(&[]), "read_bytes"), 10_000);
    // Its time is too new to be trusted: it is read again, and found to be the same.
    let done = place.backup(&[]);
    assert_eq!((done["outcome"].as_str(), count(&done, "read_bytes")), (Some("unchanged"), 10_000));
    Place::settle();
    let done = place.backup(&[]);
    assert_eq!((done["outcome"].as_str(), count(&done, "read_bytes")), (Some("unchanged"), 10_000));
    let done = place.backup(&[]);
    assert_eq!((done["outcome"].as_str(), count(&done, "read_bytes")), (Some("unchanged"), 0));
    assert_eq!((place.points().len(), place.packs().len()), (1, 1));
    // A time in the future is never to be trusted.
    let future = SystemTime::now() + std::time::Duration::from_secs(100_000);
    set_modified(&place.src().join("fresh"), future);
    place.backup(&[]);
    for _ in 0..2 {
        let done = place.backup(&[]);
        assert_eq!((done["outcome"].as_str(), count(&done, "read_bytes")), (Some("unchanged"), 10_000));
    }
}

#[test]
fn a_same_size_rewrite_with_the_time_put_back_is_found() {
    let place = Place::with_store();
    let path = place.src().join("file");
    fs::write(&path, noise(1, 10_000)).unwrap();
    Place::settle();
    place.backup(&[]);
    let time = modified(&path);
    fs::write(&path, noise(2, 10_000)).unwrap();
    set_modified(&path, time);
    assert_eq!(changes(&place.backup(&[])), [0, 1, 0]);
    let Some(mount) = place.mount(&[]) else { return };
    assert_eq!(fs::read(place.shown("latest/file")).unwrap(), noise(2, 10_000));
    mount.end();
}

/// A file system in a file, so that bytes can be changed behind its back: no stat tells.
struct Image {
    file: PathBuf,
    mnt: PathBuf,
}

impl Image {
    /// Makes one and mounts it at `mnt`; `None`, said loudly, where that is not possible.
    fn new(file: PathBuf, mnt: PathBuf) -> Option<Self> {
        File::create(&file).unwrap().set_len(8 << 20).unwrap();
        let made = Command::new("mke2fs").args(["-q", "-F", "-t", "ext4", "-I", "256"]).arg(&file).output();
        let image = Self { file, mnt };
        let is_there = is_root() && made.is_ok_and(|made| made.status.success()) && image.mount();
        if !is_there {
            eprintln!("\n*** NOT TESTED: no loop mount here, so no change could be hidden from stat ***\n");
        }
        is_there.then_some(image)
    }

    fn mount(&self) -> bool {
        Command::new("mount").args(["-o", "loop"]).arg(&self.file).arg(&self.mnt).status().unwrap().success()
    }

    fn umount(&self) -> bool {
        Command::new("umount").arg(&self.mnt).status().unwrap().success()
    }

    /// Replaces bytes on the medium itself.
    fn tamper(&self, from: &[u8], to: &[u8]) {
        assert!(self.umount());
        let mut bytes = fs::read(&self.file).unwrap();
        let at = bytes.windows(from.len()).position(|window| window == from).unwrap();
        bytes[at..at + from.len()].copy_from_slice(to);
        fs::write(&self.file, bytes).unwrap();
        assert!(self.mount());
    }
}

impl Drop for Image {
    fn drop(&mut self) {
        self.umount();
    }
}

#[test]
fn a_change_that_no_stat_tells_is_found_by_checksum_and_right_after_a_backup_by_itself() {
    let place = Place::with_store();
    let Some(image) = Image::new(place.path("image"), place.src()) else { return };
    let path = place.src().join("file");
    let versions = [b"hidden one", b"hidden two", b"hidden six"].map(|version| version.repeat(1_000));
    fs::write(&path, &versions[0]).unwrap();
    place.backup(&[]);
    // As a rewrite within the same tick of the clock leaves it: the same stat, other bytes.
    image.tamper(b"hidden one", b"hidden two");
    image.tamper(&versions[0][10..], &versions[1][10..]);
    let done = place.backup(&[]);
    assert_eq!((changes(&done), count(&done, "read_bytes")), ([0, 1, 0], 10_000), "{done}");
    Place::settle();
    assert_eq!(place.backup(&[])["outcome"], "unchanged");

    image.tamper(&versions[1], &versions[2]);
    let done = place.backup(&[]);
    assert_eq!((done["outcome"].as_str(), count(&done, "read_bytes")), (Some("unchanged"), 0));
    let done = place.backup(&["--checksum"]);
    assert_eq!((done["outcome"].as_str(), changes(&done)), (Some("made"), [0, 1, 0]));
    let Some(mount) = place.mount(&[]) else { return };
    assert!(fs::read(place.shown("latest/file")).unwrap() == versions[2]);
    mount.end();
}
