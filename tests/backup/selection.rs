//! What is left out of a backup: by pattern, as a cache, on another file system, and what must not be entered.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use crate::support::awkward::is_root;
use crate::support::cli::Place;
use crate::support::points::{changes, count};

fn paths(place: &Place) -> BTreeSet<String> {
    place.statuses("src/latest").into_iter().filter(|(_, s)| s != "deleted").map(|(path, _)| path).collect()
}

fn set(paths: &[&str]) -> BTreeSet<String> {
    paths.iter().map(|path| (*path).to_owned()).collect()
}

#[test]
fn patterns_leave_out_what_gitignore_would() {
    let place = Place::with_store();
    let src = place.src();
    for dir in ["build", "docs/build", "logs"] {
        fs::create_dir_all(src.join(dir)).unwrap();
    }
    for file in
        ["a.o", "keep.o", "docs/b.o", "docs/text", "build/x", "docs/build/y", "logs/1", "logs/keep", "tmp", "#odd"]
    {
        fs::write(src.join(file), file).unwrap();
    }
    place.backup(&["--exclude", "*.o", "--exclude", "!keep.o", "--exclude", "/build", "--exclude", "logs/*"]);
    assert_eq!(
        paths(&place),
        set(&["keep.o", "docs", "docs/text", "docs/build", "docs/build/y", "logs", "tmp", "#odd"])
    );
    // What an earlier backup had and this one leaves out is gone from the point.
    fs::write(place.path("patterns"), "# a comment\n\n*.o\n!keep.o\nbuild/\nlogs/*\n!logs/keep\n\\#odd\n").unwrap();
    let next = place.backup(&["--exclude-from", "patterns", "--exclude", "tmp"]);
    assert_eq!(paths(&place), set(&["keep.o", "docs", "docs/text", "logs", "logs/keep"]));
    assert_eq!(changes(&next), [1, 0, 3]);
    // --exclude comes after the files, and so overrules them.
    place.backup(&["--exclude-from", "patterns", "--exclude", "!*.o"]);
    assert_eq!(paths(&place), set(&["a.o", "docs/b.o", "keep.o", "docs", "docs/text", "logs", "logs/keep", "tmp"]));
    assert_eq!(place.backup(&[])["outcome"], "made");
    assert_eq!(paths(&place).len(), 14);
}

#[test]
fn what_stands_in_a_tagged_cache_is_left_out_on_demand() {
    let place = Place::with_store();
    let src = place.src();
    for dir in ["cache/sub", "false"] {
        fs::create_dir_all(src.join(dir)).unwrap();
    }
    let signature = "Signature: 8a477f597d28d172789f06886806bc55\n# a cache";
    fs::write(src.join("cache/CACHEDIR.TAG"), signature).unwrap();
    fs::write(src.join("cache/sub/data"), "data").unwrap();
    fs::write(src.join("cache/data"), "data").unwrap();
    fs::write(src.join("false/CACHEDIR.TAG"), "no signature").unwrap();
    fs::write(src.join("false/data"), "data").unwrap();
    place.backup(&["--exclude-caches"]);
    let without = set(&["cache", "cache/CACHEDIR.TAG", "false", "false/CACHEDIR.TAG", "false/data"]);
    assert_eq!(paths(&place), without);
    place.backup(&[]);
    assert_eq!(paths(&place).len(), 8);
    place.backup(&["--exclude-caches"]);
    assert_eq!(paths(&place), without);
}

/// A file system mounted on a directory until the value goes.
struct Mounted(std::path::PathBuf);

impl Mounted {
    fn tmpfs(at: std::path::PathBuf) -> Option<Self> {
        let done = is_root()
            && Command::new("mount")
                .args(["-t", "tmpfs", "none"])
                .arg(&at)
                .status()
                .is_ok_and(|status| status.success());
        if !done {
            eprintln!("\n*** NOT TESTED: no tmpfs can be mounted here ***\n");
        }
        done.then_some(Self(at))
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0).status();
    }
}

#[test]
fn other_file_systems_are_recorded_empty_on_demand() {
    let place = Place::with_store();
    let src = place.src();
    fs::create_dir_all(src.join("other")).unwrap();
    fs::write(src.join("here"), "here").unwrap();
    let Some(mounted) = Mounted::tmpfs(src.join("other")) else { return };
    fs::write(src.join("other/there"), "there").unwrap();
    let done = place.backup(&["-x"]);
    assert_eq!((paths(&place), count(&done, "unread")), (set(&["here", "other"]), 0));
    place.backup(&[]);
    assert_eq!(paths(&place), set(&["here", "other", "other/there"]));
    let done = place.backup(&["--one-file-system"]);
    assert_eq!(paths(&place), set(&["here", "other"]));
    assert_eq!(done["outcome"], "made");
    drop(mounted);
}

#[test]
fn a_store_in_the_source_is_recorded_empty_and_said() {
    let place = Place::new();
    let store = place.src().join("backups/store");
    let strange = place.src().join("strange");
    place.run(["init", "--store", store.to_str().unwrap()]).exits(0);
    place.run(["init", "--store", strange.to_str().unwrap()]).exits(0);
    fs::write(place.src().join("file"), "file").unwrap();
    let backup = ["backup", "src", "--store", store.to_str().unwrap()];
    let ran = place.run(backup).exits(0);
    let ran = ran.says("backups/store is recorded empty: it is a store").says("strange is recorded empty");
    assert_eq!(ran.stderr.lines().count(), 2);
    let listed = place.run(["ls", "-R", "--json", "src/latest", "--store", store.to_str().unwrap()]).exits(0);
    let listed: Vec<_> = listed.json().iter().map(|entry| entry["path"].as_str().unwrap().to_owned()).collect();
    assert_eq!(listed, ["backups", "file", "strange", "backups/store"]);
    // What the backup itself writes into the store is no change of the source.
    for _ in 0..2 {
        place.run(backup).exits(0).says("backups/store is recorded empty").prints("nothing changed");
    }
    fs::write(place.src().join("file"), "other").unwrap();
    place.run(backup).exits(0).prints("0 new, 1 updated, 0 deleted");
    place.run(backup).exits(0).prints("nothing changed");
    // It may be the SOURCE itself, though.
    place.run(["backup", strange.to_str().unwrap(), "--store", store.to_str().unwrap()]).exits(0);
    let listed = place.run(["ls", "strange/latest", "--store", store.to_str().unwrap()]).exits(0);
    listed.prints("store.toml");
}

#[test]
fn a_mount_in_the_source_is_recorded_empty_and_said() {
    let place = Place::with_store();
    fs::write(place.src().join("file"), "file").unwrap();
    let full = place.backup(&[]);
    let inside = place.src().join("mnt");
    fs::create_dir(&inside).unwrap();
    if place.mount(&[]).is_none() {
        return;
    }
    place.run(["mount".as_ref(), inside.as_os_str()]).exits(0);
    let ran = place.try_backup(&[]);
    let again = place.try_backup(&[]);
    let own = inside.join(full["point"].as_str().unwrap());
    let own = place.run(["backup".as_ref(), own.as_os_str(), "--name".as_ref(), "copy".as_ref()]);
    place.run(["umount".as_ref(), inside.as_os_str()]).exits(0);
    ran.exits(0).says("src/mnt is recorded empty: it is a dbakfs mount");
    assert_eq!(again.exits(0).says("recorded empty").json()[0]["outcome"], "unchanged");
    assert_eq!(paths(&place), set(&["file", "mnt"]));
    // It may be the SOURCE itself, though.
    own.exits(0);
    assert_eq!(place.statuses("copy/latest").into_keys().collect::<Vec<_>>(), ["file"]);
}
