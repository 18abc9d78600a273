//! `dbakfs run`.

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use clap::ValueEnum;
use dbakfs::automation::{self, Ended, Order, Outcome, Report, Said, State, Surroundings};
use dbakfs::backup::{Notice, Progress};
use dbakfs::policy::schedule::Task;
use dbakfs::repository::SourceName;
use dbakfs::repository::runs::{Check, CheckEnd};
use dbakfs::settings::Settings;
use dbakfs::source;
use dbakfs::verify;
use indicatif::{HumanBytes, HumanCount, ProgressBar};
use rustix::process::{Pid, Signal, getppid, set_parent_process_death_signal};

use super::{Exit, Failure, Global, Result, backup, check, notices, output, progress, settings, signals, store};

/// Run a configured source once: hooks, backup, check, forget, prune, messages
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
For cron, systemd timers and the like: everything else is in the configuration. Waits while another writer is busy. That nothing has changed is a success; so is \
a point in which some files could not be read, with exit code 3, as is one whose check or rehearsal could not be made. Damage that the check of what was written finds ends it with 4; a hook that fails after the backup, with 1.

Hooks run by /bin/sh, with the report as JSON on standard input and its main parts in DBAKFS_NAME, DBAKFS_RESULT and others; see docs/automation.md.

Examples:
  dbakfs run www
  dbakfs run www db --task full
  dbakfs run www --task verify")]
pub(crate) struct Args {
    /// The sources, by their names in the configuration
    #[arg(required = true, value_name = "NAME")]
    names: Vec<String>,
    /// What is done
    #[arg(long, value_enum, default_value_t = TaskArg::Auto)]
    task: TaskArg,
    /// Make a point even if nothing has changed
    #[arg(long)]
    force: bool,
    /// Ends with this process, which started it
    #[arg(long, hide = true, value_name = "PID")]
    parent: Option<i32>,
}

/// What can be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum TaskArg {
    /// A full or a differential, as the rules say
    Auto,
    /// A full
    Full,
    /// A differential
    Differential,
    /// Read every byte of the store
    Verify,
}

impl From<TaskArg> for Task {
    fn from(task: TaskArg) -> Self {
        match task {
            TaskArg::Auto => Self::Auto,
            TaskArg::Full => Self::Full,
            TaskArg::Differential => Self::Differential,
            TaskArg::Verify => Self::Verify,
        }
    }
}

pub(crate) fn run(global: &Global, args: &Args) -> Result<Exit> {
    let cancel = match args.parent {
        // What only reads can be ended anywhere.
        _ if args.task == TaskArg::Verify => Arc::new(AtomicBool::new(false)),
        Some(_) => signals::patient_stop_flag()?,
        None => signals::stop_flag()?,
    };
    if let Some(parent) = args.parent {
        set_parent_process_death_signal(Some(Signal::TERM)).map_err(std::io::Error::from)?;
        if getppid().map(Pid::as_raw_pid) != Some(parent) {
            return Err(Failure::new(Exit::Failed, "the process that started this run is gone"));
        }
    }
    let settings = settings::required(global)?;
    let names = args.names.iter().map(|name| SourceName::new(name));
    let names: Vec<SourceName> =
        names.collect::<std::result::Result<_, _>>().map_err(|error| Failure::of(Exit::Usage, &error))?;
    for name in &names {
        settings::source(&settings, name)?;
    }
    store::close_to_others();
    // The process has one soft limit; deep trees want more than the usual 1,024.
    let _ = source::raise_open_files_limit();
    let state = settings::state();
    let mut exit = Exit::Done;
    for name in &names {
        exit = exit.worse(one(global, args, &settings, name, state.as_ref(), &cancel)?);
        if cancel.load(Ordering::Relaxed) {
            break;
        }
    }
    Ok(exit)
}

fn one(
    global: &Global,
    args: &Args,
    settings: &Settings,
    name: &SourceName,
    state: Option<&State>,
    cancel: &Arc<AtomicBool>,
) -> Result<Exit> {
    let (path, is_default) = store::of_settings(global, settings)?;
    let host = super::host();
    let source = settings::source(settings, name)?;
    let order = Order {
        settings,
        name,
        source,
        task: args.task.into(),
        force: args.force,
        store: &path,
        host: &host,
        clock: None,
    };
    let alarmed = RefCell::new(None);
    let counters = Progress::default();
    let verified = Mutex::new(verify::Progress::default());
    let now = || *verified.lock().unwrap_or_else(PoisonError::into_inner);
    let describe = || {
        if args.task == TaskArg::Verify {
            let now = now();
            let text = format!("{} of {}", HumanBytes(now.done_bytes), HumanBytes(now.total_bytes));
            return (now.done_bytes, now.total_bytes, text);
        }
        let read = counters.read_bytes();
        let text = format!("{name}: {} entries, {} read", HumanCount(counters.entries()), HumanBytes(read));
        (counters.entries(), counters.expected_entries(), text)
    };
    let ended = progress::shown(global, describe, |bar| {
        let around = Surroundings {
            open: &|| store::opened_or_made(&path, is_default),
            state,
            progress: &counters,
            verified: &|at| *verified.lock().unwrap_or_else(PoisonError::into_inner) = at,
            say: &|said| say(bar, name, &alarmed, said),
            cancel,
        };
        automation::run(&order, &around)
    });
    print(global, name, ended)
}

/// Says something. `alarmed` is the alarm that this run has raised: it is said once.
fn say(bar: &ProgressBar, name: &SourceName, alarmed: &RefCell<Option<String>>, said: Said) {
    let remedy = format!("`dbakfs acknowledge {name}`");
    let text = match said {
        Said::Notice(Notice::Alarm(alarm)) => {
            let text = format!(
                "warning: ALARM: {}; nothing of the source is forgotten by its rules or pruned until {remedy}",
                alarm.reason
            );
            alarmed.replace(Some(alarm.reason));
            text
        }
        Said::Warning(text) if text.contains(&format!("an alarm stands for {name}: ")) => {
            if alarmed.borrow().as_ref().is_some_and(|reason| text.ends_with(reason)) {
                return;
            }
            format!("warning: {text}; look what has changed, then {remedy}")
        }
        Said::Notice(notice) => return notices::say(bar, &notice),
        Said::Hook { hook, line } => format!("{name}: {hook}: {}", output::printable(&line)),
        Said::Waiting(whom) => format!("note: waiting: {whom}"),
        Said::Warning(text) => format!("warning: {text}"),
    };
    bar.suspend(|| output::complain(&text));
}

/// The checks that were made, or should have been.
fn checks(report: &Report) -> impl Iterator<Item = &Check> {
    report.check.iter().chain(&report.rehearsal)
}

/// What followed a backup, for the line about it.
fn followed(report: &Report) -> String {
    let verdict =
        |what: &str, found: Option<&Check>| found.map(|found| format!("; {what}: {}", check::word(found.end)));
    let forgot = (!report.forgotten.is_empty()).then(|| format!("forgot {}", report.forgotten.len()));
    let freed = report.freed_bytes.filter(|bytes| *bytes > 0).map(|bytes| format!("freed {}", HumanBytes(bytes)));
    let kept: Vec<String> = forgot.into_iter().chain(freed).collect();
    let kept = (!kept.is_empty()).then(|| format!("; {}", kept.join(", ")));
    let parts = [verdict("check", report.check.as_ref()), verdict("rehearsal", report.rehearsal.as_ref()), kept];
    parts.into_iter().flatten().collect()
}

fn print(global: &Global, name: &SourceName, ended: Ended) -> Result<Exit> {
    let Ended { report, done, failure, has_failed_after } = ended;
    if global.json {
        output::json(&report)?;
    } else if let Some(done) = &done {
        let summary = backup::summary(name, done, &dbakfs::backup::Options::default(), report.seconds);
        output::line(&format!("{summary}{}", followed(&report)))?;
    } else if failure.is_none() {
        output::line(&report.headline())?;
    }
    if !global.json {
        // What kept one from being made was said as a warning.
        let failed = checks(&report).filter(|check| check.end == CheckEnd::Fail);
        for finding in failed.flat_map(|check| &check.findings) {
            output::line(&format!("damaged: {finding}"))?;
        }
    }
    let is_unchecked = checks(&report).any(|check| check.end == CheckEnd::NotRun);
    let exit = match report.result {
        Outcome::Made | Outcome::Unchanged | Outcome::Verified if is_unchecked => Exit::Incomplete,
        Outcome::Made | Outcome::Unchanged | Outcome::Verified | Outcome::Running => Exit::Done,
        Outcome::Incomplete => Exit::Incomplete,
        Outcome::Damaged => Exit::Damage,
        Outcome::Failed => Exit::Failed,
    };
    let exit = match failure {
        Some(error) => {
            let failure = Failure::from(error);
            failure.print();
            failure.exit
        }
        None => exit,
    };
    Ok(if has_failed_after { exit.worse(Exit::Failed) } else { exit })
}
