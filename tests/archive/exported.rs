//! What goes out of a store is what GNU tar unpacks, and what a restore of the same point writes.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::support::awkward;
use crate::support::cli::{Place, Ran, snapshot};
use crate::support::points::same;
use crate::support::process::limited;
use crate::support::tree::{Tree, look};

/// Unpacks an archive with GNU tar, with all that it can be asked for.
#[track_caller]
pub(crate) fn unpack(archive: &Path, into: &Path) {
    fs::create_dir(into).unwrap();
    let all = ["--xattrs", "--xattrs-include=*", "--acls", "--numeric-owner", "-xpf"];
    limited(Command::new("tar").arg("-C").arg(into).args(all).arg(archive)).exits(0).says_nothing();
}

impl Ran {
    /// Checks that nothing was complained of, but that some times are odd, which they are.
    #[track_caller]
    pub(crate) fn says_nothing(self) -> Self {
        let is_odd_time = |line: &str| line.contains("/year-") && line.contains("time stamp");
        assert!(self.stderr.lines().all(is_odd_time), "{}", self.stderr);
        self
    }
}

/// What tar can carry: no sockets, and no paths that the kernel does not take.
pub(crate) fn carried(tree: &Tree) -> Tree {
    let is_carried = |path: &[u8]| !path.starts_with(b"00-deep") && path != b"socket";
    tree.iter().filter(|(path, _)| is_carried(path)).map(|(path, entry)| (path.clone(), entry.clone())).collect()
}

/// The awkward tree without what tar cannot carry, which is a matter of its own.
pub(crate) fn awkward_source(place: &Place) {
    awkward::make(&place.src());
    let root = rustix::fs::stat(place.src()).unwrap();
    for entry in fs::read_dir(place.src()).unwrap().map(|entry| entry.unwrap()) {
        if entry.file_name().as_encoded_bytes().starts_with(b"00-deep") {
            fs::remove_dir_all(entry.path()).unwrap();
        }
    }
    let time = rustix::time::Timespec { tv_sec: root.st_mtime, tv_nsec: root.st_mtime_nsec.cast_signed() };
    let times = rustix::fs::Timestamps { last_access: time, last_modification: time };
    rustix::fs::utimensat(rustix::fs::CWD, place.src(), &times, rustix::fs::AtFlags::empty()).unwrap();
}

#[test]
fn everything_awkward_comes_out_of_tar_as_it_was_restored() {
    let place = Place::with_store();
    awkward_source(&place);
    place.backup(&[]);
    let ran = place.run(["export", "src/latest", "-o", "out.tar.zst"]).exits(3);
    ran.says("warning: socket is left out: no archive holds sockets").prints("; 1 sockets left out");
    let len = fs::metadata(place.path("out.tar.zst")).unwrap().len();
    assert!(len < 20_000_000, "holes take no room: {len}");
    place.run(["restore", "src/latest", "restored"]).exits(0);
    unpack(&place.path("out.tar.zst"), &place.path("unpacked"));
    let restored = carried(&look(&place.path("restored")));
    same("unpacked", &restored, &look(&place.path("unpacked")));

    // Plain tar, asked for nothing, brings back all but the attributes.
    let plain = place.path("plain");
    fs::create_dir(&plain).unwrap();
    let ran = limited(Command::new("tar").arg("-C").arg(&plain).arg("-xf").arg(place.path("out.tar.zst")));
    ran.exits(0).says_nothing();
    let without_attributes = |mut tree: Tree| {
        tree.values_mut().for_each(|entry| entry.xattrs.clear());
        tree
    };
    same("plain", &without_attributes(restored), &without_attributes(look(&plain)));
}

#[test]
fn differential_comes_out_whole_and_a_part_comes_out_alone() {
    let place = Place::with_store();
    for dir in ["kept/deep", "gone"] {
        fs::create_dir_all(place.src().join(dir)).unwrap();
    }
    for file in ["kept/deep/a", "kept/b", "gone/c", "changed"] {
        fs::write(place.src().join(file), file).unwrap();
    }
    fs::hard_link(place.src().join("kept/b"), place.src().join("kept/deep/link")).unwrap();
    place.backup(&[]);
    fs::remove_dir_all(place.src().join("gone")).unwrap();
    fs::write(place.src().join("changed"), "changed again").unwrap();
    fs::write(place.src().join("new"), "new").unwrap();
    assert_eq!(place.backup(&[])["type"], "differential");
    place.run(["export", "src/latest", "-o", "whole.tar.zst"]).exits(0).says_nothing();
    unpack(&place.path("whole.tar.zst"), &place.path("whole"));
    same("differential", &look(&place.src()), &look(&place.path("whole")));

    place.run(["export", "src/latest:kept", "-o", "part.tgz"]).exits(0);
    unpack(&place.path("part.tgz"), &place.path("part"));
    same("directory", &look(&place.src().join("kept")), &look(&place.path("part")));
    place.run(["export", "src/latest:kept/deep/a", "-o", "file.tar"]).exits(0);
    unpack(&place.path("file.tar"), &place.path("file"));
    assert_eq!(fs::read(place.path("file/a")).unwrap(), b"kept/deep/a");
    place.run(["export", "src/latest:nothing", "-o", "none.tar"]).exits(1).says("the point has no nothing");
    assert!(!place.path("none.tar").exists());
}

#[test]
fn standard_output_carries_the_archive_alone() {
    let place = Place::with_store();
    fs::write(place.src().join("a"), "content").unwrap();
    place.backup(&[]);
    let mut export = place.command();
    let mut export =
        export.args(["export", "src/latest", "-o", "-"]).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    fs::create_dir(place.path("piped")).unwrap();
    let piped = export.stdout.take().unwrap();
    let tar = Command::new("tar").arg("-C").arg(place.path("piped")).arg("-xf-").stdin(piped).output().unwrap();
    assert!(tar.status.success() && export.wait().unwrap().success(), "{tar:?}");
    same("piped", &look(&place.src()), &look(&place.path("piped")));
}

#[test]
fn what_is_there_is_not_replaced_and_what_fails_leaves_nothing() {
    let place = Place::with_store();
    fs::write(place.src().join("a"), vec![7; 100_000]).unwrap();
    fs::write(place.src().join("b"), crate::support::points::noise(1, 100_000)).unwrap();
    place.backup(&[]);
    fs::write(place.path("out.tar"), "precious").unwrap();
    let export = |more: &[&str]| place.run([&["export", "src/latest", "-o", "out.tar"], more].concat());
    export(&[]).exits(1).says("out.tar: it is there already").says("hint: --force replaces it");
    assert_eq!(fs::read(place.path("out.tar")).unwrap(), b"precious");
    let json = export(&["--force", "--json"]).exits(0).json().remove(0);
    assert_eq!((json["entries"].as_u64(), json["bytes"].as_u64()), (Some(3), Some(200_000)));
    let mode = rustix::fs::stat(place.path("out.tar")).unwrap().st_mode & 0o777;
    assert_eq!(mode, 0o600, "it holds what the source kept from others");
    place.run(["export", "src/latest", "-o", "out"]).exits(2).says("says no format");

    // A damaged pack: no archive that would be taken for whole, and what was there stays.
    let pack = place.packs().remove(0);
    let mut bytes = fs::read(&pack).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&pack, bytes).unwrap();
    let whole = fs::read(place.path("out.tar")).unwrap();
    export(&["--force"]).exits(4).says("cannot read ");
    assert!(fs::read(place.path("out.tar")).unwrap() == whole);
    let beside = snapshot(&place.path("")).into_iter().filter(|(path, _)| path.to_string_lossy().contains(".dbakfs-"));
    assert_eq!(beside.count(), 0);
}

#[test]
fn sizes_owners_and_times_beyond_the_old_header_are_kept() {
    let place = Place::with_store();
    let huge = fs::File::create(place.src().join("huge")).unwrap();
    huge.set_len((9 << 30) + 1).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&huge, b"end", 9 << 30).unwrap();
    drop(huge);
    fs::write(place.src().join("owned"), "owned").unwrap();
    if awkward::is_root() {
        std::os::unix::fs::chown(place.src().join("owned"), Some(4_000_000_000), Some(3_000_000)).unwrap();
    }
    place.backup(&[]);
    place.run(["export", "src/latest", "-o", "out.tar.zst"]).exits(0);
    unpack(&place.path("out.tar.zst"), &place.path("out"));
    let (original, copy) = (place.src(), place.path("out"));
    let size = |root: &Path| fs::metadata(root.join("huge")).unwrap().len();
    assert_eq!(size(&original), size(&copy));
    let mut end = [0; 4];
    let read = std::os::unix::fs::FileExt::read_at(&fs::File::open(copy.join("huge")).unwrap(), &mut end, 9 << 30);
    assert_eq!((read.unwrap(), &end[..3]), (3, &b"end"[..]));
    for dir in [&original, &copy] {
        fs::remove_file(dir.join("huge")).unwrap();
    }
    let (mut original, mut copy) = (look(&original), look(&copy));
    original.remove(&b""[..]);
    copy.remove(&b""[..]);
    same("owned", &original, &copy);
}
