//! `dbakfs import`.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};

use dbakfs::archive::LabelKind;
use dbakfs::backup::{self, Base, Import, ImportError, Made, Planned, Prepared, Progress, Session};
use dbakfs::format::{Point, Timestamp};
use dbakfs::policy::Today;
use dbakfs::repository::{Points, SourceName, Store, keeping, when};
use dbakfs::settings::SourceSettings;
use dbakfs::settings::VerifyAfter;
use dbakfs::source;
use dbakfs::storage::Wait;
use indicatif::{HumanBytes, HumanCount};
use jiff::tz::TimeZone;
use serde_json::json;

use super::check::{self, Asked, Checked, How};
use super::{Exit, Failure, Global, Result, notices, output, points, progress, settings, signals, store};

/// Take tar archives in as points in time
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
FILE is a tar archive, plain or compressed with gzip or zstd. A name like full_2026-11-20.tar.gz says that it is a full, of when; diff_2026-11-21_020000.tar.gz is a \
differential, and goes on the newest imported full before it. Local time. Where no date is in the name, --at says it, or it is that of the newest file inside. What \
a FILE.meta beside it says (sha256, size, type, date, base; KEY=VALUE or JSON) is checked and goes before.

All archives are read to their ends before anything is stored. One that is cut off or damaged, whose paths lead upwards, or that links to what it does not hold is refused, \
and nothing is imported. Archives do not say what was deleted: a differential shows also what was gone by then. Imported points keep their own dates \
and stand outside the rotation: no backup builds on them. What is imported is read back and checked as a backup is.

Examples:
  dbakfs import /backup/full_*.tar.gz /backup/diff_*.tar.gz --name home
  dbakfs import site.tgz --name www --at '2026-11-20 18:00'")]
pub(crate) struct Args {
    /// The archives, in any order
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// The name that the points are listed under
    #[arg(long)]
    name: String,
    /// The time of the archive, whatever its name says; only with one FILE
    #[arg(long, value_name = "TIME")]
    at: Option<String>,
    /// Read and check the archives, show what would be made and change nothing
    #[arg(short = 'n', long)]
    dry_run: bool,
    /// Wait while another writer is busy
    #[arg(long)]
    wait: bool,
    /// How what was written is read back and checked [default: written, or what the configuration says of the name]
    #[arg(long, value_name = "HOW")]
    verify: Option<How>,
}

pub(crate) fn run(global: &Global, args: &Args) -> Result<Exit> {
    let name = SourceName::new(&args.name).map_err(|error| Failure::of(Exit::Usage, &error))?;
    let zone = TimeZone::system();
    if args.at.is_some() && args.files.len() > 1 {
        return Err(Failure::new(Exit::Usage, "--at goes with one FILE: several have times of their own"));
    }
    let at = args.at.as_deref().map(|text| when::parse(text, &zone)).transpose();
    let at = at.map_err(|error| Failure::of(Exit::Usage, &error))?.map(|when| when.not_after);
    let cancel = signals::stop_flag()?;
    store::close_to_others();
    // Each point that is to be checked has a lease of its own.
    let _ = source::raise_open_files_limit();
    let read_bytes = AtomicU64::new(0);
    let total: u64 = args.files.iter().filter_map(|file| file.metadata().ok()).map(|file| file.len()).sum();
    // Each is read twice, but in a dry run.
    let total = if args.dry_run { total } else { total * 2 };
    let describe = || {
        let read = read_bytes.load(Ordering::Relaxed);
        (read, total, format!("{name}: {} read", HumanBytes(read)))
    };
    let prepared = progress::shown(global, describe, |_| -> Result<Vec<Prepared>> {
        args.files.iter().map(|file| Ok(backup::prepare(file, at, &zone, &read_bytes, &cancel)?)).collect()
    })?;
    let store = store::open_or_make(global)?;
    let session = match args.dry_run {
        true => Session::dry(&store),
        false => store::waiting(args.wait, &cancel, || Session::begin(&store, Wait::Never).map_err(Failure::from))?,
    };
    let planned = backup::plan(prepared, &points::listed(&store)?, &name)?;
    for archive in planned.iter().map(|planned| &planned.archive) {
        tell(archive);
    }
    if planned.iter().any(|planned| planned.base.is_some()) {
        output::complain("note: archives do not say what was deleted: a differential shows also what was gone by then");
    }
    let settings = settings::load(global)?.unwrap_or_default();
    let rules = settings.sources.get(&name);
    let how = args.verify.map_or(settings.of(&name).verify, VerifyAfter::from);
    let host = super::host();
    let mut imported: Vec<Imported<'_>> = Vec::new();
    let mut failure = None;
    for planned in &planned {
        if args.dry_run {
            would(global, &name, planned)?;
            continue;
        }
        let archive = &planned.archive;
        let base = planned.base.map(|base| match base {
            Base::Imported(number) => number,
            Base::Planned(at) => imported[at].made.point.number,
        });
        let level = rules.and_then(|rules| match base {
            None => rules.full_level,
            Some(_) => rules.differential_level,
        });
        let import = Import { name: &name, host: &host, archive, base, level, read_bytes: &read_bytes };
        let made = progress::shown(global, describe, |bar| {
            let notify = |notice| notices::say(bar, &notice);
            session.import(&import, &Progress::default(), &notify, &cancel)
        });
        match made {
            // While the lock is held, so that what was written stays until it is checked.
            Ok(made) => {
                let asked = check::ask_of(&store, how, &made);
                imported.push(Imported { archive, made, asked });
            }
            // The points before it stand, and are checked.
            Err(error) => {
                failure = Some(Failure::from(error));
                break;
            }
        }
    }
    // What was written is read back beside other writers.
    drop(session);
    let (mut exit, mut new) = (Exit::Done, Vec::new());
    for Imported { archive, made, asked } in imported {
        let checked = asked.run(global, &store, &name, &cancel);
        if let Err(failure) = print(global, archive, &made, &checked) {
            output::complain(&format!("warning: {failure}; the import itself is done"));
        }
        exit = exit.worse(checked.exit());
        new.push(made.point);
    }
    if let Some(failure) = failure {
        failure.print();
        exit = exit.worse(failure.exit);
    }
    if let Some(rules) = rules {
        let today = Today { now: Timestamp::now(), zone: settings.zone() };
        warn_of_rules(&store, &name, rules, &today, &new)?;
    }
    Ok(exit)
}

/// An archive that has become a point.
struct Imported<'a> {
    archive: &'a Prepared,
    made: Made,
    asked: Asked,
}

/// Says which of the new points the rules of their source would forget at once.
fn warn_of_rules(store: &Store, name: &SourceName, rules: &SourceSettings, today: &Today, new: &[Point]) -> Result<()> {
    let listed = Points::list(store.storage())?;
    let judgement = keeping::judge(&listed, name.as_str(), &rules.keep(), false, today);
    let gone = judgement.forgotten();
    for point in new.iter().filter(|point| gone.contains(&point.number)) {
        let (point, number) = (points::name(point), point.number);
        output::complain(&format!(
            "note: {point}: the rules of {name} would forget it; `dbakfs pin {number}` keeps it"
        ));
    }
    Ok(())
}

/// Says what is odd about an archive.
fn tell(archive: &Prepared) {
    let file = output::path(&archive.path);
    let survey = &archive.survey;
    if archive.is_undated {
        let time = when::format_point_time(archive.time);
        output::complain(&format!("note: {file} bears no date; taken is that of the newest file in it, {time}"));
    }
    if archive.time > Timestamp::now() {
        output::complain(&format!("warning: {file} is of the future; until then it is the latest point of its name"));
    }
    let counts = [
        (survey.listing.absolute, "paths begin with '/'; they are taken from the root of the point"),
        (survey.dropped_attributes, "members have attributes that no backup keeps; they are left out"),
        (survey.unknown_names, "members have ACLs that name users or groups unknown here; these ACLs are left out"),
    ];
    for (count, what) in counts.into_iter().filter(|(count, _)| *count > 0) {
        output::complain(&format!("note: {file}: {} {what}", HumanCount(count)));
    }
}

const fn kind(archive: &Prepared) -> &'static str {
    match archive.kind {
        LabelKind::Full => "full",
        LabelKind::Differential => "differential",
    }
}

fn would(global: &Global, name: &SourceName, planned: &Planned) -> Result<()> {
    let archive = &planned.archive;
    let (file, time) = (output::path(&archive.path), when::format_point_time(archive.time));
    if global.json {
        return output::json(&json!({
            "outcome": "dry-run",
            "file": file,
            "type": kind(archive),
            "point": format!("{name}/{time}"),
            "members": archive.survey.members,
            "checked": archive.has_sidecar,
        }));
    }
    let on = match planned.base {
        Some(Base::Imported(number)) => format!(" on full {number}"),
        _ => String::new(),
    };
    let members = HumanCount(archive.survey.members.into());
    output::line(&format!("{name}/{time}: would import {file} as a {}{on}: {members} members", kind(archive)))
}

fn print(global: &Global, archive: &Prepared, made: &Made, checked: &Checked) -> Result<()> {
    let (file, point, counts) = (output::path(&archive.path), points::name(&made.point), made.point.counts);
    let stored_bytes = counts.stored_bytes + made.catalog_bytes;
    let ratio = output::ratio(counts.size_bytes, stored_bytes);
    let base = if made.point.is_full() { None } else { Some(made.point.series()) };
    if global.json {
        return output::json(&json!({
            "outcome": "made",
            "file": file,
            "type": kind(archive),
            "number": made.point.number,
            "point": point,
            "base": base,
            "counts": counts,
            "stored_bytes": stored_bytes,
            "ratio": ratio,
            "checked": archive.has_sidecar,
            "check": checked.as_json(),
        }));
    }
    let on = base.map_or_else(String::new, |base| format!(" on full {base}"));
    let changes = if base.is_some() {
        format!("{} new, {} updated; ", HumanCount(counts.new), HumanCount(counts.updated))
    } else {
        String::new()
    };
    let ratio = ratio.map_or_else(String::new, |ratio| format!(" ({ratio:.1} : 1)"));
    output::line(&format!(
        "{point}: {} {}{on} from {file}: {changes}{} files, {}; stored {}{ratio}{}",
        kind(archive),
        made.point.number,
        HumanCount(counts.files),
        HumanBytes(counts.bytes),
        HumanBytes(stored_bytes),
        checked.summary()
    ))
}

impl From<ImportError> for Failure {
    fn from(error: ImportError) -> Self {
        match error {
            ImportError::Backup(error) => error.into(),
            ImportError::NoBase { .. } | ImportError::NoSuchBase { .. } => {
                Self::of(Exit::Failed, &error).hint("give the full's archive, too")
            }
            _ => Self::of(Exit::Failed, &error),
        }
    }
}
