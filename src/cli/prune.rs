//! `dbakfs prune`.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::Ordering;

use dbakfs::automation;
use dbakfs::compaction::MoveError;
use dbakfs::format::Timestamp;
use dbakfs::policy::Secs;
use dbakfs::prune::{self, Deadlines, Event, Options, Plan, Progress, Report};
use dbakfs::repository::{ReaderWait, when};
use indicatif::HumanBytes;
use serde_json::json;

use super::{Exit, Failure, Global, Result, output, points, progress, settings, signals, store};

/// Reclaim the space of forgotten points
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Removes forgotten points whose time of grace is over, and the data that no point needs. No point goes of a source for which an alarm stands (see `dbakfs acknowledge`). Packs of which little is needed are rewritten. What a mount or \
another reader may still see stays until nobody does; then the next prune removes it. It can be stopped at any time, and the next one goes on.

Examples:
  dbakfs prune --dry-run
  dbakfs prune --grace 0")]
pub(crate) struct Args {
    /// Keep what was forgotten less than this long ago, such as 12h or 7d [default: as the configuration says of the source, else 7d]
    #[arg(long, value_name = "TIME")]
    grace: Option<Secs>,
    /// Rewrite packs of which less than this percentage is needed; 0 rewrites none
    #[arg(long, value_name = "PERCENT", default_value_t = prune::REPACK_BELOW, value_parser = clap::value_parser!(u8).range(0..=100))]
    repack_below: u8,
    /// Only show what would be done
    #[arg(short = 'n', long)]
    dry_run: bool,
    /// Prune on a file system that may be shared, where readers on other machines are not seen
    #[arg(long)]
    sole_host: bool,
    /// Wait while another writer is busy
    #[arg(long)]
    wait: bool,
}

pub(crate) fn run(global: &Global, args: &Args) -> Result<Exit> {
    let (store, lock) = store::writer(global, args.wait)?;
    let stop = signals::stop_flag()?;
    let options = Options {
        forgotten_before: deadlines(global, args.grace, Timestamp::now())?,
        repack_below: args.repack_below,
        dry_run: args.dry_run,
        sole_host: args.sole_host,
        readers: ReaderWait::default(),
    };
    let now = Mutex::new(Progress::Looking(0, 0));
    let at = || *now.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let problems = RefCell::new(false);
    let report = progress::shown(
        global,
        || described(at()),
        |bar| {
            prune::prune(&store, &lock, &options, &|| stop.load(Ordering::Relaxed), &mut |event| match event {
                Event::Progress(progress) => {
                    *now.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = progress;
                }
                Event::Problem(text) => {
                    problems.replace(true);
                    bar.suspend(|| output::complain(&format!("warning: {text}")));
                }
            })
        },
    )?;
    if args.dry_run {
        planned(global, &report.plan)?
    } else {
        done(global, &report)?
    }
    Ok(if problems.take() { Exit::Damage } else { Exit::Done })
}

/// Until when points must have been forgotten to go: so long ago as `grace` says, else as the configuration says of their sources, else a week.
pub(crate) fn deadlines(global: &Global, grace: Option<Secs>, now: Timestamp) -> Result<Deadlines> {
    Ok(match grace {
        Some(grace) => Deadlines::all(now.plus_secs(-grace.signed())),
        None => automation::deadlines(&settings::load(global)?.unwrap_or_default(), now),
    })
}

fn described(progress: Progress) -> (u64, u64, String) {
    let counted = |done: usize, all: usize| (done as u64, all as u64);
    match progress {
        Progress::Looking(done, all) => {
            let (done, all) = counted(done, all);
            (done, all, format!("looking at catalog {done} of {all}"))
        }
        Progress::Rewriting(done, all) => (done, all, format!("rewriting {} of {}", HumanBytes(done), HumanBytes(all))),
        Progress::Revising(done, all) => {
            let (done, all) = counted(done, all);
            (done, all, format!("writing catalog {done} of {all} anew"))
        }
        Progress::Waiting => (0, 0, "waiting for readers".to_owned()),
        Progress::Removing(done, all) => {
            let (done, all) = counted(done, all);
            (done, all, format!("removing pack {done} of {all}"))
        }
    }
}

/// The plan, with a reason for each thing.
fn planned(global: &Global, plan: &Plan) -> Result<()> {
    for expired in &plan.expired {
        let name = expired.point.as_ref().map(points::name);
        let forgotten = when::format_point_time(expired.forgotten);
        if global.json {
            output::json(&json!({
                "action": "remove", "object": "point", "number": expired.number, "point": name, "reason": "forgotten", "forgotten": forgotten,
            }))?;
        } else {
            let name = name.unwrap_or_else(|| format!("backup {}", expired.number));
            output::line(&format!("would remove {name} ({}): forgotten {forgotten}", expired.number))?;
        }
    }
    for pack in &plan.unneeded {
        if global.json {
            output::json(&json!({
                "action": "remove", "object": "pack", "pack": pack.id.to_string(), "bytes": pack.file_len, "reason": "nothing refers to it",
            }))?;
        } else {
            let size = HumanBytes(pack.file_len);
            output::line(&format!("would remove pack {} ({size}): nothing refers to it", pack.id))?;
        }
    }
    for repack in &plan.repacks {
        let (pack, dead) = (repack.pack, repack.dead_bytes);
        if global.json {
            output::json(&json!({
                "action": "rewrite", "object": "pack", "pack": pack.id.to_string(), "bytes": pack.file_len, "dead_bytes": dead,
                "reason": "little of it is needed",
            }))?;
        } else {
            let (size, dead) = (HumanBytes(pack.file_len), HumanBytes(dead));
            output::line(&format!("would rewrite pack {} ({size}): {dead} of it are of no use", pack.id))?;
        }
    }
    for number in &plan.revised {
        if global.json {
            output::json(&json!({
                "action": "revise", "object": "catalog", "number": number, "reason": "packs that it names go",
            }))?;
        } else {
            output::line(&format!("would write the catalog of backup {number} anew: packs that it names go"))?;
        }
    }
    if global.json {
        return output::json(&json!({
            "action": "summary", "points": plan.expired.len(), "waiting": plan.waiting, "held": plan.held, "alarms": alarms(plan), "packs": plan.unneeded.len(),
            "rewritten_packs": plan.repacks.len(), "freed_bytes": plan.freed_bytes(), "needed_packs": plan.needed_packs,
            "needed_bytes": plan.needed_bytes,
        }));
    }
    waiting(plan);
    let freed = HumanBytes(plan.freed_bytes());
    output::line(&format!("would free about {freed}; {} are needed", HumanBytes(plan.needed_bytes)))
}

fn done(global: &Global, report: &Report) -> Result<()> {
    let plan = &report.plan;
    if global.json {
        return output::json(&json!({
            "points": plan.expired.iter().map(|expired| expired.number).collect::<Vec<_>>(),
            "waiting": plan.waiting,
            "held": plan.held,
            "alarms": alarms(plan),
            "removed_packs": report.removed_packs,
            "removed_bytes": report.removed_bytes,
            "written_packs": report.written_packs,
            "written_bytes": report.written_bytes,
            "rewritten_packs": plan.repacks.len(),
            "revised_catalogs": plan.revised.len(),
            "left_bytes": report.left.bytes,
            "left_readers": report.left.readers,
        }));
    }
    waiting(plan);
    if report.left.readers > 0 {
        let who =
            if report.left.readers == 1 { "a reader".to_owned() } else { format!("{} readers", report.left.readers) };
        output::complain(&format!(
            "note: {who} may still see what was removed: {} stay until the next prune",
            HumanBytes(report.left.bytes)
        ));
    }
    let freed = report.removed_bytes.saturating_sub(report.written_bytes);
    output::line(&format!(
        "freed {}: {} points and {} packs removed, {} packs rewritten into {}",
        HumanBytes(freed),
        plan.expired.len(),
        report.removed_packs,
        plan.repacks.len(),
        report.written_packs,
    ))
}

/// The reasons of the alarms that stand, by source.
fn alarms(plan: &Plan) -> BTreeMap<&str, &str> {
    plan.alarms.iter().map(|(name, alarm)| (name.as_str(), alarm.reason.as_str())).collect()
}

fn waiting(plan: &Plan) {
    if !plan.held.is_empty() {
        let points = if plan.held.len() == 1 { "point stays" } else { "points stay" };
        let alarms: Vec<String> =
            plan.alarms.iter().map(|(name, alarm)| format!("`dbakfs acknowledge {name}` ({})", alarm.reason)).collect();
        let remedy =
            if alarms.is_empty() { "what is noted of a source cannot be read".to_owned() } else { alarms.join(", ") };
        output::complain(&format!("note: {} forgotten {points} for an alarm: {remedy}", plan.held.len()));
    }
    let waiting = plan.waiting.len() - plan.held.len();
    if waiting > 0 {
        let points = if waiting == 1 { "point stays" } else { "points stay" };
        output::complain(&format!(
            "note: {waiting} forgotten {points} until the time of grace is over and nothing stands on it; --grace 0 ends it now"
        ));
    }
}

impl From<prune::PruneError> for Failure {
    fn from(error: prune::PruneError) -> Self {
        use prune::PruneError as Error;
        match error {
            Error::Repository(error) => error.into(),
            Error::Move(MoveError::Catalog(error)) => error.into(),
            Error::Move(MoveError::Pack(error)) => error.into(),
            Error::ReadersElsewhere => {
                Self::of(Exit::Failed, &error).hint("where only this machine uses the store, give --sole-host")
            }
            Error::NoCatalogs => Self::of(Exit::Damage, &error).hint(
                "put the directory catalogs back; where all points were given up on purpose, make a backup first",
            ),
            Error::Stopped => {
                Self::new(Exit::Failed, "stopped; no point that stays was touched, and the next prune goes on")
            }
            _ => Self::of(Exit::Failed, &error),
        }
    }
}
