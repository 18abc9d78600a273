//! `pin` and `unpin`.

use crate::support::cli::Place;
use crate::{files, grow, numbers, with};

#[test]
fn a_pinned_point_outlives_rules_hands_and_the_index() {
    let place = Place::with_store();
    for _ in 0..4 {
        grow(&place, "", 100, &[]);
    }
    let before = files(&place);
    place.run(["pin", "2", "--dry-run"]).exits(0).prints("would pin src/");
    assert!(files(&place) == before, "a dry run changed the store");
    let two = place.points()[1]["point"].as_str().unwrap().to_owned();
    place.run(["pin", &two]).exits(0).prints(&format!("pinned {two} (2)"));
    let again = place.run(["pin", "2", "--json"]).exits(0).json().remove(0);
    assert_eq!((&again["pinned"], &again["changed"]), (&true.into(), &false.into()));
    std::fs::remove_dir_all(place.store().join("index")).unwrap();
    place.run(["list"]).exits(0).prints("(pinned)");
    with(&place, "", &["forget", "--policy", "src", "--keep-days", "0"]).exits(0);
    assert_eq!(numbers(&place), [1, 2, 4]);
    place.run(["forget", "2"]).exits(1).says("backup 2 is pinned").says("dbakfs unpin 2");
    place.run(["forget", "1", "--with-differentials"]).exits(1).says("backup 2 is pinned");
    place.run(["pin", "3"]).exits(1);
    place.run(["unpin", "2"]).exits(0).prints("unpinned");
    place.run(["unpin", "2"]).exits(0).prints("was not pinned");
    with(&place, "", &["forget", "--policy", "src", "--keep-days", "0"]).exits(0);
    assert_eq!(numbers(&place), [1, 4]);
}
