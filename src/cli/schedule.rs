//! `dbakfs schedule`.

use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

use dbakfs::automation::daemon::{Daemon, Event, Loaded};
use dbakfs::automation::timetable::{self, Attempts, Row};
use dbakfs::automation::{Supervisor, rfc3339};
use dbakfs::format::Timestamp;
use dbakfs::policy::schedule::Task;
use dbakfs::repository::{SourceName, Store};
use jiff::tz::TimeZone;
use serde_json::json;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use std::net::SocketAddr;

use super::{Exit, Failure, Global, Result, output, settings, store};

/// Run what is due, or show what will be
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command_,
}

#[derive(Debug, clap::Subcommand)]
enum Command_ {
    Run(RunArgs),
    Status(StatusArgs),
}

/// Stay, and run what is due at its time
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Stays in the foreground and runs what the configuration says, one at a time, each by a process of its own. Runs that were missed while it was off are made up for once; \
one that failed waits for its next time. SIGHUP reads the configuration again. SIGTERM ends it: a backup under way stops at its next chunk, and the next one uses what it \
has stored already.

Example:
  dbakfs schedule run --config /etc/dbakfs/config.toml")]
struct RunArgs {
    /// Answer `GET /metrics` here, such as 127.0.0.1:9187
    #[arg(long, value_name = "ADDRESS")]
    metrics_listen: Option<SocketAddr>,
}

/// Show last and next runs
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Of each source and task: when it is done, the last run that served for it and how that ended, and when the next is due.

Example:
  dbakfs schedule status --json")]
struct StatusArgs {}

pub(crate) fn run(global: &Global, args: &Args) -> Result<Exit> {
    match &args.command {
        Command_::Run(args) => daemon(global, args),
        Command_::Status(StatusArgs {}) => status(global),
    }
}

fn daemon(global: &Global, args: &RunArgs) -> Result<Exit> {
    let load = || {
        let loaded = settings::required(global).and_then(|settings| {
            let (store, _) = store::of_settings(global, &settings)?;
            Ok(Loaded { settings, store })
        });
        loaded.map_err(|failure| failure.to_string())
    };
    // Said with its hint, where it is the first.
    let settings = settings::required(global)?;
    let (path, _) = store::of_settings(global, &settings)?;
    let state = settings::state();
    let _lock = match state.as_ref().map(|state| state.lock(&path, None)).transpose() {
        Ok(Some(None)) => {
            let message = format!("another `dbakfs schedule run` has the schedule of {}", path.display());
            return Err(Failure::new(Exit::Busy, message));
        }
        Ok(lock) => lock,
        Err(error) => return Err(Failure::of(Exit::Failed, &error)),
    };
    serve_metrics(args.metrics_listen.or(settings.metrics.listen));
    let (sender, events) = crossbeam_channel::unbounded();
    let mut signals = signal_hook::iterator::Signals::new([SIGHUP, SIGINT, SIGTERM])?;
    let from_signals = sender.clone();
    std::thread::spawn(move || {
        for signal in &mut signals {
            let event = if signal == SIGHUP { Event::Reload } else { Event::Stop };
            if from_signals.send(event).is_err() {
                break;
            }
        }
    });
    let host = super::host();
    let supervisor = Supervisor::named(std::env::var_os("NOTIFY_SOCKET").as_deref());
    let daemon = Daemon {
        load: &load,
        start: &|loaded, name, task| start(global, loaded, name, task),
        state: state.as_ref(),
        host: &host,
        events,
        sender,
        say: &|text| output::complain(&text),
        supervisor: &supervisor,
    };
    daemon.run().map_err(|message| Failure::new(Exit::Usage, message))?;
    Ok(Exit::Done)
}

/// Starts the process of a run. It has a group of its own, so that what a terminal tells this one reaches it only through this one.
fn start(global: &Global, loaded: &Loaded, name: &SourceName, task: Task) -> std::io::Result<Child> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("run").arg(name.as_str()).args(["--task", task.as_str(), "--quiet"]);
    command.args(["--parent", &std::process::id().to_string()]).arg("--store").arg(&loaded.store);
    if let Some(config) = &global.config {
        command.arg("--config").arg(config);
    }
    if global.json {
        command.arg("--json");
    }
    command.stdin(Stdio::null()).env_remove("NOTIFY_SOCKET").process_group(0).spawn()
}

/// Where Prometheus asks, if it does.
fn serve_metrics(address: Option<SocketAddr>) {
    // `metrics::serve` goes here; it stops with this process.
    if let Some(address) = address {
        output::complain(&format!("warning: no metrics are served at {address} yet"));
    }
}

fn status(global: &Global) -> Result<Exit> {
    let settings = settings::required(global)?;
    let (path, _) = store::of_settings(global, &settings)?;
    let state = settings::existing_state();
    let opened = Store::open(&path);
    let ledger = timetable::ledger(opened.as_ref(), &path, state.as_ref(), &|text| {
        output::complain(&format!("warning: {text}"));
    });
    let now = Timestamp::now();
    let since = |lines: &[String]| {
        state.as_ref().map_or_else(|| vec![now; lines.len()], |state| state.since(&path, lines, now))
    };
    let rows = timetable::rows(&settings, &ledger, &Attempts::new(), &since, &super::host(), now);
    if global.json {
        return rows.iter().try_for_each(|row| output::json(&as_json(row, now))).map(|()| Exit::Done);
    }
    let zone = settings.zone();
    let cells = rows.iter().map(|row| {
        let last = row.last.as_ref().map_or_else(
            || ["never".to_owned(), String::new()],
            |last| [shown(last.began, &zone), last.result.to_owned()],
        );
        let next = match row.next {
            None => "-".to_owned(),
            Some(next) if next <= now => "now".to_owned(),
            Some(next) => shown(next, &zone),
        };
        let [last, result] = last;
        vec![row.name.to_string(), row.task.to_string(), row.when.to_string(), last, result, next]
    });
    let head =
        [("SOURCE", false), ("TASK", false), ("SCHEDULE", false), ("LAST", false), ("RESULT", false), ("NEXT", false)];
    output::table(&head, &cells.collect::<Vec<_>>())?;
    Ok(Exit::Done)
}

fn as_json(row: &Row, now: Timestamp) -> serde_json::Value {
    json!({
        "name": row.name.as_str(),
        "task": row.task,
        "schedule": row.when.to_string(),
        "last": row.last.as_ref().map(|last| json!({
            "began": rfc3339(last.began),
            "seconds": last.secs,
            "result": last.result,
            "reason": last.reason,
        })),
        "next": row.next.map(rfc3339),
        "is_due": row.next.is_some_and(|next| next <= now),
    })
}

/// A moment in a zone, to the minute.
fn shown(time: Timestamp, zone: &TimeZone) -> String {
    let moment = jiff::Timestamp::from_second(time.secs).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    moment.to_zoned(zone.clone()).strftime("%Y-%m-%d %H:%M %Z").to_string()
}
