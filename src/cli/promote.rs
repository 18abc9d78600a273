//! `dbakfs promote`.

use std::ffi::OsString;

use dbakfs::backup::{Made, Notice, Progress, Promotion, Session};
use dbakfs::repository::SourceName;
use dbakfs::repository::address::Exactness;
use dbakfs::settings::VerifyAfter;
use dbakfs::storage::Wait;
use indicatif::{HumanBytes, HumanCount};
use serde_json::json;

use super::check::{self, Asked, Checked, How};
use super::{Exit, Failure, Global, Result, notices, output, points, progress, settings, signals, store};

/// Make a differential a full of its own, without reading its source
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
The new full shows what the differential shows, shares its data and needs neither it nor its base: both can be forgotten and pruned. It stands \
outside the rotation: no backup builds on it, and no policy counts it. Its time is the first free second after the differential's; tags stay where they are.

Example:
  dbakfs promote www/before-deploy-42")]
pub(crate) struct Args {
    /// NAME/TIME, NAME/TAG, NAME/latest, or a number
    point: OsString,
    /// Only show what would be made
    #[arg(short = 'n', long)]
    dry_run: bool,
    /// Wait while another writer is busy
    #[arg(long)]
    wait: bool,
    /// How the new full is read back and checked [default: written, or what the configuration says of the name]
    #[arg(long, value_name = "HOW")]
    verify: Option<How>,
}

pub(crate) fn run(global: &Global, args: &Args) -> Result<Exit> {
    let cancel = signals::stop_flag()?;
    store::close_to_others();
    let store = store::open(global)?;
    let session = match args.dry_run {
        true => Session::dry(&store),
        false => store::waiting(args.wait, &cancel, || Session::begin(&store, Wait::Never).map_err(Failure::from))?,
    };
    let listed = points::listed(&store)?;
    let (point, path) = points::find(&listed, &args.point, Exactness::Exact)?;
    if !path.is_empty() {
        return Err(Failure::new(Exit::Usage, "a point is promoted as a whole: leave out the path"));
    }
    let name = SourceName::new(&point.source.name).map_err(|error| Failure::of(Exit::Failed, &error))?;
    let settings = settings::load(global)?.unwrap_or_default();
    let level = settings.sources.get(&name).and_then(|source| source.full_level);
    let how = args.verify.map_or(settings.of(&name).verify, VerifyAfter::from);
    let counters = Progress::default();
    let describe = || {
        let text = format!("{name}: {} entries", HumanCount(counters.entries()));
        (counters.entries(), counters.expected_entries(), text)
    };
    let made = progress::shown(global, describe, |bar| {
        let notify = |notice: Notice| notices::say(bar, &notice);
        session.promote(point, &Promotion { clock: None, level }, &counters, &notify, &cancel)
    })?;
    // While the lock is held, so that what was written stays until it is checked.
    let asked = if args.dry_run { Asked::Nothing } else { check::ask_of(&store, how, &made) };
    drop(session);
    let checked = asked.run(global, &store, &name, &cancel);
    print(global, args, &points::name(point), &made, &checked)?;
    Ok(if made.point.is_complete() { Exit::Done } else { Exit::Incomplete }.worse(checked.exit()))
}

fn print(global: &Global, args: &Args, from: &str, made: &Made, checked: &Checked) -> Result<()> {
    let counts = made.point.counts;
    if global.json {
        return output::json(&json!({
            "outcome": if args.dry_run { "dry-run" } else { "made" },
            "from": from,
            "number": made.point.number,
            "point": points::name(&made.point),
            "counts": counts,
            "stored_bytes": counts.stored_bytes + made.catalog_bytes,
            "check": checked.as_json(),
        }));
    }
    let size = format!("{} files, {}", HumanCount(counts.files), HumanBytes(counts.bytes));
    let new = points::name(&made.point);
    if args.dry_run {
        return output::line(&format!("would promote {from} to the full {new}: {size}"));
    }
    let (number, stored) = (made.point.number, HumanBytes(made.catalog_bytes));
    let check = checked.summary();
    output::line(&format!("{new}: full {number}, promoted from {from}: {size}; stored {stored}{check}"))
}
