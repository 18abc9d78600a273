//! `dbakfs backup`.

use std::ffi::OsString;
use std::hash::BuildHasher;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use dbakfs::backup::{Choice, Done, Mode, Notice, Options, Outcome, Progress, Session, Subject};
use dbakfs::format::record::is_name;
use dbakfs::policy::decision::DecisionRules;
use dbakfs::repository::config::Chunking;
use dbakfs::repository::{SourceName, Store, Tag};
use dbakfs::source::{self, Descend, Exclude, stat};
use dbakfs::storage::Wait;
use indicatif::{HumanBytes, HumanCount, ProgressBar};
use serde_json::json;

use super::{Exit, Failure, Global, Result, output, points, progress, settings, signals, store};

/// Back up directories, each as a point in time of its own
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Without a mode it is --auto: a full where there is none to build on, else a differential. Where nothing has changed since the newest \
point of the name no new point is made (but with --force, or for --full --independent), and the exit code is 0.

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
    /// Make a full where there is none to build on, else a differential
    #[arg(long, group = "mode")]
    auto: bool,
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
    /// Leave out what matches this pattern, written as in .gitignore; may be given again
    #[arg(long, value_name = "PATTERN")]
    exclude: Vec<OsString>,
    /// Leave out what matches the patterns in this file; may be given again
    #[arg(long, value_name = "FILE")]
    exclude_from: Vec<PathBuf>,
    /// Leave out what stands in directories that hold a CACHEDIR.TAG
    #[arg(long)]
    exclude_caches: bool,
    /// Do not enter other file systems
    #[arg(short = 'x', long)]
    one_file_system: bool,
    /// Back up standard input as a file of this name
    #[arg(long, value_name = "NAME")]
    stdin: Option<OsString>,
    /// Show what would be done and change nothing
    #[arg(short = 'n', long)]
    dry_run: bool,
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
    let jobs = jobs(&args)?;
    let exclude = exclude(&args)?;
    let cancel = signals::stop_flag()?;
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
            && lies_in(path, store.path())
        {
            let message = format!("the source {} lies in the store that it would go to", output::path(path));
            return Err(Failure::new(Exit::Failed, message));
        }
    }
    let session = match args.dry_run {
        true => Session::dry(&store),
        false => store::waiting(args.wait, &cancel, || Session::begin(&store, Wait::Never).map_err(Failure::from))?,
    };
    let mut options = Options {
        mode: mode(&args),
        rules: DecisionRules::default(),
        zone: None,
        clock: None,
        force: args.force,
        checksum: args.checksum,
        tags: args.tags.clone(),
        move_tags: args.move_tag,
        rename_source: args.rename_source,
        host: host(),
        full_level: args.level,
        differential_level: args.level,
    };
    let mut exit = Exit::Done;
    for job in jobs {
        if let Some(settings) = settings::of_source(global, &job.name)? {
            options.rules = settings.decision();
            options.full_level = args.level.or(settings.full_level);
            options.differential_level = args.level.or(settings.differential_level);
        }
        let subject = match job.what {
            What::Stream(name) => Subject::Stream { name, input: Box::new(std::io::stdin()) },
            What::Tree(path) => Subject::Tree {
                path,
                walk: source::Options {
                    one_file_system: args.one_file_system,
                    exclude_caches: args.exclude_caches,
                    exclude: exclude.clone(),
                    never_enter: store_id(&store).into_iter().collect(),
                    cancel: Arc::clone(&cancel),
                    // What is read ahead is for the backup to say.
                    read_ahead: None,
                },
            },
        };
        match one(global, &session, &job.name, subject, &options, &cancel) {
            Ok(end) => exit = exit.worse(end),
            Err(failure) => {
                failure.print();
                exit = exit.worse(failure.exit);
                if cancel.load(Ordering::Relaxed) {
                    break;
                }
            }
        }
    }
    Ok(exit)
}

fn one(
    global: &Global,
    session: &Session,
    name: &SourceName,
    subject: Subject,
    options: &Options,
    cancel: &Arc<AtomicBool>,
) -> Result<Exit> {
    let begun = Instant::now();
    let counters = Progress::default();
    let describe = || {
        let read = counters.read_bytes();
        let text = format!("{name}: {} entries, {} read", HumanCount(counters.entries()), HumanBytes(read));
        (counters.entries(), counters.expected_entries(), text)
    };
    let done = progress::shown(global, describe, |bar| {
        let notify = |notice: Notice| say(bar, &notice);
        session.back_up(name, subject, options, &counters, &notify, cancel)
    })?;
    let seconds = begun.elapsed().as_secs_f64();
    let printed = if global.json {
        output::json(&as_json(name, &done, options, seconds))
    } else {
        output::line(&summary(name, &done, options, seconds))
    };
    if let Err(failure) = printed {
        // The point stands; a script must not take it for a failed backup.
        output::complain(&format!("warning: {failure}; the backup itself is done"));
    }
    Ok(if done.counts.unread > 0 { Exit::Incomplete } else { Exit::Done })
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

fn exclude(args: &Args) -> Result<Exclude> {
    let wrong = |error: source::ExcludeError| Failure::of(Exit::Usage, &error);
    let mut builder = Exclude::builder();
    for path in &args.exclude_from {
        builder.file(path).map_err(wrong)?;
    }
    for pattern in &args.exclude {
        builder.pattern(pattern).map_err(wrong)?;
    }
    builder.finish().map_err(wrong)
}

fn store_id(store: &Store) -> Option<stat::FileId> {
    let open = std::fs::File::open(store.path()).ok()?;
    Some(stat::FileId::of(&stat::stat_of(&open).ok()?))
}

/// Whether `path` is `store`, or inside it.
fn lies_in(path: &Path, store: &Path) -> bool {
    let (Ok(path), Ok(store)) = (path.canonicalize(), store.canonicalize()) else { return false };
    path.starts_with(store)
}

pub(crate) fn host() -> String {
    let name = rustix::system::uname();
    name.nodename().to_string_lossy().into_owned()
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

pub(crate) fn say(bar: &ProgressBar, notice: &Notice) {
    let text = match notice {
        Notice::Unread { path, error } => format!("warning: cannot read {}: {error}", path.display()),
        Notice::Torn { path } => {
            format!("warning: {} changed each time it was read; what is kept may be torn", path.display())
        }
        Notice::LeftOut { path, why } => {
            let why = match why {
                Descend::Store => "it is a store",
                Descend::Mount => "it is a dbakfs mount",
                // What --one-file-system leaves out is what was asked for.
                Descend::OtherFilesystem | Descend::No | Descend::Yes => return,
            };
            format!("note: {} is recorded empty: {why}", path.display())
        }
        Notice::IndexRebuilt { reason, packs } => {
            format!("note: the index was rebuilt from {packs} packs: {reason}")
        }
        Notice::IndexMended { added, dropped: 0 } => {
            format!("note: {added} packs of a backup that was broken off are taken over")
        }
        Notice::IndexMended { added, dropped } => {
            format!("note: the index was set right: {added} packs entered, {dropped} dropped")
        }
        Notice::ClockBehind => {
            "warning: the clock stands before the newest point; the new one is dated just after it".to_owned()
        }
        Notice::FullInstead => "warning: there is no full to build on; making a full".to_owned(),
        Notice::BaseUnusable { number, error } => format!("warning: backup {number} cannot be built on: {error}"),
        Notice::Problem(text) => format!("warning: {text}"),
    };
    bar.suspend(|| output::complain(&text));
}

fn summary(name: &SourceName, done: &Done, options: &Options, seconds: f64) -> String {
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

fn as_json(name: &SourceName, done: &Done, options: &Options, seconds: f64) -> serde_json::Value {
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
    });
    let more = match &done.outcome {
        Outcome::Made(made) => json!({
            "outcome": "made",
            "number": made.point.number,
            "point": points::name(&made.point),
            "stored_bytes": done.counts.stored_bytes + made.catalog_bytes,
            "ratio": output::ratio(done.counts.size_bytes, done.counts.stored_bytes + made.catalog_bytes),
            "base": if made.point.is_full() { None } else { Some(made.point.series()) },
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
