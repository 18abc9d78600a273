//! `dbakfs rehearse`.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

use dbakfs::rehearsal::{self, Options, Outcome, SampleSize};
use dbakfs::repository::address::Exactness;
use dbakfs::repository::runs::CheckEnd;
use dbakfs::repository::{CacheBytes, Points, RunNotes, SourceName};
use dbakfs::restore::Progress;
use dbakfs::source;
use indicatif::{HumanBytes, HumanCount, HumanDuration};
use serde_json::json;

use super::{Exit, Failure, Global, Result, check, output, points, progress, signals, store};

/// Restore a random sample of a point, and see whether it is right
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
A sample of the point (of the newest one, where a NAME is given) is really restored into a directory that is closed to everybody else and removed in the \
end. Its content is compared with the hashes that were stored, its metadata with the catalog, and files of the source that have not changed since byte by \
byte. PASS or FAIL is kept with the source, and how long a restore of all of it would take.

A FAIL ends it with exit code 4; where it could not be rehearsed, for lack of room or otherwise, it ends with 1: that is no PASS.

Examples:
  dbakfs rehearse www
  dbakfs rehearse www/2026-11-20 --percent 5 --scratch /var/tmp")]
pub(crate) struct Args {
    /// The source, or a point
    #[arg(value_name = "NAME|POINT")]
    what: OsString,
    /// The directory to restore below [default: TMPDIR, or /tmp]
    #[arg(long, value_name = "DIR")]
    scratch: Option<PathBuf>,
    /// Restore so many of a hundred files [default: 1, but 200 files at least and 5,000 at most, and no more than 1 GiB]
    #[arg(long, value_name = "P", value_parser = percent, conflicts_with = "files")]
    percent: Option<f64>,
    /// Restore about so many files
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    files: Option<u64>,
    /// Draw the sample that this number draws; it is printed [default: by chance]
    #[arg(long, value_name = "S")]
    seed: Option<u64>,
}

fn percent(text: &str) -> std::result::Result<f64, String> {
    let percent: f64 = text.parse().map_err(|_| "it is no number".to_owned())?;
    if percent > 0.0 && percent <= 100.0 { Ok(percent) } else { Err("it is not above 0 and up to 100".to_owned()) }
}

pub(crate) fn run(global: &Global, args: &Args) -> Result<Exit> {
    let cancel = signals::stop_flag()?;
    let _ = source::raise_open_files_limit();
    let reader = store::reader(global, CacheBytes::of_total(48 << 20))?;
    let points = points::list(&reader)?;
    let (point, path) = points::find(&points, &address(&points, &args.what), Exactness::NotAfter)?;
    if !path.is_empty() {
        return Err(Failure::new(Exit::Usage, "a rehearsal is of a whole point: leave the path out"));
    }
    let name = SourceName::new(&point.source.name).map_err(|error| Failure::of(Exit::Failed, &error))?;
    let seed = args.seed.unwrap_or_else(check::drawn);
    let options = Options {
        size: match (args.files, args.percent) {
            (Some(files), _) => SampleSize::Files(files),
            (_, Some(percent)) => SampleSize::Percent(percent),
            _ => SampleSize::Usual,
        },
        seed,
        scratch: args.scratch.clone().unwrap_or_else(std::env::temp_dir),
        host: super::host(),
        cancel,
    };
    let counters = Progress::default();
    let describe = || {
        let (entries, bytes) = (counters.entries(), counters.bytes());
        (bytes, 0, format!("{} entries, {}", HumanCount(entries), HumanBytes(bytes)))
    };
    let outcome = progress::shown(global, describe, |_| match reader.tree(point) {
        Ok(tree) => rehearsal::rehearse(&reader, &tree, &options, &counters),
        Err(error) => Outcome::not_run(Some(point), &error.to_string()),
    });
    let shown = points::name(point);
    check::say(
        &shown,
        &outcome.check,
        "`dbakfs verify --data` names all that is damaged, `dbakfs repair` saves what can be saved",
    );
    for note in &outcome.notes {
        output::complain(&format!("note: {note}"));
    }
    check::keep(reader.store(), |lock| RunNotes::keep_check(reader.store(), lock, &name, outcome.check.clone()));
    if global.json {
        output::json(&json!({
            "point": shown,
            "seed": seed,
            "entries": outcome.entries,
            "compared_with_source": outcome.live,
            "check": check::as_json(&outcome.check),
        }))?;
    } else {
        output::line(&summary(&shown, &outcome, seed))?;
    }
    Ok(match outcome.check.end {
        CheckEnd::Pass => Exit::Done,
        CheckEnd::Fail => Exit::Damage,
        CheckEnd::NotRun => Exit::Failed,
    })
}

fn summary(point: &str, outcome: &Outcome, seed: u64) -> String {
    let mut text = format!(
        "{point}: rehearsal: {}: {} entries restored, {}, {} files compared with the source; seed {seed}",
        check::word(outcome.check.end),
        HumanCount(outcome.entries),
        HumanBytes(outcome.check.bytes),
        HumanCount(outcome.live),
    );
    if let Some(secs) = outcome.check.full_restore_secs {
        let all = std::time::Duration::try_from_secs_f64(secs).unwrap_or_default();
        let all = if secs < 1.0 { "less than a second".to_owned() } else { format!("about {}", HumanDuration(all)) };
        text.push_str(&format!("; all of it would take {all}"));
    }
    text
}

/// A name of a source means its newest point.
fn address(points: &Points, what: &OsStr) -> OsString {
    match what.to_str() {
        Some(name) if points.source_names().contains(&name) => format!("{name}/latest").into(),
        _ => what.to_owned(),
    }
}
