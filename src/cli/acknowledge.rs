//! `dbakfs acknowledge`.

use dbakfs::repository::{SourceName, SourceNotes, alarms, when};
use serde_json::json;

use super::{Exit, Failure, Global, Result, output, points, settings, store};

/// End the alarm of a source
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
A backup that finds far more changed or deleted than its source's backups use to raises an alarm: the source may have been encrypted, emptied, or not mounted. From then on nothing of \
the source is forgotten by its rules, and `prune` removes no point of it. Look at what changed (`dbakfs diff`), put right what is wrong, and acknowledge the alarm.

Example:
  dbakfs acknowledge www")]
pub(crate) struct Args {
    /// The source
    #[arg(required = true, value_name = "NAME")]
    names: Vec<SourceName>,
    /// Only show the alarm
    #[arg(short = 'n', long)]
    dry_run: bool,
    /// Wait while another writer is busy
    #[arg(long)]
    wait: bool,
}

pub(crate) fn run(global: &Global, args: &Args) -> Result<Exit> {
    let (store, lock) = store::writer(global, args.wait)?;
    let known = points::listed(&store)?;
    let configured = settings::load(global)?;
    let is_configured = |name| configured.as_ref().is_some_and(|settings| settings.sources.contains_key(name));
    // All names first: one that is wrong leaves all as it was.
    for name in &args.names {
        let is_noted = SourceNotes::read(store.storage(), name)?.is_some();
        if !is_noted && !is_configured(name) && !known.source_names().contains(&name.as_str()) {
            return Err(no_source(&known, name));
        }
    }
    for name in &args.names {
        let alarm = if args.dry_run {
            SourceNotes::read(store.storage(), name)?.and_then(|notes| notes.alarm)
        } else {
            alarms::acknowledge(&store, &lock, name)?
        };
        let since = alarm.as_ref().map(|alarm| when::format_point_time(alarm.since));
        if global.json {
            output::json(&json!({
                "name": name.as_str(),
                "alarm": alarm.as_ref().map(|alarm| &alarm.reason),
                "number": alarm.as_ref().map(|alarm| alarm.point),
                "since": since,
                "acknowledged": alarm.is_some() && !args.dry_run,
            }))?;
            continue;
        }
        match (alarm, since) {
            (Some(alarm), Some(since)) => {
                let verb = if args.dry_run { "would acknowledge" } else { "acknowledged" };
                output::line(&format!(
                    "{verb} the alarm of {name} since {since}, backup {}: {}",
                    alarm.point, alarm.reason
                ))?;
            }
            _ => output::line(&format!("no alarm stands for {name}"))?,
        }
    }
    Ok(Exit::Done)
}

/// There is no source of that name.
pub(crate) fn no_source(points: &dbakfs::repository::Points, name: &SourceName) -> Failure {
    let known = points.source_names().join(", ");
    let failure = Failure::new(Exit::Failed, format!("there is no source named {name}"));
    if known.is_empty() {
        failure.hint("the store has no points")
    } else {
        failure.hint(format!("the store has: {known}"))
    }
}
