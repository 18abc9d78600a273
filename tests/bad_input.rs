//! Bad input gets one clear line and the right exit code, and changes nothing.

#![allow(clippy::unwrap_used, reason = "a helper that fails is a test that fails")]

mod support;

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{FlockOperation, flock};
use support::cli::{Place, Ran, snapshot};
use support::process::limited;

/// A store with one point of `src`, numbered 1 and tagged `first`.
fn shelf() -> Place {
    let place = Place::with_store();
    fs::write(place.src().join("file"), "content").unwrap();
    place.backup(&["--tag", "first"]);
    place
}

/// Runs `args`, which must end with `code`, one line that says `error:` and `text`, and a store that is as it was.
#[track_caller]
fn refused<S: AsRef<OsStr>>(place: &Place, args: &[S], code: i32, text: &str) -> Ran {
    let before = place.store().exists().then(|| snapshot(&place.store()));
    let ran = limited(place.command().args(args)).exits(code).says(text);
    let lines = |start: &str| ran.stderr.lines().filter(|line| line.starts_with(start)).count();
    assert_eq!(lines("error: "), 1, "{ran:#?}");
    assert!(lines("hint: ") <= 1, "{ran:#?}");
    // clap adds the usage, and where to find more.
    if code != 2 {
        assert_eq!(lines(""), 1 + lines("hint: "), "{ran:#?}");
    }
    assert_eq!(ran.stdout, "", "{ran:#?}");
    let after = place.store().exists().then(|| snapshot(&place.store()));
    assert_eq!(before, after, "the store has changed: {ran:#?}");
    ran
}

#[test]
fn wrong_configuration_is_one_line_that_names_the_place() {
    let place = Place::with_store();
    for (text, said) in [
        ("store = '/x'\n[sources.www\n", "config.toml: line 2: "),
        ("[sources.www]\npath = '/x'\nkeep_days = 'all'", "config.toml: sources.www: keep_days: invalid type"),
        ("[sources.www]\npath = '/x'\nschedule.auto = '0 2 * *'", "config.toml: sources.www: schedule.auto: \"0 2"),
    ] {
        fs::write(place.path("config.toml"), text).unwrap();
        let ran = place.run(["--config", "config.toml", "plan", "www"]).exits(2).says(said);
        assert!(ran.stderr.lines().count() == 1 && !ran.stderr.contains("\\x"), "{text}: {ran:#?}");
    }
}

#[test]
fn help_says_that_the_configuration_may_name_the_store() {
    Place::new().run(["list", "--help"]).exits(0).prints("`store` in the configuration");
}

#[test]
fn source_that_is_not_there_makes_nothing() {
    let place = shelf();
    refused(&place, &["backup", "nowhere"], 1, "cannot open the source nowhere: No such file");
    // Not even the sources beside it: a typing error is found before the first byte is read.
    place.run(["backup", "src", "nowhere", "--force"]).exits(1).says("cannot open the source nowhere");
    assert_eq!(place.run(["list", "--json"]).exits(0).json().len(), 1);
}

#[test]
fn source_that_is_not_there_does_not_make_the_default_store() {
    let place = Place::new();
    let mut command = place.command();
    command.env_remove("DBAKFS_STORE").args(["backup", "nowhere"]);
    limited(&mut command).exits(1).says("error: cannot open the source nowhere");
    assert!(!place.path("home").exists());
}

#[test]
fn place_without_a_store_is_code_10() {
    let place = Place::new();
    for args in [
        &["list"][..],
        &["ls", "src/latest"],
        &["backup", "src"],
        &["backup", "src", "--dry-run"],
        &["verify"],
        &["restore", "1", "dest"],
        &["diff", "1", "2"],
        &["rebuild-index"],
        &["repair"],
        &["prune"],
        &["plan", "src"],
        &["mount", "mnt"],
    ] {
        refused(&place, args, 10, "there is no store at");
    }
    assert!(!place.store().exists() && !place.path("dest").exists());
}

#[test]
fn directory_that_is_no_store_is_code_10_and_stays_as_it_is() {
    let place = Place::new();
    fs::create_dir(place.store()).unwrap();
    fs::write(place.store().join("diary"), "mine").unwrap();
    for args in [&["list"][..], &["backup", "src"], &["mount", "mnt"], &["rebuild-index"]] {
        refused(&place, args, 10, "is not a store: it has no store.toml");
    }
    refused(&place, &["init"], 1, "is not empty (it holds \"diary\")");
    // An empty directory is no store either, and a file is none.
    fs::remove_file(place.store().join("diary")).unwrap();
    refused(&place, &["backup", "src"], 10, "is not a store");
    assert_eq!(fs::read_dir(place.store()).unwrap().count(), 0);
    fs::write(place.path("file"), "").unwrap();
    let store = place.path("file");
    refused(&place, &[OsStr::new("--store"), store.as_os_str(), OsStr::new("list")], 10, "it is not a directory");
}

#[test]
fn store_that_is_there_is_not_made_again() {
    refused(&shelf(), &["init"], 1, "is a store already");
}

#[test]
fn newer_store_and_unknown_features_are_refused_by_name() {
    let place = shelf();
    let path = place.store().join("store.toml");
    // Without its check, as a person would write it.
    let text = fs::read_to_string(&path).unwrap().split_once('\n').unwrap().1.to_owned();
    let everything = [&["list"][..], &["backup", "src"], &["mount", "mnt"], &["restore", "1", "d"], &["verify"]];
    fs::write(&path, text.replace("format = 1", "format = 2")).unwrap();
    for args in everything {
        let ran = refused(&place, args, 1, "written by a newer dbakfs: format 2, this program knows 1");
        assert!(ran.stderr.contains("hint: use the dbakfs that wrote it, or a newer one"), "{ran:#?}");
    }
    fs::write(&path, text.replace("incompatible = []", "incompatible = [\"encryption\"]")).unwrap();
    assert_ne!(fs::read_to_string(&path).unwrap(), text);
    for args in everything {
        refused(&place, args, 1, "it uses the feature \"encryption\", which this program does not know");
    }
    // One that forbids writing only.
    fs::write(&path, text.replace("read_only_compatible = []", "read_only_compatible = [\"parity\"]")).unwrap();
    assert_ne!(fs::read_to_string(&path).unwrap(), text);
    refused(&place, &["backup", "src"], 1, "the feature \"parity\"");
    refused(&place, &["rebuild-index"], 1, "the feature \"parity\"");
    place.run(["list"]).exits(0).prints("src");
    place.run(["restore", "1", "dest"]).exits(0);
    assert_eq!(fs::read(place.path("dest/file")).unwrap(), b"content");
    fs::write(&path, "rubbish").unwrap();
    refused(&place, &["list"], 1, "store.toml is damaged");
}

#[test]
fn point_that_is_not_there_is_code_1_and_says_what_there_is() {
    let place = shelf();
    for (point, text) in [
        ("7", "there is no point with the number 7"),
        ("src/second", "src has no tag second; its tags are first"),
        ("other/latest", "the store has no points of a source \"other\"; it has src"),
        ("src/1999-01-01", "src has no point as old as 1999-01-01"),
    ] {
        for args in [&["ls", point][..], &["restore", point, "dest"], &["diff", point, "1"], &["diff", "1", point]] {
            refused(&place, args, 1, text);
        }
    }
    refused(&place, &["list", "other"], 1, "there is no source named other");
    assert!(!place.path("dest").exists());
}

#[test]
fn text_that_names_no_point_is_code_2() {
    let place = shelf();
    for point in ["", "src", "/latest", "src/", "src/2026-13-45", "99999999999", "src/latest:../up", "src/-x"] {
        for args in [&["ls", "--", point][..], &["restore", "--", point, "dest"], &["diff", "--", point, "1"]] {
            let ran = refused(&place, args, 2, "");
            assert_eq!(ran.stderr.lines().count(), 1, "{ran:#?}");
        }
    }
    refused(&place, &["diff", "1:file", "1"], 2, "a PATH cannot be given");
    assert!(!place.path("dest").exists());
}

#[test]
fn path_that_the_point_does_not_have_is_code_1_and_makes_nothing() {
    let place = shelf();
    refused(&place, &["ls", "src/latest:no/such"], 1, "no/such");
    refused(&place, &["ls", "src/latest:file/below"], 1, "file/below");
    refused(&place, &["restore", "src/latest:no/such", "dest"], 1, "no/such");
    assert!(!place.path("dest").exists());
}

#[test]
fn unusable_mount_points_are_named() {
    let place = shelf();
    fs::write(place.path("plain"), "").unwrap();
    fs::create_dir(place.path("full")).unwrap();
    fs::write(place.path("full/file"), "").unwrap();
    for (at, text) in [
        ("nowhere", "does not exist; create it with mkdir"),
        ("plain", "is not a directory"),
        ("plain/below", "is not a directory"),
        ("full", "is not empty; choose an empty directory"),
    ] {
        refused(&place, &["mount", at], 1, text);
        refused(&place, &["mount", "--foreground", at], 1, text);
    }
    refused(&place, &["umount", "nowhere"], 1, "does not exist");
    refused(&place, &["umount", "mnt"], 1, "nothing is mounted at");
    refused(&place, &["umount", "/proc"], 1, "is no dbakfs mount but proc; nothing was unmounted");
    assert!(Path::new("/proc/self").exists());
}

#[test]
fn second_writer_is_told_who_is_busy() {
    let place = shelf();
    let lock = fs::File::open(place.store().join("writer.lock")).unwrap();
    flock(&lock, FlockOperation::NonBlockingLockExclusive).unwrap();
    fs::write(place.src().join("more"), "more").unwrap();
    for args in [&["backup", "src"][..], &["backup", "src", "--tag", "x"], &["rebuild-index"]] {
        let ran = refused(&place, args, 11, "another writer is busy with the store");
        assert!(ran.stderr.contains("hint: wait until it is done, or use --wait"), "{ran:#?}");
    }
    // Reading goes on.
    place.run(["list"]).exits(0);
    place.run(["backup", "src", "--dry-run"]).exits(0);
    place.run(["restore", "1", "dest"]).exits(0);
    drop(lock);
    assert_eq!(place.backup(&[])["outcome"], "made");
}

#[test]
fn the_store_itself_is_no_source_for_itself() {
    let place = shelf();
    let store = place.store();
    for source in [store.clone(), store.join("packs")] {
        let args = ["backup".as_ref(), source.as_os_str()];
        refused(&place, &args, 1, "lies in the store that it would go to");
    }
}

#[test]
fn impossible_tags_names_and_patterns_are_code_2() {
    let place = shelf();
    for tag in ["latest", "42", "2026-11-20", "2026-11", "", "a/b", "a:b", ".", "..", "@1", "today", " a", "-a"] {
        refused(&place, &["backup", "src", &format!("--tag={tag}")], 2, "cannot be a tag");
    }
    refused(&place, &["backup", "src", &format!("--tag={}", "t".repeat(129))], 2, "it is too long");
    for name in ["", "a/b", "a:b", ".", "..", " a", "-a"] {
        refused(&place, &["backup", "src", &format!("--name={name}")], 2, "cannot be the name of a source");
    }
    refused(&place, &["backup", "src", "--exclude", "a{b"], 2, "a{b");
    refused(&place, &["backup", "src", "--exclude-from", "nowhere"], 2, "nowhere");
    for stdin in ["", ".", "..", "a/b"] {
        refused(&place, &["backup", &format!("--stdin={stdin}")], 2, "cannot be the name of a file");
    }
    assert_eq!(place.run(["list", "--json"]).json().len(), 1);
}

#[test]
fn wrong_usage_is_code_2() {
    let place = shelf();
    for args in [
        &[][..],
        &["nonsense"],
        &["backup"],
        &["backup", "src", "--full", "--differential"],
        &["backup", "src", "--independent"],
        &["backup", "src", "--no-such-option"],
        &["backup", "src", "--stdin", "x"],
        &["backup", "src", "mnt", "--name", "both"],
        &["mount"],
        &["mount", "mnt", "--threads", "0"],
        &["mount", "mnt", "--cache", "lots"],
        &["restore", "1"],
        &["diff", "1"],
        &["list", "a", "b"],
    ] {
        let before = snapshot(&place.store());
        let ran = limited(place.command().args(args)).exits(2);
        assert!(!ran.stderr.is_empty() && ran.stdout.is_empty(), "{ran:#?}");
        assert_eq!(before, snapshot(&place.store()));
    }
    fs::create_dir_all(place.path("other/src")).unwrap();
    refused(&place, &["backup", "src", "other/src"], 2, "two sources would be named src");
}

#[test]
fn empty_arguments_are_refused() {
    let place = shelf();
    for args in [&["backup", ""][..], &["mount", ""], &["umount", ""], &["restore", "1", ""], &["--store", "", "list"]]
    {
        refused(&place, args, 2, "a value is required");
    }
    refused(&place, &["list", ""], 1, "there is no source named");
    // A variable that is set and empty names no store either.
    limited(place.command().env("DBAKFS_STORE", "").arg("list")).exits(2).says("error: a value is required");
}

#[test]
fn arguments_that_are_not_utf8_are_taken_or_refused_in_one_line() {
    let place = shelf();
    let odd = |text: &str| {
        let mut bytes = text.as_bytes().to_vec();
        bytes.extend(b"\xff\xfe");
        OsString::from(OsStr::from_bytes(&bytes))
    };
    let with = |words: &[&str], last: OsString| words.iter().map(OsString::from).chain([last]).collect::<Vec<_>>();
    refused(&place, &with(&["backup"], odd("nowhere-")), 1, "nowhere-");
    refused(&place, &with(&["ls"], odd("src/latest:")), 1, "has no");
    refused(&place, &with(&["ls"], odd("src/")), 2, "");
    refused(&place, &with(&["mount"], odd("nowhere-")), 1, "does not exist");
    refused(&place, &with(&["backup", "src", "--tag"], odd("t")), 2, "");
    refused(&place, &with(&["--store"], odd("st")), 2, "");
    let mut list = with(&["--store"], odd("st"));
    list.push("list".into());
    refused(&place, &list, 10, "there is no store");

    // A directory of such a name can be backed up under a name of its own, and its files named.
    fs::create_dir(place.path(odd("dir"))).unwrap();
    fs::write(place.path(odd("dir")).join(odd("file")), "odd").unwrap();
    let backup: Vec<OsString> =
        [OsString::from("backup"), odd("dir"), "--name".into(), "odd".into()].into_iter().collect();
    place.run(&backup).exits(0);
    place.run(with(&["ls"], odd("odd/latest:file"))).exits(0).prints("file\\xff\\xfe");
    place.run([OsString::from("restore"), odd("odd/latest:file"), "out".into()]).exits(0);
    assert_eq!(fs::read(place.path("out").join(odd("file"))).unwrap(), b"odd");
}

#[test]
fn messages_stay_on_one_line_whatever_names_are_in_them() {
    let place = shelf();
    refused(&place, &["backup", "no\nerror: where\x1b[2J"], 1, "no\\x0aerror: where\\x1b[2J");
    refused(&place, &["ls", "src/latest:a\nb"], 1, "a");
    refused(&place, &["mount", "no\nwhere"], 1, "does not exist");
}
