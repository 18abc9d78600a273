//! How points are named after their sources, and what is refused.

use std::fs;

use crate::support::cli::{Place, snapshot};

fn names(place: &Place) -> Vec<String> {
    place.points().iter().map(|point| point["name"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn the_last_component_is_the_name() {
    let place = Place::with_store();
    fs::create_dir_all(place.path("deep/www/inner")).unwrap();
    fs::write(place.path("deep/one.txt"), "a single file").unwrap();
    std::os::unix::fs::symlink("deep/www", place.path("current")).unwrap();
    place.run(["backup", "deep/www/"]).exits(0);
    place.run(["backup", "deep/one.txt"]).exits(0);
    place.run(["backup", "current"]).exits(0);
    assert_eq!(names(&place), ["www", "one.txt", "current"]);
    // `.` and `..` are called what they are; both are the same source as before.
    let inside = |directory: &str, source: &str| {
        let mut command = place.command();
        command.args(["backup", source, "--json"]).current_dir(place.path(directory));
        let output = command.output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        serde_json::from_slice::<serde_json::Value>(&output.stdout).unwrap()
    };
    for (directory, source) in [("deep/www", "."), ("deep/www/inner", ".."), ("deep", "www/inner/..")] {
        let done = inside(directory, source);
        assert_eq!((&done["name"], &done["outcome"]), (&"www".into(), &"unchanged".into()), "{source}");
    }
}

#[test]
fn several_sources_are_points_of_their_own() {
    let place = Place::with_store();
    for name in ["one", "two", "three"] {
        fs::create_dir(place.path(name)).unwrap();
        fs::write(place.path(name).join("file"), name).unwrap();
    }
    let ran = place.run(["backup", "one", "two", "three", "--json", "--tag", "t"]).exits(0);
    assert_eq!(ran.json().len(), 3);
    assert_eq!(names(&place), ["one", "two", "three"]);
    fs::write(place.path("two/file"), "changed").unwrap();
    let ran = place.run(["backup", "one", "two", "three", "--json"]).exits(0);
    let outcomes: Vec<_> = ran.json().iter().map(|done| done["outcome"].as_str().unwrap().to_owned()).collect();
    assert_eq!(outcomes, ["unchanged", "made", "unchanged"]);
    let Some(mount) = place.mount(&[]) else { return };
    for (name, content) in [("one", "one"), ("two", "changed"), ("three", "three")] {
        assert_eq!(fs::read_to_string(place.mnt().join(name).join("latest/file")).unwrap(), content);
        assert_eq!(fs::read_to_string(place.mnt().join(name).join("tags/t/file")).unwrap(), name);
    }
    mount.end();
}

#[test]
fn wrong_usage_is_exit_2_and_changes_nothing() {
    let place = Place::with_store();
    fs::create_dir_all(place.path("other/src")).unwrap();
    let before = snapshot(&place.store());
    for args in [
        &["src", "other", "--name", "both"][..],
        &["src", "other/src"],
        &["src", "--full", "--differential"],
        &["src", "--full", "--auto"],
        &["src", "--independent"],
        &["src", "--name", "a/b"],
        &["src", "--name", ""],
        &["src", "--name", ".."],
        &["src", "--stdin", "x"],
        &["--stdin", "a/b"],
        &["--stdin", ".."],
        &["/"],
        &[],
        &["src", "--no-such-option"],
        &["src", "--exclude", "a{b"],
        &["src", "--exclude-from", "no-such-file"],
    ] {
        let ran = place.run([&["backup"], args].concat()).exits(2);
        assert_ne!(ran.stderr, "", "{args:?}");
    }
    assert!(snapshot(&place.store()) == before);
}

#[test]
fn bad_input_is_one_clear_line_and_changes_nothing() {
    let place = Place::with_store();
    fs::create_dir(place.path("empty")).unwrap();
    let before = snapshot(&place.store());
    let ran = place.run(["backup", "no-such-source"]).exits(1).says("cannot open the source no-such-source");
    assert_eq!(ran.stderr.lines().count(), 1);
    place.run(["backup", "src", "--store", "no-such-store"]).exits(10).says("no-such-store");
    place.run(["backup", "src", "--store", "empty"]).exits(10);
    assert!(!place.path("no-such-store").exists());
    assert_eq!(fs::read_dir(place.path("empty")).unwrap().count(), 0);
    assert!(snapshot(&place.store()) == before);
}

#[test]
fn one_source_that_is_missing_leaves_the_store_alone() {
    let place = Place::with_store();
    let before = snapshot(&place.store());
    place.run(["backup", "src", "no-such-source"]).exits(1).says("no-such-source");
    assert!(snapshot(&place.store()) == before);
}

#[test]
fn a_name_that_comes_with_another_path_is_refused() {
    let place = Place::with_store();
    fs::create_dir(place.path("moved")).unwrap();
    fs::write(place.path("moved/a"), "a").unwrap();
    place.backup(&[]);
    place.run(["backup", "moved", "--name", "src"]).exits(1).says("belongs to the source").says("--rename-source");
    assert_eq!(place.points().len(), 1);
    place.run(["backup", "moved", "--name", "src", "--rename-source"]).exits(0);
    assert_eq!(names(&place), ["src", "src"]);
    place.run(["backup", "src"]).exits(1).says("belongs to the source");
}

#[test]
fn a_store_of_a_newer_version_is_left_alone() {
    let place = Place::with_store();
    fs::write(place.src().join("a"), "a").unwrap();
    place.backup(&[]);
    let path = place.store().join("store.toml");
    // Without its check, as a person would write it.
    let text = fs::read_to_string(&path).unwrap().split_once('\n').unwrap().1.to_owned();
    let harms = [
        text.lines()
            .map(|line| if line.starts_with("format") { "format = 99\n".to_owned() } else { format!("{line}\n") })
            .collect(),
        text.replace("incompatible = []", "incompatible = [\"colour\"]"),
    ];
    for harm in harms {
        assert_ne!(harm, text);
        fs::write(&path, harm).unwrap();
        let before = snapshot(&place.store());
        for args in [&["backup", "src"][..], &["backup", "src", "-n"], &["list"], &["ls", "src/latest"]] {
            let ran = place.run(args).exits(1).says("newer");
            assert!(ran.stderr.lines().count() <= 2, "{ran:#?}");
        }
        assert!(snapshot(&place.store()) == before);
    }
    // Not made by anybody: neither written to nor taken for a store.
    fs::write(&path, "rubbish [").unwrap();
    let ran = place.run(["backup", "src"]);
    assert!(matches!(ran.code, 1 | 4), "{ran:#?}");
}
