//! The command line: one file for each command, which parses, calls the library and prints.
//!
//! Owns words, exit codes, hints and the terminal. Refuses to know how anything is done. Invariant: results go to standard output,
//! everything else to standard error, and each failure is one line there with a remedy where there is one.

mod acknowledge;
mod arenas;
mod backup;
mod check;
mod decision;
mod diff;
mod exit;
mod export;
mod forget;
mod import;
mod init;
mod ledger;
mod list;
mod ls;
mod metrics;
mod mount;
mod notices;
mod output;
mod pin;
mod plan;
mod points;
mod policy;
mod progress;
mod promote;
mod prune;
mod rebuild_index;
mod rehearse;
mod repair;
mod report;
mod restore;
mod run;
mod schedule;
mod selection;
mod settings;
mod signals;
mod status;
mod store;
mod told;
mod verify;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

pub(crate) use exit::{Exit, Failure, Result};

const EXIT_CODES: &str = "\
Exit codes:
  0   done
  1   failed
  2   wrong usage
  3   done, but some files of the source could not be read, or what was written not checked
  4   damage was found
  10  there is no store
  11  another writer is busy";

const COMMON: &str = "Options of every command";

/// Differential backups that you can see: every point in time is a plain read-only directory.
#[derive(Debug, Parser)]
#[command(name = "dbakfs", version, after_help = EXIT_CODES, propagate_version = true, max_term_width = 100)]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

/// Options of every command.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Global {
    /// The store [default: `store` in the configuration, else ~/.local/share/dbakfs/store, or dbakfs/store in XDG_DATA_HOME]
    #[arg(long, value_name = "DIR", env = "DBAKFS_STORE", global = true, help_heading = COMMON)]
    store: Option<PathBuf>,
    /// The configuration [default: /etc/dbakfs/config.toml for root, else ~/.config/dbakfs/config.toml]
    #[arg(long, value_name = "FILE", env = "DBAKFS_CONFIG", global = true, help_heading = COMMON)]
    config: Option<PathBuf>,
    /// Print results as JSON, one object a line
    #[arg(long, global = true, help_heading = COMMON)]
    json: bool,
    /// Show no progress; results and warnings are still shown
    #[arg(short, long, global = true, help_heading = COMMON)]
    quiet: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    Import(import::Args),
    Init(init::Args),
    Backup(Box<backup::Args>),
    Plan(plan::Args),
    List(list::Args),
    Ls(ls::Args),
    Mount(mount::Args),
    #[command(alias = "unmount")]
    Umount(mount::UmountArgs),
    Restore(restore::Args),
    Verify(verify::Args),
    Diff(diff::Args),
    Export(export::Args),
    Forget(forget::Args),
    Unforget(forget::UnforgetArgs),
    Pin(pin::Args),
    Unpin(pin::UnpinArgs),
    Prune(prune::Args),
    Run(run::Args),
    Schedule(schedule::Args),
    Rehearse(rehearse::Args),
    Acknowledge(acknowledge::Args),
    Promote(promote::Args),
    Repair(repair::Args),
    RebuildIndex(rebuild_index::Args),
    Status(status::Args),
    Report(report::Args),
    Metrics(metrics::Args),
}

/// The command line, with the exit codes in the long help of each command.
fn command() -> clap::Command {
    Cli::command().mut_subcommands(|command| {
        let examples = command.get_after_long_help().map(ToString::to_string);
        command
            .after_long_help(examples.map_or_else(|| EXIT_CODES.to_owned(), |text| format!("{text}\n\n{EXIT_CODES}")))
    })
}

/// This machine's name.
pub(crate) fn host() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// Runs the command line of this process.
pub(crate) fn run() -> ExitCode {
    let cli = match command().try_get_matches().and_then(|matches| Cli::from_arg_matches(&matches)) {
        Ok(cli) => cli,
        Err(error) => {
            // clap prints help to standard output and complaints to standard error.
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { Exit::Usage.code() } else { 0 });
        }
    };
    let global = &cli.global;

    if matches!(
        cli.command,
        Command::Diff(_)
            | Command::List(_)
            | Command::Ls(_)
            | Command::Metrics(_)
            | Command::Plan(_)
            | Command::Status(_)
    ) {
        output::only_shows();
    }
    let answer = match cli.command {
        Command::Import(args) => import::run(global, &args),
        Command::Init(args) => init::run(global, &args),
        Command::Backup(args) => backup::run(global, *args),
        Command::Plan(args) => plan::run(global, &args),
        Command::List(args) => list::run(global, &args),
        Command::Ls(args) => ls::run(global, &args),
        Command::Mount(args) => mount::run(global, &args),
        Command::Umount(args) => mount::run_umount(&args),
        Command::Restore(args) => restore::run(global, &args),
        Command::Verify(args) => verify::run(global, &args),
        Command::Diff(args) => diff::run(global, &args),
        Command::Export(args) => export::run(global, &args),
        Command::Forget(args) => forget::run(global, &args),
        Command::Unforget(args) => forget::run_unforget(global, &args),
        Command::Pin(args) => pin::run(global, &args),
        Command::Unpin(args) => pin::run_unpin(global, &args),
        Command::Acknowledge(args) => acknowledge::run(global, &args),
        Command::Prune(args) => prune::run(global, &args),
        Command::Run(args) => run::run(global, &args),
        Command::Schedule(args) => schedule::run(global, &args),
        Command::Rehearse(args) => rehearse::run(global, &args),
        Command::Promote(args) => promote::run(global, &args),
        Command::Repair(args) => repair::run(global, &args),
        Command::RebuildIndex(args) => rebuild_index::run(global, &args),
        Command::Status(args) => status::run(global, &args),
        Command::Report(args) => report::run(global, &args),
        Command::Metrics(args) => metrics::run(global, &args),
    };
    match answer {
        Ok(exit) => ExitCode::from(exit.code()),
        Err(failure) => {
            failure.print();
            ExitCode::from(failure.exit.code())
        }
    }
}
