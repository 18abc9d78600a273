//! Full, differential, and no point at all.

use std::fs;
use std::path::Path;

use crate::support::cli::{Place, snapshot};
use crate::support::points::{History, changes, count, noise};
use crate::support::tree::{Tree, look};

/// Puts the times of everything below `root` back to what they were.
fn put_times_back(root: &Path, tree: &Tree) {
    for (path, entry) in tree {
        let (secs, nanos) = (entry.mtime.0.unsigned_abs(), u32::try_from(entry.mtime.1).unwrap());
        let time = std::time::UNIX_EPOCH + std::time::Duration::new(secs, nanos);
        let path = root.join(std::str::from_utf8(path).unwrap());
        fs::File::open(path).unwrap().set_modified(time).unwrap();
    }
}

#[test]
fn without_a_mode_a_full_comes_first_and_differentials_on_it_follow() {
    let place = Place::with_store();
    fs::create_dir(place.src().join("dir")).unwrap();
    fs::write(place.src().join("dir/kept"), "kept").unwrap();
    fs::write(place.src().join("other"), "before").unwrap();
    let full = place.backup(&[]);
    assert_eq!((&full["type"], &full["reason"]), (&"full".into(), &"there is no full to build on".into()));
    // The root counts, too.
    assert_eq!((changes(&full), count(&full, "files"), count(&full, "directories")), ([4, 0, 0], 2, 2));

    let mut previous = full["number"].as_u64().unwrap();
    for more in [&[][..], &["--auto"], &["--differential"]] {
        fs::write(place.src().join("other"), format!("after {more:?}")).unwrap();
        let next = place.backup(more);
        assert_eq!((&next["type"], &next["base"]), (&"differential".into(), &full["number"]));
        assert_eq!((changes(&next), count(&next, "files")), ([0, 1, 0], 2));
        assert!(next["number"].as_u64().unwrap() > previous);
        previous = next["number"].as_u64().unwrap();
        assert_eq!(place.differing("src/latest"), ["other updated"]);
    }
    let second = place.backup(&["--full", "--force"]);
    assert_eq!((&second["type"], &second["reason"]), (&"full".into(), &"as asked".into()));
    fs::write(place.src().join("other"), "on the second").unwrap();
    assert_eq!(place.backup(&[])["base"], second["number"]);

    let positions: Vec<_> = place.points().iter().map(|p| (p["series"].clone(), p["position"].clone())).collect();
    let (one, two) = (full["number"].clone(), second["number"].clone());
    assert_eq!(positions[3], (one, 4.into()));
    assert_eq!(positions[4..], [(two.clone(), 1.into()), (two, 2.into())]);
}

#[test]
fn differential_without_a_full_warns_and_makes_one() {
    let place = Place::with_store();
    fs::write(place.src().join("a"), "a").unwrap();
    let ran = place.try_backup(&["--differential"]).exits(0).says("warning: there is no full");
    assert_eq!((&ran.json()[0]["type"], &ran.json()[0]["outcome"]), (&"full".into(), &"made".into()));
}

#[test]
fn an_unchanged_tree_makes_no_point_unless_forced() {
    let place = Place::with_store();
    fs::create_dir(place.src().join("dir")).unwrap();
    fs::write(place.src().join("dir/a"), noise(1, 100_000)).unwrap();
    std::os::unix::fs::symlink("dir/a", place.src().join("link")).unwrap();
    let made = place.backup(&[]);
    for more in [&[][..], &["--differential"], &["--auto", "--checksum"]] {
        let done = place.backup(more);
        assert_eq!((&done["outcome"], &done["number"]), (&"unchanged".into(), &made["number"]), "{more:?}");
    }
    place.run(["backup", "src"]).exits(0).prints("nothing changed since src/").prints("no new point");
    assert_eq!((place.points().len(), place.packs().len()), (1, 1));

    let forced = place.backup(&["--force"]);
    assert_eq!((&forced["outcome"], &forced["type"]), (&"made".into(), &"differential".into()));
    assert_eq!((changes(&forced), count(&forced, "files"), count(&forced, "stored_bytes")), ([0, 0, 0], 1, 0));
    // A full that was asked for is made for its own sake.
    let forced = place.backup(&["--full"]);
    assert_eq!((&forced["type"], count(&forced, "stored_bytes")), (&"full".into(), 0));
    assert_eq!((place.points().len(), place.packs().len()), (3, 1));
    assert_eq!(place.temporaries(), [""; 0].map(std::path::PathBuf::from));
}

#[test]
fn a_tree_that_went_back_to_its_full_makes_an_empty_differential_once() {
    let place = Place::with_store();
    let (src, mut history) = (place.src(), History::default());
    fs::create_dir_all(src.join("dir/below")).unwrap();
    fs::write(src.join("dir/below/a"), noise(1, 50_000)).unwrap();
    fs::write(src.join("small"), "small").unwrap();
    history.backup(&place, &[]);
    let original = look(&src);

    fs::write(src.join("dir/below/a"), noise(2, 50_000)).unwrap();
    fs::remove_file(src.join("small")).unwrap();
    fs::write(src.join("dir/new"), "new").unwrap();
    assert_eq!(changes(&history.backup(&place, &[])), [1, 3, 1]);

    fs::write(src.join("dir/below/a"), noise(1, 50_000)).unwrap();
    fs::write(src.join("small"), "small").unwrap();
    fs::remove_file(src.join("dir/new")).unwrap();
    put_times_back(&src, &original);
    let back = history.backup(&place, &[]);
    assert_eq!((changes(&back), count(&back, "stored_bytes")), ([0, 0, 0], 0));
    assert_eq!(place.differing("src/latest"), [""; 0]);
    assert_eq!(place.backup(&[])["outcome"], "unchanged");
    history.check(&place);
}

#[test]
fn a_dry_run_changes_nothing() {
    let place = Place::with_store();
    fs::write(place.src().join("a"), noise(1, 100_000)).unwrap();
    fs::write(place.src().join("b"), "b").unwrap();
    let before = snapshot(&place.store());
    let first = place.backup(&["--dry-run", "--tag", "t"]);
    assert_eq!((&first["outcome"], &first["type"], changes(&first)), (&"dry-run".into(), &"full".into(), [3, 0, 0]));
    assert!(snapshot(&place.store()) == before, "the first dry run changed the store");

    place.backup(&[]);
    fs::write(place.src().join("a"), noise(2, 100_000)).unwrap();
    fs::remove_file(place.src().join("b")).unwrap();
    let before = snapshot(&place.store());
    let would = place.backup(&["-n", "--tag", "t"]);
    assert_eq!((&would["type"], &would["changed"]), (&"differential".into(), &true.into()));
    place.run(["backup", "src", "--dry-run"]).exits(0).prints("would make a differential");
    assert!(snapshot(&place.store()) == before, "a dry run changed the store");
    assert_eq!(changes(&place.backup(&[])), changes(&would));
    assert_eq!(place.backup(&["--dry-run"])["changed"], false);
    place.run(["backup", "src", "--dry-run"]).exits(0).prints("nothing changed");
}

#[test]
fn a_dry_run_makes_no_default_store() {
    let place = Place::new();
    fs::write(place.src().join("a"), "a").unwrap();
    fs::create_dir(place.path("tmp")).unwrap();
    let mut command = place.command();
    command.args(["backup", "src", "-n"]).env_remove("DBAKFS_STORE").env("TMPDIR", place.path("tmp"));
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!(!place.path("home").exists());
    assert_eq!(fs::read_dir(place.path("tmp")).unwrap().count(), 0);
    // The real thing does make it, and says so.
    let output = command.args(["--auto"]).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let mut command = place.command();
    let output = command.args(["backup", "src"]).env_remove("DBAKFS_STORE").output().unwrap();
    assert!(String::from_utf8_lossy(&output.stderr).contains("made the store"), "{output:?}");
    assert!(place.path("home/.local/share/dbakfs/store/store.toml").exists());
}

#[test]
fn results_go_to_stdout_and_the_rest_to_stderr() {
    let place = Place::with_store();
    fs::write(place.src().join("a"), noise(1, 100_000)).unwrap();
    let ran = place.run(["backup", "src"]).exits(0).prints("src/").prints(": full 1: 1 files, 97.66 KiB");
    // No terminal, no progress.
    assert_eq!((ran.stdout.lines().count(), ran.stderr.as_str()), (1, ""));
    fs::write(place.src().join("a"), noise(2, 100_000)).unwrap();
    let ran = place.try_backup(&[]).exits(0);
    assert_eq!((ran.json().len(), ran.stderr.as_str()), (1, ""));
    let done = &ran.json()[0];
    assert!(done["stored_bytes"].as_u64().unwrap() > 100_000);
    assert_eq!(count(done, "read_bytes"), 100_000);
    let listed = place.points().pop().unwrap();
    assert_eq!((&listed["stored_bytes"], &listed["point"]), (&done["stored_bytes"], &done["point"]));
}

#[test]
fn progress_is_shown_on_a_terminal_and_nowhere_else() {
    let place = Place::with_store();
    let size = 150_000_000;
    fs::write(place.src().join("large"), noise(1, size)).unwrap();
    // util-linux's `script` gives the command a terminal.
    let run = |more: &str| {
        let command = format!("{} backup src --force {more}", env!("CARGO_BIN_EXE_dbakfs"));
        let mut script = std::process::Command::new("script");
        script.args(["-qec", &command, "/dev/null"]).current_dir(place.path(""));
        script.env("DBAKFS_STORE", place.store()).env("TERM", "xterm").stdin(std::process::Stdio::null());
        let output = script.output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let shown = run("");
    assert!(shown.contains("entries, ") && shown.contains("full 1"), "{shown:?}");
    for quiet in ["--quiet", "--json"] {
        let shown = run(quiet);
        assert!(!shown.contains("entries, "), "{quiet}: {shown:?}");
        assert_eq!(shown.lines().count(), 1, "{quiet}: {shown:?}");
    }
}
