//! Several sources, sources that move, and names that belong together.

use std::fs;
use std::os::unix::fs::MetadataExt;

use crate::support::cli::Place;
use crate::support::points::noise;

#[test]
fn two_sources_of_one_command_share_their_data() {
    let place = Place::with_store();
    for name in ["one", "two"] {
        fs::create_dir(place.path(name)).unwrap();
        fs::write(place.path(name).join("same"), noise(7, 400_000)).unwrap();
    }
    let ran = place.run(["backup", "one", "two", "--json"]).exits(0);
    let stored: Vec<u64> = ran.json().iter().map(|done| done["counts"]["stored_bytes"].as_u64().unwrap()).collect();
    assert!(stored[0] >= 400_000 && stored[1] == 0, "{stored:?}");
    place.run(["verify", "--data"]).exits(0);
}

#[test]
fn a_renamed_source_stays_renamed_even_if_nothing_changed() {
    let place = Place::with_store();
    fs::write(place.src().join("a"), "a").unwrap();
    place.backup(&[]);
    fs::rename(place.src(), place.path("moved")).unwrap();
    place.run(["backup", "moved", "--name", "src"]).exits(1).says("--rename-source");
    let ran = place.run(["backup", "moved", "--name", "src", "--rename-source", "--json"]).exits(0);
    assert_eq!(ran.json()[0]["outcome"], "unchanged");
    place.run(["backup", "moved", "--name", "src"]).exits(0);
}

#[test]
fn hard_links_that_went_back_to_the_fulls_state_are_not_listed() {
    let place = Place::with_store();
    let [one, two] = ["x", "y"].map(|name| place.src().join(name));
    fs::write(&one, noise(1, 5000)).unwrap();
    fs::hard_link(&one, &two).unwrap();
    let as_it_was = fs::metadata(&one).unwrap().modified().unwrap();
    place.backup(&[]);
    fs::write(&one, noise(2, 5000)).unwrap();
    place.backup(&[]);
    fs::write(&one, noise(1, 5000)).unwrap();
    fs::File::options().write(true).open(&one).unwrap().set_modified(as_it_was).unwrap();
    assert_eq!(fs::metadata(&two).unwrap().nlink(), 2);
    let back = place.backup(&[]);
    assert_eq!(back["outcome"], "made");
    let counts = &back["counts"];
    assert_eq!((&counts["new"], &counts["updated"], &counts["deleted"]), (&0.into(), &0.into(), &0.into()));
}

#[test]
fn a_file_or_device_that_is_no_source_makes_no_store() {
    let place = Place::new();
    place.run(["backup", "/dev/null", "--name", "x"]).exits(1).says("neither a directory nor a regular file");
    assert!(!place.store().exists() && !place.path("home").exists());
}
