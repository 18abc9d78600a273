//! A jump far beyond the habit: it alarms, and holds what could be needed until somebody has looked.

use std::fs;

use serde_json::Value;

use crate::support::cli::Place;
use crate::support::points::noise;
use crate::{files, numbers, with};

const RULES: &str = "[sources.src]\npath = 'SRC'\nkeep_days = 0\n";

/// Writes the files of these numbers, `seed` decides their bytes.
fn write(place: &Place, seed: u64, numbers: std::ops::Range<u64>, suffix: &str) {
    for number in numbers {
        fs::write(place.src().join(format!("{number:02}{suffix}")), noise(seed * 1_000 + number, 20_000)).unwrap();
    }
}

fn empty(place: &Place) {
    for file in fs::read_dir(place.src()).unwrap() {
        fs::remove_file(file.unwrap().path()).unwrap();
    }
}

/// A source of 40 files with a habit: after the full, five days on each of which one file changed.
fn habit() -> Place {
    let place = Place::with_store().usual();
    write(&place, 0, 0..40, "");
    place.backup(&[]);
    for day in 1..6 {
        write(&place, day, day..day + 1, "");
        assert_eq!(place.backup(&[])["alarm"], Value::Null, "day {day}");
    }
    place
}

#[track_caller]
fn alarm(done: &Value) -> String {
    done["alarm"].as_str().unwrap_or_else(|| panic!("no alarm: {done}")).to_owned()
}

#[test]
fn an_emptied_mount_at_the_second_backup_suspends_forgetting_and_pruning_until_it_is_acknowledged() {
    let place = Place::with_store().usual();
    write(&place, 0, 0..40, "");
    place.backup(&[]);
    empty(&place);
    let ran = place.try_backup(&[]).exits(0);
    ran.json()[0]["alarm"].as_str().unwrap();
    ran.says("ALARM: 800000 bytes are gone, 100 % of the tree's 800000").says("dbakfs acknowledge");
    write(&place, 0, 0..1, "");
    place.backup(&["--full"]);
    // The index is no part of it.
    fs::remove_dir_all(place.store().join("index")).unwrap();

    with(&place, RULES, &["forget", "--policy", "src"])
        .exits(1)
        .says("an alarm stands for src")
        .says("dbakfs acknowledge src");
    with(&place, RULES, &["forget", "--all"]).exits(1).says("an alarm stands for src");
    let dry = with(&place, RULES, &["forget", "--policy", "src", "-n", "--json"]).exits(0);
    let summary = dry.json().pop().unwrap();
    dry.says("nothing of src would be forgotten yet");
    let dry = with(&place, RULES, &["forget", "--policy", "src", "-n"]).exits(0);
    let dry = dry.prints("held back by the alarm: src/").prints("would forget 0 of 3 points");
    assert!(!dry.stdout.contains("would forget src/"), "{dry:#?}");
    assert_eq!((&summary["forget"], &summary["freed_bytes"]), (&0.into(), &0.into()));
    assert_eq!(numbers(&place), [1, 2, 3]);

    // By hand it may be forgotten, and its space is not given up.
    place.run(["forget", "1", "--with-differentials"]).exits(0);
    let packs = place.packs();
    for args in [&["prune", "--grace", "0", "--dry-run"][..], &["prune", "--grace", "0"]] {
        place.run(args).exits(0).says("2 forgotten points stay for an alarm").says("`dbakfs acknowledge src`");
    }
    let report = place.run(["prune", "--grace", "0", "--json"]).exits(0).json().remove(0);
    assert_eq!((&report["points"], &report["held"]), (&serde_json::json!([]), &serde_json::json!([1, 2])));
    assert!(report["alarms"]["src"].is_string(), "{report}");
    assert_eq!(place.packs(), packs);
    place.run(["unforget", "2"]).exits(0);
    let into = place.path("saved");
    place.run(["restore".into(), "1".into(), into.clone().into_os_string()]).exits(0);
    assert_eq!(fs::read_dir(into).unwrap().count(), 40);
    place.run(["forget", "1", "--with-differentials"]).exits(0);

    let before = files(&place);
    place.run(["acknowledge", "src", "--dry-run"]).exits(0).prints("would acknowledge the alarm of src");
    place.run(["acknowledge", "nobody"]).exits(1).says("there is no source named nobody");
    let config = "[sources.nobody]\npath = 'SRC'\n";
    with(&place, config, &["acknowledge", "nobody"]).exits(0).prints("no alarm stands for nobody");
    assert!(files(&place) == before);
    place.run(["acknowledge", "src"]).exits(0).prints("backup 2: 800000 bytes are gone");
    place.run(["acknowledge", "src"]).exits(0).prints("no alarm stands for src");
    place.run(["prune", "--grace", "0"]).exits(0);
    assert_eq!(place.packs().len(), 1);
    with(&place, RULES, &["forget", "--policy", "src"]).exits(0);
    assert_eq!(numbers(&place), [3]);
}

#[test]
fn a_run_says_its_alarm_once_with_the_remedy_and_an_older_one_again() {
    let place = Place::with_store().usual();
    let rules = format!("{RULES}rehearse = 'off'\n");
    let run = |more: &[&str]| with(&place, &rules, &[&["run", "src"][..], more].concat()).exits(0);
    write(&place, 0, 0..40, "");
    let first = run(&[]);
    assert_eq!(first.stderr, "", "{first:#?}");
    empty(&place);
    let ran = run(&[]).says("warning: ALARM: 800000 bytes are gone").says("until `dbakfs acknowledge src`\n");
    assert_eq!(ran.stderr.matches("800000 bytes are gone").count(), 1, "{ran:#?}");
    run(&[]).says("an alarm stands for src: 800000 bytes are gone").says("then `dbakfs acknowledge src`\n");
}

#[test]
fn a_run_tells_what_it_forgot_and_freed() {
    let place = Place::with_store();
    let rules = "[sources.src]\npath = 'SRC'\nkeep_days = 0\nkeep_last = 1\ngrace = '0s'\nrehearse = 'off'\n";
    let run = || with(&place, rules, &["run", "src", "--task", "full"]).exits(0);
    write(&place, 0, 0..10, "");
    let first = run();
    assert!(first.stdout.ends_with("; check: PASS\n"), "nothing was forgotten: {first:#?}");
    empty(&place);
    write(&place, 1, 0..10, "");
    // What goes at the end of its grace may go at once or in the next run.
    let ran = run().prints("; check: PASS; forgot 1");
    let ran = if ran.stdout.contains(", freed ") { ran } else { run() };
    ran.prints("freed ");
    assert_eq!(numbers(&place).len(), 1);
}

#[test]
fn an_alarm_holds_its_own_source_and_no_other() {
    let place = Place::with_store().usual();
    write(&place, 0, 0..10, "");
    for name in ["src", "other"] {
        place.backup(&["--name", name]);
        place.backup(&["--name", name, "--force"]);
    }
    empty(&place);
    alarm(&place.backup(&[]));
    place.run(["forget", "2", "4"]).exits(0);
    let report = place.run(["prune", "--grace", "0", "--json"]).exits(0).json().remove(0);
    assert_eq!((&report["points"], &report["held"]), (&serde_json::json!([4]), &serde_json::json!([2])));
    let rules = ["--keep-days", "0", "--policy", "other"];
    with(&place, "", &[&["forget"][..], &rules].concat()).exits(0);
    // One that is held back does not hold back the others.
    let both = [&["forget", "--policy", "src"][..], &rules].concat();
    with(&place, "", &both).exits(1).says("an alarm stands for src").prints("other: all 1 points stay");
}

#[test]
fn the_first_alarm_stands_and_the_next_backup_does_not_end_it() {
    let place = Place::with_store().usual();
    write(&place, 0, 0..10, "");
    place.backup(&[]);
    empty(&place);
    let first = alarm(&place.backup(&[]));
    write(&place, 1, 0..10, "");
    place.backup(&[]);
    empty(&place);
    alarm(&place.backup(&[]));
    place.backup(&[]);
    let shown = place.run(["acknowledge", "src", "--json"]).exits(0).json().remove(0);
    assert_eq!((shown["alarm"].as_str(), &shown["number"]), (Some(&*first), &2.into()));
}

#[test]
fn an_independent_full_of_an_emptied_source_alarms_too() {
    let place = Place::with_store().usual();
    write(&place, 0, 0..10, "");
    place.backup(&[]);
    empty(&place);
    alarm(&place.backup(&["--full", "--independent"]));
}

#[test]
fn where_an_alarm_may_stand_and_cannot_be_read_nothing_goes() {
    let place = Place::with_store().usual();
    write(&place, 0, 0..4, "");
    place.backup(&[]);
    place.backup(&["--force"]);
    place.run(["forget", "2"]).exits(0);
    fs::write(place.store().join("sources/src.toml"), "rubbish").unwrap();
    let ran = place.run(["prune", "--grace", "0"]).exits(4);
    ran.says("sources/src.toml is damaged").says("1 forgotten point stays for an alarm");
    with(&place, RULES, &["forget", "--policy", "src"]).exits(4).says("whether an alarm stands for src is not known");
    place.run(["unforget", "2"]).exits(0);
    assert_eq!(numbers(&place), [1, 2]);
}

#[test]
fn a_source_that_begins_to_fill_does_not_alarm() {
    let place = Place::with_store().usual();
    for round in 0..4 {
        write(&place, 0, 0..4 * 4_u64.pow(round), "");
        assert_eq!(place.backup(&[])["alarm"], Value::Null, "round {round}");
    }
}

#[test]
fn an_emptied_mount_alarms_a_source_with_a_habit() {
    let place = habit();
    empty(&place);
    alarm(&place.backup(&[]));
}

#[test]
fn an_encrypted_tree_alarms_each_file_under_a_new_name() {
    let place = habit();
    empty(&place);
    write(&place, 99, 0..40, ".locked");
    let reason = alarm(&place.backup(&[]));
    assert!(
        reason.starts_with("800000 bytes changed and 800000 bytes are gone, 200 % of the tree's 800000"),
        "{reason}"
    );
}

#[test]
fn an_encrypted_tree_alarms_each_file_in_its_place() {
    let place = habit();
    write(&place, 99, 0..40, "");
    let reason = alarm(&place.backup(&[]));
    assert!(reason.starts_with("800000 bytes changed and 0 bytes are gone, 100 %"), "{reason}");
}

#[test]
fn an_encrypted_tree_alarms_at_the_second_backup_if_names_are_gone() {
    let place = Place::with_store().usual();
    write(&place, 0, 0..40, "");
    place.backup(&[]);
    empty(&place);
    write(&place, 99, 0..40, ".locked");
    alarm(&place.backup(&[]));
}

#[test]
fn a_large_deploy_of_15_percent_does_not_alarm_and_one_of_25_does() {
    let place = habit();
    write(&place, 50, 10..16, "");
    assert_eq!(place.backup(&[])["alarm"], Value::Null, "15 % of the tree");
    write(&place, 51, 20..30, "");
    alarm(&place.backup(&[]));
}

#[test]
fn the_configuration_says_when_a_change_is_out_of_the_ordinary() {
    let place = habit();
    write(&place, 50, 10..16, "");
    let config = "[sources.src]\npath = 'SRC'\nalarm = { percent = 10, times = 3 }\n";
    let done = with(&place, config, &["backup", "src", "--json"]).exits(0).json().remove(0);
    alarm(&done);
}
