//! `dbakfs forget --policy`: forgetting by rules.

use std::collections::BTreeSet;

use dbakfs::format::{Number, Timestamp};
use dbakfs::policy::Today;
use dbakfs::policy::retention::{Judged, Judgement, KeepRules};
use dbakfs::prune;
use dbakfs::repository::keeping::{self, KeepError};
use dbakfs::repository::{Points, SourceName, Store, WriterLock};
use indicatif::HumanBytes;
use jiff::tz::TimeZone;
use serde_json::json;

use super::{Exit, Failure, Global, Result, acknowledge, forget, output, points, settings, store};

/// What becomes of a point that the rules no longer keep, while an alarm stands.
const HELD_BACK: &str = "held back by the alarm:";

/// Rules on the command line: each takes the place of the configuration's.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Rules {
    /// With --policy: keep points younger than this many days [default: 30]
    #[arg(long, value_name = "N", requires = "by_rules")]
    keep_days: Option<u32>,
    /// With --policy: keep the last N points
    #[arg(long, value_name = "N", requires = "by_rules")]
    keep_last: Option<u32>,
    /// With --policy: keep the newest point of each of the last N days that have one
    #[arg(long, value_name = "N", requires = "by_rules")]
    keep_daily: Option<u32>,
    /// With --policy: the same by weeks (ISO 8601)
    #[arg(long, value_name = "N", requires = "by_rules")]
    keep_weekly: Option<u32>,
    /// With --policy: the same by months
    #[arg(long, value_name = "N", requires = "by_rules")]
    keep_monthly: Option<u32>,
    /// With --policy: the same by years
    #[arg(long, value_name = "N", requires = "by_rules")]
    keep_yearly: Option<u32>,
    /// With --policy: what no rule above keeps stays while there are at most N series
    #[arg(long, value_name = "N", requires = "by_rules")]
    max_series: Option<u32>,
    /// With --policy and a bound of series: keep at most that many times N points
    #[arg(long, value_name = "N", requires = "by_rules")]
    max_series_length: Option<u32>,
    /// With --policy: judge all series by the present rules, not by those that they began with
    #[arg(long, requires = "by_rules")]
    current_rules: bool,
}

impl Rules {
    fn is_given(&self) -> bool {
        let Self {
            keep_days,
            keep_last,
            keep_daily,
            keep_weekly,
            keep_monthly,
            keep_yearly,
            max_series,
            max_series_length,
            current_rules: _,
        } = self;
        [keep_days, keep_last, keep_daily, keep_weekly, keep_monthly, keep_yearly, max_series, max_series_length]
            .iter()
            .any(|rule| rule.is_some())
    }

    /// These, and where none is given those of `below`.
    fn over(&self, below: KeepRules) -> KeepRules {
        KeepRules {
            keep_days: self.keep_days.unwrap_or(below.keep_days),
            keep_last: self.keep_last.unwrap_or(below.keep_last),
            keep_daily: self.keep_daily.unwrap_or(below.keep_daily),
            keep_weekly: self.keep_weekly.unwrap_or(below.keep_weekly),
            keep_monthly: self.keep_monthly.unwrap_or(below.keep_monthly),
            keep_yearly: self.keep_yearly.unwrap_or(below.keep_yearly),
            max_series: self.max_series.unwrap_or(below.max_series),
            max_series_length: self.max_series_length.unwrap_or(below.max_series_length),
        }
    }
}

/// Applies the rules of the named sources, or, where none is named, of all that the configuration has.
pub(crate) fn run(global: &Global, names: &[SourceName], rules: &Rules, dry_run: bool, wait: bool) -> Result<Exit> {
    let configured = settings::load(global)?;
    let zone = configured.as_ref().map_or_else(TimeZone::system, |settings| settings.zone());
    let (store, lock) = store::writer(global, wait)?;
    let listed = points::listed(&store)?;
    let is_all = names.is_empty();
    let names: Vec<SourceName> = match &configured {
        // One that has never been backed up has nothing to forget.
        Some(settings) if is_all => {
            let has_points = |name: &&SourceName| listed.of_source(name.as_str()).next().is_some();
            settings.sources.keys().filter(has_points).cloned().collect()
        }
        None if is_all => {
            let failure = Failure::new(Exit::Usage, "there is no configuration that says which sources there are");
            return Err(failure.hint("name one with --policy NAME, or a configuration with --config FILE"));
        }
        _ => names.iter().collect::<BTreeSet<_>>().into_iter().cloned().collect(),
    };
    let mut judged = Vec::new();
    let today = Today { now: Timestamp::now(), zone };
    for name in names {
        let configured = configured.as_ref().and_then(|settings| settings.sources.get(&name));
        if configured.is_none() && !rules.is_given() {
            let failure = Failure::new(Exit::Usage, format!("no rules are known for {name}"));
            return Err(failure.hint("write it into the configuration, or give --keep-days N or another rule"));
        }
        if listed.of_source(name.as_str()).next().is_none() {
            return Err(acknowledge::no_source(&listed, &name));
        }
        let current = rules.over(configured.map_or_else(KeepRules::default, |source| source.keep()));
        let judgement = keeping::judge(&listed, name.as_str(), &current, rules.current_rules, &today);
        judged.push((name, judgement));
    }
    if dry_run {
        shown(global, &store, &listed, &judged)
    } else {
        carried_out(global, &store, &lock, &listed, &judged, &today)
    }
}

/// Forgets. A source that is held back by an alarm does not hold back the others.
fn carried_out(
    global: &Global,
    store: &Store,
    lock: &WriterLock,
    listed: &Points,
    all: &[(SourceName, Judgement)],
    today: &Today,
) -> Result<Exit> {
    let mut exit = Exit::Done;
    let mut has_forgotten = false;
    for (name, judgement) in all {
        warn(name, judgement);
        let order = match keeping::carry_out(store, lock, name, listed, judgement, today) {
            Ok(order) => order,
            Err(error) => {
                let failure = Failure::from(error);
                exit = exit.worse(failure.exit);
                failure.print();
                continue;
            }
        };
        for number in &order {
            has_forgotten = true;
            if let Some(judged) = judgement.judged.iter().find(|judged| judged.point.number == *number) {
                print(global, listed, judged, "forgot")?;
            }
        }
        if order.is_empty() && !global.json {
            output::line(&format!("{name}: all {} points stay", judgement.judged.len()))?;
        }
    }
    if has_forgotten && !global.json && !global.quiet {
        output::complain("note: `dbakfs unforget` brings them back until `dbakfs prune` has reclaimed their space");
    }
    Ok(exit)
}

/// Every point with its verdict, and the bytes that would come back.
fn shown(global: &Global, store: &Store, listed: &Points, all: &[(SourceName, Judgement)]) -> Result<Exit> {
    let mut going: BTreeSet<Number> = BTreeSet::new();
    for (name, judgement) in all {
        let refused = keeping::refuse_alarm(store, name);
        for judged in &judgement.judged {
            let verb = match &refused {
                _ if judged.verdict.keeps() => "would keep",
                Ok(()) => "would forget",
                Err(_) => HELD_BACK,
            };
            print(global, listed, judged, verb)?;
        }
        warn(name, judgement);
        match refused {
            Ok(()) => going.extend(judgement.forgotten()),
            // Nothing of it goes, and that is no failure of a dry run.
            Err(error @ (KeepError::AlarmStands { .. } | KeepError::AlarmUnknown { .. })) => {
                output::complain(&format!(
                    "warning: nothing of {name} would be forgotten yet: {}",
                    Failure::from(error)
                ));
            }
            Err(error) => return Err(error.into()),
        }
    }
    let estimate = prune::estimate(store, listed, &going, prune::REPACK_BELOW)?;
    for problem in &estimate.problems {
        output::complain(&format!("warning: {problem}"));
    }
    let points: usize = all.iter().map(|(_, judgement)| judgement.judged.len()).sum();
    if global.json {
        output::json(&json!({
            "verdict": "summary", "keep": points - going.len(), "forget": going.len(),
            "freed_bytes": estimate.freed_bytes, "waiting_bytes": estimate.waiting_bytes,
        }))?;
    } else {
        let (freed, waiting) = (HumanBytes(estimate.freed_bytes), HumanBytes(estimate.waiting_bytes));
        output::line(&format!(
            "would forget {} of {points} points: about {freed} come back when they are pruned, and {waiting} of what is of no use already",
            going.len()
        ))?;
    }
    Ok(Exit::Done)
}

fn warn(name: &SourceName, judgement: &Judgement) {
    for warning in &judgement.warnings {
        output::complain(&format!("warning: {name}: {warning}"));
    }
}

fn print(global: &Global, listed: &Points, judged: &Judged, verb: &str) -> Result<()> {
    let (number, verdict) = (judged.point.number, judged.verdict);
    let Some(point) = listed.get(number) else { return Ok(()) };
    let name = points::name(point);
    if global.json {
        return output::json(&json!({
            "number": number,
            "point": name,
            "type": points::kind(point),
            "verdict": if verdict.keeps() { "keep" } else { "forget" },
            "forgotten": verb == "forgot",
            "held_back": verb == HELD_BACK,
            "rule": verdict.rule(),
            "reason": verdict.to_string(),
            "rules": if judged.is_by_old_rules { "series" } else { "current" },
        }));
    }
    let rules = if judged.is_by_old_rules { ", by the rules that its series began with" } else { "" };
    output::line(&format!("{verb} {name} ({number}, {}): {verdict}{rules}", points::kind(point)))
}

impl From<KeepError> for Failure {
    fn from(error: KeepError) -> Self {
        match error {
            KeepError::AlarmStands { ref name, .. } => Self::of(Exit::Failed, &error)
                .hint(format!("look what has changed, then `dbakfs acknowledge {name}`; nothing of it was forgotten")),
            KeepError::AlarmUnknown { .. } => Self::of(Exit::Damage, &error)
                .hint("the next backup of it writes that file anew; nothing of it was forgotten"),
            KeepError::ClockBehind { number, .. } => Self::of(Exit::Failed, &error).hint(format!(
                "set the clock right; if it was wrong then, `dbakfs forget {number}`; nothing was forgotten"
            )),
            KeepError::ClockAhead { .. } => Self::of(Exit::Failed, &error)
                .hint("set the clock right; if it is, the next backup ends this; nothing was forgotten"),
            KeepError::Forget(error) => forget::refused(error),
            KeepError::Repository(error) => error.into(),
        }
    }
}
