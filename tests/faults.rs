//! What the machine refuses: room, reads, descriptors, writing, a clock that goes on. A clear error, the right exit code, and earlier points untouched.

#![allow(clippy::unwrap_used, reason = "a helper that fails is a test that fails")]
#![allow(clippy::print_stderr, reason = "a test explains itself on standard error")]

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use support::awkward::is_root;
use support::cli::{Place, Ran};
use support::points::noise;
use support::process::limited;

/// Name and bytes of each file.
type Files = BTreeMap<String, Vec<u8>>;

/// A file system that is mounted for a test and goes with it.
struct Mounted(PathBuf);

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("timeout").args(["10", "umount", "-l"]).arg(&self.0).output();
    }
}

fn system(command: &str) -> bool {
    Command::new("sh").args(["-c", command]).status().unwrap().success()
}

/// A tmpfs of so many kilobytes; `None`, said loudly, for who may not mount.
fn tmpfs(at: &Path, kib: u32) -> Option<Mounted> {
    fs::create_dir_all(at).unwrap();
    if !is_root() {
        eprintln!("\n*** NOT TESTED: only root may mount a small file system ***\n");
        return None;
    }
    assert!(system(&format!("mount -t tmpfs -o size={kib}k none {}", at.display())));
    Some(Mounted(at.to_owned()))
}

fn resize(mounted: &Mounted, kib: u32) {
    assert!(system(&format!("mount -o remount,size={kib}k {}", mounted.0.display())));
}

fn write(place: &Place, files: &Files) {
    for (name, bytes) in files {
        fs::write(place.src().join(name), bytes).unwrap();
    }
}

fn files(seed: u64) -> Files {
    let of = |file: u64| (format!("file-{file}"), noise(seed * 100 + file, 60_000));
    (0..12).map(of).chain([("large".to_owned(), noise(seed * 100 + 50, 600_000))]).collect()
}

/// `dbakfs` with a store somewhere else.
fn run(place: &Place, store: &Path, args: &[&str]) -> Ran {
    limited(place.command().env("DBAKFS_STORE", store).args(args))
}

/// Restores a point, which must be exactly this.
#[track_caller]
fn is(place: &Place, store: &Path, point: &str, expected: &Files) {
    let into = place.path("restored");
    run(place, store, &["restore", point, into.to_str().unwrap()]).exits(0);
    let found: Files = fs::read_dir(&into)
        .unwrap()
        .map(|entry| entry.unwrap())
        .map(|entry| (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap()))
        .collect();
    assert!(found == *expected, "point {point} is another");
    fs::remove_dir_all(into).unwrap();
}

#[test]
fn a_full_disk_at_any_write_costs_the_backup_and_nothing_else() {
    let place = Place::new();
    let (before, after) = (files(1), files(2));
    let Some(disk) = tmpfs(&place.path("disk"), 32_768) else { return };
    let store = disk.0.join("store");
    write(&place, &before);
    run(&place, &store, &["init"]).exits(0);
    run(&place, &store, &["backup", "src"]).exits(0);
    write(&place, &after);
    let used = || {
        let df = Command::new("df").args(["--output=used", "-k"]).arg(&disk.0).output().unwrap();
        String::from_utf8(df.stdout).unwrap().lines().last().unwrap().trim().parse::<u32>().unwrap()
    };
    let (mut refused, mut room) = (0, 0);
    loop {
        resize(&disk, used() + room);
        let ran = run(&place, &store, &["backup", "src"]);
        if ran.code == 0 {
            break;
        }
        refused += 1;
        assert_eq!(ran.code, 1, "{room} KiB of room: {ran:#?}");
        assert!(ran.stderr.contains("No space left on device"), "{room} KiB of room: {ran:#?}");
        // On the full disk: everything can be read, and what is forgotten is said to be or not.
        run(&place, &store, &["verify", "--data"]).exits(0);
        assert_eq!(run(&place, &store, &["list", "--json"]).exits(0).json().len(), 1, "{room} KiB of room");
        if refused % 8 == 0 {
            is(&place, &store, "1", &before);
        }
        // What a broken backup has stored is there for the next; a prune gives it back.
        let ran = run(&place, &store, &["prune", "--grace", "0"]);
        assert!(ran.code == 0 || ran.stderr.contains("No space left"), "{room} KiB of room: {ran:#?}");
        room += if room < 200 { 12 } else { 70 };
        assert!(room < 20_000, "no backup ever fits");
    }
    assert!(refused > 20, "only {refused} levels were too small");
    is(&place, &store, "2", &after);
    is(&place, &store, "1", &before);
    // Forgetting and pruning make room on a disk that is full to the last block.
    let filler = disk.0.join("filler");
    let _ = system(&format!("dd if=/dev/zero of={} bs=4k 2>/dev/null", filler.display()));
    run(&place, &store, &["forget", "2"]).exits(0).says("the index was removed to make room");
    let _ = system(&format!("dd if=/dev/zero of={} bs=4k oflag=append conv=notrunc 2>/dev/null", filler.display()));
    let before_prune = used();
    run(&place, &store, &["prune", "--grace", "0", "--repack-below", "0"]).exits(0);
    assert!(used() + 1_000 < before_prune, "a prune on a full disk gave nothing back");
    is(&place, &store, "1", &before);
    fs::remove_file(&filler).unwrap();
    run(&place, &store, &["backup", "src"]).exits(0);
    is(&place, &store, "3", &after);
    run(&place, &store, &["verify", "--data"]).exits(0);
    eprintln!("{refused} sizes of the disk were too small");
}

#[test]
fn a_store_that_cannot_be_written_is_read_and_nothing_else() {
    let place = Place::new();
    let content = files(1);
    let Some(disk) = tmpfs(&place.path("disk"), 32_768) else { return };
    let store = disk.0.join("store");
    write(&place, &content);
    run(&place, &store, &["init"]).exits(0);
    run(&place, &store, &["backup", "src"]).exits(0);
    assert!(system(&format!("mount -o remount,ro {}", disk.0.display())));
    for args in [&["list"][..], &["ls", "1"], &["diff", "1", "1"], &["verify", "--data"]] {
        run(&place, &store, args).exits(0);
    }
    is(&place, &store, "1", &content);
    for args in [&["backup", "src"][..], &["forget", "1"], &["prune"], &["repair"], &["rebuild-index"]] {
        run(&place, &store, args).exits(1).says("Read-only file system");
    }
    if Path::new("/dev/fuse").exists() {
        let mnt = place.mnt();
        run(&place, &store, &["mount", mnt.to_str().unwrap()]).exits(0);
        assert!(fs::read(mnt.join("src/latest/large")).unwrap() == content["large"]);
        limited(place.command().arg("umount").arg(&mnt)).exits(0);
    } else {
        eprintln!("\n*** NOT TESTED: /dev/fuse is missing on this machine, so nothing was mounted ***\n");
    }
}

#[test]
fn too_few_descriptors_are_said_and_cost_nothing() {
    let place = Place::with_store();
    let content = files(1);
    write(&place, &content);
    place.backup(&[]);
    let mut failed = 0;
    for limit in (5..40).step_by(3) {
        for args in [&["backup", "src", "--force"][..], &["restore", "1", "dest"], &["verify", "--data"], &["prune"]] {
            let mut command = Command::new("prlimit");
            command.arg(format!("--nofile={limit}")).arg(env!("CARGO_BIN_EXE_dbakfs")).args(args);
            command.env("DBAKFS_STORE", place.store()).env("STATE_DIRECTORY", place.path("state"));
            command.current_dir(place.path(""));
            let ran = limited(&mut command);
            if ran.code != 0 {
                failed += 1;
                assert!(matches!(ran.code, 1 | 3 | 4 | 127), "{limit}, {args:?}: {ran:#?}");
                assert!(
                    ran.stderr.contains("Too many open files") || ran.stderr.contains("error while loading"),
                    "{limit}, {args:?}: {ran:#?}"
                );
                assert!(!ran.stderr.contains("panicked"), "{limit}, {args:?}: {ran:#?}");
            }
            let _ = fs::remove_dir_all(place.path("dest"));
        }
    }
    assert!(failed > 4, "no limit was too low: {failed}");
    place.run(["verify", "--data"]).exits(0);
    is(&place, &place.store(), "1", &content);
    write(&place, &files(2));
    place.backup(&[]);
    is(&place, &place.store(), "src/latest", &files(2));
}

#[test]
fn a_disk_that_cannot_be_read_is_an_error_and_never_other_bytes() {
    let place = Place::new();
    if !is_root() || !Path::new("/dev/loop-control").exists() {
        eprintln!("\n*** NOT TESTED: a disk with unreadable sectors takes root and loop devices ***\n");
        return;
    }
    let (image, at) = (place.path("disk.img"), place.path("disk"));
    fs::create_dir(&at).unwrap();
    let content: Files = (0..30).map(|file| (format!("file-{file:02}"), noise(file, 1_000_000))).collect();
    // Two packs, the first of them small: it may lie where all can be read.
    write(&place, &content.clone().into_iter().take(6).collect());
    let (shown, image_shown) = (at.display(), image.display());
    assert!(
        system(&format!("truncate -s 96M {image_shown} && mkfs.ext4 -q -F {image_shown}")),
        "mkfs.ext4 (package e2fsprogs)"
    );
    if !system(&format!("mount -o loop {image_shown} {shown}")) {
        eprintln!("\n*** NOT TESTED: this machine mounts no loop devices ***\n");
        return;
    }
    let disk = Mounted(at.clone());
    let store = at.join("store");
    run(&place, &store, &["init"]).exits(0);
    run(&place, &store, &["backup", "src"]).exits(0);
    write(&place, &content);
    run(&place, &store, &["backup", "src"]).exits(0);
    assert!(system(&format!("umount {shown} && mount -o loop {image_shown} {shown}")));
    // Beyond the new end of its file the device has sectors that cannot be read.
    fs::File::options().write(true).open(&image).unwrap().set_len(40 << 20).unwrap();
    let into = place.path("restored");
    let ran = run(&place, &store, &["restore", "2", into.to_str().unwrap()]);
    assert!(matches!(ran.code, 1 | 4), "{ran:#?}");
    assert!(ran.stderr.contains("Input/output error") || ran.stderr.contains("os error 5"), "{ran:#?}");
    let mut whole = 0;
    for entry in fs::read_dir(&into).into_iter().flatten() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        assert!(fs::read(entry.path()).unwrap() == content[&name], "{name} has other bytes");
        whole += 1;
    }
    assert!(whole < content.len(), "the whole disk could be read");
    let ran = run(&place, &store, &["verify", "--data"]);
    assert_eq!(ran.code, 4, "{ran:#?}");
    eprintln!("{whole} of {} files could be read", content.len());
    drop(disk);
}

#[test]
fn a_source_that_cannot_be_read_is_named_and_neither_deleted_nor_unchanged() {
    let place = Place::with_store();
    let content = files(1);
    write(&place, &content);
    place.backup(&["--name", "origin"]);
    let Some(mount) = place.mount(&[]) else { return };
    // A mount of a store whose pack is damaged is a file system with files that give EIO.
    let before = place.mnt().join("origin/latest/.");
    let before = before.to_str().unwrap();
    let second = place.path("second");
    run(&place, &second, &["init"]).exits(0);
    run(&place, &second, &["backup", before, "--name", "copy"]).exits(0);
    mount.end();
    let pack = place.packs().remove(0);
    let mut bytes = fs::read(&pack).unwrap();
    let wanted = &content["file-7"][1_000..1_064];
    let at = bytes.windows(64).position(|window| window == wanted).expect("noise is stored as it is");
    bytes[at] ^= 1;
    fs::set_permissions(&pack, fs::Permissions::from_mode(0o600)).unwrap();
    fs::write(&pack, bytes).unwrap();
    let mount = place.mount(&[]).unwrap();
    let ran = run(&place, &second, &["backup", before, "--name", "copy", "--full", "--force", "--checksum", "--json"])
        .exits(3);
    assert!(ran.stderr.contains("file-7") && ran.stderr.contains("Input/output error"), "{ran:#?}");
    mount.end();
    // The version that there was is carried.
    is(&place, &second, "1", &content);
    let into = place.path("restored");
    run(&place, &second, &["restore", "2", into.to_str().unwrap()]);
    assert!(fs::read(into.join("file-7")).unwrap() == content["file-7"]);
}

/// Moves the clock that a program sees by so many seconds.
const CLOCK: &str = r#"
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <time.h>
int clock_gettime(clockid_t id, struct timespec *t) {
    static int (*real)(clockid_t, struct timespec *);
    if (!real) real = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    int answer = real(id, t);
    const char *by = getenv("CLOCK_BY");
    if (id == CLOCK_REALTIME && by) t->tv_sec += atol(by);
    return answer;
}
"#;

#[test]
fn a_clock_that_jumps_back_leaves_points_in_order_and_is_said() {
    let place = Place::with_store();
    let (source, library) = (place.path("clock.c"), place.path("clock.so"));
    fs::write(&source, CLOCK).unwrap();
    let built = Command::new("cc").args(["-shared", "-fPIC", "-o"]).arg(&library).arg(&source).arg("-ldl").status();
    if !built.is_ok_and(|status| status.success()) {
        eprintln!("\n*** NOT TESTED: there is no C compiler (cc), so the clock could not be moved ***\n");
        return;
    }
    let at = |by: &str, args: &[&str]| {
        limited(place.command().env("LD_PRELOAD", &library).env("CLOCK_BY", by).args(args)).exits(0)
    };
    let mut expected = Vec::new();
    for (number, by) in ["0", "-86400", "-31536000", "100000", "0"].into_iter().enumerate() {
        let content = files(number as u64);
        write(&place, &content);
        let ran = at(by, &["backup", "src", "--json"]);
        if by.starts_with('-') {
            assert!(ran.stderr.contains("clock"), "{ran:#?}");
        }
        expected.push(content);
    }
    let points = place.points();
    let times: Vec<&str> = points.iter().map(|point| point["time"].as_str().unwrap()).collect();
    assert!(times.is_sorted_by(|one, next| one < next), "{times:?}");
    for (number, content) in expected.iter().enumerate() {
        is(&place, &place.store(), &(number + 1).to_string(), content);
    }
    // What was forgotten in what is now the future is not removed by a clock that stands before it.
    at("1000000", &["forget", "5"]);
    at("0", &["prune", "--grace", "0"]);
    assert_eq!(place.run(["list", "--forgotten", "--json"]).exits(0).json().len(), 1);
}
