//! Tags are always honoured, or refused before anything is committed.

use std::fs;

use crate::support::cli::{Place, snapshot};

fn tags(place: &Place) -> Vec<(u64, Vec<String>)> {
    let text = |tag: &serde_json::Value| tag.as_str().unwrap().to_owned();
    let point = |point: &serde_json::Value| {
        (point["number"].as_u64().unwrap(), point["tags"].as_array().unwrap().iter().map(text).collect())
    };
    place.points().iter().map(point).collect()
}

fn owned(tags: &[(u64, &[&str])]) -> Vec<(u64, Vec<String>)> {
    tags.iter().map(|(number, tags)| (*number, tags.iter().map(|tag| (*tag).to_owned()).collect())).collect()
}

#[test]
fn a_tag_goes_to_the_new_point_or_where_nothing_changed_to_the_newest() {
    let place = Place::with_store();
    fs::write(place.src().join("a"), "1").unwrap();
    place.backup(&["--tag", "first", "--tag", "also"]);
    place.run(["backup", "src", "--tag", "later"]).exits(0).prints("nothing changed").prints("tagged later");
    // Once more is no mistake.
    place.run(["backup", "src", "--tag", "later"]).exits(0).prints("tagged later");
    assert_eq!(tags(&place), owned(&[(1, &["also", "first", "later"])]));
    fs::write(place.src().join("a"), "2").unwrap();
    place.run(["backup", "src", "--tag", "second"]).exits(0).prints("tagged second");
    place.backup(&["--tag", "twice", "--tag", "twice"]);
    assert_eq!(tags(&place), owned(&[(1, &["also", "first", "later"]), (2, &["second", "twice"])]));
    place.run(["ls", "src/later"]).exits(0);
    let Some(mount) = place.mount(&[]) else { return };
    assert_eq!(fs::read_to_string(place.shown("tags/later/a")).unwrap(), "1");
    assert_eq!(fs::read_to_string(place.shown("tags/twice/a")).unwrap(), "2");
    mount.end();
}

#[test]
fn a_tag_that_stands_elsewhere_is_refused_and_nothing_is_committed() {
    let place = Place::with_store();
    fs::write(place.src().join("a"), "1").unwrap();
    place.backup(&["--tag", "deploy"]);
    fs::write(place.src().join("a"), "2").unwrap();
    // The newest point has it, and would lose it to the new one.
    let before = snapshot(&place.store().join("catalogs"));
    let ran = place.try_backup(&["--tag", "fresh", "--tag", "deploy"]).exits(1).says("deploy").says("--move-tag");
    assert_eq!(ran.stdout, "");
    assert!(snapshot(&place.store().join("catalogs")) == before, "a point was committed");
    assert_eq!(tags(&place), owned(&[(1, &["deploy"])]));

    place.backup(&[]);
    // An older point has it; nothing has changed since the newest.
    place.try_backup(&["--tag", "deploy"]).exits(1).says("--move-tag");
    fs::write(place.src().join("a"), "3").unwrap();
    place.try_backup(&["--tag", "deploy"]).exits(1).says("--move-tag");
    let all = |place: &Place| -> Vec<_> { tags(place).into_iter().map(|(_, tags)| tags.join(" ")).collect() };
    assert_eq!(all(&place), ["deploy", ""]);

    place.backup(&["--tag", "deploy", "--move-tag"]);
    assert_eq!(all(&place), ["", "", "deploy"]);
    place.backup(&["--tag", "deploy"]);
    assert_eq!(place.points().len(), 3);
}

#[test]
fn each_source_has_tags_of_its_own() {
    let place = Place::with_store();
    fs::create_dir(place.path("other")).unwrap();
    place.run(["backup", "src", "other", "--tag", "same"]).exits(0);
    assert_eq!(tags(&place), owned(&[(1, &["same"]), (2, &["same"])]));
}

#[test]
fn a_tag_may_not_be_mistaken_for_something_else() {
    let place = Place::with_store();
    let before = snapshot(&place.store());
    for tag in [
        "latest",
        "42",
        "2026-11-20",
        "2026-11-20T10-05-00Z",
        "2026-11-20T10:05:00Z",
        "2026-11-20 10:05",
        "10:05",
        "yesterday",
        "a/b",
        "",
        "..",
        ".",
        "@x",
        " x",
        "x\n",
    ] {
        let ran = place.run(["backup", "src", "--tag", tag]).exits(2);
        assert_ne!(ran.stderr, "", "{tag:?}");
    }
    assert!(snapshot(&place.store()) == before);
    for tag in ["deploy-42", "v1.2", "2nd", "über"] {
        place.run(["backup", "src", "--tag", tag]).exits(0);
    }
}
