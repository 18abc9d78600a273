//! What is done to the store whose power is cut, and what everybody knows after each step.
//!
//! Owns the operations and the small tree that they work on. Refuses to judge. Its invariant: what is known after a step was read from the living store, once it
//! was done.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use rustix::fs::{XattrFlags, setxattr};
use tempfile::TempDir;

use super::look::{self, Shown};
use super::world::World;
use crate::backup::{self, BackupError, Choice, Decision, Done, Mode, Notice, Outcome, Session, Subject};
use crate::format::{Number, Timestamp, layout};
use crate::policy::decision::DecisionRules;
use crate::policy::surge::SurgeRules;
use crate::prune::{self, PruneError};
use crate::repair;
use crate::repository::config::Chunking;
use crate::repository::{CacheBytes, Points, ReaderWait, SourceName, Store, Tag, WriterLock, forgetting};
use crate::source;
use crate::storage::Wait;
use crate::storage::recorder::{Event, Recorder};

/// The name of the one source.
pub(super) const SOURCE: &str = "home";
/// Where the store lies in an image: two directories are missing above it.
pub(super) const STORE: &str = "new/store";
/// Enough for a tree of some files.
pub(super) const CACHE: CacheBytes = CacheBytes { catalogs: 1 << 20, blocks: 1 << 20 };

/// The commands of steps whose names hold a word; all others back up.
const COMMANDS: [(&str, &str); 6] = [
    ("init", "init"),
    ("forget", "forget"),
    ("prune", "prune"),
    ("rebuild-index", "rebuild-index"),
    ("damage", "damage"),
    ("repair", "repair"),
];

/// Everything small, so that a few kilobytes are cut into several chunks, blocks and extents.
const CHUNKING: Chunking = Chunking {
    chunk_min_bytes: 512,
    chunk_average_bytes: 1024,
    chunk_max_bytes: 4096,
    whole_file_bytes: 2048,
    small_block_bytes: 4096,
    large_block_bytes: 4096,
    inline_bytes: 64,
    zstd_level: 1,
};

/// Everything that was done, change by change, and what was known in between.
pub(super) struct Script {
    /// The changes of the medium.
    pub(super) log: Vec<Event>,
    pub(super) steps: Vec<Step>,
    /// The source as it is now, and what it shows.
    pub(super) source: PathBuf,
    pub(super) shown: Arc<Shown>,
    /// Copies of `index/`: an early one and the last.
    pub(super) indexes: Vec<PathBuf>,
    /// Removed with this.
    _scratch: TempDir,
}

/// One operation.
pub(super) struct Step {
    pub(super) name: &'static str,
    /// Which command it is.
    pub(super) command: &'static str,
    /// Changes of the medium until it ended.
    pub(super) end: usize,
    /// Whether it said that it was done; else it was killed.
    pub(super) has_returned: bool,
    /// What was seen then.
    pub(super) after: World,
}

/// A store that is worked on while it is recorded.
pub(super) struct Stage {
    scratch: TempDir,
    pub(super) recorder: Recorder,
    steps: Vec<Step>,
    indexes: Vec<PathBuf>,
    clock: i64,
}

impl Stage {
    pub(super) fn new() -> Self {
        let scratch = scratch();
        let (source, base) = (scratch.path().join("source"), scratch.path().join("base"));
        fs::create_dir(&source).unwrap();
        fs::create_dir(&base).unwrap();
        let recorder = Recorder::watch(&base);
        Self { scratch, recorder, steps: Vec::new(), indexes: Vec::new(), clock: 1_700_000_000 }
    }

    pub(super) fn source(&self) -> PathBuf {
        self.scratch.path().join("source")
    }

    pub(super) fn store(&self) -> PathBuf {
        self.scratch.path().join("base").join(STORE)
    }

    /// Runs a step that must do what it is to do.
    pub(super) fn step<T>(&mut self, name: &'static str, run: impl FnOnce(&Self) -> T) -> T {
        let answer = run(self);
        self.done(name, true);
        answer
    }

    /// Runs a step in a process that is killed right before it syncs what the site says.
    pub(super) fn killed<T, E>(&mut self, name: &'static str, before: &str, run: impl FnOnce(&Self) -> Result<T, E>) {
        self.recorder.fail_before(Some(before));
        // What fails after the commit is only said.
        let _ = run(self);
        assert!(self.recorder.has_failed(), "{name} never synced {before:?}");
        self.recorder.fail_before(None);
        self.done(name, false);
    }

    fn done(&mut self, name: &'static str, has_returned: bool) {
        let end = self.recorder.len();
        // Looking takes a lease: a change, too, but one of which nobody promises anything.
        let command = COMMANDS.iter().find(|(step, _)| name.contains(step)).map_or("backup", |(_, command)| command);
        let after = World::of_damaged(&self.store());
        let is_damaged = self.steps.iter().any(|step| step.command == "damage") || command == "damage";
        assert!(is_damaged || after.problems.is_empty(), "{name}: {:?}", after.problems);
        self.steps.push(Step { name, command, end, has_returned, after });
    }

    /// The file of a pack that the last step has made.
    pub(super) fn new_pack(&self) -> PathBuf {
        let [.., before, last] = &self.steps[..] else { panic!("two steps at least") };
        let id = last.after.packs.difference(&before.after.packs).next().expect("it made a pack");
        self.store().join(layout::pack(&id.parse().expect("it is a pack's name")))
    }

    /// Keeps a copy of the index as it is now.
    pub(super) fn keep_index(&mut self) {
        let copy = self.scratch.path().join(format!("index-{}", self.indexes.len()));
        copy_flat(&self.store().join(layout::INDEX), &copy);
        self.indexes.push(copy);
    }

    pub(super) fn finish(self) -> Script {
        let source = self.source();
        let shown = Arc::new(look::directory(&source));
        Script {
            log: self.recorder.log(),
            steps: self.steps,
            source,
            shown,
            indexes: self.indexes,
            _scratch: self.scratch,
        }
    }

    /// Writes a file of the source.
    pub(super) fn write(&mut self, name: &str, bytes: &[u8]) {
        let path = self.source().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, bytes).unwrap();
        self.clock += 1;
        let time = rustix::fs::Timespec { tv_sec: self.clock, tv_nsec: 5 };
        let times = rustix::fs::Timestamps { last_access: time, last_modification: time };
        rustix::fs::utimensat(rustix::fs::CWD, &path, &times, rustix::fs::AtFlags::empty()).unwrap();
    }

    /// The tree of the first full: every way in which data is stored.
    pub(super) fn plant(&mut self) {
        self.write("tiny", b"in the catalog");
        self.write("empty", b"");
        self.write("dir/small", &noise(1, 900));
        self.write("dir/other", &noise(2, 1500));
        self.write("dir/large", &noise(3, 20_000));
        self.write("dir/text", &b"the same again and again ".repeat(300));
        let source = self.source();
        fs::hard_link(source.join("dir/small"), source.join("link")).unwrap();
        symlink("dir/large", source.join("symlink")).unwrap();
        fs::set_permissions(source.join("dir/other"), fs::Permissions::from_mode(0o640)).unwrap();
        setxattr(source.join("dir/other"), "user.colour", b"blue", XattrFlags::empty()).unwrap();
    }
}

/// The whole life of a store.
pub(super) fn life() -> Script {
    let mut stage = Stage::new();
    stage.plant();
    stage.step("init", |stage| init(&stage.store()).unwrap());
    let one = made(stage.step("full", |stage| stage.back_up(&tagged(&["first"], Mode::Auto)).unwrap()));
    stage.keep_index();

    stage.write("tiny", b"another");
    stage.write("dir/kept", &noise(10, 1800));
    stage.write("dir/passing", &noise(11, 30_000));
    fs::remove_file(stage.source().join("dir/text")).unwrap();
    let two =
        made(stage.step("differential", |stage| stage.back_up(&tagged(&["deploy", "good"], Mode::Auto)).unwrap()));

    stage.write("dir/passing", &noise(12, 700));
    setxattr(stage.source().join("dir/other"), "user.colour", b"red", XattrFlags::empty()).unwrap();
    let three = made(
        stage.step("differential that moves a tag", |stage| stage.back_up(&tagged(&["deploy"], Mode::Auto)).unwrap()),
    );
    let done = stage.step("unchanged", |stage| stage.back_up(&tagged(&["good"], Mode::Auto)).unwrap());
    assert!(matches!(done.outcome, Outcome::Unchanged(_)), "{done:?}");

    stage.write("dir/large", &noise(20, 9000));
    let independent = Mode::Full { independent: true };
    let four = made(stage.step("independent full", |stage| stage.back_up(&tagged(&[], independent)).unwrap()));
    stage.write("dir/new", &noise(21, 3000));
    let five = made(stage.step("differential on it", |stage| stage.back_up(&tagged(&["deploy"], Mode::Auto)).unwrap()));
    assert!(matches!(five.1.choice, Choice::Differential { base } if base == four.0));

    stage.step("forget", |stage| stage.forget(&[one.0], true).unwrap());
    stage.step("unforget", |stage| stage.unforget(&[three.0]).unwrap());
    let report = stage.step("prune that rewrites a pack", |stage| stage.prune().unwrap());
    assert_eq!(report.plan.expired.iter().map(|expired| expired.number).collect::<Vec<_>>(), [two.0]);
    assert!(!report.plan.repacks.is_empty() && !report.plan.revised.is_empty(), "{report:?}");
    stage.step("rebuild-index", |stage| {
        let store = Store::open(&stage.store()).unwrap();
        backup::rebuild_index(&store, Wait::Never, &|notice| panic!("{notice:?}")).unwrap()
    });
    stage.write("dir/last", &noise(30, 2500));
    made(stage.step("full that follows", |stage| {
        stage.back_up(&tagged(&["deploy"], Mode::Full { independent: false })).unwrap()
    }));
    stage.step("forget a series", |stage| stage.forget(&[four.0], true).unwrap());
    let report = stage.step("prune of a series", |stage| stage.prune().unwrap());
    assert_eq!(report.plan.expired.len(), 2, "{report:?}");
    stage.step("forget another", |stage| stage.forget(&[one.0], true).unwrap());
    let report = stage.step("prune that removes packs", |stage| stage.prune().unwrap());
    assert!(report.removed_packs > 0, "{report:?}");
    stage.keep_index();
    stage.write("dir/last", &noise(31, 2600));
    stage.finish()
}

impl Stage {
    pub(super) fn back_up(&self, options: &backup::Options) -> Result<Done, BackupError> {
        back_up(&Store::open(&self.store())?, &self.source(), options)
    }

    /// A backup that may complain.
    pub(super) fn back_up_somehow(&self, options: &backup::Options) -> Result<Done, BackupError> {
        back_up_somehow(&Store::open(&self.store())?, &self.source(), options)
    }

    pub(super) fn forget(&self, numbers: &[Number], with_differentials: bool) -> Result<(), String> {
        forget(&Store::open(&self.store()).unwrap(), numbers, with_differentials)
    }

    fn unforget(&self, numbers: &[Number]) -> Result<(), String> {
        let store = Store::open(&self.store()).unwrap();
        let lock = WriterLock::take(&store, Wait::Never).map_err(say)?;
        let points = Points::list(store.storage()).map_err(say)?;
        let order = forgetting::unforget(&points, &numbers.iter().copied().collect()).map_err(say)?;
        forgetting::write(&store, &lock, &order, None).map(drop).map_err(say)
    }

    pub(super) fn prune(&self) -> Result<prune::Report, PruneError> {
        prune(&Store::open(&self.store())?)
    }
}

pub(super) fn init(path: &Path) -> Result<Store, String> {
    Store::init(path, CHUNKING).map_err(say)
}

/// A backup of which nobody complains.
pub(super) fn back_up(store: &Store, source: &Path, options: &backup::Options) -> Result<Done, BackupError> {
    let problems = Mutex::new(Vec::new());
    let notify = |notice: Notice| match notice {
        // Several backups in one second, and an index that is not the newest, are as they should be.
        Notice::ClockBehind | Notice::IndexRebuilt { .. } | Notice::IndexMended { .. } => {}
        other => problems.lock().unwrap().push(format!("{other:?}")),
    };
    let done = run_backup(store, source, options, &notify)?;
    let problems = problems.into_inner().unwrap();
    assert!(problems.is_empty(), "{problems:?}");
    Ok(done)
}

/// A backup that may complain.
pub(super) fn back_up_somehow(store: &Store, source: &Path, options: &backup::Options) -> Result<Done, BackupError> {
    run_backup(store, source, options, &|_| ())
}

fn run_backup(
    store: &Store,
    source: &Path,
    options: &backup::Options,
    notify: &dyn Fn(Notice),
) -> Result<Done, BackupError> {
    let session = Session::begin(store, Wait::Never)?;
    let name = SourceName::new(SOURCE).expect("it is a name");
    let subject = Subject::Tree { path: source.to_owned(), walk: source::Options::default() };
    session.back_up(&name, subject, options, &backup::Progress::default(), notify, &Arc::default())
}

pub(super) fn forget(store: &Store, numbers: &[Number], with_differentials: bool) -> Result<(), String> {
    let lock = WriterLock::take(store, Wait::Never).map_err(say)?;
    let points = Points::list(store.storage()).map_err(say)?;
    let wanted = numbers.iter().copied().collect();
    let order = forgetting::forget(&points, &wanted, with_differentials).map_err(say)?;
    forgetting::write(store, &lock, &order, Some(Timestamp::now())).map(drop).map_err(say)
}

/// A prune that takes all it may.
pub(super) fn prune(store: &Store) -> Result<prune::Report, PruneError> {
    let lock = WriterLock::take(store, Wait::Never)?;
    let options = prune::Options {
        forgotten_before: prune::Deadlines::all(Timestamp::now()),
        repack_below: 60,
        dry_run: false,
        sole_host: true,
        readers: ReaderWait::default(),
    };
    prune::prune(store, &lock, &options, &|| false, &mut |_| {})
}

/// What the command does: the description, everything else, the index.
pub(super) fn repair(path: &Path) -> Result<repair::Report, String> {
    Store::mend_description(path).map_err(say)?;
    let store = Store::open(path).map_err(say)?;
    let lock = WriterLock::take(&store, Wait::Never).map_err(say)?;
    let report = repair::repair(&store, &lock, &|| false, &|_| (), &mut |_| ()).map_err(say)?;
    drop(lock);
    backup::rebuild_index(&store, Wait::Never, &|_| ()).map_err(say)?;
    Ok(report)
}

pub(super) fn tagged(tags: &[&str], mode: Mode) -> backup::Options {
    let tags = tags.iter().map(|tag| Tag::new(tag).expect("it is a tag")).collect();
    let (rules, alarm) = (DecisionRules::lasting(), SurgeRules::NEVER);
    backup::Options { mode, rules, alarm, tags, move_tags: true, host: "here".to_owned(), ..backup::Options::default() }
}

pub(super) fn made(done: Done) -> (Number, Decision) {
    match done.outcome {
        Outcome::Made(made) => (made.point.number, done.decision),
        other => panic!("no point was made: {other:?}"),
    }
}

pub(super) fn say(error: impl std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(&format!(": {error}"));
        cause = error.source();
    }
    text
}

/// Bytes that do not compress.
pub(super) fn noise(seed: u32, len: usize) -> Vec<u8> {
    let mut noise = vec![0; len];
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut noise);
    noise
}

/// A directory in memory, where there is such a thing: a state of the disk is written out for each test of it.
pub(super) fn scratch() -> TempDir {
    tempfile::Builder::new()
        .prefix("dbakfs-power-")
        .tempdir_in("/dev/shm")
        .unwrap_or_else(|_| tempfile::tempdir().unwrap())
}

/// Copies a directory of files, and those below it.
pub(super) fn copy_flat(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_flat(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}
