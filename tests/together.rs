//! Everything at the same time: readers of a mount, backups, prunes and verifications, and no error, no wrong byte, no growth.
//!
//! `DBAKFS_TOGETHER_SECS` sets for how long.

#![allow(clippy::unwrap_used, reason = "a helper that fails is a test that fails")]
#![allow(clippy::print_stderr, reason = "a test explains itself on standard error")]

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use support::cli::{Place, Ran, wait_for};
use support::points::noise;
use support::process::{limited, server_of};

/// Files of each version of the source; a version says of each file which bytes it holds.
const FILES: u64 = 40;

fn content(version: u64, file: u64) -> Vec<u8> {
    // A fifth of the files changes with each version.
    let since = (0..=version).rev().find(|version| *version == 0 || (version * 7 + file).is_multiple_of(5)).unwrap();
    noise(since * 1_000 + file, if file.is_multiple_of(10) { 300_000 } else { 20_000 })
}

fn write(place: &Place, version: u64) {
    for file in 0..FILES {
        let path = place.src().join(format!("{file:02}"));
        let bytes = content(version, file);
        if fs::read(&path).ok().as_deref() != Some(&bytes) {
            fs::write(path, bytes).unwrap();
        }
    }
    fs::write(place.src().join("version"), version.to_string()).unwrap();
}

/// Kilobytes that the process holds, and its descriptors.
fn size(pid: i32) -> (u64, usize) {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS")).unwrap();
    let rss = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    (rss, fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count())
}

/// One read at random of a point that is listed; a point may be forgotten meanwhile, and only then may a name be gone.
fn read_one(mnt: &Path, dice: &mut u64, points: &Mutex<BTreeMap<String, u64>>) -> u64 {
    let mut roll = |bound: usize| {
        *dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(*dice >> 33).unwrap() % bound
    };
    let (point, version) = {
        let points = points.lock().unwrap();
        let Some((point, version)) = points.iter().nth(roll(points.len().max(1))) else { return 0 };
        (point.clone(), *version)
    };
    let file = roll(usize::try_from(FILES).unwrap()) as u64;
    let expected = content(version, file);
    let opened = fs::File::open(mnt.join(&point).join(format!("{file:02}")));
    let offset = roll(expected.len());
    let mut bytes = vec![0; (expected.len() - offset).min(1 + roll(100_000))];
    match opened.and_then(|open| open.read_exact_at(&mut bytes, offset as u64)) {
        Ok(()) => {
            assert!(bytes == expected[offset..offset + bytes.len()], "{point}, file {file}: wrong bytes at {offset}");
            bytes.len() as u64
        }
        Err(error) => {
            let is_forgotten = !points.lock().unwrap().contains_key(&point);
            assert!(is_forgotten && error.kind() == std::io::ErrorKind::NotFound, "{point}, file {file}: {error}");
            0
        }
    }
}

#[test]
fn all_at_once_is_no_error_no_wrong_byte_and_no_growth() {
    let time = Duration::from_secs(std::env::var("DBAKFS_TOGETHER_SECS").map_or(25, |secs| secs.parse().unwrap()));
    let place = Place::with_store();
    write(&place, 0);
    let first = place.backup(&[])["point"].as_str().unwrap().to_owned();
    let Some(mount) = place.mount(&["--cache", "16"]) else { return };
    let points = Mutex::new(BTreeMap::from([(first, 0_u64)]));
    let is_over = AtomicBool::new(false);
    let (read, backups, prunes, verifications) =
        (AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0));
    let begun = Instant::now();
    let mut sizes = Vec::new();
    std::thread::scope(|scope| {
        let readers = (0..3_u64).map(|seed| {
            let (points, is_over, read, mnt) = (&points, &is_over, &read, place.mnt());
            scope.spawn(move || {
                let mut dice = seed;
                while !is_over.load(Ordering::Relaxed) {
                    read.fetch_add(read_one(&mnt, &mut dice, points), Ordering::Relaxed);
                }
            })
        });
        let mut workers: Vec<_> = readers.collect();
        // A reader that is a process of its own, and lists.
        workers.push(scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                let ran = limited(Command::new("ls").arg("-lR").arg(place.mnt().join("src/latest/.")));
                assert!(ran.code == 0 || ran.stderr.contains("No such file"), "{ran:#?}");
                std::thread::sleep(Duration::from_millis(50));
            }
        }));
        workers.push(scope.spawn(|| {
            let mut version = 0;
            while !is_over.load(Ordering::Relaxed) {
                version += 1;
                write(&place, version);
                let mode: &[&str] = if version % 7 == 0 { &["--full", "--wait"] } else { &["--wait"] };
                let done = place.backup(mode);
                let point = done["point"].as_str().unwrap().to_owned();
                // It is shown within a second.
                let shown = Instant::now();
                while !place.mnt().join(&point).exists() {
                    assert!(shown.elapsed() < Duration::from_secs(5), "{point} is not shown");
                    std::thread::sleep(Duration::from_millis(5));
                }
                points.lock().unwrap().insert(point, version);
                backups.fetch_add(1, Ordering::Relaxed);
            }
        }));
        workers.push(scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                std::thread::sleep(Duration::from_millis(300));
                let listed = place.points();
                if listed.len() < 6 {
                    continue;
                }
                let text = |point: &serde_json::Value| point["point"].as_str().unwrap().to_owned();
                let newest_full = listed.iter().rfind(|point| point["type"] == "full").unwrap();
                let of_oldest = |point: &&serde_json::Value| point["series"] == listed[0]["series"];
                // The series that no backup builds on any more, or else its oldest differential.
                let going: Vec<String> = match newest_full["number"] == listed[0]["number"] {
                    true => vec![text(&listed[1])],
                    false => listed.iter().filter(of_oldest).map(text).collect(),
                };
                // Readers are told first, so that they know why a name is gone.
                points.lock().unwrap().retain(|point, _| !going.contains(point));
                let mut args = vec!["forget".to_owned(), "--wait".to_owned()];
                args.extend(going);
                place.run(args).exits(0);
                place.run(["prune", "--grace", "0", "--repack-below", "100", "--wait"]).exits(0);
                prunes.fetch_add(1, Ordering::Relaxed);
            }
        }));
        workers.push(scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                let ran = place.run(["verify", "--data"]);
                assert_eq!(ran.code, 0, "{ran:#?}");
                verifications.fetch_add(1, Ordering::Relaxed);
            }
        }));
        let server = server_of(&place.mnt()).unwrap();
        while begun.elapsed() < time && workers.iter().all(|worker| !worker.is_finished()) {
            sizes.push(size(server));
            std::thread::sleep(Duration::from_millis(250));
        }
        is_over.store(true, Ordering::Relaxed);
    });
    mount.end();
    let counts = [&read, &backups, &prunes, &verifications].map(|count| count.load(Ordering::Relaxed));
    let quarter = sizes.len() / 4;
    let most = |sizes: &[(u64, usize)]| {
        (sizes.iter().map(|size| size.0).max().unwrap(), sizes.iter().map(|size| size.1).max().unwrap())
    };
    let (early, late) = (most(&sizes[quarter..2 * quarter]), most(&sizes[3 * quarter..]));
    eprintln!(
        "{:?}: {} bytes read and compared, {} backups, {} prunes, {} verifications; the server held {early:?} early (kB, descriptors), {late:?} late",
        begun.elapsed(),
        counts[0],
        counts[1],
        counts[2],
        counts[3]
    );
    assert!(counts.iter().all(|count| *count > 1), "{counts:?}");
    assert!(late.0 < early.0 + early.0 / 4 + 4_096, "the server's memory grows: {early:?}, {late:?}");
    assert!(late.1 <= early.1 + 16, "the server's descriptors grow: {early:?}, {late:?}");
}

#[test]
fn of_two_backups_at_once_the_second_waits_or_is_told() {
    let place = Place::with_store();
    fs::write(place.src().join("file"), noise(1, 100_000)).unwrap();
    // One that lasts as long as its input, which this test holds.
    let mut first = place.command();
    first.args(["backup", "--stdin", "stream", "--name", "stream"]).stdin(Stdio::piped());
    let mut first = first.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    // It holds the lock from the moment on when its note says who it is.
    let lock = place.store().join("writer.lock");
    wait_for(Duration::from_secs(20), "the first backup to hold the lock", || {
        fs::read(&lock).is_ok_and(|note| !note.is_empty())
    });
    place.run(["backup", "src"]).exits(11).says("another writer is busy");
    place.run(["prune"]).exits(11);
    place.run(["forget", "1"]).exits(11);
    let mut second = place.command();
    second.args(["backup", "src", "--wait", "--json"]).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut second = second.spawn().unwrap();
    let mut said = String::new();
    BufReader::new(second.stderr.as_mut().unwrap()).read_line(&mut said).unwrap();
    assert!(said.starts_with("note: waiting: another writer is busy"), "{said}");
    drop(first.stdin.take());
    assert_eq!(first.wait().unwrap().code(), Some(0));
    let ran = Ran::of(second.wait_with_output().unwrap()).exits(0);
    assert_eq!(ran.json()[0]["number"], 2);
}
