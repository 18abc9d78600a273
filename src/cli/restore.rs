//! `dbakfs restore`.

use std::ffi::OsString;
use std::path::PathBuf;

use dbakfs::repository::CacheBytes;
use dbakfs::repository::address::Exactness;
use dbakfs::restore::{self, KeptBecause, Notice, Options, Progress, Refused, Report, RestoreError};
use dbakfs::source;
use indicatif::{HumanBytes, HumanCount, ProgressBar};
use serde_json::json;

use super::{Exit, Failure, Global, Result, output, points, progress, signals, store};

/// Write a point in time, or a part of it, into a directory
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
The contents of the point (or of the directory at PATH) go into DEST, which is made if absent; a single file goes into DEST under its \
name. What DEST has besides stays, but with --delete. Everything comes back: holes, hard links, owners, modes, times, attributes, \
ACLs, pipes, sockets and devices. What a user other than root may not set is counted and said.

POINT is NAME/TIME, NAME/TAG, NAME/latest or a number from `dbakfs list`. A TIME that is no point's own means the newest point not \
after it, in local time unless a zone is given; the chosen point is printed.

Examples:
  dbakfs restore www/latest /srv/www --delete
  dbakfs restore www/before-deploy:etc/nginx /tmp/nginx
  dbakfs restore 'www/2026-11-20 18:00' /tmp/www")]
pub(crate) struct Args {
    /// The point, and a path in it
    #[arg(value_name = "POINT[:PATH]")]
    point: OsString,
    /// Where to
    dest: PathBuf,
    /// Remove what the point does not have
    #[arg(long)]
    delete: bool,
    /// Refuse a time that is no point's own
    #[arg(long)]
    exact: bool,
    /// Return only when everything is on the disk
    #[arg(long)]
    sync: bool,
}

pub(crate) fn run(global: &Global, args: &Args) -> Result<Exit> {
    let cancel = signals::stop_flag()?;
    let _ = source::raise_open_files_limit();
    let reader = store::reader(global, CacheBytes::of_total(48 << 20))?;
    let points = points::list(&reader)?;
    let exactness = if args.exact { Exactness::Exact } else { Exactness::NotAfter };
    let (point, path) = points::find(&points, &args.point, exactness)?;
    let tree = reader.tree(point)?;
    let options = Options { delete: args.delete, only: None, sync: args.sync, cancel };
    let counters = Progress::default();
    let total = if path.is_empty() { point.counts.bytes } else { 0 };
    let describe = || {
        let (entries, bytes) = (counters.entries(), counters.bytes());
        (bytes, total, format!("{} entries, {}", HumanCount(entries), HumanBytes(bytes)))
    };
    let report = progress::shown(global, describe, |bar| {
        restore::restore(&reader, &tree, &path, &args.dest, &options, &counters, &mut |notice| say(bar, &notice))
    })?;
    say_refused(&report);
    if global.json {
        output::json(&as_json(&points::name(point), &report))?;
    } else {
        let removed = if args.delete { format!(", {} removed", HumanCount(report.removed)) } else { String::new() };
        output::line(&format!(
            "restored {} into {}: {} entries, {} written, {} already right{removed}",
            points::name(point),
            output::path(&args.dest),
            HumanCount(report.entries),
            HumanBytes(report.written_bytes),
            HumanCount(report.kept),
        ))?;
    }
    Ok(match (report.damaged, report.failed, report.never_read + report.older + report.incomplete) {
        (0, 0, 0) => Exit::Done,
        (0, 0, _) => Exit::Incomplete,
        (0, ..) => Exit::Failed,
        _ => Exit::Damage,
    })
}

fn say(bar: &ProgressBar, notice: &Notice) {
    let text = match notice {
        Notice::Damaged { path, error } => format!("error: cannot restore {}: {error}", path.display()),
        Notice::Failed { path, act, error } => format!("error: cannot {act} {}: {error}", path.display()),
        Notice::NeverRead { path } => {
            format!("warning: {} is not restored: it could not be read when it was backed up", path.display())
        }
        Notice::Older { path } => {
            format!("warning: {} is an older version: it could not be read when it was backed up", path.display())
        }
        Notice::Incomplete { path } => format!(
            "warning: {} may lack entries: it could not be read whole when it was backed up; nothing was removed there",
            path.display()
        ),
        Notice::Kept { path, why } => {
            let why = match why {
                KeptBecause::Mounted => "another file system is mounted there",
                KeptBecause::Store => "it is the store",
                KeptBecause::Incomplete => "the backup could not read all that was there",
            };
            format!("warning: {} is kept: {why}", path.display())
        }
        Notice::Unlinked { path, error } => {
            format!("warning: {} is a file of its own instead of a hard link: {error}", path.display())
        }
    };
    bar.suspend(|| output::complain(&text));
}

/// Says, once for each kind, what this user or file system could not have.
fn say_refused(report: &Report) {
    let kinds = [
        (&report.owners, "owners could not be set (that takes root)"),
        (&report.modes, "modes could not be set whole"),
        (&report.times, "times could not be set"),
        (&report.attributes, "entries lack extended attributes or ACLs that could not be set"),
        (&report.devices, "devices could not be made (that takes root)"),
    ];
    for (Refused { count, first }, what) in kinds {
        if let Some(first) = first.as_ref().filter(|_| *count > 0) {
            output::complain(&format!("warning: {count} {what}; the first is {}", first.display()));
        }
    }
}

fn as_json(point: &str, report: &Report) -> serde_json::Value {
    json!({
        "point": point,
        "entries": report.entries,
        "made": report.made,
        "kept": report.kept,
        "removed": report.removed,
        "written_bytes": report.written_bytes,
        "damaged": report.damaged,
        "failed": report.failed,
        "never_read": report.never_read,
        "older": report.older,
        "incomplete": report.incomplete,
        "not_removed": report.not_removed,
        "unlinked": report.unlinked,
        "refused": {
            "owners": report.owners.count,
            "modes": report.modes.count,
            "times": report.times.count,
            "attributes": report.attributes.count,
            "devices": report.devices.count,
        },
    })
}

impl From<RestoreError> for Failure {
    fn from(error: RestoreError) -> Self {
        match error {
            RestoreError::Catalog(error) => error.into(),
            error => Self::of(Exit::Failed, &error),
        }
    }
}
