//! The alerts and the dashboard of `contrib/`: by promtool, by a real Prometheus, and against the metrics that there are.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use dbakfs::metrics;
use dbakfs::repository::runs::{BackupType, RunEnd};
use serde_json::Value;

use crate::serve::{Running, listen};
use crate::shelf::{HOUR, Shelf, contrib, get, has_tool, run, tool};
use crate::support::cli::wait_for;

fn path(name: &str) -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("contrib").join(name).to_str().unwrap().to_owned()
}

#[test]
fn promtool_finds_the_rules_right_and_each_alert_fires_and_does_not() {
    let Some(checked) = tool("promtool", &["check", "rules", &path("prometheus-rules.yaml")], None) else { return };
    checked.exits(0).prints("7 rules found");
    tool("promtool", &["test", "rules", &path("prometheus-rules-test.yaml")], None).unwrap().exits(0);
    // A test of the rules that cannot fail would be none: with another threshold, label or time some test does.
    let place = tempfile::tempdir().unwrap();
    let rules = contrib("prometheus-rules.yaml");
    fs::write(place.path().join("prometheus-rules-test.yaml"), contrib("prometheus-rules-test.yaml")).unwrap();
    for (from, to) in [
        ("backup_job_status == 0", "backup_job_status == 2"),
        ("for: 5m", "for: 1m"),
        ("> 604800", "> 1209600"),
        ("for: 1h", "for: 1m"),
        ("backup_type=\"full\"} > 604800", "backup_type=~\".+\"} > 604800"),
        ("> 0.5\n", "> 0.7\n"),
        (
            "without (backup_type, backup_name) (backup_size_bytes{backup_type=\"full\"})",
            "by (source) (backup_size_bytes{backup_type=\"full\"})",
        ),
        ("backup_verification_status == 0", "backup_verification_status == 1"),
        ("> backup_rpo_seconds", "> 86400"),
        ("backup_alarm == 1", "backup_alarm == 0"),
        ("backup_unreadable_files > 0", "backup_unreadable_files > 2"),
    ] {
        let changed = rules.replace(from, to);
        assert_ne!(changed, rules, "{from} is not in the rules");
        fs::write(place.path().join("prometheus-rules.yaml"), changed).unwrap();
        let test = place.path().join("prometheus-rules-test.yaml");
        let ran = tool("promtool", &["test", "rules", test.to_str().unwrap()], None).unwrap();
        assert_eq!(ran.code, 1, "{from} as {to} is not noticed: {ran:?}");
    }
}

#[test]
fn rules_say_what_was_asked_for() {
    let rules = contrib("prometheus-rules.yaml");
    let alert = |name: &str| {
        let begin = rules.split(&format!("- alert: {name}\n")).nth(1).unwrap_or_else(|| panic!("no {name}"));
        begin.split("- alert:").next().unwrap().to_owned()
    };
    for (name, parts) in [
        ("BackupJobFailed", ["for: 5m\n", "severity: critical\n"]),
        ("BackupTooOld", ["for: 1h\n", "severity: warning\n"]),
        ("DifferentialBackupTooLarge", ["for: 5m\n", "severity: warning\n"]),
        ("BackupVerificationFailed", ["for: 5m\n", "severity: critical\n"]),
        ("BackupRpoMissed", ["backup_rpo_seconds", "severity: critical\n"]),
    ] {
        for part in parts {
            assert!(alert(name).contains(part), "{name} has no {part}");
        }
    }
}

/// The names of metrics in an expression: what is exported of each family.
fn unknown_names(text: &str) -> BTreeSet<String> {
    let names = text
        .split(|letter: char| !letter.is_alphanumeric() && letter != '_')
        .filter(|word| word.starts_with("backup_") && !["backup_type", "backup_name"].contains(word));
    let is_known = |name: &&str| {
        metrics::FAMILIES.iter().any(|family| match family.kind {
            metrics::Kind::Histogram => {
                ["_bucket", "_sum", "_count"].iter().any(|suffix| *name == format!("{}{suffix}", family.name))
            }
            _ => *name == family.name,
        })
    };
    names.filter(|name| !is_known(name)).map(str::to_owned).collect()
}

#[test]
fn dashboard_and_rules_name_only_metrics_that_there_are() {
    let dashboard: Value = serde_json::from_str(&contrib("grafana.json")).expect("JSON");
    let panels = dashboard["panels"].as_array().unwrap();
    let mut ids = BTreeSet::new();
    for panel in panels {
        assert!(ids.insert(panel["id"].as_u64().unwrap()), "an id stands twice");
        for target in panel["targets"].as_array().unwrap() {
            let expr = target["expr"].as_str().unwrap();
            assert!(expr.contains("backup_"), "{expr}");
            assert_eq!(unknown_names(expr), BTreeSet::new(), "{expr}");
        }
    }
    assert!(panels.len() > 8);
    assert_eq!(unknown_names(&contrib("grafana.json")), BTreeSet::new());
    for line in contrib("prometheus-rules.yaml").lines().filter(|line| !line.trim_start().starts_with('#')) {
        assert_eq!(unknown_names(line), BTreeSet::new());
    }
    assert_eq!(unknown_names("backup_sizes > 1").len(), 1, "what is unknown is found");
}

#[test]
fn prometheus_understands_every_expression_of_the_dashboard() {
    let dashboard: Value = serde_json::from_str(&contrib("grafana.json")).unwrap();
    let targets = dashboard["panels"].as_array().unwrap().iter().flat_map(|panel| panel["targets"].as_array().unwrap());
    let place = tempfile::tempdir().unwrap();
    let mut rules = "groups:\n- name: dashboard\n  rules:\n".to_owned();
    for (at, target) in targets.enumerate() {
        let expr = target["expr"].as_str().unwrap().replace("$source", ".*").replace('\'', "''");
        rules.push_str(&format!("  - record: \"r{at}\"\n    expr: '{expr}'\n"));
    }
    let file = place.path().join("dashboard.yaml");
    fs::write(&file, rules).unwrap();
    if let Some(ran) = tool("promtool", &["check", "rules", file.to_str().unwrap()], None) {
        ran.exits(0);
    }
}

/// A Prometheus that scrapes `target` and knows our rules, of which those that wait five minutes wait a second.
fn prometheus(shelf: &Shelf, target: SocketAddr) -> (Running, SocketAddr) {
    let dir = shelf.place.path("prometheus");
    fs::create_dir(&dir).unwrap();
    fs::write(dir.join("rules.yaml"), contrib("prometheus-rules.yaml").replace("for: 5m", "for: 1s")).unwrap();
    let config = format!(
        "global: {{ scrape_interval: 1s, evaluation_interval: 1s }}\nrule_files: [ rules.yaml ]\nscrape_configs:\n\
         - job_name: dbakfs\n  static_configs: [ {{ targets: [ '{target}' ] }} ]\n"
    );
    fs::write(dir.join("prometheus.yml"), config).unwrap();
    let mut command = Command::new("prometheus");
    command.arg(format!("--config.file={}", dir.join("prometheus.yml").display()));
    command.arg(format!("--storage.tsdb.path={}", dir.join("data").display()));
    let mut child =
        command.arg("--web.listen-address=127.0.0.1:0").stderr(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    let log = BufReader::new(child.stderr.take().unwrap());
    let running = Running(child);
    // It says where it listens; what more it says is read, too, so that it never waits for us.
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        for line in log.lines().map_while(Result::ok) {
            let said =
                line.contains("Listening on").then(|| line.split("address=").nth(1).map(str::to_owned)).flatten();
            let _ = said.map(|said| sender.send(said));
        }
    });
    let addr = receiver.recv_timeout(Duration::from_secs(60)).expect("Prometheus says where it listens");
    (running, addr.trim_matches('"').parse().unwrap())
}

fn firing(addr: SocketAddr) -> BTreeSet<String> {
    let (_, body) = get(addr, "/api/v1/alerts");
    let Ok(answer) = serde_json::from_str::<Value>(&body) else { return BTreeSet::new() };
    let alerts = answer["data"]["alerts"].as_array().cloned().unwrap_or_default();
    let text = |alert: &Value, label: &str| alert["labels"][label].as_str().unwrap_or("-").to_owned();
    let is_firing = alerts.iter().filter(|alert| alert["state"] == "firing");
    is_firing.map(|alert| ["alertname", "source", "backup_type"].map(|label| text(alert, label)).join(" ")).collect()
}

#[test]
fn alerts_fire_for_real_and_end_when_it_is_well_again() {
    if !has_tool("prometheus") {
        return;
    }
    let mut shelf = Shelf::new();
    let full = shelf.full("www", shelf.ago(2 * HOUR), 1_000);
    shelf.differential("www", full, shelf.ago(HOUR), 600);
    shelf.ran("www", run(shelf.ago(HOUR), BackupType::Differential, RunEnd::Failed));
    shelf.note("www", |notes| {
        let passed =
            |kind| crate::shelf::check(shelf.now, kind, dbakfs::repository::runs::CheckEnd::Pass, BackupType::Full);
        notes.push_check(passed(dbakfs::repository::runs::CheckKind::Full));
    });
    let (_metrics, target) = listen(&shelf.place);
    let (_prometheus, addr) = prometheus(&shelf, target);
    let expected: BTreeSet<String> =
        ["BackupJobFailed www differential", "DifferentialBackupTooLarge www -"].map(str::to_owned).into();
    wait_for(Duration::from_secs(60), "two alerts to fire", || firing(addr) == expected);

    // A new full makes both good.
    shelf.full("www", shelf.now, 1_000);
    shelf.ran("www", run(shelf.now, BackupType::Full, RunEnd::Made));
    wait_for(Duration::from_secs(60), "the alerts to end", || {
        let (_, body) = get(addr, "/api/v1/alerts");
        body.contains("\"status\":\"success\"") && firing(addr).is_empty()
    });
}
