//! `dbakfs backup`.

use std::ffi::OsString;
use std::hash::BuildHasher;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use dbakfs::automation::{self, LeftOut};
use dbakfs::backup::{Choice, Done, Mode, Notice, Options, Outcome, Progress, Session, Subject};
use dbakfs::format::record::is_name;
use dbakfs::policy::schedule::Task;
use dbakfs::repository::config::Chunking;
use dbakfs::repository::{SourceName, Store, Tag};
use dbakfs::source;
use dbakfs::storage::Wait;
use indicatif::{HumanBytes, HumanCount};
use serde_json::json;

use super::check::{self, Asked, Checked, How};
use super::decision::Rules;
use super::ledger::{Began, Ledger};
use super::selection::Selection;
use super::{Exit, Failure, Global, Result, notices, output, points, progress, settings, signals, store};
use dbakfs::settings::VerifyAfter;

/// Back up directories, each as a point in time of its own
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Without a mode it is --auto, which makes a full where it is --full-day and there is none of that day, there is no full to build on, the full is \
--max-full-age old, the series has --max-series-length points, or a differential would exceed --diff-threshold of the full; else a differential. \
`dbakfs plan` shows what it would be, and why. Rules that are not given are those of the configuration. Where nothing has changed since the \
newest point of the name no new differential is made (but with --force), and the exit code is 0; a full is made all the same.

What was written is then read back from the medium and checked: all of it (--verify written), the catalog and one block in sixteen (sample), the \
whole store (full), or nothing (off). Damage ends it with exit code 4; a check that could not be made with 3. The point stays.

Examples:
  dbakfs backup /srv/www
  dbakfs backup /srv/www --tag before-deploy-42
  dbakfs backup /home --exclude '*.tmp' --exclude-caches --one-file-system
  pg_dump shop | dbakfs backup --stdin shop.sql --name shop")]
pub(crate) struct Args {
    /// The directories (or single files) to back up
    #[arg(required_unless_present = "stdin", conflicts_with = "stdin", value_name = "SOURCE")]
    sources: Vec<PathBuf>,
    /// The name that the points are listed under [default: the last component of SOURCE]
    #[arg(long)]
    name: Option<String>,
    /// Make a full: it lists everything
    #[arg(long, group = "mode")]
    full: bool,
    /// Make a differential: it lists what differs from the newest full
    #[arg(long, group = "mode")]
    differential: bool,
    /// Make what the rules ask for: see below [default]
    #[arg(long, group = "mode")]
    auto: bool,
    #[command(flatten)]
    rules: Rules,
    /// Share no data with anything older, nor let later backups of the name do so
    #[arg(long, requires = "full")]
    independent: bool,
    /// Make a point even if nothing has changed
    #[arg(long)]
    force: bool,
    /// Read every file, not only those whose size, times or inode have changed
    #[arg(long)]
    checksum: bool,
    /// Put a tag on the point; may be given again
    #[arg(long = "tag", value_name = "TAG")]
    tags: Vec<Tag>,
    /// Take the tag away from the point where it stands
    #[arg(long)]
    move_tag: bool,
    #[command(flatten)]
    selection: Selection,
    /// Back up standard input as a file of this name
    #[arg(long, value_name = "NAME")]
    stdin: Option<OsString>,
    /// Show what would be done and change nothing
    #[arg(short = 'n', long)]
    dry_run: bool,
    /// How what was written is read back and checked [default: written, or what the configuration says of the name]
    #[arg(long, value_name = "HOW")]
    verify: Option<How>,
    /// Wait while another writer is busy
    #[arg(long)]
    wait: bool,
    /// Let the name stand for another path than before
    #[arg(long)]
    rename_source: bool,
    /// Compress at this level of zstd, 1 to 19 [default: as configured for fulls or differentials, else 3]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i32).range(1..=19))]
    level: Option<i32>,
}

/// A backup that was made, as far as it is to be told when it has been checked.
struct Made {
    name: SourceName,
    done: Done,
    seconds: f64,
    options: Options,
    check: Asked,
}

/// What is to be backed up, checked as far as can be without a store.
struct Job {
    name: SourceName,
    what: What,
}

enum What {
    Tree(PathBuf),
    Stream(Vec<u8>),
}

pub(crate) fn run(global: &Global, args: Args) -> Result<Exit> {
    let ledger = Ledger::new(global);
    let answer = back_up(global, &args, &ledger);
    if let Err(failure) = &answer
        && !args.dry_run
        && failure.exit != Exit::Usage
    {
        ledger.note_failures(&names(&args), task(&args), failure);
    }
    answer
}

fn back_up(global: &Global, args: &Args, ledger: &Ledger<'_>) -> Result<Exit> {
    let jobs = jobs(args)?;
    let cancel = signals::stop_flag()?;
    // What is wrong with a pattern is found before a store is made or a lock is taken.
    LeftOut::from(&args.selection).check()?;
    store::close_to_others();
    // The process has one soft limit; deep trees want more than the usual 1,024.
    let _ = source::raise_open_files_limit();
    let scratch;
    let store = if args.dry_run {
        match store::open(global) {
            Err(failure) if failure.exit == Exit::NoStore && global.store.is_none() => {
                scratch = Scratch::new()?;
                Store::init(&scratch.0, Chunking::default())?
            }
            answer => answer?,
        }
    } else {
        store::open_or_make(global)?
    };
    for job in &jobs {
        if let What::Tree(path) = &job.what
            && automation::is_inside(path, store.path())
        {
            let message = format!("the source {} lies in the store that it would go to", output::path(path));
            return Err(Failure::new(Exit::Failed, message));
        }
    }
    let session = match args.dry_run {
        true => Session::dry(&store),
        false => store::waiting(args.wait, &cancel, || Session::begin(&store, Wait::Never).map_err(Failure::from))?,
    };
    let configured = settings::load(global)?.unwrap_or_default();
    let (mut exit, mut made) = (Exit::Done, Vec::new());
    for job in jobs {
        let usual = automation::options(&configured, &job.name, &super::host());
        let options = Options {
            mode: mode(args),
            rules: args.rules.over(&usual.rules),
            force: args.force,
            checksum: args.checksum,
            tags: args.tags.clone(),
            move_tags: args.move_tag,
            rename_source: args.rename_source,
            full_level: args.level.or(usual.full_level),
            differential_level: args.level.or(usual.differential_level),
            ..usual
        };
        let source = configured.of(&job.name);
        let how = args.verify.map_or(source.verify, VerifyAfter::from);
        let subject = match job.what {
            What::Stream(name) => Subject::Stream { name, input: Box::new(std::io::stdin()) },
            What::Tree(path) => {
                let walk = LeftOut::from(&args.selection).and(&source.into()).walk(&store, &cancel)?;
                Subject::Tree { path, walk }
            }
        };
        let began = Began::now();
        match one(global, &session, &job.name, subject, &options, &cancel) {
            // While the lock is held, so that what was written stays until it is checked.
            Ok(done) => {
                let seconds = began.secs();
                ledger.note_done(&session, &job.name, &done, &began);
                let check = check::ask(&store, how, &done);
                made.push(Made { name: job.name, done, seconds, options, check });
            }
            Err(failure) => {
                let was_stopped = cancel.load(Ordering::Relaxed);
                ledger.note_failure(&session, &job.name, task(args), &failure, &began, was_stopped);
                failure.print();
                exit = exit.worse(failure.exit);
                if cancel.load(Ordering::Relaxed) {
                    break;
                }
            }
        }
    }
    // What was written is read back beside other writers.
    drop(session);
    for Made { name, done, seconds, options, check } in made {
        let checked = check.run(global, &store, &name, &cancel);
        let printed = if global.json {
            output::json(&as_json(&name, &done, &options, seconds, &checked))
        } else {
            output::line(&(summary(&name, &done, &options, seconds) + &checked.summary()))
        };
        if let Err(failure) = printed {
            // The point stands; a script must not take it for a failed backup.
            output::complain(&format!("warning: {failure}; the backup itself is done"));
        }
        exit = exit.worse(if done.counts.unread > 0 { Exit::Incomplete } else { Exit::Done }).worse(checked.exit());
    }
    Ok(exit)
}

/// Backs up one source.
fn one(
    global: &Global,
    session: &Session,
    name: &SourceName,
    subject: Subject,
    options: &Options,
    cancel: &Arc<AtomicBool>,
) -> Result<Done> {
    let counters = Progress::default();
    let describe = || {
        let read = counters.read_bytes();
        let text = format!("{name}: {} entries, {} read", HumanCount(counters.entries()), HumanBytes(read));
        (counters.entries(), counters.expected_entries(), text)
    };
    Ok(progress::shown(global, describe, |bar| {
        let notify = |notice: Notice| notices::say(bar, &notice);
        session.back_up(name, subject, options, &counters, &notify, cancel)
    })?)
}

/// The names that the command is about, as far as they can be told without looking at a source.
fn names(args: &Args) -> Vec<SourceName> {
    let of_path = |path: &PathBuf| SourceName::from_path(path.file_name()?.as_bytes()).ok();
    match (&args.name, &args.stdin) {
        (Some(name), _) => SourceName::new(name).into_iter().collect(),
        (None, Some(file)) => SourceName::from_path(file.as_bytes()).into_iter().collect(),
        (None, None) => args.sources.iter().filter_map(of_path).collect(),
    }
}

fn task(args: &Args) -> Task {
    match mode(args) {
        Mode::Auto => Task::Auto,
        Mode::Full { .. } => Task::Full,
        Mode::Differential => Task::Differential,
    }
}

fn mode(args: &Args) -> Mode {
    match (args.full, args.differential) {
        (true, _) => Mode::Full { independent: args.independent },
        (_, true) => Mode::Differential,
        _ => Mode::Auto,
    }
}

fn jobs(args: &Args) -> Result<Vec<Job>> {
    let usage = |message: String| Failure::new(Exit::Usage, message);
    if args.name.is_some() && args.sources.len() > 1 {
        return Err(usage("--name goes with one SOURCE: several have points of their own".to_owned())
            .hint("run `dbakfs backup` once for each name"));
    }
    let given = args.name.as_deref().map(SourceName::new).transpose().map_err(|error| usage(error.to_string()))?;
    if let Some(file) = &args.stdin {
        let file = file.as_bytes();
        if !is_name(file) {
            return Err(usage(format!("{} cannot be the name of a file", output::printable(file))));
        }
        let name = match given {
            Some(name) => name,
            None => SourceName::from_path(file).map_err(|error| usage(error.to_string()))?,
        };
        return Ok(vec![Job { name, what: What::Stream(file.to_vec()) }]);
    }
    let mut jobs: Vec<Job> = Vec::new();
    for path in &args.sources {
        // What is not there is found out before a store is made or a lock is taken.
        let canonical = path.canonicalize().map_err(|error| {
            Failure::new(Exit::Failed, format!("cannot open the source {}: {error}", path.display()))
        })?;
        if !canonical.is_dir() && !canonical.is_file() {
            let message = format!("the source {} is neither a directory nor a regular file", path.display());
            return Err(Failure::new(Exit::Failed, message));
        }
        let name = match &given {
            Some(name) => name.clone(),
            None => default_name(path, &canonical).map_err(usage)?,
        };
        if let Some(other) = jobs.iter().find(|job| job.name == name) {
            return Err(usage(format!("two sources would be named {}", other.name))
                .hint("back them up one at a time, with --name"));
        }
        jobs.push(Job { name, what: What::Tree(path.clone()) });
    }
    Ok(jobs)
}

/// The last component as it was written, else of the canonical path (for `.` and `..`).
fn default_name(path: &Path, canonical: &Path) -> std::result::Result<SourceName, String> {
    let component = path.file_name().or_else(|| canonical.file_name());
    let Some(component) = component else {
        return Err(format!(
            "the source {} has no last component to be named by; choose a name with --name",
            path.display()
        ));
    };
    SourceName::from_path(component.as_bytes()).map_err(|error| error.to_string())
}

/// A store that a dry run looks into where there is none yet: in a directory of our own that goes with the value.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Result<Self> {
        let unique = std::hash::RandomState::new().hash_one(std::process::id());
        let path = std::env::temp_dir().join(format!("dbakfs-dry-run-{unique:016x}"));
        // Fails where something is there already: what is removed in the end is what was made here.
        std::fs::DirBuilder::new().mode(0o700).create(&path)?;
        Ok(Self(path))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A backup that is done, on one line.
pub(crate) fn summary(name: &SourceName, done: &Done, options: &Options, seconds: f64) -> String {
    let counts = &done.counts;
    let tags = options.tags.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let size = format!("{} files, {}", HumanCount(counts.files), HumanBytes(counts.bytes));
    let changes = format!(
        "{} new, {} updated, {} deleted",
        HumanCount(counts.new),
        HumanCount(counts.updated),
        HumanCount(counts.deleted)
    );
    let mut text = match &done.outcome {
        Outcome::Made(made) => {
            let point = points::name(&made.point);
            let stored_bytes = counts.stored_bytes + made.catalog_bytes;
            let ratio = output::ratio(counts.size_bytes, stored_bytes);
            let ratio = ratio.map_or_else(String::new, |ratio| format!(" ({ratio:.1} : 1)"));
            let stored = format!("{}{ratio}", HumanBytes(stored_bytes));
            let number = made.point.number;
            if made.point.is_full() {
                format!("{point}: full {number}: {size}; stored {stored} in {seconds:.1} s")
            } else {
                let base = made.point.series();
                format!(
                    "{point}: differential {number} on full {base}: {changes}; {size}; stored {stored} in {seconds:.1} s"
                )
            }
        }
        Outcome::Unchanged(newest) => format!("{name}: nothing changed since {}; no new point", points::name(newest)),
        Outcome::Tried { has_changed } => {
            let kind = match done.decision.choice {
                Choice::Full { .. } => "a full".to_owned(),
                Choice::Differential { base } => format!("a differential on {base}"),
            };
            let made =
                if *has_changed || options.force { "would make" } else { "nothing changed; with --force would make" };
            format!("{name}: {made} {kind} ({}): {changes}; {size}", done.decision.reason)
        }
    };
    if !tags.is_empty() && !matches!(done.outcome, Outcome::Tried { .. }) {
        text.push_str(&format!("; tagged {tags}"));
    }
    if counts.unread > 0 {
        text.push_str(&format!("; {} could not be read", HumanCount(counts.unread)));
    }
    text
}

fn as_json(name: &SourceName, done: &Done, options: &Options, seconds: f64, checked: &Checked) -> serde_json::Value {
    let counts = serde_json::to_value(done.counts).unwrap_or_default();
    let kind = match done.decision.choice {
        Choice::Full { .. } => "full",
        Choice::Differential { .. } => "differential",
    };
    let mut value = json!({
        "name": name.as_str(),
        "type": kind,
        "reason": done.decision.reason.to_string(),
        "counts": counts,
        "tags": options.tags.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "seconds": seconds,
        "check": checked.as_json(),
    });
    let more = match &done.outcome {
        Outcome::Made(made) => json!({
            "outcome": "made",
            "number": made.point.number,
            "point": points::name(&made.point),
            "stored_bytes": done.counts.stored_bytes + made.catalog_bytes,
            "ratio": output::ratio(done.counts.size_bytes, done.counts.stored_bytes + made.catalog_bytes),
            "base": if made.point.is_full() { None } else { Some(made.point.series()) },
            "alarm": made.alarm.as_ref().map(|alarm| &alarm.reason),
        }),
        Outcome::Unchanged(newest) => {
            json!({ "outcome": "unchanged", "number": newest.number, "point": points::name(newest) })
        }
        Outcome::Tried { has_changed } => json!({ "outcome": "dry-run", "changed": has_changed }),
    };
    if let (Some(value), serde_json::Value::Object(more)) = (value.as_object_mut(), more) {
        value.extend(more);
    }
    value
}
