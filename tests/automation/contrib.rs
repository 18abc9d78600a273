//! What `contrib/` offers is what its users' tools and ours take.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use dbakfs::policy::cron::Cron;
use dbakfs::settings::Settings;
use rustix::process::Signal;
use saphyr::{LoadableYamlNode, Yaml};

use crate::support::cli::wait_for;
use crate::support::process::{limited, signal};

/// Full, differential, verification.
const PLAN: [(&str, &str); 3] = [("full", "0 2 * * 0"), ("differential", "0 2 * * 1-6"), ("verify", "0 6 * * *")];

fn contrib(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("contrib").join(name)
}

fn text(name: &str) -> String {
    fs::read_to_string(contrib(name)).unwrap()
}

/// The example with every key set that it only shows.
fn all_set() -> String {
    let is_key = |rest: &str| rest.starts_with(|letter: char| letter.is_ascii_lowercase()) && rest.contains(" = ");
    let lines = text("config.toml");
    let lines = lines.lines().map(|line| match line.strip_prefix('#') {
        Some(rest) if is_key(rest) => rest,
        _ => line,
    });
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn example_configuration_is_read_as_it_stands_and_with_every_key_set() {
    let settings = Settings::parse(&text("config.toml")).unwrap();
    let (_, www) = settings.sources.first_key_value().unwrap();
    let plan: Vec<_> = www.schedule.iter().map(|(task, when)| (task.to_string(), when.to_string())).collect();
    assert_eq!(plan, PLAN.map(|(task, cron)| (task.to_owned(), cron.to_owned())));
    let whole = Settings::parse(&all_set()).unwrap();
    let (_, set) = whole.sources.first_key_value().unwrap();
    // What is shown as a default is one.
    assert_eq!((set.keep(), set.grace, set.verify, set.rehearse), (www.keep(), www.grace, www.verify, www.rehearse));
    assert_eq!((set.alarm, set.jitter, set.hooks.timeout), (www.alarm, www.jitter, www.hooks.timeout));
    assert_eq!((set.exclude_caches, set.one_file_system), (www.exclude_caches, www.one_file_system));
    assert!(whole.metrics.listen.is_some() && whole.notify.webhook.is_some() && set.hooks.finally.is_some());
}

#[test]
fn example_configuration_explains_every_key_there_is() {
    let set = all_set();
    let keys: BTreeSet<&str> =
        set.lines().filter_map(|line| line.split_once(" = ")).flat_map(|(key, _)| key.split('.')).collect();
    let tables = ["[metrics]", "[notify]", "[defaults]", "[sources.www]"];
    assert!(tables.iter().all(|table| set.lines().any(|line| line == *table)));
    // What is unknown is refused with a list of what is known.
    let mut known = 0;
    for text in [
        "x = 1",
        "[metrics]\nx = 1",
        "[notify]\nx = 1",
        "[sources.www]\npath = '/x'\nx = 1",
        "[sources.www]\npath = '/x'\nhooks.x = '1'",
        "[sources.www]\npath = '/x'\nalarm.x = 1",
    ] {
        let error = Settings::parse(text).unwrap_err();
        let list = error.split_once("expected one of ").or_else(|| error.split_once("expected ")).unwrap().1;
        for key in list.split('`').skip(1).step_by(2) {
            let is_table = ["metrics", "notify", "defaults", "sources"].contains(&key);
            assert!(is_table || keys.contains(key), "config.toml does not explain {key}");
            known += 1;
        }
    }
    assert!(known > 40, "{known}");
}

#[test]
fn systemd_takes_the_units() {
    if Command::new("systemd-analyze").arg("--version").output().is_err() {
        eprintln!("\n*** NOT TESTED: systemd-analyze is missing on this machine, so no unit was verified ***\n");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    for unit in fs::read_dir(contrib("systemd")).unwrap() {
        let unit = unit.unwrap().path();
        // It looks whether the program is there.
        let text = fs::read_to_string(&unit).unwrap().replace("/usr/local/bin/dbakfs", env!("CARGO_BIN_EXE_dbakfs"));
        fs::write(dir.path().join(unit.file_name().unwrap()), text).unwrap();
    }
    let verify = |unit: &str| {
        let path = dir.path().join(unit);
        limited(Command::new("systemd-analyze").args(["verify", "--man=no", "--recursive-errors=no"]).arg(path))
    };
    for unit in ["dbakfs.service", "dbakfs-full@www.timer", "dbakfs-differential@www.timer", "dbakfs-verify@www.timer"]
    {
        let ran = verify(unit).exits(0);
        // A key that it does not know is only said.
        assert_eq!(ran.stderr, "", "{unit}");
        if let Some(service) = unit.strip_suffix(".timer") {
            assert_eq!(verify(&format!("{service}.service")).exits(0).stderr, "", "{unit}");
        }
    }
    fs::write(dir.path().join("wrong.service"), "[Service]\nExecStart=/bin/true\nKillMod=mixed\n").unwrap();
    assert!(verify("wrong.service").stderr.contains("KillMod"), "the tool finds what is wrong");
}

#[test]
fn each_timer_means_what_cron_would() {
    if Command::new("systemd-analyze").arg("--version").output().is_err() {
        eprintln!("\n*** NOT TESTED: systemd-analyze is missing on this machine, so no timer was asked ***\n");
        return;
    }
    for (task, cron) in PLAN {
        let unit = text(&format!("systemd/dbakfs-{task}@.timer"));
        assert!(unit.contains(&format!("# As cron writes it: {cron}\n")), "{unit}");
        let calendar = unit.lines().find_map(|line| line.strip_prefix("OnCalendar=")).unwrap();
        let mut analyze = Command::new("systemd-analyze");
        analyze.args(["calendar", "--iterations=14", "--base-time=2026-11-20 12:00:00", calendar]).env("TZ", "UTC");
        let ran = limited(&mut analyze).exits(0);
        let theirs: Vec<String> = ran
            .stdout
            .lines()
            .filter(|line| line.contains("UTC"))
            .filter_map(|line| {
                Some(line.split_once(": ")?.1.trim().split(' ').skip(1).take(2).collect::<Vec<_>>().join(" "))
            })
            .collect();
        let cron: Cron = cron.parse().unwrap();
        let mut at =
            dbakfs::format::Timestamp::new("2026-11-20T12:00:00Z".parse::<jiff::Timestamp>().unwrap().as_second(), 0);
        let ours: Vec<String> = (0..14)
            .map(|_| {
                at = cron.next(at, &jiff::tz::TimeZone::UTC).unwrap();
                jiff::Timestamp::from_second(at.secs).unwrap().strftime("%Y-%m-%d %H:%M:%S").to_string()
            })
            .collect();
        assert!(ours.iter().all(|time| theirs.contains(time)), "{calendar}: {ours:?} {theirs:?}");
    }
}

#[test]
fn cron_file_runs_the_plan() {
    let text = text("cron/dbakfs");
    assert!(text.ends_with('\n'), "cron passes over a last line that does not end");
    let mut found = Vec::new();
    for line in text.lines().filter(|line| line.starts_with(|first: char| first.is_ascii_digit() || first == '*')) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let cron = words[..5].join(" ");
        cron.parse::<Cron>().unwrap();
        assert_eq!(words[5..9], ["root", "dbakfs", "run", "www"]);
        assert!(!line.contains('%'), "cron takes it for the end of the line");
        found.push((words[10].to_owned(), cron));
    }
    assert_eq!(found, PLAN.map(|(task, cron)| (task.to_owned(), cron.to_owned())));
}

#[test]
fn kubernetes_jobs_run_the_plan_never_twice_at_once_and_cannot_write_the_source() {
    let text = text("kubernetes/cronjobs.yaml");
    let documents = Yaml::load_from_str(&text).unwrap();
    let config = documents[0]["data"]["config.toml"].as_str().unwrap();
    let settings = Settings::parse(config).unwrap();
    let (_, source) = settings.sources.first_key_value().unwrap();
    let mut found = Vec::new();
    for job in &documents[1..] {
        let spec = &job["spec"];
        assert_eq!((job["kind"].as_str(), spec["concurrencyPolicy"].as_str()), (Some("CronJob"), Some("Forbid")));
        let pod = &spec["jobTemplate"]["spec"]["template"]["spec"];
        assert_eq!(pod["restartPolicy"].as_str(), Some("OnFailure"));
        let container = &pod["containers"][0];
        let args: Vec<&str> = container["args"].as_vec().unwrap().iter().map(|arg| arg.as_str().unwrap()).collect();
        assert_eq!(args[..3], ["run", "www", "--task"]);
        let mounts = container["volumeMounts"].as_vec().unwrap();
        let mount = mounts.iter().find(|mount| mount["mountPath"].as_str() == source.path.to_str()).unwrap();
        assert_eq!(mount["readOnly"].as_bool(), Some(true));
        assert!(
            mounts.iter().any(|mount| settings
                .store
                .as_ref()
                .unwrap()
                .starts_with(mount["mountPath"].as_str().unwrap()))
        );
        found.push((args[3].to_owned(), spec["schedule"].as_str().unwrap().to_owned()));
    }
    assert_eq!(found, PLAN.map(|(task, cron)| (task.to_owned(), cron.to_owned())));
}

#[test]
fn job_in_the_container_takes_incomplete_for_done_and_hands_signals_on() {
    let dir = tempfile::tempdir().unwrap();
    let fake = dir.path().join("dbakfs");
    let script = "#!/bin/sh\ntrap 'echo told > \"$MARK\"; exit 1' TERM\necho up > \"$UP\"\n[ \"$1\" != wait ] || while :; do sleep 0.05; done\nexit \"$1\"\n";
    fs::write(&fake, script).unwrap();
    fs::set_permissions(&fake, PermissionsExt::from_mode(0o755)).unwrap();
    let job = |argument: &str| {
        let mut command = Command::new(contrib("kubernetes/dbakfs-job"));
        command.arg(argument).env("PATH", format!("{}:{}", dir.path().display(), std::env::var("PATH").unwrap()));
        command.env("MARK", dir.path().join("told")).env("UP", dir.path().join("up")).stdin(Stdio::null());
        command
    };
    for (code, answer) in [("0", 0), ("1", 1), ("3", 0), ("4", 4), ("11", 11)] {
        limited(&mut job(code)).exits(answer);
    }
    fs::remove_file(dir.path().join("up")).unwrap();
    let mut child = job("wait").spawn().unwrap();
    wait_for(Duration::from_secs(20), "the program to be up", || dir.path().join("up").exists());
    signal(i32::try_from(child.id()).unwrap(), Signal::TERM);
    assert_eq!(child.wait().unwrap().code(), Some(1));
    assert!(dir.path().join("told").exists());
    let image = text("kubernetes/Containerfile");
    assert!(image.contains("ENTRYPOINT [\"/usr/local/bin/dbakfs-job\"]"), "{image}");
}
