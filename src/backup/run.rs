//! One backup from its beginning to its commit.

use std::collections::BTreeSet;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::chunk_ids::ChunkIds;
use super::chunks::ChunkStore;
use super::content::ContentReader;
use super::engine::{Engine, Settings};
use super::links::Links;
use super::lost::LostPacks;
use super::session::Session;
use super::{BackupError, Choice, Decision, Mode, Notice, Progress, Reason, Result};
use crate::catalog::CatalogWriter;
use crate::chunker::{ChunkLengths, Chunker};
use crate::format::catalog::PackRef;
use crate::format::pack::PackId;
use crate::format::{CatalogId, Counts, Number, Origin, Point, PointKind, SourceId, Timestamp};
use crate::index::SettledBlock;
use crate::overlay::PointTree;
use crate::pack::PackOptions;
use crate::policy::Today;
use crate::policy::decision::{DecisionRules, Facts, OpenSeries, decide, due, threshold_bytes};
use crate::policy::retention::KeepRules;
use crate::policy::surge::SurgeRules;
use crate::repository::tags::Moving;
use crate::repository::{Alarm, CacheBytes, Points, Reader, SourceName, SourceNotes, Tag, marks, notes};
use crate::source::{self, ReadAhead, Walk};
use jiff::tz::TimeZone;

/// Memory for what is read of earlier backups, in bytes.
pub(super) const CACHE: CacheBytes = CacheBytes { catalogs: 24 << 20, blocks: 4 << 20 };

/// What is backed up.
pub enum Subject {
    /// A directory tree, or a single file.
    Tree {
        /// Where it is.
        path: PathBuf,
        /// How it is walked.
        walk: source::Options,
    },
    /// A stream, read to its end.
    Stream {
        /// The name of the one file that it becomes.
        name: Vec<u8>,
        /// The stream.
        input: Box<dyn Read>,
    },
}

/// How a backup is made.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Full or differential.
    pub mode: Mode,
    /// What `Mode::Auto` goes by.
    pub rules: DecisionRules,
    /// The rules of what is kept that a series begun by this backup goes by; the rules of the day where none are noted.
    pub keep: Option<KeepRules>,
    /// When a change is out of the ordinary.
    pub alarm: SurgeRules,
    /// Where days begin; the system's zone if absent.
    pub zone: Option<TimeZone>,
    /// What the clock is taken to say, for those who try another; the system's clock if absent.
    pub clock: Option<Timestamp>,
    /// Make a point even if nothing changed.
    pub force: bool,
    /// Read every file, whatever its stat says.
    pub checksum: bool,
    /// In a dry run: read no file, but count what may have changed as changed.
    pub only_look: bool,
    /// Tags for the point.
    pub tags: Vec<Tag>,
    /// Take the tags away from where they stand.
    pub move_tags: bool,
    /// The name has come to another path, and may.
    pub rename_source: bool,
    /// This machine's name.
    pub host: String,
    /// How hard fulls are compressed (zstd); as the store says if absent.
    pub full_level: Option<i32>,
    /// How hard differentials are.
    pub differential_level: Option<i32>,
}

/// What a backup came to.
#[derive(Debug)]
pub struct Done {
    /// Whether a point was made.
    pub outcome: Outcome,
    /// Full or differential, and why.
    pub decision: Decision,
    /// What that was decided by.
    pub facts: Facts,
    /// What was counted; where no point was made, what one would have counted.
    pub counts: Counts,
}

/// Whether a point was made.
#[derive(Debug)]
pub enum Outcome {
    /// It was.
    Made(Box<Made>),
    /// Nothing differs from the newest point, which this is.
    Unchanged(Box<Point>),
    /// It was only tried; this is whether the source differs from the newest point.
    Tried {
        /// Whether a point would be made.
        has_changed: bool,
    },
}

/// A new point.
#[derive(Debug)]
pub struct Made {
    /// The point.
    pub point: Point,
    /// Bytes of its catalog.
    pub catalog_bytes: u64,
    /// Packs that it wrote.
    pub packs: Vec<PackRef>,
    /// The alarm that it raised.
    pub alarm: Option<Alarm>,
}

/// One attempt at a backup.
pub(super) struct Run<'a> {
    pub(super) session: &'a Session,
    pub(super) name: &'a SourceName,
    pub(super) options: &'a Options,
    pub(super) progress: &'a Progress,
    pub(super) notify: &'a dyn Fn(Notice),
    pub(super) cancel: &'a Arc<AtomicBool>,
    /// An attempt at a differential that became too large: a full is made.
    pub(super) abandoned: Option<&'a Abandoned>,
}

/// What an attempt came to.
pub(super) enum Attempt {
    Done(Box<Done>),
    /// The differential became too large.
    TooLarge(Abandoned),
}

/// What an attempt at a differential leaves that became too large.
pub(super) struct Abandoned {
    /// Bytes that it had counted.
    bytes: u64,
    /// The packs that it wrote: they are part of what is made.
    pub(super) packs: Vec<PackRef>,
}

/// What is built on.
pub(super) struct Ground {
    pub(super) decision: Decision,
    pub(super) previous: Option<PointTree>,
    pub(super) family: u32,
    pub(super) facts: Facts,
}

impl Run<'_> {
    pub(super) fn once(&self, subject: &mut Subject, unusable: &BTreeSet<Number>) -> Result<Attempt> {
        let clock = self.options.clock.unwrap_or_else(Timestamp::now);
        let store = &self.session.store;
        let reader = Reader::open(store.clone(), CACHE)?;
        let points = reader.points()?;
        for problem in &points.problems {
            (self.notify)(Notice::Problem(problem.to_string()));
        }
        let walk = match subject {
            Subject::Tree { path, walk } => {
                walk.cancel = Arc::clone(self.cancel);
                walk.read_ahead = (!self.options.only_look).then(|| self.read_ahead(&points));
                Some(Walk::start(path, walk.clone())?)
            }
            Subject::Stream { .. } => None,
        };
        let path = walk.as_ref().map_or_else(|| Path::new("-").to_owned(), |walk| walk.root().path.clone());
        let source = self.identify(&points, &path)?;
        self.refuse_taken_tags(&points)?;
        // Only looked at: it is reserved when there is something to commit.
        let number = marks::next(store, Points::highest(store.storage())?)?;
        let ground = self.ground(&reader, &points, unusable, number, clock)?;
        let time = points.next_time(self.name.as_str(), clock);
        // Not by their times: those of backups in quick succession are ahead of a clock that was always right.
        if points.backups_of(self.name.as_str()).any(|point| point.clock > clock) {
            (self.notify)(Notice::ClockBehind);
        }
        let mut id = [0; 16];
        crate::random::fill(&mut id);
        let id = CatalogId(id);
        if let Some(tree) = &ground.previous {
            let counts = tree.point().counts;
            self.progress.expect(counts.files + counts.directories + counts.others);
        }
        // Nothing can be said to be unchanged where the newest point itself cannot be compared with. It may not have the highest number: the backup that has was made while nobody
        // could read what a repair has put back since, so its time did not rise.
        let newest = points.backups_of(self.name.as_str()).max_by_key(|point| point.time).map(|point| point.number);
        let is_newest = newest.is_some() && newest == ground.previous.as_ref().map(|tree| tree.point().number);
        let distrusted = notes::distrusted(&points.notes);
        let mut engine = self.engine(&reader, &ground, &distrusted, number, id, is_newest)?;
        let compared = match (subject, walk) {
            (Subject::Stream { name, input }, _) => engine.run_stream(name, input),
            (_, Some(mut walk)) => {
                let root = walk.root().clone();
                engine.run(&root.stat, &root.dir, &mut walk)
            }
            (Subject::Tree { .. }, None) => unreachable!("a tree is walked"),
        };
        match compared {
            Err(BackupError::TooLarge { bytes }) => {
                return Ok(Attempt::TooLarge(self.abandon(engine, ground.family, bytes)?));
            }
            answer => answer?,
        }
        let decision = self.settled(&ground, &engine);
        // Whoever stops a pipe stops both ends of it: what came until then is not the whole stream.
        if self.cancel.load(Ordering::Relaxed) {
            return Err(BackupError::Cancelled);
        }
        let kind = match decision.choice {
            Choice::Full { .. } => PointKind::Full,
            Choice::Differential { base } => {
                PointKind::Differential { base, base_id: reader.catalog(base)?.point().id }
            }
        };
        let previous = ground.previous.as_ref().map(|tree| tree.point().number);
        let point = Point {
            number,
            id,
            source,
            origin: Origin::Backup,
            kind,
            family: ground.family,
            time,
            clock,
            finished: clock,
            previous,
            counts: Counts::default(),
            has_xattrs: engine.has_xattrs,
            program: concat!("dbakfs ", env!("CARGO_PKG_VERSION")).to_owned(),
        };
        let done = self.conclude(engine, point, &points, decision, ground.facts)?;
        Ok(Attempt::Done(Box::new(done)))
    }

    /// The decision, now that everything has been read.
    fn settled(&self, ground: &Ground, engine: &Engine<'_>) -> Decision {
        let rules = &self.options.rules;
        let (Choice::Differential { .. }, Some(OpenSeries { full_bytes, .. })) =
            (ground.decision.choice, ground.facts.series)
        else {
            return ground.decision;
        };
        let bytes = engine.counts.size_bytes;
        if matches!(engine.settings.choice, Choice::Full { .. }) {
            // A stream became one when it had been read.
            let reason = Reason::TooLarge { bytes, full_bytes, percent: rules.diff_threshold };
            return Decision { choice: engine.settings.choice, reason };
        }
        if self.options.mode == Mode::Differential && bytes > threshold_bytes(rules, full_bytes) {
            (self.notify)(Notice::LargeDifferential { bytes, full_bytes });
        }
        ground.decision
    }

    /// Makes durable, and known to the index, what an attempt has packed: the next one finds it there.
    fn abandon(&self, engine: Engine<'_>, family: u32, bytes: u64) -> Result<Abandoned> {
        let (packed, _) = engine.chunks.finish()?;
        if self.session.lock.is_some() {
            self.tell_index(&packed, family, Vec::new(), &[]);
        }
        Ok(Abandoned { bytes, packs: packed.iter().map(|packed| packed.pack).collect() })
    }

    /// What is read before the comparison asks for it: all where there is nothing to compare with, else what has changed since the last backup.
    fn read_ahead(&self, points: &Points) -> ReadAhead {
        let most_bytes = self.session.store.config().chunking.most_whole_bytes();
        let compares = !self.options.checksum && self.options.mode != (Mode::Full { independent: true });
        let newest = points.of_source(self.name.as_str()).map(|point| point.finished).max().filter(|_| compares);
        // Only a guess depends on it, so what cannot be read is as if it were not there.
        let noted = SourceNotes::read(self.session.store.storage(), self.name).ok().flatten();
        let success = noted.and_then(|notes| notes.last_success);
        ReadAhead { most_bytes, since: newest.map(|newest| success.map_or(newest, |success| success.max(newest))) }
    }

    /// The source by its name, host and path; a name that belongs to another path is refused.
    fn identify(&self, points: &Points, path: &Path) -> Result<SourceId> {
        let path_bytes = path.as_os_str().as_bytes().to_vec();
        let noted = match SourceNotes::read(self.session.store.storage(), self.name) {
            Ok(noted) => noted.map(|notes| notes.source),
            Err(error) => {
                (self.notify)(Notice::Problem(error.to_string()));
                None
            }
        };
        let known =
            noted.or_else(|| points.backups_of(self.name.as_str()).next_back().map(|point| point.source.clone()));
        if let Some(known) = known.filter(|known| known.path != path_bytes && !self.options.rename_source) {
            return Err(BackupError::SourceElsewhere {
                name: self.name.to_string(),
                known: PathBuf::from(std::ffi::OsStr::from_bytes(&known.path)),
                given: path.to_owned(),
            });
        }
        Ok(SourceId { name: self.name.to_string(), host: self.options.host.clone(), path: path_bytes })
    }

    /// Refuses, before anything is read, a tag that stands at a point which will not be the newest.
    fn refuse_taken_tags(&self, points: &Points) -> Result<()> {
        let newest = points.backups_of(self.name.as_str()).max_by_key(|point| point.time);
        let Some(newest) = newest else { return Ok(()) };
        for tag in &self.options.tags {
            crate::repository::tags::assign(&points.points, &points.notes, newest.number, tag, self.moving())?;
        }
        Ok(())
    }

    pub(super) const fn moving(&self) -> Moving {
        if self.options.move_tags { Moving::Allowed } else { Moving::Forbidden }
    }

    /// Decides what is made, and finds what it is compared with.
    fn ground(
        &self,
        reader: &Reader,
        points: &Points,
        unusable: &BTreeSet<Number>,
        number: Number,
        clock: Timestamp,
    ) -> Result<Ground> {
        let usable = |point: &&Point| {
            let tree = if unusable.contains(&point.number) || unusable.contains(&point.series()) {
                return None;
            } else {
                reader.tree(point)
            };
            match tree {
                Ok(tree) => Some(tree),
                Err(error) => {
                    (self.notify)(Notice::BaseUnusable { number: point.number, error: error.to_string() });
                    None
                }
            }
        };
        let of_source = || points.backups_of(self.name.as_str()).rev();
        let fulls = || of_source().filter(|point| point.is_full());
        let full = fulls().find_map(|point| usable(&point));
        let series = full.as_ref().map(|tree| OpenSeries {
            full: tree.point().number,
            full_time: tree.point().time,
            length: points.length_of_series(tree.point().number),
            full_bytes: tree.point().counts.full_bytes(),
        });
        let today = Today { now: clock, zone: self.options.zone.clone().unwrap_or_else(TimeZone::system) };
        let facts = Facts {
            series,
            newest_full: fulls().map(|point| point.time).max(),
            newest_independent: fulls().filter(|point| point.family == point.number.0).map(|point| point.time).max(),
        };
        // A series goes on under the rules that it began with, unless somebody wants it otherwise just now.
        let noted = series.and_then(|series| points.notes.get(&series.full)?.keep.as_ref());
        let most = match (noted, &self.options.keep) {
            (Some(noted), Some(now)) if now.max_series_length == self.options.rules.max_series_length => {
                noted.max_series_length
            }
            _ => self.options.rules.max_series_length,
        };
        let rules = &DecisionRules { max_series_length: most, ..self.options.rules.clone() };
        let decision = decide(self.options.mode, rules, &today, &facts);
        if self.options.mode == Mode::Differential && decision.reason == Reason::NoFull {
            (self.notify)(Notice::FullInstead);
        }
        let family = full.as_ref().map_or(0, |tree| tree.point().family);
        let decision = match (self.abandoned, series) {
            (Some(Abandoned { bytes, .. }), Some(OpenSeries { full_bytes, .. })) => {
                let bytes = *bytes;
                due(rules, &today, &facts, Reason::TooLarge { bytes, full_bytes, percent: rules.diff_threshold })
            }
            _ => decision,
        };
        Ok(match decision.choice {
            Choice::Full { independent: true } => Ground { decision, facts, previous: None, family: number.0 },
            Choice::Full { independent: false } => {
                // Of the same family, whatever was usable when: an independent series refers to nothing older.
                let previous = of_source().filter(|point| point.family == family).find_map(|point| usable(&point));
                Ground { decision, facts, previous, family }
            }
            Choice::Differential { base } => {
                let previous = of_source().filter(|point| point.series() == base).find_map(|point| usable(&point));
                Ground { decision, facts, previous, family }
            }
        })
    }

    pub(super) fn engine<'e>(
        &'e self,
        reader: &'e Reader,
        ground: &Ground,
        distrusted: &BTreeSet<PackId>,
        number: Number,
        id: CatalogId,
        is_newest: bool,
    ) -> Result<Engine<'e>> {
        let store = &self.session.store;
        let chunking = store.config().chunking;
        let is_dry = self.session.lock.is_none();
        let is_differential = matches!(ground.decision.choice, Choice::Differential { .. });
        let level = if is_differential { self.options.differential_level } else { self.options.full_level };
        let level = level.unwrap_or(chunking.zstd_level);
        let writer = if is_dry { None } else { Some(CatalogWriter::create(store.storage(), number, id, level)?) };
        let options = PackOptions {
            family: ground.family,
            level,
            small_block_bytes: chunking.small_block_bytes,
            large_block_bytes: chunking.large_block_bytes,
        };
        let family = ground.family;
        let secrets = &store.config().secrets;
        let (session, notify) = (self.session, self.notify);
        let chunks = ChunkStore::new(secrets.chunk_key, store.storage().clone(), options, is_dry, move || {
            session.index(notify)?.chunk_table(family)
        });
        let lengths = ChunkLengths {
            min: chunking.chunk_min_bytes,
            average: chunking.chunk_average_bytes,
            max: chunking.chunk_max_bytes,
        };
        let mut last: Option<SettledBlock> = None;
        let is_settled = move |number, record| {
            if is_dry {
                return None;
            }
            // Records are asked for in their order, mostly.
            if last.as_ref().is_none_or(|block| !block.covers(number, record)) {
                // Without an answer the file is read, which is always right.
                last = Some(session.index(notify).ok()?.index().settled(number, record).ok()?);
            }
            last.as_ref()?.get(record)
        };
        let lost = match &ground.previous {
            Some(previous) => LostPacks::of(previous, store.storage(), distrusted)?,
            None => LostPacks::default(),
        };
        for pack in lost.ids() {
            let why = if distrusted.contains(&pack) { "damaged" } else { "gone" };
            (self.notify)(Notice::Problem(format!("pack {pack} is {why}: what lay in it is read again")));
        }
        Ok(Engine {
            settings: Settings {
                number,
                choice: ground.decision.choice,
                checksum: self.options.checksum,
                only_looks: self.options.only_look,
                // Only who left the choice to the rules gets another type than was chosen; whoever only looks wants to know how far it is.
                most_bytes: match ground.facts.series {
                    Some(series) if self.options.mode == Mode::Auto && !self.options.only_look && is_differential => {
                        Some(threshold_bytes(&self.options.rules, series.full_bytes))
                    }
                    _ => None,
                },
            },
            reader,
            previous: ground.previous.clone(),
            lost,
            writer,
            chunks,
            content: ContentReader::new(
                Chunker::new(lengths, secrets.chunker_seed()),
                chunking,
                Arc::clone(self.cancel),
            ),
            links: Links::default(),
            counts: Counts::default(),
            has_xattrs: false,
            has_changed: !is_newest,
            settled: Vec::new(),
            is_settled: Box::new(is_settled),
            progress: self.progress,
            notify: self.notify,
            cancel: self.cancel,
            chunk_ids: ChunkIds::new(),
        })
    }
}
