//! What follows a backup in `run`: the check, the rehearsal, forgetting and pruning, and the metrics.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::Site;
use crate::daemon::Daemon;
use crate::support::cli::Ran;
use crate::support::points::noise;

/// Only the newest point stays, and space comes back at once.
const SHORT: &str = "keep_days = 0\nkeep_last = 1\ngrace = '0s'\n";
/// No change is out of the ordinary.
const NO_ALARM: &str = "alarm = { percent = 4294967295, times = 4294967295 }\n";

fn write(site: &Site, seed: u64) {
    fs::write(site.place.src().join("large"), noise(seed, 200_000)).unwrap();
}

/// A full by `run`, and its report.
#[track_caller]
fn full(site: &Site) -> Value {
    ran_full(site).exits(0).json().remove(0)
}

fn ran_full(site: &Site) -> Ran {
    site.run(["run", "src", "--task", "full", "--json"])
}

fn numbers(site: &Site) -> Vec<u64> {
    site.place.points().iter().map(|point| point["number"].as_u64().unwrap()).collect()
}

/// The one sample of this name of the fulls of `src`.
#[track_caller]
fn sample(metrics: &str, name: &str) -> f64 {
    let is_of = |line: &&str| {
        let labels = line.strip_prefix(name).filter(|rest| rest.starts_with('{'));
        labels.is_some_and(|labels| labels.contains("source=\"src\"") && labels.contains("backup_type=\"full\""))
    };
    let found: Vec<&str> = metrics.lines().filter(is_of).collect();
    assert_eq!(found.len(), 1, "{name} in:\n{metrics}");
    found[0].rsplit(' ').next().unwrap().parse().unwrap()
}

#[test]
fn file_of_metrics_is_written_after_each_run_however_it_ended() {
    let site = Site::new("", "");
    let file = site.place.path("dbakfs.prom");
    let before = "hooks.before = 'test ! -e \"$PLACE/full\"'";
    site.configure(&format!("[metrics]\ntextfile = {file:?}"), before);
    full(&site);
    let metrics = fs::read_to_string(&file).unwrap();
    let count = |metrics: &str, name: &str| sample(metrics, name).to_string();
    assert_eq!(count(&metrics, "backup_success_total"), "1");
    assert_eq!(count(&metrics, "backup_failure_total"), "0");
    assert_eq!(count(&metrics, "backup_verification_status"), "1");
    let last = sample(&metrics, "backup_last_success_timestamp");
    assert!(last > 1.7e9, "{last}");

    fs::write(site.place.path("full"), "").unwrap();
    ran_full(&site).exits(1);
    let metrics = fs::read_to_string(&file).unwrap();
    assert_eq!(count(&metrics, "backup_success_total"), "1");
    assert_eq!(count(&metrics, "backup_failure_total"), "1");
    assert_eq!(count(&metrics, "backup_job_status"), "0");
    let still = sample(&metrics, "backup_last_success_timestamp");
    assert!(still.to_bits() == last.to_bits(), "a failure is no success: {still}");
}

#[test]
fn what_the_rules_do_not_keep_is_forgotten_and_pruned() {
    let site = Site::new("", &format!("{SHORT}{NO_ALARM}"));
    write(&site, 1);
    let first = full(&site);
    assert_eq!((&first["forgotten"], &first["freed_bytes"]), (&json!([]), &Value::Null));
    let old = site.place.packs();
    write(&site, 2);
    let second = full(&site);
    assert_eq!(second["forgotten"], json!([1]), "{second}");
    assert!(second["freed_bytes"].as_u64().unwrap() > 150_000, "{second}");
    assert_eq!(second["warnings"], json!([]));
    assert_eq!(numbers(&site), [2]);
    assert!(old.iter().all(|pack| !pack.exists()), "what only the old one needed is gone");
    site.place.run(["verify", "--data"]).exits(0);
}

#[test]
fn nothing_is_forgotten_before_a_backup_that_failed() {
    let before = "hooks.before = 'test ! -e \"$PLACE/full\"'";
    let site = Site::new("", &format!("{SHORT}{NO_ALARM}{before}"));
    // By hand, without the rules that `run` will go by.
    for seed in 1..4 {
        write(&site, seed);
        site.place.backup(&["--full"]);
    }
    let (hook, source) = (site.place.path("full"), site.place.src());
    let failed = || {
        let report = ran_full(&site).exits(1).json().remove(0);
        assert_eq!(report["result"], "failed");
        assert_eq!((&report["forgotten"], &report["freed_bytes"]), (&json!([]), &Value::Null), "{report}");
        assert_eq!(numbers(&site), [1, 2, 3]);
        report["error"].as_str().unwrap().to_owned()
    };
    fs::write(&hook, "").unwrap();
    let error = failed();
    assert!(error.contains("the hook before failed"), "{error}");
    fs::remove_file(&hook).unwrap();
    fs::rename(&source, site.place.path("gone")).unwrap();
    failed();
    // One that succeeds does what these would have done.
    fs::rename(site.place.path("gone"), &source).unwrap();
    let mut forgotten: Vec<u64> =
        full(&site)["forgotten"].as_array().unwrap().iter().map(|number| number.as_u64().unwrap()).collect();
    forgotten.sort_unstable();
    assert_eq!((forgotten, numbers(&site)), (vec![1, 2, 3], vec![4]));
}

#[test]
fn what_was_written_is_checked_and_a_restore_rehearsed_once_a_month() {
    let site = Site::new("timezone = 'UTC'", "");
    let first = full(&site);
    assert_eq!((&first["check"]["end"], &first["check"]["kind"]), (&json!("pass"), &json!("written")), "{first}");
    assert_eq!((&first["check"]["number"], &first["check"]["type"]), (&json!(1), &json!("full")));
    let rehearsal = &first["rehearsal"];
    assert_eq!((&rehearsal["end"], &rehearsal["kind"]), (&json!("pass"), &json!("rehearsal")), "{first}");
    let second = full(&site);
    assert_eq!((&second["check"]["end"], &second["check"]["number"]), (&json!("pass"), &json!(2)), "{second}");
    let month = |report: &Value| report["began"].as_str().unwrap()[..7].to_owned();
    // But where the month has turned between the two.
    assert!(second["rehearsal"].is_null() || month(&first) != month(&second), "{second}");
    site.configure("", "verify = 'off'\nrehearse = 'off'");
    let third = full(&site);
    assert_eq!((&third["check"], &third["rehearsal"]), (&Value::Null, &Value::Null));
}

#[test]
fn alarm_holds_forgetting_back_and_is_a_warning() {
    let site = Site::new("", SHORT);
    for number in 0..40 {
        fs::write(site.place.src().join(number.to_string()), noise(number, 20_000)).unwrap();
    }
    full(&site);
    for number in 0..40 {
        fs::remove_file(site.place.src().join(number.to_string())).unwrap();
    }
    let report = full(&site);
    assert_eq!((&report["result"], &report["forgotten"]), (&json!("made"), &json!([])), "{report}");
    let warnings: Vec<&str> =
        report["warnings"].as_array().unwrap().iter().map(|text| text.as_str().unwrap()).collect();
    let held = "nothing is forgotten by rules: an alarm stands for src";
    assert!(warnings.iter().any(|warning| warning.starts_with(held)), "{warnings:?}");
    assert_eq!(numbers(&site), [1, 2]);

    site.run(["acknowledge", "src"]).exits(0);
    assert_eq!(full(&site)["forgotten"], json!([1, 2]));
    assert_eq!(numbers(&site), [3]);
}

/// What `GET /metrics` is answered; empty where nobody answers yet.
fn asked(addr: SocketAddr) -> String {
    let mut answer = Vec::new();
    if let Ok(mut stream) = TcpStream::connect(addr) {
        let _ = stream.write_all(format!("GET /metrics HTTP/1.0\r\nHost: {addr}\r\n\r\n").as_bytes());
        let _ = stream.read_to_end(&mut answer);
    }
    String::from_utf8_lossy(&answer).into_owned()
}

#[test]
fn daemon_answers_with_the_metrics_where_it_is_told_to_listen() {
    let site = Site::new("", "");
    let addr = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    site.configure(&format!("[metrics]\nlisten = '{addr}'"), "schedule.full = { every = '100d' }");
    let daemon = Daemon::start(&site, "log");
    daemon.wait_for("the backup to be noted", || site.ends("src") == ["made"]);
    let mut answer = String::new();
    daemon.wait_for("the metrics of it", || {
        answer = asked(addr);
        answer.lines().any(|line| line.starts_with("backup_success_total{") && line.ends_with(" 1"))
    });
    assert!(answer.starts_with("HTTP/1.0 200 ") || answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert_eq!(sample(&answer, "backup_success_total").to_string(), "1");
    daemon.tell(Signal::TERM);
    assert_eq!(daemon.end(), Some(0));
    assert_eq!(asked(addr), "", "nobody listens any more");
}
