//! `dbakfs plan`.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::Arc;

use dbakfs::automation::{self, LeftOut};
use dbakfs::backup::{Choice, Options, Progress, Session, Subject};
use dbakfs::format::Timestamp;
use dbakfs::policy::Today;
use dbakfs::policy::decision::{threshold_bytes, weigh};
use dbakfs::repository::{SourceName, SourceNotes, Store};
use dbakfs::source;
use indicatif::{HumanBytes, HumanCount};
use serde_json::json;

use super::decision::Rules;
use super::selection::Selection;
use super::{Exit, Failure, Global, Result, notices, output, progress, settings, signals, store};

/// Show whether the next backup of a name would be a full or a differential, and why
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Looks at the source as a backup does, but reads no file: what may have changed counts as changed, so that the size is the most that a differential could hold. \
Nothing is written. The source is that of the configuration, else the one that was last backed up under the name.

Example:
  dbakfs plan www")]
pub(crate) struct Args {
    /// The name that the points are listed under
    name: SourceName,
    #[command(flatten)]
    rules: Rules,
    #[command(flatten)]
    selection: Selection,
}

pub(crate) fn run(global: &Global, args: &Args) -> Result<Exit> {
    let name = &args.name;
    let cancel = signals::stop_flag()?;
    let _ = source::raise_open_files_limit();
    let configured = settings::load(global)?.unwrap_or_default();
    let store = store::open(global)?;
    let path = match configured.sources.get(name) {
        Some(source) => source.path.clone(),
        None => noted_path(&store, name)?,
    };
    let walk = LeftOut::from(&args.selection).and(&configured.of(name).into()).walk(&store, &cancel)?;
    let usual = automation::options(&configured, name, &super::host());
    let (rules, zone, now) = (args.rules.over(&usual.rules), configured.zone(), Timestamp::now());
    let options = Options { rules: rules.clone(), clock: Some(now), only_look: true, ..usual };
    let counters = Progress::default();
    let describe = || {
        let text = format!("{name}: {} entries", HumanCount(counters.entries()));
        (counters.entries(), counters.expected_entries(), text)
    };
    let done = progress::shown(global, describe, |bar| {
        let notify = |notice| notices::say(bar, &notice);
        let subject = Subject::Tree { path, walk };
        Session::dry(&store).back_up(name, subject, &options, &counters, &notify, &Arc::clone(&cancel))
    })?;
    let bytes = done.counts.size_bytes;
    let weighed = weigh(&rules, &Today { now, zone }, &done.facts, bytes);
    let series = done.facts.series;
    let is_open = match (done.decision.choice, series) {
        (Choice::Differential { .. }, Some(series)) => bytes > threshold_bytes(&rules, series.full_bytes),
        _ => false,
    };
    let (kind, base) = match done.decision.choice {
        Choice::Full { .. } => ("full", None),
        Choice::Differential { base } => ("differential", Some(base)),
    };
    if global.json {
        output::json(&json!({
            "name": name.as_str(),
            "type": kind,
            "independent": done.decision.choice == Choice::Full { independent: true },
            "base": base,
            "settled": !is_open,
            "reason": done.decision.reason.to_string(),
            "changed": matches!(done.outcome, dbakfs::backup::Outcome::Tried { has_changed: true }),
            "most_bytes": bytes,
            "full_bytes": series.map(|series| series.full_bytes),
            "rules": weighed.iter().map(|rule| json!({ "rule": rule.rule, "asks": rule.asks, "why": rule.why })).collect::<Vec<_>>(),
        }))?;
        return Ok(Exit::Done);
    }
    let made = match done.decision.choice {
        Choice::Full { independent: true } => "an independent full".to_owned(),
        Choice::Full { independent: false } => "a full".to_owned(),
        Choice::Differential { base } => format!("a differential on {base}"),
    };
    let counts = &done.counts;
    let most = HumanBytes(bytes);
    let size = if base.is_some() { format!("at most {most} are new") } else { format!("{most} or more") };
    output::line(&format!("{name}: {made}: {}; {size}", done.decision.reason))?;
    output::line(&format!(
        "  {} new, at most {} updated, {} deleted",
        HumanCount(counts.new),
        HumanCount(counts.updated),
        HumanCount(counts.deleted)
    ))?;
    for rule in &weighed {
        let mark = if rule.asks { "asks for a full" } else { "-" };
        output::line(&format!("  {:<18}{mark:<17}{}", rule.rule, rule.why))?;
    }
    if is_open {
        output::line(
            "  more may have changed than a differential may hold: reading will tell, and make a full if it is so",
        )?;
    }
    if !matches!(done.outcome, dbakfs::backup::Outcome::Tried { has_changed: true }) && base.is_some() {
        output::line("  nothing has changed: no point would be made")?;
    }
    Ok(Exit::Done)
}

/// Where the source was when it was last backed up.
fn noted_path(store: &Store, name: &SourceName) -> Result<PathBuf> {
    let unknown = || {
        Failure::new(Exit::Failed, format!("nothing is known of a source named {name}"))
            .hint("name it in the configuration, or back it up first with `dbakfs backup SOURCE --name NAME`")
    };
    let notes = SourceNotes::read(store.storage(), name)?.ok_or_else(unknown)?;
    if notes.source.path == b"-" {
        return Err(Failure::new(Exit::Failed, format!("{name} is a stream, which must be read to be judged")));
    }
    Ok(PathBuf::from(OsStr::from_bytes(&notes.source.path)))
}
