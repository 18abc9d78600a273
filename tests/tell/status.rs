//! `dbakfs status`.

use dbakfs::format::Origin;
use dbakfs::repository::runs::{BackupType, CheckEnd, CheckKind, RunEnd};
use serde_json::{Value, json};

use crate::shelf::{DAY, DIFFERENTIAL, FULL, HOUR, Shelf, WWW, check, run};
use crate::support::cli::{Place, Ran, snapshot};

const WANTED: &str = "[sources.www]\npath = '/srv'\nrpo = '26h'\nrto = '1h'\n";

/// A source that is as it should be: 10 % of growth a day, the threshold three days ahead.
fn well() -> Shelf {
    let mut shelf = Shelf::new();
    let old = shelf.full("www", shelf.ago(9 * DAY), 2_000);
    shelf.differential("www", old, shelf.ago(8 * DAY), 1_999);
    let full = shelf.full("www", shelf.ago(2 * DAY + HOUR), 1_000);
    shelf.differential("www", full, shelf.ago(DAY + HOUR), 100);
    shelf.differential("www", full, shelf.ago(HOUR), 200);
    shelf.note("www", |notes| {
        notes.push_run(run(shelf.ago(2 * DAY + HOUR), BackupType::Full, RunEnd::Made));
        notes.push_run(run(shelf.ago(HOUR), BackupType::Differential, RunEnd::Made));
        let mut rehearsal = check(shelf.ago(HOUR), CheckKind::Rehearsal, CheckEnd::Pass, BackupType::Full);
        rehearsal.full_restore_secs = Some(1_800.0);
        notes.push_check(rehearsal);
        for of in [BackupType::Full, BackupType::Differential] {
            notes.push_check(check(shelf.ago(HOUR), CheckKind::Written, CheckEnd::Pass, of));
        }
    });
    shelf
}

fn status(shelf: &Shelf, config: &str, more: &[&str]) -> Ran {
    let config = shelf.config(config);
    let mut args = vec!["status"];
    args.extend(config.iter().map(String::as_str));
    args.extend(more);
    shelf.place.run(args)
}

#[track_caller]
fn of_www(shelf: &Shelf, config: &str) -> Value {
    status(shelf, config, &["www", "--json"]).exits(0).json().remove(0)
}

#[test]
fn ages_objectives_and_growth_are_shown() {
    let shelf = well();
    let www = of_www(&shelf, WANTED);
    let name = |secs| dbakfs::repository::when::format_point_time(shelf.ago(secs));
    assert_eq!(www["last_full"]["point"], format!("www/{}", name(2 * DAY + HOUR)));
    assert_eq!(www["last_differential"]["size_bytes"], 200);
    let age = www["last_full"]["age_secs"].as_i64().unwrap();
    assert!((2 * DAY + HOUR..2 * DAY + HOUR + 120).contains(&age), "{age}");
    assert_eq!((&www["rpo"]["wanted_secs"], &www["rpo"]["met"]), (&json!(93_600), &json!(true)));
    assert_eq!(www["rto"], json!({ "wanted_secs": 3_600, "measured_secs": 1_800.0, "met": true }));
    // 100 bytes a day from 200: half of 1,000 is three days ahead.
    assert_eq!((&www["growth"]["threshold_percent"], &www["growth"]["full_bytes"]), (&json!(50), &json!(1_000)));
    assert_eq!(www["growth"]["crosses"], name(HOUR - 3 * DAY));
    assert_eq!(www["growth"]["differentials"].as_array().unwrap().len(), 2, "those of the newest series");
    assert_eq!(www["growth"]["differentials"][1]["percent"], 20.0);
    assert_eq!((&www["points"], &www["alarm"], &www["amiss"]), (&json!(5), &Value::Null, &json!([])));
    assert_eq!(www["runs"][0]["type"], "differential", "the newest first");
    assert_eq!(www["checks"].as_array().unwrap().len(), 2, "the newest of each kind");

    let day = &name(HOUR - 3 * DAY)[..10];
    status(&shelf, WANTED, &[])
        .exits(0)
        .prints("www\n  last full          www/")
        .prints(" ago; wanted 1d2h at most: met\n")
        .prints("  full restore       30m; wanted 1h at most: met\n")
        .prints(&format!("  growth             20.0 % of the full, will cross 50 % on {day}\n"))
        .prints("what was written: PASS\n")
        .prints(" UTC  what was written")
        .prints("because\n");
    status(&shelf, WANTED, &["--check"]).exits(0);
}

#[test]
fn what_nobody_wants_is_not_judged() {
    let mut shelf = Shelf::new();
    shelf.full("www", shelf.ago(400 * DAY), 10);
    shelf.checked("www", check(shelf.ago(DAY), CheckKind::Written, CheckEnd::Pass, BackupType::Full));
    let www = of_www(&shelf, "");
    assert_eq!((&www["rpo"]["wanted_secs"], &www["rpo"]["met"]), (&Value::Null, &Value::Null));
    assert_eq!(www["amiss"], json!([]));
    status(&shelf, "", &["--check"]).exits(0);
}

#[test]
fn each_thing_amiss_is_said_and_counts_only_with_check() {
    type Spoil = fn(&mut Shelf);
    let cases: [(&str, &str, Spoil); 9] = [
        ("the last success was ", "[sources.www]\npath = '/srv'\nrpo = '30m'\n", |_| {}),
        ("a restore would take 30m, wanted is 10m", "[sources.www]\npath = '/srv'\nrto = '10m'\n", |_| {}),
        ("the last full was not checked", WANTED, |shelf| {
            shelf.checked("www", check(shelf.ago(60), CheckKind::Written, CheckEnd::NotRun, BackupType::Full));
        }),
        ("the last differential failed", WANTED, |shelf| {
            shelf.ran("www", run(shelf.ago(60), BackupType::Differential, RunEnd::Failed));
        }),
        ("the last check found something wrong with the fulls", WANTED, |shelf| {
            shelf.checked("www", check(shelf.ago(60), CheckKind::Written, CheckEnd::Fail, BackupType::Full));
        }),
        (
            "the differential is 20 % of its full, wanted is 10 %",
            "[sources.www]\npath = '/srv'\ndiff_threshold = 10\n",
            |_| {},
        ),
        ("everything is encrypted", WANTED, |shelf| shelf.alarm("www", "everything is encrypted")),
        ("no backup has ended well yet", "[sources.new]\npath = '/new'\nrpo = '1d'\n", |_| {}),
        ("warning: runs/www.toml is damaged", "", |shelf| {
            std::fs::write(shelf.place.store().join("runs/www.toml"), "no notes").unwrap();
        }),
    ];
    for (said, config, spoil) in cases {
        let mut shelf = well();
        spoil(&mut shelf);
        let ran = status(&shelf, config, &[]).exits(0);
        assert!(format!("{}{}", ran.stdout, ran.stderr).contains(said), "{said}: {ran:#?}");
        let checked = status(&shelf, config, &["--check", "--quiet"]).exits(1);
        assert_eq!(checked.stdout, "");
    }
}

#[test]
fn objective_that_cannot_be_measured_is_not_met() {
    let mut shelf = Shelf::new();
    shelf.full("www", shelf.ago(DAY), 10);
    let www = of_www(&shelf, WANTED);
    assert_eq!(www["rto"], json!({ "wanted_secs": 3_600, "measured_secs": null, "met": null }));
    status(&shelf, WANTED, &[]).prints("full restore       not rehearsed; wanted 1h at most: not measured yet");
    // A rehearsal that failed has measured nothing.
    let mut rehearsal = check(shelf.now, CheckKind::Rehearsal, CheckEnd::Fail, BackupType::Full);
    rehearsal.full_restore_secs = Some(1.0);
    shelf.checked("www", rehearsal);
    assert_eq!(of_www(&shelf, WANTED)["rto"]["measured_secs"], Value::Null);
}

#[test]
fn success_without_a_point_is_a_success_and_a_failure_is_none() {
    let mut shelf = Shelf::new();
    shelf.full("www", shelf.ago(3 * DAY), 10);
    shelf.checked("www", check(shelf.ago(DAY), CheckKind::Written, CheckEnd::Pass, BackupType::Full));
    shelf.ran("www", run(shelf.ago(HOUR), BackupType::Differential, RunEnd::Failed));
    assert_eq!(of_www(&shelf, WANTED)["rpo"]["met"], json!(false));
    shelf.ran("www", run(shelf.ago(HOUR), BackupType::Differential, RunEnd::Unchanged));
    assert_eq!(of_www(&shelf, WANTED)["rpo"]["met"], json!(true));
}

#[test]
fn real_backup_shows_and_status_changes_nothing() {
    let place = Place::with_store();
    std::fs::write(place.src().join("file"), "content").unwrap();
    let made = place.backup(&["--name", "www"]);
    let before = snapshot(&place.store());
    let all = place.run(["status", "--json"]).exits(0).json();
    assert_eq!((&all[0]["name"], &all[0]["last_full"]["point"]), (&json!("www"), &made["point"]));
    assert_eq!(all[0]["last_full"]["files"], 1);
    assert_eq!(all[0]["last_differential"], Value::Null);
    place.run(["status"]).exits(0).prints("no differential on the last full");
    place.run(["status", "gone"]).exits(1).says("there is no source named gone").says("known are: www");
    assert_eq!(snapshot(&place.store()), before);
}

#[test]
fn source_that_is_scheduled_and_was_never_backed_up_is_amiss() {
    let shelf = Shelf::new();
    let config = |schedule: &str| format!("[sources.new]\npath = '/new'\nschedule.{schedule}\n");
    let daily = config("auto = '0 2 * * *'");
    let new = status(&shelf, &daily, &["new", "--json"]).exits(0).json().remove(0);
    assert_eq!(new["amiss"], json!(["it was never backed up"]));
    status(&shelf, &daily, &["--check"]).exits(1).prints("AMISS              it was never backed up\n");
    // What the store is verified by is no backup that is missing.
    status(&shelf, &config("verify = '0 2 * * *'"), &["--check"]).exits(0);
    let wanted = format!("{daily}rpo = '1d'\n");
    let new = status(&shelf, &wanted, &["new", "--json"]).exits(0).json().remove(0);
    assert_eq!(new["amiss"].as_array().unwrap().len(), 1, "said once: {new}");

    let mut shelf = shelf;
    shelf.full("new", shelf.ago(DAY), 10);
    shelf.checked("new", check(shelf.ago(DAY), CheckKind::Written, CheckEnd::Pass, BackupType::Full));
    status(&shelf, &daily, &["--check"]).exits(0);
}

#[test]
fn store_without_a_source_and_no_store_at_all_are_told_apart() {
    let place = Place::new();
    place.run(["status"]).exits(10);
    place.run(["init"]).exits(0);
    assert_eq!(place.run(["status"]).exits(0).stdout, "");
}

#[test]
fn imported_and_promoted_points_make_nothing_red_and_nothing_green() {
    let mut shelf = well();
    // Of their times, and newer than all: nobody has checked them, or builds on them.
    let import = shelf.point("www", shelf.ago(20 * DAY), 100, None, Origin::Import);
    shelf.point("www", shelf.ago(19 * DAY), 99, Some(import), Origin::Import);
    let newest = shelf.point("www", shelf.ago(60), 100, None, Origin::Import);
    let differential = shelf.point("www", shelf.ago(50), 99, Some(newest), Origin::Import);
    shelf.point("www", shelf.ago(40), 100, None, Origin::Promotion);
    let www = of_www(&shelf, WANTED);
    assert_eq!((&www["amiss"], &www["points"]), (&json!([]), &json!(10)));
    assert_eq!(
        (&www["last_full"]["size_bytes"], &www["last_differential"]["size_bytes"]),
        (&json!(1_000), &json!(200))
    );
    shelf.metrics().is("backup_verification_status", &[WWW, DIFFERENTIAL], 1.0);
    shelf.metrics().is("backup_size_bytes", &[WWW, FULL], 1_000.0);

    // A check of one that passed hides nothing that was found of a backup.
    shelf.checked("www", check(shelf.ago(30), CheckKind::Written, CheckEnd::Fail, BackupType::Differential));
    let mut passed = check(shelf.ago(20), CheckKind::Written, CheckEnd::Pass, BackupType::Differential);
    passed.number = Some(differential);
    shelf.checked("www", passed);
    shelf.metrics().is("backup_verification_status", &[WWW, DIFFERENTIAL], 0.0);

    // Alone they want no check either; one that found something counts.
    for (of, base) in [(BackupType::Full, None), (BackupType::Differential, Some(import))] {
        let alone = format!("{of:?}").to_lowercase();
        let number = shelf.point(&alone, shelf.ago(DAY), 100, base, Origin::Import);
        let config = format!("[sources.{alone}]\npath = '/srv'\n");
        let amiss = |shelf: &Shelf| {
            status(shelf, &config, &[&alone, "--json"]).exits(0).json().remove(0)["amiss"].as_array().unwrap().clone()
        };
        let is_checked = |amiss: &[Value]| !amiss.iter().any(|line| line.as_str().unwrap().contains("check"));
        assert!(is_checked(&amiss(&shelf)), "{:?}", amiss(&shelf));
        let mut failed = check(shelf.ago(10), CheckKind::Written, CheckEnd::Fail, of);
        failed.number = Some(number);
        shelf.checked(&alone, failed);
        assert!(!is_checked(&amiss(&shelf)), "{:?}", amiss(&shelf));
    }
}

#[test]
fn imported_differentials_are_not_said_to_have_grown_too_large() {
    let mut shelf = Shelf::new();
    let full = shelf.point("www", shelf.ago(3 * DAY), 100, None, Origin::Import);
    shelf.point("www", shelf.ago(2 * DAY), 99, Some(full), Origin::Import);
    assert_eq!(of_www(&shelf, "")["amiss"], json!([]));
}
