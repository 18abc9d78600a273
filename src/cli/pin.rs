//! `dbakfs pin` and `dbakfs unpin`.

use std::ffi::OsString;

use dbakfs::repository::forgetting;
use serde_json::json;

use super::{Exit, Global, Result, forget, output, points, store};

/// Keep points whatever the rules say
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
A pinned point is forgotten by no rule and by no `dbakfs forget`, and neither is the full that it stands on forgotten by a rule, until `dbakfs unpin`. A tag keeps a point from rules, too.

Example:
  dbakfs pin www/2026-11-20T10-05-00Z")]
pub(crate) struct Args {
    #[command(flatten)]
    chosen: Chosen,
}

/// Let the rules decide on points again
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Nothing is forgotten by this; the next `dbakfs forget --policy` may.

Example:
  dbakfs unpin www/2026-11-20T10-05-00Z")]
pub(crate) struct UnpinArgs {
    #[command(flatten)]
    chosen: Chosen,
}

/// Some points, and whether anything is done.
#[derive(Debug, clap::Args)]
struct Chosen {
    /// NAME/TIME, NAME/TAG, NAME/latest, or a number
    #[arg(required = true, value_name = "POINT")]
    points: Vec<OsString>,
    /// Only show what would be done
    #[arg(short = 'n', long)]
    dry_run: bool,
    /// Wait while another writer is busy
    #[arg(long)]
    wait: bool,
}

pub(crate) fn run(global: &Global, args: &Args) -> Result<Exit> {
    set(global, &args.chosen, true)
}

pub(crate) fn run_unpin(global: &Global, args: &UnpinArgs) -> Result<Exit> {
    set(global, &args.chosen, false)
}

fn set(global: &Global, Chosen { points: texts, dry_run, wait }: &Chosen, pinned: bool) -> Result<Exit> {
    let (store, lock) = store::writer(global, *wait)?;
    let listed = points::listed(&store)?;
    let numbers = forget::numbers(texts, |address| forget::of(&listed.points, &listed.notes, address))?;
    for number in numbers {
        let is_new = if *dry_run {
            listed.notes_of(number).pinned != pinned
        } else {
            forgetting::pin(&store, &lock, number, pinned)?
        };
        let name = listed.get(number).map(points::name);
        if global.json {
            output::json(&json!({ "number": number, "point": name, "pinned": pinned, "changed": is_new }))?;
            continue;
        }
        let what = match (pinned, dry_run, is_new) {
            (true, false, true) => "pinned",
            (true, true, true) => "would pin",
            (true, _, false) => "was pinned already:",
            (false, false, true) => "unpinned",
            (false, true, true) => "would unpin",
            (false, _, false) => "was not pinned:",
        };
        output::line(&format!("{what} {} ({number})", name.unwrap_or_else(|| format!("backup {number}"))))?;
    }
    Ok(Exit::Done)
}
