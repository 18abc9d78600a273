//! `dbakfs forget` and `dbakfs unforget`.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;

use dbakfs::format::{Number, Point, Timestamp};
use dbakfs::repository::Points;
use dbakfs::repository::SourceName;
use dbakfs::repository::address::{self, Exactness, PointAddress};
use dbakfs::repository::forgetting::{self, ForgetError};
use dbakfs::repository::notes::Notes;
use jiff::tz::TimeZone;
use serde_json::json;

use super::{Exit, Failure, Global, Result, output, points, policy, store};

/// Drop points in time; they can be brought back until `prune` reclaims their space
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
The points are no longer listed, shown in mounts or used by backups. Their space comes back when `dbakfs prune` runs and their time of grace is over.

A full cannot go while differentials stand on it, unless they are named, too, or go with it by --with-differentials.

With --policy the rules decide, in this order: what is pinned or tagged stays, and the full of what stays; then --keep-last, --keep-daily, --keep-weekly, --keep-monthly, --keep-yearly and \
--keep-days; what none of them keeps goes, or stays while --max-series has room for it. The newest point always stays. A rule that is not given is the configuration's. A series goes by the rules \
that it began with. --dry-run shows each point with its verdict.

Examples:
  dbakfs forget www/2026-11-20T10-05-00Z 17
  dbakfs forget --policy www --dry-run
  dbakfs forget --policy www --keep-days 0 --keep-daily 7 --keep-weekly 4 --keep-monthly 12")]
#[command(group(clap::ArgGroup::new("what").required(true).args(["points", "policy", "all"])))]
#[command(group(clap::ArgGroup::new("by_rules").multiple(true).args(["policy", "all"])))]
pub(crate) struct Args {
    /// NAME/TIME, NAME/TAG, NAME/latest, or a number
    #[arg(value_name = "POINT")]
    points: Vec<OsString>,
    /// With a full, forget the differentials that stand on it
    #[arg(long, conflicts_with = "by_rules")]
    with_differentials: bool,
    /// Forget what the rules of this source do not keep; may be given again
    #[arg(long, value_name = "NAME")]
    policy: Vec<SourceName>,
    /// Forget what the rules do not keep, of all sources of the configuration
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    rules: policy::Rules,
    /// Only show what would be forgotten
    #[arg(short = 'n', long)]
    dry_run: bool,
    /// Wait while another writer is busy
    #[arg(long)]
    wait: bool,
}

/// Bring forgotten points back
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Works until `dbakfs prune` has reclaimed their space; `dbakfs list --forgotten` shows which points there still are. With a differential its full comes back, too.

Example:
  dbakfs unforget www/2026-11-20T10-05-00Z")]
pub(crate) struct UnforgetArgs {
    /// NAME/TIME, NAME/TAG, NAME/latest, or a number
    #[arg(required = true, value_name = "POINT")]
    points: Vec<OsString>,
    /// Only show what would be brought back
    #[arg(short = 'n', long)]
    dry_run: bool,
    /// Wait while another writer is busy
    #[arg(long)]
    wait: bool,
}

pub(crate) fn run(global: &Global, args: &Args) -> Result<Exit> {
    if args.all || !args.policy.is_empty() {
        return policy::run(global, &args.policy, &args.rules, args.dry_run, args.wait);
    }
    let (store, lock) = store::writer(global, args.wait)?;
    let points = points::listed(&store)?;
    let wanted = numbers(&args.points, |address| resolve(&points, address))?;
    let order = forgetting::forget(&points, &wanted, args.with_differentials).map_err(refused)?;
    if !args.dry_run && forgetting::write(&store, &lock, &order, Some(Timestamp::now()))? {
        output::complain(
            "note: the disk is full: the index was removed to make room, and the next backup makes it anew",
        );
    }
    let verb = if args.dry_run { "would forget" } else { "forgot" };
    for number in &order {
        print(global, verb, *number, points.get(*number), true)?;
    }
    if !args.dry_run && !global.json && !global.quiet {
        output::complain("note: `dbakfs unforget` brings them back until `dbakfs prune` has reclaimed their space");
    }
    Ok(Exit::Done)
}

pub(crate) fn run_unforget(global: &Global, args: &UnforgetArgs) -> Result<Exit> {
    let (store, lock) = store::writer(global, args.wait)?;
    let points = points::listed(&store)?;
    // As if they had not been forgotten: then tags name them, too.
    let mut notes = points.notes.clone();
    notes.values_mut().for_each(|notes| notes.forgotten = None);
    let resolve = |address: &PointAddress| of(&points.forgotten, &notes, address);
    let wanted = numbers(&args.points, resolve)
        .map_err(|failure| failure.hint("`dbakfs list --forgotten` shows the points that can be brought back"))?;
    let order = forgetting::unforget(&points, &wanted).map_err(refused)?;
    if !args.dry_run {
        forgetting::write(&store, &lock, &order, None)?;
    }
    let verb = if args.dry_run { "would bring back" } else { "brought back" };
    for number in &order {
        let point = points.forgotten.iter().find(|point| point.number == *number);
        print(global, verb, *number, point, false)?;
    }
    Ok(Exit::Done)
}

/// The numbers of the points that `texts` name.
pub(crate) fn numbers(
    texts: &[OsString],
    resolve: impl Fn(&PointAddress) -> Result<Number>,
) -> Result<BTreeSet<Number>> {
    let zone = TimeZone::system();
    let number = |text: &OsString| {
        let address = address::parse_point(text.as_bytes(), &zone).map_err(|error| Failure::of(Exit::Usage, &error))?;
        resolve(&address)
    };
    texts.iter().map(number).collect()
}

/// What cannot be read has a number all the same.
fn resolve(points: &Points, address: &PointAddress) -> Result<Number> {
    match address {
        PointAddress::Number(number) if points.unreadable.contains(number) => Ok(*number),
        PointAddress::Number(number) if points.forgotten.iter().any(|point| point.number == *number) => {
            Err(Failure::new(Exit::Failed, format!("backup {number} is forgotten already")))
        }
        _ => of(&points.points, &points.notes, address),
    }
}

/// The number of the point at an address.
pub(crate) fn of(points: &[Point], notes: &Notes, address: &PointAddress) -> Result<Number> {
    let found = address::resolve(points, notes, address, Exactness::Exact);
    Ok(found.map_err(|error| Failure::of(Exit::Failed, &error))?.point.number)
}

/// A plan that was refused, with its remedy.
pub(crate) fn refused(error: ForgetError) -> Failure {
    let failure = Failure::of(Exit::Failed, &error);
    match error {
        ForgetError::HasDifferentials { .. } => {
            failure.hint("name them, too, or give --with-differentials; nothing was forgotten")
        }
        ForgetError::Pinned(number) => {
            failure.hint(format!("`dbakfs unpin {number}` lets it go; nothing was forgotten"))
        }
        _ => failure,
    }
}

fn print(global: &Global, verb: &str, number: Number, point: Option<&Point>, is_forgotten: bool) -> Result<()> {
    let name = point.map(points::name);
    if global.json {
        return output::json(&json!({ "number": number, "point": name, "forgotten": is_forgotten }));
    }
    match (name, point) {
        (Some(name), Some(point)) => output::line(&format!("{verb} {name} ({number}, {})", points::kind(point))),
        _ => output::line(&format!("{verb} backup {number}, whose catalog cannot be read")),
    }
}
