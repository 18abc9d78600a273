//! The first thing that a person does: back up, change, back up again, mount, see both, copy out.

#![allow(clippy::unwrap_used, reason = "a helper that fails is a test that fails")]

mod support;

use std::fs;

use support::cli::Place;

#[test]
fn two_points_are_seen_side_by_side() {
    let place = Place::with_store();
    fs::write(place.src().join("kept"), "as it was").unwrap();
    fs::write(place.src().join("changed"), "before").unwrap();
    fs::write(place.src().join("gone"), "soon").unwrap();
    let full = place.backup(&[]);
    assert_eq!((full["outcome"].as_str(), full["type"].as_str()), (Some("made"), Some("full")));
    fs::write(place.src().join("changed"), "after").unwrap();
    fs::write(place.src().join("come"), "new").unwrap();
    fs::remove_file(place.src().join("gone")).unwrap();
    let differential = place.backup(&["--tag", "second"]);
    assert_eq!(differential["type"], "differential");
    let counts = &differential["counts"];
    // The root's own time has changed, too.
    assert_eq!((&counts["new"], &counts["updated"], &counts["deleted"]), (&1.into(), &2.into(), &1.into()));

    let Some(mount) = place.mount(&[]) else { return };
    let first = place.mnt().join(full["point"].as_str().unwrap());
    let second = place.shown("latest");
    assert_eq!(fs::read_to_string(first.join("changed")).unwrap(), "before");
    assert_eq!(fs::read_to_string(first.join("gone")).unwrap(), "soon");
    assert!(!first.join("come").exists());
    assert_eq!(fs::read_to_string(second.join("changed")).unwrap(), "after");
    assert_eq!(fs::read_to_string(second.join("kept")).unwrap(), "as it was");
    assert_eq!(fs::read_to_string(place.shown("tags/second").join("come")).unwrap(), "new");
    assert!(!second.join("gone").exists());
    mount.end();
    assert_eq!(fs::read_dir(place.mnt()).unwrap().count(), 0);
}
