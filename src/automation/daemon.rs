//! `schedule run`: what is due is run, one at a time, each by a process of its own.
//!
//! What the daemon knows it reads from the ledger in the store, so that the next one goes on where this one ended, however it ended.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus};
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use super::record::{self, Entry};
use super::spool::State;
use super::supervisor::Supervisor;
use super::timetable::{self, Attempts, Ledger};
use super::{rfc3339, verification};
use crate::format::Timestamp;
use crate::policy::schedule::{self, Task};
use crate::repository::runs::CheckKind;
use crate::repository::{SourceName, Store};
use crate::settings::Settings;

/// The clock may be set, and machines sleep: it is looked again at least so often.
const LONGEST_SLEEP: Duration = Duration::from_secs(60);
/// How long the ledger is waited for to note that a run died.
const PATIENCE: Duration = Duration::from_secs(10);

/// What reaches a daemon from outside.
#[derive(Debug)]
pub enum Event {
    /// The configuration is to be read again.
    Reload,
    /// It is to end.
    Stop,
    /// The run has ended.
    Ended(io::Result<ExitStatus>),
}

/// What a daemon goes by: the configuration, and the store that it, or the command line, names.
#[derive(Debug)]
pub struct Loaded {
    /// The configuration.
    pub settings: Settings,
    /// The store.
    pub store: PathBuf,
}

/// A daemon and what it needs of who starts it.
pub struct Daemon<'a> {
    /// Reads the configuration.
    pub load: &'a dyn Fn() -> Result<Loaded, String>,
    /// Starts a run. Called from the one thread whose end the child is to notice.
    pub start: &'a dyn Fn(&Loaded, &SourceName, Task) -> io::Result<Child>,
    /// The state directory.
    pub state: Option<&'a State>,
    /// This machine's name.
    pub host: &'a str,
    /// What comes from outside.
    pub events: Receiver<Event>,
    /// The other end of it, for what comes from the run.
    pub sender: Sender<Event>,
    /// What is said.
    pub say: &'a dyn Fn(String),
    /// Who started it.
    pub supervisor: &'a Supervisor,
}

/// A run under way.
struct Running {
    name: SourceName,
    task: Task,
    began: Timestamp,
    /// The process, by something that never means another.
    process: OwnedFd,
}

impl Daemon<'_> {
    /// Runs until it is told to stop and what runs has ended.
    ///
    /// # Errors
    /// The configuration cannot be used at the start; later it only keeps the one before from being replaced.
    pub fn run(&self) -> Result<(), String> {
        let mut loaded = (self.load)()?;
        let mut attempts = Attempts::new();
        let mut running: Option<Running> = None;
        let (mut is_stopping, mut complaint) = (false, String::new());
        let now = Timestamp::now();
        let dues = self.dues(&loaded, &attempts, now, &mut complaint);
        (self.say)(timetable::greeting(&loaded.settings, &dues, now));
        self.supervisor.tell("READY=1");
        loop {
            let mut sleep = LONGEST_SLEEP;
            if running.is_none() {
                if is_stopping {
                    return Ok(());
                }
                let now = Timestamp::now();
                let dues = self.dues(&loaded, &attempts, now, &mut complaint);
                match schedule::first(&dues, now) {
                    Some(due) => {
                        running = self.start(&loaded, due, now, &mut attempts);
                        if running.is_none() {
                            continue;
                        }
                    }
                    None => sleep = schedule::next(&dues).map_or(sleep, |next| sleep.min(until(next))),
                }
            }
            match self.events.recv_timeout(sleep) {
                Ok(Event::Reload) => self.reload(&mut loaded),
                Ok(Event::Stop) => {
                    self.supervisor.tell("STOPPING=1");
                    // Who asks twice does not want to wait.
                    let signal = if is_stopping { Signal::KILL } else { Signal::TERM };
                    is_stopping = true;
                    if let Some(running) = &running {
                        (self.say)(format!("stopping: {} of {} is told to end", running.task, running.name));
                        let _ = pidfd_send_signal(&running.process, signal);
                    }
                }
                Ok(Event::Ended(status)) => {
                    if let Some(ended) = running.take() {
                        self.ended(&loaded, &ended, status, is_stopping);
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
                // This daemon holds a sender itself.
                Err(RecvTimeoutError::Disconnected) => return Ok(()),
            }
        }
    }

    fn reload(&self, loaded: &mut Loaded) {
        let usec = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
        self.supervisor
            .tell(&format!("RELOADING=1\nMONOTONIC_USEC={}", usec.tv_sec * 1_000_000 + usec.tv_nsec / 1_000));
        match (self.load)() {
            Ok(new) => {
                *loaded = new;
                (self.say)(format!("the configuration was read again: {} sources", loaded.settings.sources.len()));
                if loaded.settings.sources.values().all(|source| source.schedule.is_empty()) {
                    (self.say)(timetable::greeting(&loaded.settings, &[], Timestamp::now()));
                }
            }
            Err(error) => (self.say)(format!(
                "warning: the schedule stays as it was, and runs fail until the configuration is mended: {error}"
            )),
        }
        self.supervisor.tell("READY=1");
    }

    fn dues(&self, loaded: &Loaded, attempts: &Attempts, now: Timestamp, complaint: &mut String) -> Vec<schedule::Due> {
        let ledger = self.ledger(&loaded.store, complaint);
        let since = |lines: &[String]| self.since(&loaded.store, lines, now);
        timetable::dues(&timetable::rows(&loaded.settings, &ledger, attempts, &since, self.host, now))
    }

    /// The ledger as it is now. What is wrong with it is said when it changes, not each minute.
    fn ledger(&self, path: &Path, complaint: &mut String) -> Ledger {
        let problems = std::cell::RefCell::new(String::new());
        let opened = Store::open(path);
        let ledger = timetable::ledger(opened.as_ref(), path, self.state, &|text| {
            let mut problems = problems.borrow_mut();
            if !problems.is_empty() {
                problems.push_str("; ");
            }
            problems.push_str(&text);
        });
        let problems = problems.into_inner();
        if problems != *complaint && !problems.is_empty() {
            (self.say)(format!("warning: {problems}"));
        }
        *complaint = problems;
        ledger
    }

    fn since(&self, store: &Path, lines: &[String], now: Timestamp) -> Vec<Timestamp> {
        let known = self.state.map(|state| state.remember(store, lines, now));
        match known {
            Some(Ok(since)) => since,
            _ => vec![now; lines.len()],
        }
    }

    fn start(
        &self,
        loaded: &Loaded,
        due: &schedule::Due,
        began: Timestamp,
        attempts: &mut Attempts,
    ) -> Option<Running> {
        let name = SourceName::new(&due.source).ok()?;
        let task = due.task;
        attempts.retain(|(of, what, _)| *of != name || *what != task);
        attempts.push((name.clone(), task, began));
        (self.say)(format!("{task} of {name}, due at {}", rfc3339(due.at)));
        let started = (self.start)(loaded, &name, task).and_then(|mut child| {
            let process = pidfd_open(Pid::from_child(&child), PidfdFlags::empty())?;
            let sender = self.sender.clone();
            std::thread::Builder::new().spawn(move || {
                let _ = sender.send(Event::Ended(child.wait()));
            })?;
            Ok(process)
        });
        match started {
            Ok(process) => Some(Running { name, task, began, process }),
            Err(error) => {
                let reason = format!("cannot start the run: {error}");
                (self.say)(format!("warning: {task} of {name}: {reason}"));
                let running = (&name, task, began);
                self.note_death(loaded, running, reason, false);
                None
            }
        }
    }

    /// Sees to it that a run which died is noted all the same.
    fn ended(&self, loaded: &Loaded, ended: &Running, status: io::Result<ExitStatus>, is_stopping: bool) {
        let Running { name, task, began, .. } = ended;
        let (text, is_clean, signal) = match &status {
            Ok(status) => (status.to_string(), status.success(), status.signal()),
            Err(error) => (error.to_string(), false, None),
        };
        if !is_clean {
            (self.say)(format!("{task} of {name} ended: {text}"));
        }
        if is_clean || self.is_noted(loaded, ended) {
            return;
        }
        let was_stopped = is_stopping || signal == Some(Signal::TERM.as_raw());
        // A verification that was stopped has found nothing, neither good nor bad.
        if *task != Task::Verify || !was_stopped {
            self.note_death(loaded, (name, *task, *began), format!("the run died: {text}"), was_stopped);
        }
    }

    fn is_noted(&self, loaded: &Loaded, ended: &Running) -> bool {
        let ledger = self.ledger(&loaded.store, &mut String::new());
        ledger.get(&ended.name).is_some_and(|notes| match ended.task {
            Task::Verify => {
                notes.checks.iter().any(|check| check.kind == CheckKind::Full && check.began >= ended.began)
            }
            _ => notes.runs.iter().any(|run| run.began >= ended.began),
        })
    }

    fn note_death(
        &self,
        loaded: &Loaded,
        (name, task, began): (&SourceName, Task, Timestamp),
        reason: String,
        was_stopped: bool,
    ) {
        let store = Store::open(&loaded.store).ok();
        let passed = Timestamp::now().secs.saturating_sub(began.secs).max(0);
        let secs = f64::from(u32::try_from(passed).unwrap_or(u32::MAX));
        let entry = if task == Task::Verify {
            verification::not_run(name, began, secs, &reason)
        } else {
            let kind = record::asked_type(task, store.as_ref(), name);
            Entry { was_stopped, ..Entry::run(name, record::failed(began, secs, kind, reason)) }
        };
        record::note(store.as_ref(), &loaded.store, &[entry], self.state, PATIENCE, &|text| {
            (self.say)(format!("warning: {text}"));
        });
    }
}

/// How long it is until a moment, by the clock; a little at least, so that nothing spins.
fn until(moment: Timestamp) -> Duration {
    let now = Timestamp::now();
    let secs = u64::try_from(moment.secs.saturating_sub(now.secs)).unwrap_or(0);
    Duration::from_secs(secs)
        .saturating_add(Duration::from_nanos(u64::from(moment.nanos)))
        .saturating_sub(Duration::from_nanos(u64::from(now.nanos)))
        .max(Duration::from_millis(10))
}
