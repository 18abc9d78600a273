//! The text of the metrics.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use dbakfs::format::{Number, Origin, Point};
use dbakfs::metrics;
use dbakfs::report::{Beside, Noted, State, Unrecorded, Wanted};
use dbakfs::repository::Points;
use dbakfs::repository::runs::{BackupType, CheckEnd, CheckKind, RunEnd, RunNotes};

use crate::shelf::{DAY, DIFFERENTIAL, FULL, HOUR, Metrics, Shelf, WWW, check, run, tool};
use crate::support::cli::snapshot;

const TYPES: [(BackupType, &str); 2] = [(BackupType::Full, FULL), (BackupType::Differential, DIFFERENTIAL)];

#[test]
fn counters_accumulate_across_processes_and_sizes_are_those_of_the_newest_series() {
    let mut shelf = Shelf::new();
    let old = shelf.full("www", shelf.ago(9 * DAY), 900);
    shelf.differential("www", old, shelf.ago(8 * DAY), 800);
    let full = shelf.full("www", shelf.ago(2 * DAY), 1_000);
    shelf.differential("www", full, shelf.ago(DAY), 300);
    let newest = shelf.differential("www", full, shelf.ago(HOUR), 400);
    for (hours, secs) in [(30, 0.5), (20, 30.0), (10, 100_000.0)] {
        let mut ran = run(shelf.ago(hours * HOUR), BackupType::Differential, RunEnd::Made);
        ran.secs = secs;
        shelf.ran("www", ran);
    }
    let before = shelf.metrics();
    for (labels, value) in
        [(&["le=\"1\""][..], 1.0), (&["le=\"60\""], 2.0), (&["le=\"86400\""], 2.0), (&["le=\"+Inf\""], 3.0)]
    {
        before.is("backup_duration_seconds_bucket", &[labels, &[WWW, DIFFERENTIAL]].concat(), value);
    }
    before.is("backup_duration_seconds_count", &[WWW, DIFFERENTIAL], 3.0);
    before.is("backup_duration_seconds_sum", &[WWW, DIFFERENTIAL], 100_030.5);
    before.is("backup_duration_seconds_count", &[WWW, FULL], 0.0);
    before.is("backup_success_total", &[WWW, DIFFERENTIAL], 3.0);
    before.is("backup_size_bytes", &[WWW, FULL], 1_000.0);
    let when = dbakfs::repository::when::format_point_time(shelf.ago(HOUR));
    before.is("backup_size_bytes", &[WWW, DIFFERENTIAL, &format!("backup_name=\"www/{when}\"")], 400.0);
    before.is("backup_files_count", &[WWW, DIFFERENTIAL], 34.0);
    assert!(before.value("backup_stored_bytes", &[WWW, FULL]).unwrap() > 500.0, "the catalog comes on top");
    before.is("backup_points", &[WWW, FULL], 2.0);
    before.is("backup_points", &[WWW, DIFFERENTIAL], 3.0);

    shelf.ran("www", run(shelf.now, BackupType::Differential, RunEnd::Unchanged));
    shelf.forget(newest);
    let after = shelf.metrics();
    after.is("backup_success_total", &[WWW, DIFFERENTIAL], 4.0);
    after.is("backup_duration_seconds_count", &[WWW, DIFFERENTIAL], 4.0);
    after.is("backup_size_bytes", &[WWW, DIFFERENTIAL], 300.0);
    after.is("backup_points", &[WWW, DIFFERENTIAL], 2.0);
}

#[test]
fn counters_outlive_the_runs_that_are_kept() {
    let shelf = Shelf::new();
    shelf.note("www", |notes| {
        notes.push_run(run(shelf.ago(DAY), BackupType::Full, RunEnd::Made));
        for at in 0..300 {
            notes.push_run(run(shelf.ago(1_000 - at), BackupType::Differential, RunEnd::Made));
        }
    });
    let metrics = shelf.metrics();
    metrics.is("backup_success_total", &[WWW, DIFFERENTIAL], 300.0);
    metrics.is("backup_success_total", &[WWW, FULL], 1.0);
}

#[test]
fn new_full_takes_the_place_of_the_old_differential() {
    let mut shelf = Shelf::new();
    let old = shelf.full("www", shelf.ago(2 * DAY), 1_000);
    shelf.differential("www", old, shelf.ago(DAY), 900);
    shelf.metrics().is("backup_size_bytes", &[WWW, DIFFERENTIAL], 900.0);
    shelf.full("www", shelf.ago(HOUR), 1_100);
    let metrics = shelf.metrics();
    metrics.is("backup_size_bytes", &[WWW, FULL], 1_100.0);
    assert_eq!(metrics.value("backup_size_bytes", &[WWW, DIFFERENTIAL]), None);
    // A full that was made of a differential stands outside the rotation.
    shelf.point("www", shelf.ago(1), 7, None, Origin::Promotion);
    shelf.metrics().is("backup_size_bytes", &[WWW, FULL], 1_100.0);
}

#[test]
fn failed_run_never_looks_like_a_success() {
    for (of, label) in TYPES {
        let shelf = Shelf::new();
        shelf.ran("www", run(shelf.ago(DAY), of, RunEnd::Made));
        let before = shelf.metrics();
        before.is("backup_job_status", &[WWW, label], 1.0);
        shelf.ran("www", run(shelf.ago(HOUR), of, RunEnd::Failed));
        let after = shelf.metrics();
        after.is("backup_job_status", &[WWW, label], 0.0);
        after.is("backup_failure_total", &[WWW, label], 1.0);
        after.is("backup_success_total", &[WWW, label], 1.0);
        let last = before.value("backup_last_success_timestamp", &[WWW, label]);
        assert_eq!(after.value("backup_last_success_timestamp", &[WWW, label]), last);
        #[expect(clippy::cast_precision_loss, reason = "seconds are exact")]
        let expected = shelf.ago(DAY - 60).secs as f64;
        assert_eq!(last, Some(expected), "the end of the run");
        // The next that ends well, incomplete or not, changes that.
        shelf.ran("www", run(shelf.ago(10), of, RunEnd::Incomplete));
        shelf.metrics().is("backup_job_status", &[WWW, label], 1.0);
    }
}

#[test]
fn source_that_never_had_a_success_has_none_to_show() {
    let shelf = Shelf::new();
    shelf.ran("www", run(shelf.now, BackupType::Full, RunEnd::Failed));
    let metrics = shelf.metrics();
    metrics.is("backup_job_status", &[WWW, FULL], 0.0);
    metrics.is("backup_last_success_timestamp", &[WWW, FULL], 0.0);
    metrics.is("backup_success_total", &[WWW, FULL], 0.0);
    assert_eq!(metrics.value("backup_last_success_timestamp", &[WWW, DIFFERENTIAL]), None);
    assert_eq!(metrics.value("backup_job_status", &[WWW, DIFFERENTIAL]), None, "nothing was run of that type");
    assert_eq!(metrics.value("backup_size_bytes", &[WWW]), None);
}

#[test]
fn later_full_makes_good_a_failed_differential_and_never_the_other_way_round() {
    for (fails, comes, is_well) in
        [(BackupType::Differential, BackupType::Full, 1.0), (BackupType::Full, BackupType::Differential, 0.0)]
    {
        let shelf = Shelf::new();
        shelf.ran("www", run(shelf.ago(2 * HOUR), fails, RunEnd::Failed));
        shelf.ran("www", run(shelf.ago(HOUR), comes, RunEnd::Made));
        let label = TYPES.iter().find(|(of, _)| *of == fails).unwrap().1;
        shelf.metrics().is("backup_job_status", &[WWW, label], is_well);
        shelf.metrics().is("backup_failure_total", &[WWW, label], 1.0);
    }
}

#[test]
fn runs_that_are_not_recorded_yet_count_once() {
    let mut shelf = Shelf::new();
    shelf.full("www", shelf.ago(DAY), 10);
    let failed = run(shelf.ago(HOUR), BackupType::Differential, RunEnd::Failed);
    let lost = run(shelf.ago(2 * HOUR), BackupType::Full, RunEnd::Failed);
    let unrecorded = [("www", &failed), ("new", &lost)]
        .map(|(source, run)| Unrecorded { source: source.into(), what: Noted::Run(run.clone()) });
    let beside = Beside { unrecorded: unrecorded.into(), ..Beside::default() };
    let text = || Metrics(metrics::render(&shelf.state(&beside)));
    text().is("backup_failure_total", &[WWW, DIFFERENTIAL], 1.0);
    text().is("backup_job_status", &[WWW, DIFFERENTIAL], 0.0);
    text().is("backup_failure_total", &["source=\"new\"", FULL], 1.0);
    // It comes into the store, and is still in the other list for a moment.
    shelf.ran("www", failed);
    text().is("backup_failure_total", &[WWW, DIFFERENTIAL], 1.0);
    text().is("backup_duration_seconds_count", &[WWW, DIFFERENTIAL], 1.0);
}

#[test]
fn check_that_failed_and_is_not_recorded_yet_is_no_pass() {
    let mut shelf = Shelf::new();
    shelf.full("www", shelf.ago(DAY), 10);
    let checked = |hours, end| check(shelf.ago(hours * HOUR), CheckKind::Written, end, BackupType::Full);
    shelf.checked("www", checked(2, CheckEnd::Pass));
    shelf.metrics().is("backup_verification_status", &[WWW, FULL], 1.0);
    let what = Noted::Check(checked(1, CheckEnd::Fail));
    let beside = Beside { unrecorded: vec![Unrecorded { source: "www".into(), what }], ..Beside::default() };
    Metrics(metrics::render(&shelf.state(&beside))).is("backup_verification_status", &[WWW, FULL], 0.0);
}

#[test]
fn a_run_spooled_late_is_not_the_newest() {
    let shelf = Shelf::new();
    shelf.ran("www", run(shelf.ago(HOUR), BackupType::Full, RunEnd::Made));
    let run = run(shelf.ago(2 * HOUR), BackupType::Full, RunEnd::Failed);
    let beside =
        Beside { unrecorded: vec![Unrecorded { source: "www".into(), what: Noted::Run(run) }], ..Beside::default() };
    Metrics(metrics::render(&shelf.state(&beside))).is("backup_job_status", &[WWW, FULL], 1.0);
}

/// What `backup_verification_status` says of a source with one full, after these checks, so many hours ago each.
fn verified(checks: &[(i64, CheckKind, CheckEnd, BackupType)], runs: &[i64], wanted: Wanted) -> Option<f64> {
    let mut shelf = Shelf::new();
    let full = shelf.full("www", shelf.ago(9 * DAY), 10);
    shelf.note("www", |notes| {
        for (hours, kind, end, of) in checks {
            notes.push_check(check(shelf.ago(hours * HOUR), *kind, *end, *of));
        }
        for hours in runs {
            let mut ran = run(shelf.ago(hours * HOUR), BackupType::Full, RunEnd::Made);
            ran.number = Some(full);
            notes.push_run(ran);
        }
    });
    let beside = Beside { wanted: [("www".to_owned(), wanted)].into(), ..Beside::default() };
    Metrics(metrics::render(&shelf.state(&beside))).value("backup_verification_status", &[WWW, FULL])
}

#[test]
fn check_that_failed_or_did_not_run_is_no_pass() {
    use BackupType::{Differential, Full};
    use CheckEnd::{Fail, NotRun, Pass};
    use CheckKind::{Rehearsal, Sample, Written};
    let wanted = Wanted::default;
    assert_eq!(verified(&[], &[], wanted()), Some(0.0), "no check at all");
    assert_eq!(verified(&[], &[], Wanted { is_checked: false, ..wanted() }), None, "nobody wants one");
    assert_eq!(verified(&[(9, Written, Pass, Full)], &[], wanted()), Some(1.0));
    assert_eq!(verified(&[(9, Written, Fail, Full)], &[], wanted()), Some(0.0));
    assert_eq!(verified(&[(9, Written, Pass, Full), (8, Sample, NotRun, Full)], &[], wanted()), Some(0.0));
    assert_eq!(verified(&[(9, Written, Fail, Full), (8, Sample, Pass, Full)], &[], wanted()), Some(1.0));
    // That of the other type says nothing of this one, that of the whole store does.
    assert_eq!(verified(&[(9, Written, Pass, Differential)], &[], wanted()), Some(0.0));
    assert_eq!(verified(&[(9, Written, Pass, Full), (8, Written, Fail, Differential)], &[], wanted()), Some(1.0));
    assert_eq!(verified(&[(9, Written, Pass, Full), (8, CheckKind::Full, Fail, Full)], &[], wanted()), Some(0.0));
    assert_eq!(verified(&[(9, CheckKind::Full, Pass, Full)], &[], wanted()), Some(1.0));
    // A rehearsal that failed is not made good by the check after the next backup.
    assert_eq!(verified(&[(9, Rehearsal, Fail, Full), (8, Written, Pass, Full)], &[], wanted()), Some(0.0));
    // One backup may be waiting for its check, two are not checked.
    assert_eq!(verified(&[(9, Written, Pass, Full)], &[10, 8], wanted()), Some(1.0));
    assert_eq!(verified(&[(9, Written, Pass, Full)], &[10, 8, 7], wanted()), Some(0.0));
}

#[test]
fn what_is_wanted_and_alarms_are_told_and_a_source_that_never_ran_too() {
    let mut shelf = Shelf::new();
    shelf.full("www", shelf.ago(HOUR), 10);
    shelf.alarm("www", "everything has changed");
    let mut rehearsal = check(shelf.now, CheckKind::Rehearsal, CheckEnd::Pass, BackupType::Full);
    rehearsal.full_restore_secs = Some(120.5);
    shelf.checked("www", rehearsal);
    let config = shelf
        .config("[sources.www]\npath = '/srv'\nrpo = '26h'\nrto = '1h'\n[sources.idle]\npath = '/idle'\nrpo = '1d'\n");
    let metrics = Metrics(shelf.place.run([&["metrics".to_owned()], &config[..]].concat()).exits(0).stdout);
    metrics.is("backup_rpo_seconds", &[WWW], 93_600.0);
    metrics.is("backup_rto_seconds", &[WWW], 3_600.0);
    metrics.is("backup_restore_seconds", &[WWW], 120.5);
    metrics.is("backup_alarm", &[WWW], 1.0);
    metrics.is("backup_alarm", &["source=\"idle\""], 0.0);
    metrics.is("backup_rpo_seconds", &["source=\"idle\""], 86_400.0);
    metrics.is("backup_last_success_timestamp", &["source=\"idle\"", FULL], 0.0);
    assert_eq!(metrics.value("backup_rto_seconds", &["source=\"idle\""]), None);
}

#[test]
fn damaged_file_is_counted_and_takes_no_other_source_with_it() {
    let mut shelf = Shelf::new();
    shelf.full("www", shelf.ago(DAY), 10);
    shelf.ran("www", run(shelf.ago(DAY), BackupType::Full, RunEnd::Made));
    shelf.ran("db", run(shelf.ago(DAY), BackupType::Full, RunEnd::Made));
    shelf.metrics().is("backup_unreadable_files", &[], 0.0);
    let file = shelf.place.store().join("runs/www.toml");
    fs::write(&file, fs::read_to_string(&file).unwrap().replace("success = 1", "success = 9")).unwrap();
    let ran = shelf.place.run(["metrics"]).exits(0).says("runs/www.toml");
    let metrics = Metrics(ran.stdout);
    metrics.is("backup_unreadable_files", &[], 1.0);
    metrics.is("backup_success_total", &["source=\"db\"", FULL], 1.0);
    metrics.is("backup_success_total", &[WWW, FULL], 0.0);
}

#[test]
fn store_from_before_there_were_runs_has_metrics() {
    let mut shelf = Shelf::new();
    shelf.full("www", shelf.ago(DAY), 10);
    fs::remove_dir_all(shelf.place.store().join("runs")).unwrap();
    let before = snapshot(&shelf.place.store());
    shelf.metrics().is("backup_size_bytes", &[WWW, FULL], 10.0);
    assert_eq!(snapshot(&shelf.place.store()), before, "metrics change nothing");
}

#[test]
fn hostile_names_stay_in_their_labels() {
    let name = "a\"} 1\nbackup_job_status{source=\"www\\";
    let mut shelf = Shelf::new();
    shelf.full("www", shelf.ago(DAY), 10);
    let mut points = Points::list(dbakfs::repository::Store::open(&shelf.place.store()).unwrap().storage()).unwrap();
    let hostile = |point: &mut Point| point.source.name = name.to_owned();
    points.points.iter_mut().for_each(hostile);
    let runs = RunNotes { name: name.to_owned(), ..RunNotes::default() };
    let text = metrics::render(&State::of(&points, Vec::new(), vec![runs], &Beside::default()));
    let escaped = "source=\"a\\\"} 1\\nbackup_job_status{source=\\\"www\\\\\",";
    assert!(text.contains(escaped), "{text}");
    assert!(text.lines().all(|line| line.starts_with("# ") || line.starts_with("backup_")));
    assert!(!text.lines().any(|line| line.starts_with("backup_job_status")), "{text}");
    promtool_finds_no_fault(&shelf, &text);
}

#[test]
fn promtool_takes_what_we_write() {
    let mut shelf = Shelf::new();
    for name in ["www", "db", "Ünïcode source"] {
        let full = shelf.full(name, shelf.ago(2 * DAY), 1 << 40);
        shelf.differential(name, full, shelf.ago(DAY), 12_345);
        shelf.ran(name, run(shelf.ago(DAY), BackupType::Full, RunEnd::Made));
        shelf.ran(name, run(shelf.ago(DAY), BackupType::Differential, RunEnd::Failed));
        shelf.checked(name, check(shelf.now, CheckKind::Written, CheckEnd::Pass, BackupType::Full));
    }
    promtool_finds_no_fault(&shelf, &shelf.metrics().0);
    promtool_finds_no_fault(&Shelf::new(), &Shelf::new().metrics().0);
}

/// All that promtool may say is that it would have chosen another of the names that were asked for.
#[track_caller]
fn promtool_finds_no_fault(shelf: &Shelf, text: &str) {
    let file = shelf.place.path("metrics.prom");
    fs::write(&file, text).unwrap();
    let Some(ran) = tool("promtool", &["check", "metrics"], Some(&file)) else { return };
    let said = format!("{}{}", ran.stdout, ran.stderr);
    let complaints: Vec<&str> =
        said.lines().filter(|line| !line.starts_with("backup_files_count non-histogram")).collect();
    assert!(complaints.is_empty(), "{said}\nin\n{text}");
    assert!([0, 3].contains(&ran.code), "{ran:?}");
}

#[test]
fn textfile_is_replaced_in_one_step_and_everybody_may_read_it() {
    let mut shelf = Shelf::new();
    shelf.full("www", shelf.ago(DAY), 10);
    let dir = shelf.place.path("textfile");
    fs::create_dir(&dir).unwrap();
    let path = dir.join("dbakfs.prom");
    let write = |shelf: &Shelf| {
        let arg = path.to_str().unwrap();
        let script = "umask 077; exec \"$0\" metrics --textfile \"$1\"";
        let mut command = shelf.place.command();
        let program = command.get_program().to_owned();
        let envs: Vec<_> =
            command.get_envs().map(|(key, value)| (key.to_owned(), value.map(ToOwned::to_owned))).collect();
        command = std::process::Command::new("sh");
        command.arg("-c").arg(script).arg(program).arg(arg);
        for (key, value) in envs {
            match value {
                Some(value) => command.env(key, value),
                None => command.env_remove(key),
            };
        }
        crate::support::process::limited(&mut command).exits(0)
    };
    write(&shelf);
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o644);
    let held = fs::File::open(&path).unwrap();
    let first = fs::read_to_string(&path).unwrap();
    shelf.full("db", shelf.ago(DAY), 10);
    write(&shelf);
    // Who reads on reads the whole of what was there.
    assert_eq!(std::io::read_to_string(held).unwrap(), first);
    assert!(fs::read_to_string(&path).unwrap().contains("source=\"db\""));
    assert_eq!(fs::read_dir(&dir).unwrap().count(), 1, "nothing is left beside it");

    // What cannot be written leaves what is there; a name that node_exporter passes over is refused.
    let wrong = dir.join("dbakfs.txt");
    shelf.place.run(["metrics", "--textfile", wrong.to_str().unwrap()]).exits(2).says("hint: ");
    let gone = dir.join("gone/dbakfs.prom");
    shelf.place.run(["metrics", "--textfile", gone.to_str().unwrap()]).exits(1).says("cannot write");
    assert_eq!(fs::read_dir(&dir).unwrap().count(), 1);
}

#[test]
fn every_family_has_its_help_and_its_type_once() {
    let mut shelf = Shelf::new();
    let full = shelf.full("www", shelf.ago(DAY), 10);
    assert_eq!(full, Number(1));
    let text = shelf.metrics().0;
    for family in metrics::FAMILIES {
        assert_eq!(text.matches(&format!("# TYPE {} ", family.name)).count(), 1, "{}", family.name);
        assert_eq!(text.matches(&format!("# HELP {} ", family.name)).count(), 1, "{}", family.name);
    }
    assert_eq!(text.matches("# TYPE").count(), metrics::FAMILIES.len());
}
