//! `forget --policy`: what it says, what it does, and by which rules.

use crate::support::cli::Place;
use crate::support::points::History;
use crate::{files, grow, numbers, verdicts, with};

const TWO: &str = "[sources.src]\npath = 'SRC'\nkeep_days = 0\nkeep_last = 2\n";

/// A full with three differentials, of which the second is tagged, and a full with one; no rules are noted.
fn two_series() -> Place {
    let place = Place::with_store();
    for more in [&[][..], &[], &["--tag", "deploy"], &[], &["--full"], &[]] {
        grow(&place, "", 5_000, more);
    }
    place
}

#[test]
fn a_dry_run_lists_every_point_with_its_verdict_and_changes_nothing() {
    let place = two_series();
    let before = files(&place);
    let lines = with(&place, TWO, &["forget", "--policy", "src", "--dry-run", "--json"]).exits(0).json();
    let expected =
        ["1 keep base", "2 forget none", "3 keep tagged", "4 forget none", "5 keep base", "6 keep keep_last"];
    assert_eq!(verdicts(&lines), expected);
    assert_eq!(lines[3]["reason"], "no rule keeps it");
    let summary = lines.last().unwrap();
    assert_eq!((&summary["keep"], &summary["forget"]), (&4.into(), &2.into()));
    let text = with(&place, TWO, &["forget", "--policy", "src", "--dry-run"]).exits(0);
    assert_eq!(text.stdout.lines().count(), 7);
    text.prints("(4, differential): no rule keeps it")
        .prints("it is among the last 2 (keep_last)")
        .prints("it has a tag");
    assert!(files(&place) == before, "a dry run changed the store");
}

#[test]
fn what_the_rules_do_not_keep_is_forgotten_and_the_rest_is_as_it_was() {
    let place = Place::with_store();
    let mut history = History::default();
    for number in 0..6 {
        std::fs::write(place.src().join(format!("{number}")), format!("of {number}")).unwrap();
        history.backup(&place, if number == 3 { &["--full"] } else { &[] });
    }
    let lines = with(&place, TWO, &["forget", "--policy", "src", "--json"]).exits(0).json();
    assert_eq!(verdicts(&lines), ["2 forget none", "3 forget none", "1 forget none"], "differentials first");
    assert!(lines.iter().all(|line| line["forgotten"] == true));
    assert_eq!(numbers(&place), [4, 5, 6]);
    history.keep_last(3);
    history.check(&place);
    with(&place, TWO, &["forget", "--policy", "src"]).exits(0).prints("src: all 3 points stay");
    // They come back like any other.
    place.run(["unforget", "2"]).exits(0);
    assert_eq!(numbers(&place), [1, 2, 4, 5, 6]);
}

#[test]
fn rules_on_the_command_line_need_no_configuration_and_stand_above_it() {
    let place = two_series();
    let dry = |config: &str, more: &[&str]| {
        let args = [&["forget", "--policy", "src", "--dry-run", "--json"][..], more].concat();
        verdicts(&with(&place, config, &args).exits(0).json())
    };
    let kept = |lines: Vec<String>| lines.iter().filter(|line| line.contains("keep ")).count();
    assert_eq!(kept(dry("", &["--keep-last", "1"])), 6, "keep_days is 30 if nobody says otherwise");
    assert_eq!(kept(dry("", &["--keep-last", "1", "--keep-days", "0"])), 4);
    assert_eq!(kept(dry(TWO, &["--keep-last", "3"])), 5, "the other rules are the configuration's");
    let bounded = dry("", &["--keep-days", "0", "--max-series", "2", "--max-series-length", "2"]);
    let expected = [
        "1 keep base",
        "2 forget max_series_length",
        "3 keep tagged",
        "4 forget max_series_length",
        "5 keep base",
        "6 keep newest",
    ];
    assert_eq!(bounded, expected);
    let above = with(&place, "", &["forget", "--policy", "src", "-n", "--keep-days", "9", "--max-series", "1"]);
    above.exits(0).says("warning: src: 2 series stay, max_series is 1");
}

#[test]
fn what_is_not_said_is_refused() {
    let place = two_series();
    let before = files(&place);
    let refused =
        |config: &str, args: &[&str], code| with(&place, config, &[&["forget"][..], args].concat()).exits(code);
    refused("", &["--policy", "src"], 2).says("no rules are known for src").says("--keep-days");
    refused(TWO, &["--policy", "srv"], 2).says("no rules are known for srv");
    refused(TWO, &["--policy", "srv", "--keep-last", "1"], 1)
        .says("there is no source named srv")
        .says("the store has: src");
    refused(TWO, &["--keep-last", "1"], 2);
    refused(TWO, &["--keep-last", "1", "6"], 2);
    refused(TWO, &["--policy", "src", "6"], 2);
    refused(TWO, &[], 2);
    let none = place.run(["--config", "/nowhere/config.toml", "forget", "--all"]);
    assert_eq!(none.code, 2, "{none:?}");
    assert!(files(&place) == before, "what was refused changed the store");
}

#[test]
fn all_sources_of_the_configuration_are_judged_each_by_its_rules() {
    let place = Place::with_store();
    let config = format!("{TWO}[sources.other]\npath = 'SRC'\nkeep_days = 3\n[sources.never]\npath = '/nowhere'\n");
    for name in ["src", "other", "third"] {
        for _ in 0..3 {
            // Without the configuration, so that no rules are noted.
            grow(&place, "", 100, &["--name", name]);
        }
    }
    with(&place, &config, &["forget", "--all"]).exits(0).prints("other: all 3 points stay");
    assert_eq!(numbers(&place), [1, 2, 3, 4, 5, 6, 7, 8, 9], "the full stays for the last two");
    let shorter = config.replace("keep_last = 2", "keep_last = 1");
    with(&place, &shorter, &["forget", "--all"]).exits(0).prints("(2, differential)");
    assert_eq!(numbers(&place), [1, 3, 4, 5, 6, 7, 8, 9]);
}

#[test]
fn a_series_goes_on_by_the_rules_that_it_began_with_until_its_next_full() {
    let place = Place::with_store();
    let wide = "[sources.src]\npath = 'SRC'\nkeep_days = 30\n";
    let narrow = "[sources.src]\npath = 'SRC'\nkeep_days = 0\nkeep_last = 1\n";
    for more in [&["--tag", "first"][..], &[]] {
        grow(&place, wide, 100, more);
    }
    let noted = std::fs::read_to_string(place.store().join("points/00000001.toml")).unwrap();
    assert!(noted.contains("[keep]\nkeep_days = 30\n") && noted.contains("first"), "{noted}");
    assert!(!place.store().join("points/00000002.toml").exists(), "rules are noted at fulls");
    // A differential under the new rules is still of the old series.
    grow(&place, narrow, 100, &[]);
    let dry = |config: &str, more: &[&str]| {
        let args = [&["forget", "--policy", "src", "--dry-run", "--json"][..], more].concat();
        with(&place, config, &args).exits(0).json()
    };
    let lines = dry(narrow, &[]);
    assert_eq!(verdicts(&lines), ["1 keep tagged", "2 keep keep_days", "3 keep keep_days"]);
    assert_eq!(lines[1]["rules"], "series");
    with(&place, narrow, &["forget", "--policy", "src", "-n"])
        .exits(0)
        .prints("by the rules that its series began with");
    // Its next full begins a series of the new ones.
    for more in [&["--full"][..], &[], &[]] {
        grow(&place, narrow, 100, more);
    }
    let lines = dry(narrow, &[]);
    let expected =
        ["1 keep tagged", "2 keep keep_days", "3 keep keep_days", "4 keep base", "5 forget none", "6 keep keep_last"];
    assert_eq!(verdicts(&lines), expected);
    assert_eq!(lines[5]["rules"], "current");
    let all = verdicts(&dry(narrow, &["--current-rules"]));
    assert_eq!(all[..3], ["1 keep tagged", "2 forget none", "3 forget none"]);
    with(&place, narrow, &["forget", "--policy", "src"]).exits(0);
    assert_eq!(numbers(&place), [1, 2, 3, 4, 6]);
}

#[test]
fn notes_and_catalogs_that_cannot_be_read_keep_what_they_may_be_about() {
    let place = two_series();
    std::fs::write(place.store().join("points/00000002.toml"), "rubbish").unwrap();
    let lines = with(&place, TWO, &["forget", "--policy", "src", "-n", "--json"]).exits(0).json();
    assert_eq!(verdicts(&lines)[1], "2 keep unreadable", "it may be pinned");
    // The tag of the third goes with its file: then nothing but the damaged one holds the first series.
    std::fs::remove_file(place.store().join("points/00000002.toml")).unwrap();
    std::fs::remove_file(place.store().join("points/00000003.toml")).unwrap();
    std::fs::write(place.store().join("catalogs/00000006.catalog"), "rubbish").unwrap();
    let lines = with(&place, TWO, &["forget", "--policy", "src", "-n", "--json", "--keep-last", "1"]).exits(0).json();
    let expected = ["1 keep unreadable", "2 forget none", "3 forget none", "4 forget none", "5 keep unreadable"];
    assert_eq!(verdicts(&lines)[1..4], expected[1..4]);
    assert_eq!(verdicts(&lines)[0], expected[0], "backup 6 may stand on it");
    assert!(lines[0]["reason"].as_str().unwrap().contains("backup 6, which cannot be read"));
}
