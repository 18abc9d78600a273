//! One run of a configured source, as cron, systemd or the daemon call for it.
//!
//! In this order: `before`, backup, note, check, forget and prune, `after` or `failed`, `finally`, messages, metrics. No hook runs under the writer lock, and
//! nothing is forgotten unless the backup has succeeded and its check has not failed.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::after::pending_check;
use super::hooks::{self, HookError};
use super::report::{Outcome, Report, Told};
use super::source::{LeftOut, options};
use super::spool::State;
use super::{chain, mail, record, verification, webhook};
use crate::backup::{self, BackupError, Done, Mode, Notice, Options, Progress, Session, Subject};
use crate::format::Timestamp;
use crate::policy::schedule::Task;
use crate::repository::runs::CheckEnd;
use crate::repository::{RepositoryError, SourceName, Store, when};
use crate::settings::{NotifyOn, Settings, SourceSettings};
use crate::source::{ExcludeError, stat};
use crate::storage::{Lock, Wait};
use crate::verify::written::Pending;
use crate::verify::{self, VerifyError};

/// How long the writer lock is waited for when there is only something to note.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);
/// How often it is tried again whether a lock is free.
const TICK: Duration = Duration::from_millis(100);

/// What is to be run.
#[derive(Clone, Copy, Debug)]
pub struct Order<'a> {
    /// The configuration.
    pub settings: &'a Settings,
    /// The source.
    pub name: &'a SourceName,
    /// What the configuration says of it.
    pub source: &'a SourceSettings,
    /// What is to be done.
    pub task: Task,
    /// Make a point even if nothing has changed.
    pub force: bool,
    /// The store.
    pub store: &'a Path,
    /// This machine's name.
    pub host: &'a str,
    /// What the clock is taken to say, for those who try another; the system's clock if absent.
    pub clock: Option<Timestamp>,
}

/// What a run needs of who calls for it.
pub struct Surroundings<'a> {
    /// Opens the store: only after the first hook, which may be what mounts it.
    pub open: &'a dyn Fn() -> Result<Store, RepositoryError>,
    /// The state directory.
    pub state: Option<&'a State>,
    /// How far a backup is.
    pub progress: &'a Progress,
    /// How far a verification is.
    pub verified: &'a (dyn Fn(verify::Progress) + Sync),
    /// What is said meanwhile.
    pub say: &'a dyn Fn(Said),
    /// Set to stop.
    pub cancel: &'a Arc<AtomicBool>,
}

/// Something that a person should hear of while a run goes on.
#[derive(Debug)]
pub enum Said {
    /// By the backup.
    Notice(Notice),
    /// By a hook.
    Hook {
        /// Which.
        hook: &'static str,
        /// A line of its output.
        line: Vec<u8>,
    },
    /// Somebody else is waited for.
    Waiting(String),
    /// Something is wrong that does not stop the run.
    Warning(String),
}

/// Why a run failed.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// By its `before` hook.
    #[error(transparent)]
    Hook(#[from] HookError),
    /// The store as a whole.
    #[error(transparent)]
    Repository(#[from] RepositoryError),
    /// The backup.
    #[error(transparent)]
    Backup(#[from] BackupError),
    /// What is left out.
    #[error(transparent)]
    Exclude(#[from] ExcludeError),
    /// The verification could not be made.
    #[error(transparent)]
    Verify(#[from] VerifyError),
    /// The source is a part of the store.
    #[error("the source {} lies in the store that it would go to", path.display())]
    InStore {
        /// The source.
        path: PathBuf,
    },
    /// It was told to stop while it waited.
    #[error("stopped while it waited; nothing was done")]
    Stopped,
}

/// How a run ended.
#[derive(Debug)]
pub struct Ended {
    /// What was told to hooks and others.
    pub report: Report,
    /// What the backup came to.
    pub done: Option<Done>,
    /// Why it failed.
    pub failure: Option<RunError>,
    /// Whether a hook failed that ran after the backup: what was asked for is not all done.
    pub has_failed_after: bool,
}

/// Runs what is ordered, to its end.
#[must_use]
pub fn run(order: &Order<'_>, around: &Surroundings<'_>) -> Ended {
    let began = order.clock.unwrap_or_else(Timestamp::now);
    let told = Told {
        host: order.host,
        store: order.store,
        name: order.name.as_str(),
        path: &order.source.path,
        task: order.task,
    };
    let report = Report::begin(told, began);
    let run = Run { order, around, began, begun: Instant::now() };
    let mut ended = Ended { report, done: None, failure: None, has_failed_after: false };
    // Two runs of a source must not meet: hooks make and remove things.
    let lock = run.lock_source(&mut ended);
    if order.task == Task::Verify {
        run.verify(&mut ended);
    } else {
        run.back_up(&mut ended);
    }
    drop(lock);
    // Before anybody is told, so that they are told if it fails.
    if let Err(error) = run.write_metrics() {
        run.warn(&mut ended.report, error);
    }
    run.tell(&mut ended.report);
    ended
}

pub(super) struct Run<'a> {
    pub(super) order: &'a Order<'a>,
    pub(super) around: &'a Surroundings<'a>,
    began: Timestamp,
    begun: Instant,
}

impl Run<'_> {
    pub(super) fn now(&self) -> Timestamp {
        self.order.clock.unwrap_or_else(Timestamp::now)
    }

    fn back_up(&self, ended: &mut Ended) {
        let mut store = None;
        let answer = match &ended.failure {
            Some(_) => Ok(None),
            None => self.backed_up(ended, &mut store).map(|done| Some(Box::new(done))),
        };
        match answer {
            Ok(Some(done)) => {
                let (done, pending) = *done;
                self.describe(&done, &mut ended.report);
                if let Some(store) = &store {
                    if let Some(pending) = pending {
                        self.check_written(store, pending, &mut ended.report);
                    }
                    if ended.report.result.is_success() {
                        self.rehearse(store, &mut ended.report);
                    }
                    if ended.report.result.is_success() {
                        self.forget_and_prune(store, &mut ended.report);
                    }
                }
                ended.done = Some(done);
            }
            Ok(None) => self.fail(ended, store.as_ref()),
            Err(error) => {
                ended.failure = Some(error);
                self.fail(ended, store.as_ref());
            }
        }
        ended.report.seconds = self.begun.elapsed().as_secs_f64();
        let hooks = &self.order.source.hooks;
        let (name, text) =
            if ended.report.result.is_success() { ("after", &hooks.after) } else { ("failed", &hooks.failed) };
        for (name, text) in [(name, text), ("finally", &hooks.finally)] {
            // Whoever stops a run wants it put in order, too.
            if let Err(error) = self.hook(name, text.as_deref(), &ended.report, None) {
                ended.has_failed_after = true;
                self.warn(&mut ended.report, chain(&error));
            }
        }
    }

    /// From the first hook to the commit, with the check of what was written if one is to be made. The lock is let go of when this returns.
    fn backed_up(&self, ended: &mut Ended, opened: &mut Option<Store>) -> Result<(Done, Option<Pending>), RunError> {
        let Self { order, around, .. } = self;
        let Order { settings, source, name, .. } = order;
        self.hook("before", source.hooks.before.as_deref(), &ended.report, Some(around.cancel))?;
        let store = &*opened.insert((around.open)()?);
        if is_inside(&source.path, store.path()) {
            return Err(RunError::InStore { path: source.path.clone() });
        }
        let walk = LeftOut::from(*source).walk(store, around.cancel)?;
        let options = Options {
            mode: match order.task {
                Task::Full => Mode::Full { independent: false },
                Task::Differential => Mode::Differential,
                Task::Auto | Task::Verify => Mode::Auto,
            },
            clock: order.clock,
            force: order.force,
            ..options(settings, name, order.host)
        };
        let session = self.begin(store)?;
        let subject = Subject::Tree { path: source.path.clone(), walk };
        let notify = |notice| (around.say)(Said::Notice(notice));
        let done = session.back_up(name, subject, &options, around.progress, &notify, around.cancel)?;
        let noted = record::run_of(self.began, self.begun.elapsed().as_secs_f64(), &done);
        self.note_under(&session, store, record::Entry::run(name, noted), &mut ended.report);
        let pending = match &done.outcome {
            backup::Outcome::Made(made) => pending_check(store, source.verify, made),
            _ => None,
        };
        Ok((done, pending))
    }

    /// Becomes the writer, however long another is busy.
    fn begin(&self, store: &Store) -> Result<Session, RunError> {
        let mut is_said = false;
        loop {
            match Session::begin(store, Wait::Never) {
                Err(BackupError::Repository(busy @ RepositoryError::Busy { .. })) => {
                    self.wait(&mut is_said, || busy.to_string())?;
                }
                answer => return Ok(answer?),
            }
        }
    }

    /// The lock that says that this source is being run. Without a state directory there is none.
    fn lock_source(&self, ended: &mut Ended) -> Option<Lock> {
        let state = self.around.state?;
        let mut is_said = false;
        loop {
            match state.lock(self.order.store, Some(self.order.name)) {
                Ok(Some(lock)) => return Some(lock),
                Ok(None) => {
                    let text = || format!("another run of {} is under way", self.order.name);
                    if let Err(error) = self.wait(&mut is_said, text) {
                        ended.failure = Some(error);
                        return None;
                    }
                }
                Err(error) => {
                    self.warn(&mut ended.report, chain(&error));
                    return None;
                }
            }
        }
    }

    fn wait(&self, is_said: &mut bool, for_whom: impl Fn() -> String) -> Result<(), RunError> {
        if !std::mem::replace(is_said, true) {
            (self.around.say)(Said::Waiting(for_whom()));
        }
        if self.around.cancel.load(Ordering::Relaxed) {
            return Err(RunError::Stopped);
        }
        std::thread::sleep(TICK);
        Ok(())
    }

    /// Notes the run while its writer lock is held. Where that fails it is kept in the state directory.
    fn note_under(&self, session: &Session, store: &Store, entry: record::Entry, report: &mut Report) {
        let say = |text| (self.around.say)(Said::Warning(text));
        let Some(lock) = session.writer() else { return };
        let entries = [entry];
        if let Err(error) = record::write(store, lock, &entries, self.around.state, &say) {
            self.warn(report, format!("the run is not noted: {}", chain(&error)));
            record::note(None, store.path(), &entries, self.around.state, Duration::ZERO, &say);
        }
    }

    fn describe(&self, done: &Done, report: &mut Report) {
        let run = record::run_of(self.began, self.begun.elapsed().as_secs_f64(), done);
        report.r#type = Some(run.r#type);
        report.reason = Some(run.reason);
        report.counts = Some(done.counts);
        let point = match &done.outcome {
            backup::Outcome::Made(made) => {
                report.stored_bytes = Some(run.stored_bytes);
                report.result = if done.counts.unread > 0 { Outcome::Incomplete } else { Outcome::Made };
                Some(&made.point)
            }
            backup::Outcome::Unchanged(newest) => {
                report.result = Outcome::Unchanged;
                Some(&**newest)
            }
            backup::Outcome::Tried { .. } => None,
        };
        report.number = point.map(|point| point.number);
        report.point = point.map(|point| format!("{}/{}", point.source.name, when::format_point_time(point.time)));
    }

    /// Notes that the run failed, and says so in the report.
    fn fail(&self, ended: &mut Ended, store: Option<&Store>) {
        let Some(error) = &ended.failure else { return };
        let was_stopped = matches!(
            error,
            RunError::Stopped | RunError::Hook(HookError::Stopped { .. }) | RunError::Backup(BackupError::Cancelled)
        );
        let text = chain(error);
        ended.report.result = Outcome::Failed;
        ended.report.error = Some(text.clone());
        let opened;
        let store = match store {
            Some(store) => Some(store),
            // The hook failed before it was opened.
            None => {
                opened = (self.around.open)().ok();
                opened.as_ref()
            }
        };
        let kind = record::asked_type(self.order.task, store, self.order.name);
        ended.report.r#type = Some(kind);
        let secs = self.begun.elapsed().as_secs_f64();
        let run = record::failed(self.began, secs, kind, text);
        let entry = record::Entry { was_stopped, ..record::Entry::run(self.order.name, run) };
        self.note(store, &[entry]);
    }

    pub(super) fn note(&self, store: Option<&Store>, entries: &[record::Entry]) {
        let say = |text| (self.around.say)(Said::Warning(text));
        record::note(store, self.order.store, entries, self.around.state, PATIENCE, &say);
    }

    fn verify(&self, ended: &mut Ended) {
        if ended.failure.is_none() {
            let say = |text| (self.around.say)(Said::Warning(text));
            match verification::of_store(self.around.open, self.order.name, self.around.verified, &say) {
                Ok(found) => {
                    ended.report.result =
                        if found.check.end == CheckEnd::Pass { Outcome::Verified } else { Outcome::Damaged };
                    ended.report.check = Some(found.check);
                    self.note(Some(&found.store), &found.entries);
                }
                Err(error) => {
                    let secs = self.begun.elapsed().as_secs_f64();
                    let entry = verification::not_run(self.order.name, self.began, secs, &chain(&error));
                    self.note((self.around.open)().ok().as_ref(), &[entry]);
                    ended.failure = Some(error);
                }
            }
        }
        if let Some(error) = &ended.failure {
            ended.report.result = Outcome::Failed;
            ended.report.error = Some(chain(error));
        }
        ended.report.seconds = self.begun.elapsed().as_secs_f64();
    }

    fn hook(
        &self,
        hook: &'static str,
        text: Option<&str>,
        report: &Report,
        stop: Option<&AtomicBool>,
    ) -> Result<(), HookError> {
        let Some(text) = text else { return Ok(()) };
        let timeout = self.order.source.hooks.timeout;
        hooks::call(hook, text, timeout, report, stop, &mut |line| {
            (self.around.say)(Said::Hook { hook, line: line.to_vec() });
        })
    }

    /// Tells those who want to know. That one cannot be told changes nothing about the run.
    fn tell(&self, report: &mut Report) {
        let notify = &self.order.settings.notify;
        let is_good = report.warnings.is_empty() && report.result.is_success() && report.result != Outcome::Incomplete;
        if is_good && notify.on == NotifyOn::Failure {
            return;
        }
        if let Some(url) = &notify.webhook
            && let Err(error) = webhook::post(url, report)
        {
            // The address is not repeated: it may hold a secret.
            self.warn(report, format!("the webhook was not told: {}", chain(&error)));
        }
        if !notify.mail.is_empty()
            && let Err(error) = mail::send(&notify.mail, report)
        {
            self.warn(report, format!("no mail was sent: {}", chain(&error)));
        }
    }

    pub(super) fn warn(&self, report: &mut Report, text: String) {
        report.warnings.push(text.clone());
        (self.around.say)(Said::Warning(text));
    }
}

/// The store's directory, which no backup enters.
#[must_use]
pub fn store_id(store: &Store) -> Option<stat::FileId> {
    let open = std::fs::File::open(store.path()).ok()?;
    Some(stat::FileId::of(&stat::stat_of(&open).ok()?))
}

/// Whether `path` is `store`, or inside it.
#[must_use]
pub fn is_inside(path: &Path, store: &Path) -> bool {
    let (Ok(path), Ok(store)) = (path.canonicalize(), store.canonicalize()) else { return false };
    path.starts_with(store)
}
