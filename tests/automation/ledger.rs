//! What is noted of runs: success is success, failure is failure, and neither is lost where the store cannot be written.

use std::fs::{self, File};

use rustix::fs::{FlockOperation, flock};

use crate::Site;

#[test]
fn plain_backup_is_noted_whether_it_ends_well_or_not() {
    let site = Site::new("", "");
    let src = site.place.src();
    site.run(["backup", src.to_str().unwrap()]).exits(0);
    site.run(["backup", src.to_str().unwrap()]).exits(0).prints("nothing changed");
    fs::rename(&src, site.place.path("elsewhere")).unwrap();
    site.run(["backup", src.to_str().unwrap()]).exits(1).says("cannot open the source");
    assert_eq!(site.ends("src"), ["made", "unchanged", "failed"]);
    assert_eq!((site.totals("src", "full"), site.totals("src", "differential")), ((1, 0), (1, 1)));
    let runs = site.noted("src")["runs"].as_array().unwrap().clone();
    assert_eq!((runs[0]["number"].as_integer(), runs[0]["files"].as_integer()), (Some(1), Some(1)));
    assert!(runs[2]["reason"].as_str().unwrap().contains("cannot open the source"), "{runs:?}");
}

#[test]
fn dry_run_and_slip_of_the_pen_are_noted_nowhere() {
    let site = Site::new("", "");
    site.run(["backup", "src", "--dry-run"]).exits(0);
    site.run(["backup", "scr"]).exits(1);
    site.run(["backup", "scr", "--name", "a/b"]).exits(2);
    assert_eq!(fs::read_dir(site.place.store().join("runs")).unwrap().count(), 0);
    assert!(!site.place.path("state").exists());
}

#[test]
fn failure_that_cannot_be_noted_is_kept_until_it_can() {
    let site = Site::new("", "");
    site.run(["backup", "src"]).exits(0);
    let lock = File::options().read(true).write(true).open(site.place.store().join("writer.lock")).unwrap();
    flock(&lock, FlockOperation::LockExclusive).unwrap();
    site.run(["backup", "src"]).exits(11);
    assert_eq!(site.ends("src"), ["made"], "the store was locked");
    let kept = site.written("state/unrecorded.jsonl");
    let line: serde_json::Value = serde_json::from_str(kept.trim()).expect("one line");
    assert_eq!((&line["name"], &line["run"]["end"]), (&"src".into(), &"failed".into()));
    flock(&lock, FlockOperation::Unlock).unwrap();
    site.run(["backup", "src", "--force"]).exits(0);
    assert_eq!(site.ends("src"), ["made", "failed", "made"]);
    assert_eq!(site.written("state/unrecorded.jsonl"), "");
    site.run(["backup", "src", "--force"]).exits(0);
    assert_eq!(site.totals("src", "differential"), (2, 1), "it was counted once");
}

#[test]
fn run_without_its_store_fails_and_is_noted_when_the_store_is_there() {
    let site = Site::new("", "");
    let away = site.place.path("away");
    fs::rename(site.place.store(), &away).unwrap();
    site.run(["run", "src"]).exits(10).says("there is no store");
    site.run(["backup", "src"]).exits(10);
    fs::rename(&away, site.place.store()).unwrap();
    site.run(["run", "src"]).exits(0);
    assert_eq!(site.ends("src"), ["failed", "failed", "made"]);
    assert_eq!(site.totals("src", "full"), (1, 2));
}

#[test]
fn ledger_outlives_the_index_and_one_that_is_damaged_stops_no_backup() {
    let site = Site::new("", "");
    site.run(["run", "src"]).exits(0);
    fs::remove_dir_all(site.place.store().join("index")).unwrap();
    site.run(["run", "src", "--force"]).exits(0);
    assert_eq!(site.ends("src"), ["made", "made"]);
    fs::write(site.place.store().join("runs/src.toml"), "runs = perhaps").unwrap();
    site.run(["run", "src", "--force"]).exits(0).says("runs/src.toml is damaged").says("begun anew");
    assert_eq!(site.ends("src"), ["made"]);
}
