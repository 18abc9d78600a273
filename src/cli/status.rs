//! `dbakfs status`.

use dbakfs::report::status::{GrowthStatus, LastPoint};
use dbakfs::report::{Objective, SourceStatus, words};
use dbakfs::repository::runs::{CheckKind, RunEnd};

use super::{Exit, Global, Result, check, output, told};

/// Runs that are listed; `--json` has more.
const RUNS_SHOWN: usize = 3;

/// Show how the backups of each source stand
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
For each source: the last full and differential; the age of the last success against the rpo of the configuration, and the time of a full restore, as the \
last rehearsal measured it, against its rto (what is not set there is not judged); how the differentials grow, and the day on which one will cross \
diff_threshold; the last runs and checks; an alarm. Times are UTC. Reads no data and waits for no writer.

With --check the exit code is 1 if anything is amiss: an objective missed, the last backup of a type failed or not found whole, a differential above the \
threshold, an alarm, or a source that is scheduled and was never backed up.

Examples:
  dbakfs status
  dbakfs status www --check --quiet || echo 'look at the backups of www'")]
pub(crate) struct Args {
    /// Only the source of this name
    name: Option<String>,
    /// End with exit code 1 if anything is amiss
    #[arg(long)]
    check: bool,
}

pub(crate) fn run(global: &Global, args: &Args) -> Result<Exit> {
    let state = told::state(global)?;
    let all = told::statuses(&state, args.name.as_deref())?;
    for (at, status) in all.iter().enumerate() {
        if global.json {
            output::json(status)?;
        } else if !(global.quiet && args.check) {
            if at > 0 {
                output::line("")?;
            }
            show(status)?;
        }
    }
    let is_amiss = all.iter().any(|status| !status.amiss.is_empty()) || !state.problems.is_empty();
    Ok(if args.check && is_amiss { Exit::Failed } else { Exit::Done })
}

fn show(status: &SourceStatus) -> Result<()> {
    let field = |name: &str, text: &str| output::line(&format!("  {name:<19}{}", printable(text)));
    output::line(&printable(&status.name))?;
    for line in &status.amiss {
        field("AMISS", line)?;
    }
    field("last full", &last(status.last_full.as_ref()))?;
    field("last differential", &last(status.last_differential.as_ref()))?;
    let success = match status.rpo.measured_secs.zip(status.last_success) {
        Some((age, time)) => format!("{}, {} ago", words::moment_utc(time), words::span(age)),
        None => "never".to_owned(),
    };
    field("last success", &judged(&success, status.rpo))?;
    let restore = status.rto.measured_secs.map_or_else(|| "not rehearsed".to_owned(), words::span);
    field("full restore", &judged(&restore, status.rto))?;
    field("growth", &growth(&status.growth))?;
    field("points", &format!("{}, {} stored", status.points, words::bytes(status.stored_bytes)))?;
    for (at, run) in status.runs.iter().take(RUNS_SHOWN).enumerate() {
        let end = match run.end {
            RunEnd::Made => "made",
            RunEnd::Incomplete => "incomplete",
            RunEnd::Unchanged => "unchanged",
            RunEnd::Failed => "FAILED",
        };
        let took = words::span(run.secs);
        let text = format!("{}  {} {end} in {took}: {}", words::moment_utc(run.began), word(run.r#type)?, run.reason);
        field(if at == 0 { "last runs" } else { "" }, &text)?;
    }
    for (at, kept) in status.checks.iter().enumerate() {
        let what = match kept.kind {
            CheckKind::Written => "what was written",
            CheckKind::Sample => "a sample",
            CheckKind::Full => "the whole store",
            CheckKind::Rehearsal => "a restore",
        };
        let end = check::word(kept.end);
        let found = kept.findings.first().map(|line| format!(" ({line})")).unwrap_or_default();
        field(
            if at == 0 { "last checks" } else { "" },
            &format!("{}  {what}: {end}{found}", words::moment_utc(kept.began)),
        )?;
    }
    Ok(())
}

fn last(last: Option<&LastPoint>) -> String {
    last.map_or_else(
        || "none".to_owned(),
        |last| {
            let incomplete = if last.complete { "" } else { " (incomplete)" };
            let age = words::span(precise(last.age_secs));
            format!("{}, {age} ago, {}, {} files{incomplete}", last.point, words::bytes(last.size_bytes), last.files)
        },
    )
}

fn judged(text: &str, objective: Objective) -> String {
    let Some(wanted) = objective.wanted_secs else { return text.to_owned() };
    let verdict = match objective.met {
        Some(true) => "met",
        Some(false) => "MISSED",
        None => "not measured yet",
    };
    format!("{text}; wanted {} at most: {verdict}", words::span(precise(wanted)))
}

fn growth(growth: &GrowthStatus) -> String {
    let Some(newest) = growth.differentials.last() else { return "no differential on the last full".to_owned() };
    let threshold = growth.threshold_percent;
    let ahead = match (growth.bytes_per_day, growth.crosses) {
        _ if newest.percent > f64::from(threshold) => format!("above the {threshold} % wanted at most"),
        (None, _) => "too few to see where it leads".to_owned(),
        (Some(_), None) => format!("will not reach {threshold} %"),
        (Some(_), Some(day)) => format!("will cross {threshold} % on {}", words::day(day)),
    };
    format!("{:.1} % of the full, {ahead}", newest.percent)
}

fn word(of: dbakfs::repository::runs::BackupType) -> Result<String> {
    let value = serde_json::to_value(of).map_err(|error| super::Failure::of(Exit::Failed, &error))?;
    Ok(value.as_str().unwrap_or_default().to_owned())
}

fn printable(text: &str) -> String {
    output::printable(text.as_bytes())
}

#[expect(clippy::cast_precision_loss, reason = "it is rounded for people")]
const fn precise(secs: u64) -> f64 {
    secs as f64
}
