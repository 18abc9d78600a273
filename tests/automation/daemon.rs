//! `schedule run` and `schedule status`.

use std::fs::{self, File};
use std::os::unix::net::UnixDatagram;
use std::process::{Child, Stdio};
use std::time::Duration;

use rustix::process::Signal;

use crate::Site;
use crate::support::cli::wait_for;
use crate::support::points::noise;
use crate::support::process::signal;

const SOON: Duration = Duration::from_secs(30);

/// A daemon under way; killed with the value.
pub(crate) struct Daemon<'a> {
    site: &'a Site,
    child: Child,
    log: &'static str,
    supervisor: UnixDatagram,
}

impl<'a> Daemon<'a> {
    /// Starts one, and waits until it says that it is there.
    #[track_caller]
    pub(crate) fn start(site: &'a Site, log: &'static str) -> Self {
        let output = File::create(site.place.path(log)).unwrap();
        let socket = site.place.path(format!("notify-{log}"));
        let supervisor = UnixDatagram::bind(&socket).unwrap();
        supervisor.set_read_timeout(Some(SOON)).unwrap();
        let mut command = site.command();
        command.args(["schedule", "run"]).env("NOTIFY_SOCKET", &socket);
        command.stdout(output.try_clone().unwrap()).stderr(output).stdin(Stdio::null());
        let daemon = Self { site, child: command.spawn().unwrap(), log, supervisor };
        assert_eq!(daemon.told(), "READY=1");
        daemon
    }

    /// The next that it tells who started it.
    #[track_caller]
    fn told(&self) -> String {
        let mut buffer = [0; 100];
        let len = self.supervisor.recv(&mut buffer).expect("it says how it stands");
        String::from_utf8(buffer[..len].to_vec()).unwrap()
    }

    /// Has it read its configuration again, and waits until it has.
    #[track_caller]
    fn reload(&self) {
        self.tell(Signal::HUP);
        assert!(self.told().starts_with("RELOADING=1\nMONOTONIC_USEC="));
        assert_eq!(self.told(), "READY=1");
    }

    pub(crate) fn tell(&self, what: Signal) {
        signal(i32::try_from(self.child.id()).unwrap(), what);
    }

    fn log(&self) -> String {
        self.site.written(self.log)
    }

    #[track_caller]
    pub(crate) fn wait_for(&self, what: &str, holds: impl FnMut() -> bool) {
        wait_for(SOON, what, holds);
    }

    /// Waits for its end; answers its exit code.
    #[track_caller]
    pub(crate) fn end(mut self) -> Option<i32> {
        let mut status = None;
        wait_for(SOON, "the daemon to end", || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        status.unwrap().code()
    }
}

impl Drop for Daemon<'_> {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Of the hooks: each run leaves a line in `begun`, and two at once one in `overlap`.
const NO_OVERLAP: &str = r#"
    hooks.before = 'mkdir "$PLACE/busy" || echo "$DBAKFS_NAME" >> "$PLACE/overlap"; echo "$DBAKFS_NAME" >> "$PLACE/begun"'
    hooks.finally = 'rmdir "$PLACE/busy"'
"#;

#[test]
fn what_is_due_is_run_one_at_a_time_until_it_is_told_to_stop() {
    let every = "schedule.auto = { every = '1s' }";
    let site = Site::new(
        "",
        &format!("{every}\n{NO_OVERLAP}\n[sources.other]\npath = '/nowhere-at-all'\n{every}\n{NO_OVERLAP}"),
    );
    let daemon = Daemon::start(&site, "log");
    let count = |name: &str| site.written("begun").lines().filter(|line| *line == name).count();
    daemon.wait_for("two runs of each", || site.totals("src", "differential").0 >= 1 && count("other") >= 2);
    daemon.tell(Signal::TERM);
    assert_eq!(daemon.end(), Some(0));
    assert_eq!(site.written("overlap"), "");
    assert_eq!(site.totals("src", "full"), (1, 0));
    assert!(site.totals("src", "differential").0 >= 1);
    let failed = site.totals("other", "full");
    assert!(failed.0 == 0 && failed.1 >= 1, "one that fails keeps no other from running: {failed:?}");
}

#[test]
fn second_daemon_of_a_store_is_refused() {
    let site = Site::new("", "schedule.auto = '0 2 1 1 *'");
    let daemon = Daemon::start(&site, "log");
    site.run(["schedule", "run"]).exits(11).says("another `dbakfs schedule run`");
    daemon.tell(Signal::INT);
    assert_eq!(daemon.told(), "STOPPING=1");
    assert_eq!(daemon.end(), Some(0));
    assert_eq!(site.place.points().len(), 0, "nothing was due");
}

#[test]
fn sighup_takes_a_new_configuration_and_keeps_the_old_one_from_a_broken_one() {
    let site = Site::new("", "schedule.auto = '0 2 1 1 *'");
    let daemon = Daemon::start(&site, "log");
    site.configure("", "schedule.auto = 'soon'");
    daemon.reload();
    assert!(daemon.log().contains("the schedule stays as it was"), "{}", daemon.log());
    assert!(daemon.log().contains("\"soon\" is no cron expression"), "{}", daemon.log());
    assert_eq!(site.place.points().len(), 0);
    site.configure("", "schedule.full = { every = '100d' }");
    daemon.reload();
    daemon.wait_for("the backup that is due", || site.place.points().len() == 1);
    daemon.tell(Signal::TERM);
    assert_eq!(daemon.end(), Some(0));
}

/// How many large files there are, and bytes of each: well more than one pack takes, so that much is left to do when the first is done.
const LARGE: (u64, usize) = (10, 24_000_000);

/// A source of which a backup takes a while, and a daemon that is in the midst of it.
fn in_the_midst<'a>(site: &'a Site, log: &'static str) -> Daemon<'a> {
    let (files, bytes) = LARGE;
    for number in 0..files {
        fs::write(site.place.src().join(format!("large {number}")), noise(number, bytes)).unwrap();
    }
    let daemon = Daemon::start(site, log);
    daemon.wait_for("a pack to be done", || site.place.packs().iter().any(|pack| pack.extension().is_some()));
    daemon
}

#[test]
fn sigterm_abandons_the_backup_and_the_next_one_uses_what_is_packed() {
    let site =
        Site::new("", "schedule.full = { every = '100d' }\nhooks.failed = 'echo put in order >> \"$PLACE/order\"'");
    let daemon = in_the_midst(&site, "log");
    daemon.tell(Signal::TERM);
    assert_eq!(daemon.end(), Some(0));
    assert_eq!(fs::read_dir(site.place.store().join("catalogs")).unwrap().count(), 0, "no point was committed");
    assert_eq!(site.written("order"), "put in order\n");
    assert_eq!((site.totals("src", "full"), site.ends("src")), ((0, 1), vec!["failed".to_owned()]));
    let status = site.run(["schedule", "status", "--json"]).exits(0).json().remove(0);
    assert_eq!((&status["last"]["result"], &status["is_due"]), (&"stopped".into(), &true.into()), "{status}");

    let packed: u64 = site.place.packs().iter().map(|pack| pack.metadata().unwrap().len()).sum();
    assert!(packed > 1_000_000, "{packed}");
    let daemon = Daemon::start(&site, "second");
    daemon.wait_for("the full that was broken off", || site.place.points().len() == 1);
    daemon.wait_for("it to be noted", || site.ends("src") == ["failed", "made"]);
    daemon.tell(Signal::TERM);
    assert_eq!(daemon.end(), Some(0));
    let runs = site.noted("src")["runs"].as_array().unwrap().clone();
    let stored = u64::try_from(runs[1]["stored_bytes"].as_integer().unwrap()).unwrap();
    let all = LARGE.0 * LARGE.1 as u64;
    assert!(stored + packed < all + 4_000_000, "{stored} and {packed}: what was packed is stored once");
}

#[test]
fn daemon_that_is_killed_takes_its_run_with_it_and_the_next_goes_on_from_the_ledger() {
    let site = Site::new("", "schedule.full = { every = '100d' }\nhooks.before = 'echo x >> \"$PLACE/begun\"'");
    let mut daemon = in_the_midst(&site, "log");
    daemon.child.kill().unwrap();
    daemon.child.wait().unwrap();
    wait_for(SOON, "the run to give up", || site.ends("src") == ["failed"]);
    assert_eq!(site.place.points().len(), 0);
    drop(daemon);

    // It is made up for once, by the next daemon, and not again by the one after.
    let next = Daemon::start(&site, "second");
    next.wait_for("the full that was broken off", || site.ends("src") == ["failed", "made"]);
    next.tell(Signal::TERM);
    assert_eq!(next.end(), Some(0));
    fs::remove_dir_all(site.place.store().join("index")).unwrap();
    let status = site.run(["schedule", "status", "--json"]).exits(0).json().remove(0);
    assert_eq!((&status["last"]["result"], &status["is_due"]), (&"made".into(), &false.into()), "{status}");
    let third = Daemon::start(&site, "third");
    third.reload();
    third.tell(Signal::TERM);
    assert_eq!(third.end(), Some(0));
    assert_eq!(site.written("begun"), "x\nx\n");
}

#[test]
fn run_that_dies_without_a_word_is_noted_as_failed_and_not_begun_again_at_once() {
    // The hook kills the run that it belongs to, the parent of its shell.
    let source = "schedule.full = { every = '100d' }\nhooks.before = 'echo x >> \"$PLACE/begun\"; kill -9 $PPID'";
    let site = Site::new("", source);
    let daemon = Daemon::start(&site, "log");
    daemon.wait_for("the death to be noted", || site.ends("src") == ["failed"]);
    daemon.reload();
    daemon.tell(Signal::TERM);
    assert_eq!(daemon.end(), Some(0));
    assert_eq!(site.written("begun"), "x\n");
    let runs = site.noted("src")["runs"].as_array().unwrap().clone();
    assert!(runs[0]["reason"].as_str().unwrap().contains("the run died: signal: 9"), "{runs:?}");
    assert_eq!(site.totals("src", "full"), (0, 1));
}

#[test]
fn what_was_missed_while_off_is_made_up_for_once() {
    let site = Site::new("timezone = 'UTC'", "schedule.auto = '* * * * *'\nschedule.verify = { after = 'full' }");
    // The last run was long ago, and so was the first that the schedule was seen.
    site.run(["run", "src"]).exits(0);
    let ledger = site.place.store().join("runs/src.toml");
    let text = fs::read_to_string(&ledger).unwrap();
    let notes: toml::Table = toml::from_str(&text).unwrap();
    let began = notes["runs"][0]["began"]["secs"].as_integer().unwrap();
    // The first line holds the sum of the others; a person's edit has none.
    let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
    fs::write(&ledger, lines.join("\n").replace(&began.to_string(), &(began - 86_400).to_string())).unwrap();
    fs::write(site.place.src().join("new"), "new").unwrap();
    let due = |task: &str| {
        let rows = site.run(["schedule", "status", "--json"]).exits(0).json();
        rows.iter().find(|row| row["task"] == task).unwrap()["is_due"].as_bool().unwrap()
    };
    assert!(due("auto") && due("verify"));
    let daemon = Daemon::start(&site, "log");
    let is_verified =
        || site.noted("src")["checks"].as_array().unwrap().iter().any(|check| check["kind"].as_str() == Some("full"));
    daemon.wait_for("the verification", is_verified);
    daemon.tell(Signal::TERM);
    assert_eq!(daemon.end(), Some(0));
    let log = site.written("log");
    let backups = log.lines().filter(|line| line.starts_with("auto of src")).count();
    // A day has 1,440 minutes; the minute may have turned meanwhile.
    assert!((1..=2).contains(&backups), "{log}");
    assert!(!due("verify"));
}

#[test]
fn status_names_what_was_and_what_comes() {
    let site = Site::new("timezone = 'UTC'", "schedule.full = '0 2 * * 0'\nschedule.verify = { after = 'full' }");
    let ran = site.run(["schedule", "status"]).exits(0);
    let lines: Vec<Vec<&str>> = ran.stdout.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(lines[0], ["SOURCE", "TASK", "SCHEDULE", "LAST", "RESULT", "NEXT"]);
    assert_eq!(lines[1][..8], ["src", "full", "0", "2", "*", "*", "0", "never"], "{ran:?}");
    assert_eq!(lines[1].last(), Some(&"UTC"));
    assert_eq!(lines[2], ["src", "verify", "after", "full", "never", "-"]);
    site.run(["run", "src", "--task", "full"]).exits(0);
    let ran = site.run(["schedule", "status"]).exits(0);
    assert!(ran.stdout.lines().any(|line| line.contains("src") && line.contains(" full ") && line.contains(" made ")));
    assert!(ran.stdout.lines().any(|line| line.contains("verify") && line.ends_with("now")), "{ran:?}");
}
