//! What stands where.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;

use crate::support::cli::Place;
use crate::support::process::limited;

pub(crate) fn names(path: impl AsRef<Path>) -> BTreeSet<String> {
    fs::read_dir(path).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

fn set<const N: usize>(names: [&str; N]) -> BTreeSet<String> {
    names.map(str::to_owned).into()
}

/// The last component of the point that a backup made.
pub(crate) fn time_of(backup: &serde_json::Value) -> String {
    backup["point"].as_str().unwrap().rsplit_once('/').unwrap().1.to_owned()
}

#[test]
fn mount_answers_when_the_command_returns() {
    let place = Place::with_store();
    fs::write(place.src().join("file"), "content").unwrap();
    place.backup(&[]);
    let Some(_mount) = place.mount(&[]) else { return };
    limited(Command::new("ls").arg(place.shown("latest/"))).exits(0).prints("file\n");
}

#[test]
fn empty_store_shows_an_empty_directory() {
    let place = Place::with_store();
    let Some(mount) = place.mount(&[]) else { return };
    assert_eq!(names(place.mnt()), set([]));
    limited(Command::new("stat").arg(place.mnt().join("nothing"))).exits(1);
    mount.end();
}

#[test]
fn points_stand_under_name_and_time_with_latest_and_tags() {
    let place = Place::with_store();
    fs::write(place.src().join("file"), "one").unwrap();
    let first = place.backup(&["--tag", "before", "--tag", "v1.0"]);
    fs::write(place.src().join("file"), "two").unwrap();
    let second = place.backup(&["--tag", "after"]);
    fs::create_dir(place.path("other")).unwrap();
    place.run(["backup", "other", "--name", "another name"]).exits(0);
    let Some(_mount) = place.mount(&[]) else { return };

    assert_eq!(names(place.mnt()), set(["another name", "src"]));
    let (one, two) = (time_of(&first), time_of(&second));
    assert_eq!(names(place.mnt().join("src")), set([&one, &two, "latest", "tags"]));
    assert_eq!(names(place.shown("tags")), set(["before", "v1.0", "after"]));
    assert_eq!(names(place.mnt().join("another name/tags")), set([]));
    assert_eq!(fs::read_link(place.shown("latest")).unwrap(), Path::new(&two));
    assert_eq!(fs::read_link(place.shown("tags/v1.0")).unwrap(), Path::new("..").join(&one));
    for (when, content) in
        [(one.as_str(), "one"), ("tags/before", "one"), ("tags/v1.0", "one"), (&two, "two"), ("latest", "two")]
    {
        assert_eq!(fs::read_to_string(place.shown(when).join("file")).unwrap(), content, "{when}");
    }
    assert!(!place.shown("nothing").exists() && !place.mnt().join("nobody").exists());
    assert!(fs::symlink_metadata(place.shown("latest").join("file/below")).is_err());
    // Where `..` leads to, tools such as `find` rely on.
    assert_eq!(
        fs::metadata(place.shown("tags/..")).unwrap().ino(),
        fs::metadata(place.mnt().join("src")).unwrap().ino()
    );
}

#[test]
fn damaged_and_stray_files_in_the_store_hide_no_point() {
    let place = Place::with_store();
    fs::write(place.src().join("file"), "one").unwrap();
    place.backup(&[]);
    for name in ["catalogs/notes.txt", "catalogs/00000009.catalog", "points/x.toml", "packs/stray", "catalogs/.tmp-7"] {
        fs::write(place.store().join(name), "stray").unwrap();
    }
    let Some(_mount) = place.mount(&[]) else { return };
    assert_eq!(names(place.mnt().join("src")).len(), 3);
    assert_eq!(fs::read_to_string(place.shown("latest/file")).unwrap(), "one");
}

#[test]
fn times_owners_and_modes_are_those_of_the_source() {
    let place = Place::with_store();
    fs::write(place.src().join("file"), "one").unwrap();
    let time =
        fs::FileTimes::new().set_modified(std::time::UNIX_EPOCH + std::time::Duration::new(1_234_567_890, 123_456_789));
    fs::File::open(place.src().join("file")).unwrap().set_times(time).unwrap();
    place.backup(&[]);
    let Some(_mount) = place.mount(&[]) else { return };
    for name in ["", "file"] {
        let (source, shown) =
            (fs::metadata(place.src().join(name)).unwrap(), fs::metadata(place.shown("latest").join(name)).unwrap());
        let told = |meta: &fs::Metadata| (meta.mode(), meta.uid(), meta.gid(), meta.mtime(), meta.mtime_nsec());
        assert_eq!(told(&source), told(&shown), "{name:?}");
    }
}
