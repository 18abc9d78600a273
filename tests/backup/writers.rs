//! One writer at a time, and one that is told to stop.

use std::fs;
use std::io::Write;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::support::cli::{Place, Ran, snapshot, wait_for};
use crate::support::points::noise;

/// A process that holds the writer's lock until its input ends.
struct Holder(Child);

impl Holder {
    fn new(place: &Place) -> Self {
        let mut child = Command::new("flock")
            .arg(place.store().join("writer.lock"))
            .args(["sh", "-c", "echo held; exec cat"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut [0; 5]).unwrap();
        Self(child)
    }

    fn release(mut self) {
        drop(self.0.stdin.take());
        self.0.wait().unwrap();
    }
}

#[test]
fn a_second_writer_is_refused_at_once_and_waits_when_told_to() {
    let place = Place::with_store();
    fs::write(place.src().join("a"), "a").unwrap();
    let before = snapshot(&place.store());
    let holder = Holder::new(&place);
    let begun = Instant::now();
    place.try_backup(&[]).exits(11).says("another writer is busy").says("--wait");
    assert!(begun.elapsed() < Duration::from_secs(2));
    assert!(snapshot(&place.store()) == before);
    // Nobody else has to wait.
    place.run(["list"]).exits(0);
    place.backup(&["--dry-run"]);

    let mut command = place.command();
    let said = place.path("said");
    let waiting = command.args(["backup", "src", "--wait"]).stdout(Stdio::piped());
    let mut waiting = waiting.stderr(fs::File::create(&said).unwrap()).spawn().unwrap();
    wait_for(Duration::from_secs(20), "the second writer to say that it waits", || {
        fs::read_to_string(&said).unwrap().contains("note: waiting: another writer is busy")
    });
    assert!(waiting.try_wait().unwrap().is_none());
    assert_eq!(place.points().len(), 0);
    holder.release();
    Ran::of(waiting.wait_with_output().unwrap()).exits(0);
    assert_eq!(place.points().len(), 1);
}

#[test]
fn a_writer_that_waits_can_be_told_to_stop() {
    let place = Place::with_store();
    fs::write(place.src().join("a"), "a").unwrap();
    let holder = Holder::new(&place);
    let said = place.path("said");
    let mut command = place.command();
    let waiting = command.args(["backup", "src", "--wait"]).stderr(fs::File::create(&said).unwrap());
    let mut waiting = waiting.spawn().unwrap();
    let text = || fs::read_to_string(&said).unwrap();
    wait_for(Duration::from_secs(20), "the writer to wait", || text().contains("note: waiting"));
    let pid = Pid::from_child(&waiting);
    kill_process(pid, Signal::TERM).unwrap();
    wait_for(Duration::from_secs(20), "the writer to stop", || waiting.try_wait().unwrap().is_some());
    assert!(text().contains("error: stopped while waiting"), "{}", text());
    holder.release();
    assert_eq!(place.points().len(), 0);
}

#[test]
fn of_two_backups_at_once_one_is_made_and_one_is_told() {
    let place = Place::with_store();
    fs::write(place.src().join("large"), noise(1, 30_000_000)).unwrap();
    let start = |more: &[&str]| {
        let mut command = place.command();
        command.args(["backup", "src"]).args(more).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().unwrap()
    };
    let running = [start(&[]), start(&[]), start(&["--wait", "--force"])];
    let [one, two, waits] = running.map(|child| Ran::of(child.wait_with_output().unwrap()));
    let mut codes = [one.code, two.code];
    codes.sort_unstable();
    // Whichever came first; they may also have come one after the other.
    assert!(matches!(codes, [0, 11] | [0, 0] | [11, 11]), "{one:#?} {two:#?}");
    waits.exits(0);
    let made = place.points().len();
    assert!((1..=3).contains(&made));
    assert_eq!(place.packs().len(), 1);
}

#[track_caller]
fn stop(child: &Child, signal: Signal) {
    kill_process(Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap(), signal).unwrap();
}

#[test]
fn a_backup_that_is_told_to_stop_commits_nothing() {
    // Many files, and one of which nothing is unread when it is done.
    for (signal, files, len) in [(Signal::TERM, 8, 20_000_000), (Signal::INT, 1, 160_000_000)] {
        let place = Place::with_store();
        fs::write(place.src().join("first"), "first").unwrap();
        place.backup(&[]);
        for number in 0..files {
            fs::write(place.src().join(format!("large {number}")), noise(number, len)).unwrap();
        }
        let before = (snapshot(&place.store().join("catalogs")), snapshot(&place.store().join("points")));
        let mut command = place.command();
        command.args(["backup", "src", "--tag", "never"]).stdout(Stdio::piped()).stderr(Stdio::piped());
        let child = command.spawn().unwrap();
        wait_for(Duration::from_secs(10), "a pack to be begun", || !place.temporaries().is_empty());
        stop(&child, signal);
        let ran = Ran::of(child.wait_with_output().unwrap());
        assert!(ran.code > 0, "{ran:#?}");
        assert!(ran.stderr.contains("stopped; nothing was committed"), "{ran:#?}");
        let after = (snapshot(&place.store().join("catalogs")), snapshot(&place.store().join("points")));
        assert!(after == before, "{signal:?}");
        assert_eq!(place.temporaries().len(), 0);
        let done = place.backup(&["--tag", "after"]);
        assert_eq!((done["outcome"].as_str(), &done["counts"]["files"]), (Some("made"), &(files + 1).into()));
    }
}

#[test]
fn a_stream_that_is_stopped_is_not_taken_for_a_whole_one() {
    let place = Place::with_store();
    let mut command = place.command();
    command.args(["backup", "--stdin", "dump"]).stdin(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    input.write_all(&noise(1, 3_000_000)).unwrap();
    // The terminal's ^C reaches both ends of a pipe.
    stop(&child, Signal::INT);
    let caught = format!("/proc/{}/status", child.id());
    wait_for(Duration::from_secs(5), "the signal to be taken", || {
        let status = fs::read_to_string(&caught).unwrap();
        status.lines().any(|line| line.starts_with("ShdPnd:") && line.ends_with("0000000000000000"))
    });
    drop(input);
    Ran::of(child.wait_with_output().unwrap()).exits(1).says("stopped; nothing was committed");
    assert_eq!(place.points().len(), 0);
}
