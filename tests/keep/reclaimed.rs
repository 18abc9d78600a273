//! The bytes that come back, and when.

use crate::support::cli::Place;
use crate::support::points::noise;
use crate::{grow, numbers, with};

fn bytes(place: &Place) -> u64 {
    let catalogs = std::fs::read_dir(place.store().join("catalogs")).unwrap().map(|file| file.unwrap().path());
    place.packs().into_iter().chain(catalogs).map(|file| file.metadata().unwrap().len()).sum()
}

#[test]
fn a_dry_run_promises_the_bytes_that_come_back() {
    let place = Place::with_store();
    let config = "[sources.src]\npath = 'SRC'\nkeep_days = 0\nkeep_last = 1\n";
    let mut made = Vec::new();
    for _ in 0..4 {
        let calm = "[defaults]\nalarm = { percent = 4294967295, times = 4294967295 }\n";
        made.push(grow(&place, calm, 300_000, &["--full"]));
        // Each point has one file that no other has.
        for file in std::fs::read_dir(place.src()).unwrap() {
            let path = file.unwrap().path();
            if path.file_name().unwrap() != "stays" {
                let gone = path.with_file_name(format!("{}.old", path.file_name().unwrap().to_str().unwrap()));
                std::fs::rename(&path, &gone).unwrap();
                std::fs::write(&gone, "was").unwrap();
            }
        }
        std::fs::write(place.src().join("stays"), noise(99, 100_000)).unwrap();
    }
    // One is forgotten already, and waits.
    place.run(["forget", "2"]).exits(0);
    let dry = with(&place, config, &["forget", "--policy", "src", "-n", "--json"]).exits(0).json();
    let of = |key: &str| dry.last().unwrap()[key].as_u64().unwrap();
    let (promised, waiting) = (of("freed_bytes"), of("waiting_bytes"));
    with(&place, config, &["forget", "--policy", "src"]).exits(0);
    assert_eq!(numbers(&place), [made[3]]);
    let before = bytes(&place);
    with(&place, config, &["prune", "--grace", "0"]).exits(0);
    let freed = before - bytes(&place);
    assert!(freed > 850_000, "{freed}");
    assert!(
        freed.abs_diff(promised + waiting) < freed / 20,
        "{promised} and {waiting} were promised, {freed} came back"
    );
    assert!(waiting.abs_diff(300_000) < 30_000 && promised.abs_diff(600_000) < 60_000, "{promised} {waiting}");
}

#[test]
fn each_source_has_the_time_of_grace_that_the_configuration_gives_it() {
    let place = Place::with_store();
    let config = "[sources.src]\npath = 'SRC'\ngrace = '0s'\n[sources.other]\npath = 'SRC'\n";
    for name in ["src", "other", "third"] {
        grow(&place, "", 100, &["--name", name]);
        grow(&place, "", 100, &["--name", name]);
    }
    place.run(["forget", "2", "4", "6"]).exits(0);
    let report = with(&place, config, &["prune", "--json"]).exits(0).json().remove(0);
    assert_eq!((&report["points"], &report["waiting"]), (&serde_json::json!([2]), &serde_json::json!([4, 6])));
    // What the command line says holds for all.
    let report = with(&place, config, &["prune", "--grace", "0", "--json"]).exits(0).json().remove(0);
    assert_eq!(report["points"], serde_json::json!([4, 6]));
}
