//! A restore is rehearsed: what is right passes, what is wrong fails, what could not be tried does neither, and nothing is left behind.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use dbakfs::repository::runs::{CheckEnd, CheckKind};
use rustix::process::Signal;

use super::shelf::{file_of, filled, flip, kept, packs};
use super::support::awkward;
use super::support::cli::{Place, Ran, wait_for};
use super::support::points::noise;
use super::support::process::{limited, signal};

/// Rehearses with a scratch directory of the test's own, in which nothing may be left.
#[track_caller]
fn rehearse(place: &Place, args: &[&str]) -> Ran {
    let scratch = place.path("scratch");
    fs::create_dir_all(&scratch).unwrap();
    let ran = limited(place.command().env("TMPDIR", &scratch).args(["rehearse", "--json"]).args(args));
    assert_eq!(fs::read_dir(&scratch).unwrap().count(), 0, "the scratch directory is left: {ran:#?}");
    ran
}

#[track_caller]
fn findings(ran: &Ran) -> String {
    let findings = ran.json()[0]["check"]["findings"].clone();
    findings.as_array().unwrap().iter().map(|line| line.as_str().unwrap().to_owned() + "\n").collect()
}

#[test]
fn rehearsal_restores_a_sample_compares_it_and_keeps_the_time_of_a_full_restore() {
    let place = filled(600);
    Place::settle();
    place.backup(&[]);
    let ran = rehearse(&place, &["src"]).exits(0);
    let said = &ran.json()[0];
    let entries = said["entries"].as_u64().unwrap();
    assert!((100..600).contains(&entries), "a sample, and not all: {said}");
    assert!(said["compared_with_source"].as_u64().unwrap() > 90, "{said}");
    let full_restore_secs = said["check"]["full_restore_secs"].as_f64().unwrap();
    assert!(full_restore_secs > 0.0 && full_restore_secs < 600.0, "{said}");
    let checks = kept(&place);
    let check = checks.last().unwrap();
    assert_eq!((check.kind, check.end), (CheckKind::Rehearsal, CheckEnd::Pass));
    assert!((check.full_restore_secs.unwrap() - full_restore_secs).abs() < 1e-6);

    // The seed that was printed draws the same sample.
    let seed = said["seed"].to_string();
    let again = rehearse(&place, &["1", "--seed", &seed]).exits(0);
    let same = |key: &str| assert_eq!(again.json()[0][key], said[key], "{key}");
    ["seed", "entries", "compared_with_source", "point"].into_iter().for_each(same);
    assert_eq!(again.json()[0]["check"]["bytes"], said["check"]["bytes"]);

    let ran = limited(place.command().args(["rehearse", "src/latest", "--percent", "100", "--seed", "5"])).exits(0);
    assert!(
        ran.stdout.contains("rehearsal: PASS: 602 entries restored") && ran.stdout.contains("seed 5; all of it"),
        "{ran:?}"
    );
    assert_eq!(ran.stderr, "");
}

#[test]
fn everything_that_a_backup_keeps_is_found_again() {
    let place = Place::with_store();
    awkward::make(&place.src());
    Place::settle();
    place.backup(&[]);
    fs::write(place.src().join("crowd/17"), "another").unwrap();
    place.backup(&[]);
    for point in ["1", "2"] {
        let ran = rehearse(&place, &[point, "--percent", "100"]).exits(0);
        assert_eq!((findings(&ran), ran.stderr.as_str()), (String::new(), ""));
        assert!(ran.json()[0]["entries"].as_u64().unwrap() > 3_000);
    }
}

#[test]
fn files_that_have_changed_since_are_not_held_against_the_point() {
    let place = filled(10);
    Place::settle();
    place.backup(&[]);
    for number in 0..10 {
        let dir = ["", "deep", "deep/er"][number % 3];
        fs::write(place.src().join(dir).join(format!("small-{number}")), "changed").unwrap();
    }
    let ran = rehearse(&place, &["src", "--percent", "100"]).exits(0);
    assert_eq!(ran.json()[0]["compared_with_source"], 2, "the large file and the tiny one: {ran:?}");
    fs::rename(place.src(), place.path("gone")).unwrap();
    let ran = rehearse(&place, &["src"]).exits(0);
    assert_eq!(ran.json()[0]["compared_with_source"], 0);
}

#[test]
fn damage_in_a_pack_fails_and_names_the_file() {
    let place = filled(10);
    place.backup(&[]);
    let pack = packs(&place)[0];
    flip(&file_of(&place, &pack), usize::try_from(pack.file_len / 2).unwrap());
    let ran = rehearse(&place, &["src", "--percent", "100"]).exits(4).says("error: check of src/");
    // Which files lie in the middle is a matter of which thread was quicker.
    let said = findings(&ran);
    assert!(
        said.lines().all(|line| line.contains(": it cannot be restored: pack ") || line.starts_with("and ")),
        "{said}"
    );
    let check = kept(&place).pop().unwrap();
    assert_eq!((check.kind, check.end, check.full_restore_secs), (CheckKind::Rehearsal, CheckEnd::Fail, None));
}

#[test]
fn a_file_that_differs_from_the_source_although_its_stat_says_no_fails() {
    // A file system in memory does not note the time of a write through a mapping.
    let Ok(memory) = tempfile::tempdir_in("/dev/shm") else {
        eprintln!("\n*** NOT TESTED: there is no /dev/shm ***\n");
        return;
    };
    let place = Place::with_store();
    let source = memory.path().join("src");
    fs::create_dir(&source).unwrap();
    fs::write(source.join("table"), noise(1, 100_000)).unwrap();
    Place::settle();
    place.run(["backup", source.to_str().unwrap(), "--name", "src"]).exits(0);
    let before = fs::metadata(source.join("table")).unwrap();
    let script = "import mmap,sys; f=open(sys.argv[1],'r+b'); m=mmap.mmap(f.fileno(),0); m[77777]^=1; m.flush()";
    let is_written = Command::new("python3").args(["-c", script]).arg(source.join("table")).status();
    let after = fs::metadata(source.join("table")).unwrap();
    use std::os::unix::fs::MetadataExt;
    let times = |stat: &fs::Metadata| (stat.mtime(), stat.mtime_nsec(), stat.ctime(), stat.ctime_nsec());
    if !is_written.is_ok_and(|status| status.success()) || times(&before) != times(&after) {
        eprintln!("\n*** NOT TESTED: no python3, or a /dev/shm that notes what is written through a mapping ***\n");
        return;
    }
    let ran = rehearse(&place, &["src"]).exits(4);
    assert!(findings(&ran).contains("table: byte 77777 is not that of the source"), "{ran:?}");
}

#[test]
fn what_cannot_be_tried_is_no_pass_and_no_fail() {
    let place = filled(10);
    place.backup(&[]);
    let not_run = |ran: Ran, why: &str| {
        let ran = ran.exits(1);
        assert_eq!(ran.json()[0]["check"]["end"], "notrun", "{ran:?}");
        assert!(findings(&ran).contains("it could not be rehearsed: ") && findings(&ran).contains(why), "{ran:?}");
        let check = kept(&place).pop().unwrap();
        assert_eq!((check.end, check.full_restore_secs), (CheckEnd::NotRun, None));
    };
    not_run(rehearse(&place, &["src", "--scratch", "not-there"]), "cannot make a directory in not-there");
    not_run(rehearse(&place, &["src", "--scratch", "store"]), "lies inside the store");
    assert!(place.temporaries().is_empty(), "nothing is left in the store");
    place.run(["rehearse", "nobody"]).exits(2);
    place.run(["rehearse", "src/latest:deep"]).exits(2).says("leave the path out");
    place.run(["rehearse", "src", "--percent", "101"]).exits(2);
}

#[test]
fn a_run_shows_its_verdicts_and_one_that_could_not_be_had_is_exit_code_3() {
    let place = filled(10);
    let config = place.path("config.toml");
    fs::write(&config, format!("[sources.src]\npath = {:?}\nrehearse = 'daily'\n", place.src())).unwrap();
    let run = |scratch: &Path| {
        let mut command = place.command();
        limited(command.env("TMPDIR", scratch).env("DBAKFS_CONFIG", &config).args(["run", "src", "--force"]))
    };
    let not_there = run(&place.path("not-there")).exits(3).prints("; check: PASS; rehearsal: NOT RUN\n");
    let not_there = not_there.says("warning: a check could not be made: it could not be rehearsed: ");
    assert!(!not_there.stdout.contains("damaged: "), "{not_there:#?}");
    fs::create_dir(place.path("scratch")).unwrap();
    run(&place.path("scratch")).exits(0).prints("; check: PASS; rehearsal: PASS\n");
    let ran = run(&place.path("scratch")).exits(0);
    assert!(ran.stdout.ends_with("; check: PASS\n"), "one a day is enough: {ran:#?}");
}

/// A mounted file system that goes with the value.
struct Mounted<'a>(&'a Path);

impl Drop for Mounted<'_> {
    fn drop(&mut self) {
        let _ = Command::new("timeout").args(["10", "umount", "-l"]).arg(self.0).output();
    }
}

#[test]
fn a_full_scratch_disk_is_no_pass_and_nothing_is_left_on_it() {
    if !awkward::is_root() {
        eprintln!("\n*** NOT TESTED: only root may mount a small file system ***\n");
        return;
    }
    let place = filled(10);
    place.backup(&[]);
    let small = place.path("small");
    fs::create_dir(&small).unwrap();
    let mount = Command::new("mount").args(["-t", "tmpfs", "-o", "size=32k", "none"]).arg(&small).status();
    assert!(mount.unwrap().success());
    let _mounted = Mounted(&small);
    let ran = rehearse(&place, &["src", "--files", "8", "--scratch", "small"]).exits(1);
    assert!(findings(&ran).contains("No space left on device"), "{ran:?}");
    assert_eq!(fs::read_dir(&small).unwrap().count(), 0);
}

#[test]
fn a_rehearsal_that_is_told_to_stop_leaves_nothing_behind() {
    let place = filled(10);
    for number in 0..8 {
        fs::write(place.src().join(format!("image-{number}")), noise(number, 12 << 20)).unwrap();
    }
    place.backup(&["--verify", "off"]);
    let scratch = place.path("scratch");
    fs::create_dir(&scratch).unwrap();
    let mut command = place.command();
    command.env("TMPDIR", &scratch).args(["rehearse", "src", "--percent", "100"]).stderr(Stdio::piped());
    let child = command.stdout(Stdio::null()).spawn().unwrap();
    let pid = i32::try_from(child.id()).unwrap();
    wait_for(Duration::from_secs(20), "the scratch directory", || fs::read_dir(&scratch).unwrap().count() > 0);
    // Held still, so that it has the signal before it goes on.
    signal(pid, Signal::STOP);
    signal(pid, Signal::TERM);
    signal(pid, Signal::CONT);
    let ran = Ran::of(child.wait_with_output().unwrap());
    assert_eq!(fs::read_dir(&scratch).unwrap().count(), 0, "{ran:#?}");
    ran.exits(1).says("it was stopped");
    assert_eq!(kept(&place).pop().unwrap().end, CheckEnd::NotRun);
}

#[test]
fn ordinary_user_rehearses_all_but_what_only_root_may_give() {
    const NOBODY: u32 = 65_534;
    if !awkward::is_root() {
        return;
    }
    let place = Place::with_store();
    for (name, mode) in [("plain", 0o644), ("setuid", 0o4755), ("closed", 0o000)] {
        fs::write(place.src().join(name), noise(1, 5_000)).unwrap();
        fs::set_permissions(place.src().join(name), PermissionsExt::from_mode(mode)).unwrap();
    }
    place.backup(&[]);
    let copy = place.path("dbakfs");
    fs::copy(env!("CARGO_BIN_EXE_dbakfs"), &copy).unwrap();
    fs::set_permissions(place.path(""), PermissionsExt::from_mode(0o755)).unwrap();
    fs::create_dir(place.path("scratch")).unwrap();
    chown(place.path("scratch"), Some(NOBODY), Some(NOBODY)).unwrap();
    assert!(Command::new("chown").args(["-R", "65534"]).arg(place.store()).status().unwrap().success());
    let run = || {
        use std::os::unix::process::CommandExt;
        let mut command = Command::new(&copy);
        command.uid(NOBODY).gid(NOBODY).current_dir(place.path("scratch")).env("TMPDIR", place.path("scratch"));
        command.env("DBAKFS_STORE", place.store()).env("DBAKFS_CONFIG", "/dev/null").env("HOME", place.path("home"));
        limited(command.args(["rehearse", "src", "--percent", "100", "--json"]))
    };
    let ran = run().exits(0);
    assert!(ran.stderr.contains("note: owners are not judged") && ran.stderr.contains("keep this user out"), "{ran:?}");
    assert_eq!(fs::read_dir(place.path("scratch")).unwrap().count(), 0);
    // What can be judged is.
    let pack = packs(&place)[0];
    flip(&file_of(&place, &pack), 2_000);
    run().exits(4);
}
