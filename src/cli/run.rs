//! `dbakfs run`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use clap::ValueEnum;
use dbakfs::automation::{self, Ended, Order, Outcome, Said, State, Surroundings};
use dbakfs::backup::Progress;
use dbakfs::policy::schedule::Task;
use dbakfs::repository::SourceName;
use dbakfs::settings::Settings;
use dbakfs::source;
use dbakfs::verify;
use indicatif::{HumanBytes, HumanCount, ProgressBar};
use rustix::process::{Pid, Signal, getppid, set_parent_process_death_signal};

use super::{Exit, Failure, Global, Result, backup, output, progress, settings, signals, store};

/// Run a configured source once: hooks, backup, check, forget, prune, messages
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
For cron, systemd timers and the like: everything else is in the configuration. Waits while another writer is busy. That nothing has changed is a success; so is \
a point in which some files could not be read, with exit code 3. Damage that the check of what was written finds ends it with 4; a hook that fails after the backup, with 1.

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
    let order = Order { settings, name, source, task: args.task.into(), force: args.force, store: &path, host: &host };
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
            say: &|said| say(bar, name, said),
            cancel,
        };
        automation::run(&order, &around)
    });
    print(global, name, ended)
}

fn say(bar: &ProgressBar, name: &SourceName, said: Said) {
    let text = match said {
        Said::Notice(notice) => return backup::say(bar, &notice),
        Said::Hook { hook, line } => format!("{name}: {hook}: {}", output::printable(&line)),
        Said::Waiting(whom) => format!("note: waiting: {whom}"),
        Said::Warning(text) => format!("warning: {text}"),
    };
    bar.suspend(|| output::complain(&text));
}

fn print(global: &Global, name: &SourceName, ended: Ended) -> Result<Exit> {
    let Ended { report, done, failure, has_failed_after } = ended;
    if global.json {
        output::json(&report)?;
    } else if let Some(done) = &done {
        output::line(&backup::summary(name, done, &dbakfs::backup::Options::default(), report.seconds))?;
    } else if failure.is_none() {
        output::line(&report.headline())?;
    }
    if !global.json {
        for finding in report.check.iter().flat_map(|check| &check.findings) {
            output::line(&format!("damaged: {finding}"))?;
        }
    }
    let exit = match report.result {
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
