//! `dbakfs diff`.

use std::ffi::OsString;

use dbakfs::compare::{self, ChangeKind};
use dbakfs::format::point::bytes_as_text;
use dbakfs::repository::CacheBytes;
use dbakfs::repository::address::Exactness;
use serde_json::json;

use super::{Exit, Failure, Global, Result, output, points, store};

/// Show what differs between two points
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
One line for each entry: + is new in B, - is gone in B, M has other data, U has only other metadata, ? could not be read at one of the \
points. Directories end with /. What stands below a new or deleted directory is listed, too.

Example:
  dbakfs diff www/before-deploy www/latest")]
pub(crate) struct Args {
    /// The point before
    #[arg(value_name = "A")]
    before: OsString,
    /// The point after
    #[arg(value_name = "B")]
    after: OsString,
    /// Refuse times that are no points' own
    #[arg(long)]
    exact: bool,
}

pub(crate) fn run(global: &Global, args: &Args) -> Result<Exit> {
    let reader = store::reader(global, CacheBytes::of_total(48 << 20))?;
    let points = points::list(&reader)?;
    let exactness = if args.exact { Exactness::Exact } else { Exactness::NotAfter };
    let tree = |text| {
        let (point, path) = points::find(&points, text, exactness)?;
        if !path.is_empty() {
            return Err(Failure::new(Exit::Usage, "diff compares whole points: a PATH cannot be given"));
        }
        Ok(reader.tree(point)?)
    };
    let (before, after) = (tree(&args.before)?, tree(&args.after)?);
    let mut answer = Ok(());
    compare::compare(&reader, &before, &after, &mut |change| {
        if answer.is_err() {
            return;
        }
        let is_directory = change.after.as_ref().or(change.before.as_ref()).is_some_and(|node| node.is_directory());
        answer = if global.json {
            let (kind, data, metadata) = match change.kind {
                ChangeKind::New => ("new", true, true),
                ChangeKind::Deleted => ("deleted", true, true),
                ChangeKind::Updated { data, metadata } => ("updated", data, metadata),
                ChangeKind::Unread => ("unread", false, false),
            };
            output::json(&json!({
                "change": kind,
                "data": data,
                "metadata": metadata,
                "directory": is_directory,
                "path": bytes_as_text::encode(&change.path),
            }))
        } else {
            let sign = match change.kind {
                ChangeKind::New => '+',
                ChangeKind::Deleted => '-',
                ChangeKind::Updated { data: true, .. } => 'M',
                ChangeKind::Updated { data: false, .. } => 'U',
                ChangeKind::Unread => '?',
            };
            let slash = if is_directory { "/" } else { "" };
            output::line(&format!("{sign} {}{slash}", output::printable(&change.path)))
        };
    })?;
    answer?;
    Ok(Exit::Done)
}
