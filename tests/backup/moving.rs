//! A source that does not hold still.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::{FileExt, symlink};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::support::cli::Place;
use crate::support::points::{count, noise};

/// Does `work` again and again on another thread while `meanwhile` runs.
fn during<T>(mut work: impl FnMut(u64) + Send, meanwhile: impl FnOnce() -> T) -> T {
    struct Stop<'a>(&'a AtomicBool);
    impl Drop for Stop<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }
    let is_done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| (0..).take_while(|_| !is_done.load(Ordering::Relaxed)).for_each(&mut work));
        let _stop = Stop(&is_done);
        meanwhile()
    })
}

#[test]
fn a_file_that_changes_while_it_is_read_is_reported_and_kept() {
    let place = Place::with_store();
    let log = place.src().join("log");
    fs::write(&log, noise(1, 20_000_000)).unwrap();
    fs::write(place.src().join("still"), "still").unwrap();
    let mut file = File::options().append(true).open(&log).unwrap();
    let ran = during(|_| file.write_all(b"one more line\n").unwrap(), || place.try_backup(&[]));
    let done = ran.exits(0).says("src/log changed each time it was read").json().remove(0);
    assert_eq!((done["outcome"].as_str(), count(&done, "torn"), count(&done, "files")), (Some("made"), 1, 2));
    assert_eq!(place.points()[0]["torn"], 1);

    // What was appended to is kept as it was at some moment; the next backup reads it again and is content.
    if let Some(mount) = place.mount(&[]) {
        let kept = fs::read(place.shown("latest/log")).unwrap();
        assert!(kept.len() >= 20_000_000 && fs::read(&log).unwrap().starts_with(&kept));
        mount.end();
    }
    let next = place.try_backup(&[]).exits(0);
    assert_eq!((next.stderr.as_str(), count(&next.json()[0], "torn")), ("", 0));
    assert!(count(&next.json()[0], "read_bytes") > 20_000_000);
}

#[test]
fn a_file_that_is_rewritten_truncated_and_replaced_all_the_time_never_fails_the_backup() {
    let place = Place::with_store();
    let src = place.src();
    for name in ["rewritten", "cut", "replaced"] {
        fs::write(src.join(name), noise(1, 2_000_000)).unwrap();
    }
    let rewritten = File::options().write(true).open(src.join("rewritten")).unwrap();
    let cut = File::options().write(true).open(src.join("cut")).unwrap();
    let work = |round: u64| {
        rewritten.write_all_at(&noise(round, 4_096), round % 400 * 4_096).unwrap();
        cut.set_len(round * 7_919 % 2_000_000).unwrap();
        fs::write(src.join("aside"), noise(round, 1_000)).unwrap();
        fs::rename(src.join("aside"), src.join("replaced")).unwrap();
    };
    let codes: Vec<i32> = during(work, || (0..6).map(|_| place.try_backup(&[]).code).collect());
    // What is replaced each time it is opened may be called unread, nothing worse.
    assert!(codes.iter().all(|code| matches!(code, 0 | 3)), "{codes:?}");
    let done = place.backup(&[]);
    assert_eq!(count(&done, "unread") + count(&done, "torn"), 0);
    let Some(mount) = place.mount(&[]) else { return };
    for name in ["rewritten", "cut", "replaced"] {
        assert!(fs::read(place.shown("latest").join(name)).unwrap() == fs::read(src.join(name)).unwrap(), "{name}");
    }
    mount.end();
}

/// Makes, replaces and removes entries of every kind.
fn churn(src: &Path, round: u64) {
    let dir = src.join(format!("dir {}", round % 7));
    let _ = fs::create_dir_all(dir.join("sub/deep"));
    for number in 0..10 {
        let _ = fs::write(dir.join(format!("sub/{number}")), noise(round + number, 5_000));
        let _ = fs::write(dir.join(format!("sub/deep/{number}")), "deep");
    }
    let _ = symlink("x", dir.join("link"));
    let _ = fs::hard_link(dir.join("sub/1"), dir.join("linked"));
    let _ = fs::rename(dir.join("sub"), src.join(format!("moved {}", round % 3)));
    let _ = fs::remove_dir_all(src.join(format!("moved {}", (round + 1) % 3)));
    let _ = fs::remove_dir_all(src.join(format!("dir {}", (round + 3) % 7)));
    let swapped = src.join("swapped");
    if round.is_multiple_of(2) {
        let _ = fs::remove_dir_all(&swapped);
        let _ = fs::write(&swapped, "a file");
    } else {
        let _ = fs::remove_file(&swapped);
        let _ = fs::create_dir_all(swapped.join("a/b/c"));
    }
}

#[test]
fn what_is_removed_while_the_backup_runs_is_simply_not_there() {
    let place = Place::with_store();
    let src = place.src();
    for number in 0..300 {
        fs::create_dir(src.join(format!("kept {number}"))).unwrap();
        fs::write(src.join(format!("kept {number}/file")), noise(number, 2_000)).unwrap();
    }
    let runs = during(
        |round| churn(&src, round),
        || -> Vec<_> {
            (0..12).map(|number| place.try_backup(if number % 5 == 4 { &["--full"] } else { &[] })).collect()
        },
    );
    for ran in runs {
        assert!(matches!(ran.code, 0 | 3), "{ran:#?}");
        let done = &ran.json()[0];
        assert!(count(done, "files") >= 300, "{done}");
    }
    let done = place.backup(&["--force"]);
    assert_eq!(count(&done, "unread"), 0, "{done}");
    let Some(mount) = place.mount(&[]) else { return };
    let (now, shown) = (crate::support::tree::look(&src), crate::support::tree::look(&place.shown("latest")));
    crate::support::points::same("after the churn", &now, &shown);
    // Every point that was made meanwhile can be read to its last byte, but for what is said not to be.
    for point in place.points().iter().filter(|point| point["complete"] == true) {
        let tree = crate::support::tree::look(&place.mnt().join(point["point"].as_str().unwrap()));
        assert!(tree.len() > 600, "{point}");
    }
    mount.end();
}
