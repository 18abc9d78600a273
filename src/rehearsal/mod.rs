//! Rehearsing a restore: a random sample of a point is really restored, into a scratch directory, and held against all that is known of it.
//!
//! Owns the sample, the scratch directory, the comparison and the estimate of how long all of it would take. Refuses to restore by itself (that is [`crate::restore`]'s), to touch the
//! source and to write anywhere else. Invariant: the scratch directory is gone when the rehearsal ends, however that is; only a process that is killed outright leaves one, and the next
//! rehearsal there removes it.
//!
//! What is compared: content by the keyed hashes of its chunks, which stand in the tables of packs and not where the restore looks; metadata with the records; and files of the source whose
//! `stat` says that they have not changed since, byte by byte.

mod compare;
mod live;
mod sample;
mod scratch;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use crate::catalog::CatalogError;
use crate::format::{Point, Timestamp, layout};
use crate::overlay::PointTree;
use crate::repository::Reader;
use crate::repository::runs::{BackupType, Check, CheckEnd, CheckKind};
pub use crate::restore::Progress;
use crate::restore::{self, Notice, Report, RestoreError};
use compare::Judge;
use live::Live;
use sample::{Group, Sample};
use scratch::Scratch;

/// Findings that are kept, a line each.
const KEPT_FINDINGS: usize = 10;

/// How much is restored.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum SampleSize {
    /// One file in a hundred, but 200 at least and 5,000 at most, and no more than about 1 GiB.
    #[default]
    Usual,
    /// So many files and other entries, about.
    Files(u64),
    /// So many of a hundred; 100 is all.
    Percent(f64),
}

/// How a rehearsal goes about it.
#[derive(Clone, Debug)]
pub struct Options {
    /// How much.
    pub size: SampleSize,
    /// Decides what the sample is: the same seed, the same sample of a point.
    pub seed: u64,
    /// The directory in which the scratch directory is made.
    pub scratch: PathBuf,
    /// This machine's name: what was backed up elsewhere is not compared with what is here.
    pub host: String,
    /// Set by another thread to stop.
    pub cancel: Arc<AtomicBool>,
}

/// What a rehearsal came to.
#[derive(Debug)]
pub struct Outcome {
    /// The verdict, as it is kept.
    pub check: Check,
    /// Entries that were restored and compared, directories on the way to them not counted.
    pub entries: u64,
    /// Of these, files that were also compared with the source.
    pub live: u64,
    /// What could not be judged here, for people: owners where this user may not give any.
    pub notes: Vec<String>,
}

impl Outcome {
    /// A rehearsal that could not be made, and why.
    #[must_use]
    pub fn not_run(point: Option<&Point>, reason: &str) -> Self {
        let mut rehearsal = Rehearsal::new(point);
        rehearsal.obstacle = Some(reason.to_owned());
        rehearsal.conclude()
    }
}

/// Why a rehearsal could not go on. What is wrong with the backup is no such reason.
struct Obstacle(String);

impl Obstacle {
    fn new(act: &str, path: &Path, error: impl fmt::Display) -> Self {
        Self(format!("cannot {act} {}: {error}", path.display()))
    }
}

/// Rehearses the restore of the point `tree`, which `reader` reads.
#[must_use]
pub fn rehearse(reader: &Reader, tree: &PointTree, options: &Options, progress: &Progress) -> Outcome {
    let mut rehearsal = Rehearsal::new(Some(tree.point()));
    let outcome = rehearsal.run(reader, tree, options, progress);
    rehearsal.obstacle = outcome.err().map(|Obstacle(reason)| reason);
    rehearsal.conclude()
}

/// A rehearsal under way.
struct Rehearsal {
    check: Check,
    begun: Instant,
    findings: Vec<String>,
    notes: Vec<String>,
    obstacle: Option<String>,
    entries: u64,
    live: u64,
}

impl Rehearsal {
    fn new(point: Option<&Point>) -> Self {
        let check = Check {
            began: Timestamp::now(),
            secs: 0.0,
            kind: CheckKind::Rehearsal,
            end: CheckEnd::NotRun,
            number: point.map(|point| point.number),
            r#type: point.map(|point| if point.is_full() { BackupType::Full } else { BackupType::Differential }),
            findings: Vec::new(),
            bytes: 0,
            full_restore_secs: None,
        };
        let (findings, notes) = (Vec::new(), Vec::new());
        Self { check, begun: Instant::now(), findings, notes, obstacle: None, entries: 0, live: 0 }
    }

    fn conclude(self) -> Outcome {
        let Self { mut check, begun, mut findings, notes, obstacle, entries, live } = self;
        check.end = match (findings.is_empty(), &obstacle) {
            (false, _) => CheckEnd::Fail,
            (true, Some(_)) => CheckEnd::NotRun,
            (true, None) => CheckEnd::Pass,
        };
        let surplus = findings.len().saturating_sub(KEPT_FINDINGS);
        findings.truncate(KEPT_FINDINGS);
        if surplus > 0 {
            findings.push(format!("and {surplus} more"));
        }
        findings.extend(obstacle.map(|reason| format!("it could not be rehearsed: {reason}")));
        check.findings = findings;
        check.secs = begun.elapsed().as_secs_f64();
        if check.end != CheckEnd::Pass {
            check.full_restore_secs = None;
        }
        Outcome { check, entries, live, notes }
    }

    fn run(
        &mut self,
        reader: &Reader,
        tree: &PointTree,
        options: &Options,
        progress: &Progress,
    ) -> Result<(), Obstacle> {
        let scratch = Scratch::make(&options.scratch)
            .map_err(|error| Obstacle::new("make a directory in", &options.scratch, error))?;
        let outcome = self.in_scratch(reader, tree, options, progress, &scratch);
        let path = scratch.path().to_owned();
        if let Err(error) = scratch.remove() {
            self.notes.push(format!("cannot remove {}: {error}", path.display()));
        }
        outcome
    }

    fn in_scratch(
        &mut self,
        reader: &Reader,
        tree: &PointTree,
        options: &Options,
        progress: &Progress,
        scratch: &Scratch,
    ) -> Result<(), Obstacle> {
        let room = scratch.free_bytes().map_err(|error| Obstacle::new("look at", scratch.path(), error))?;
        let sample = match Sample::draw(tree, options.size, options.seed, room, &options.cancel) {
            Ok(sample) => sample,
            Err(error) => return self.unreadable(error),
        };
        // As after a disaster: nothing of the point is in memory.
        let layers = [crate::overlay::Layer::Full, crate::overlay::Layer::Differential];
        for pack in layers.into_iter().filter(|layer| tree.has(*layer)).flat_map(|layer| tree.catalog(layer).packs()) {
            let forgotten = reader.store().storage().forget_cached(&layout::pack(&pack.id));
            forgotten.map_err(|error| Obstacle(error.to_string()))?;
        }
        let live = Live::of(tree.point(), &options.host);
        let mut pace = Pace::default();
        for group in [&sample.small, &sample.large, &sample.spread] {
            if group.entries.is_empty() {
                continue;
            }
            let dest = scratch.path().join(group.name);
            let begun = Instant::now();
            let (report, told) = self.restore(reader, tree, group, &dest, options, progress)?;
            let mut judge = Judge::new(reader, tree, &dest, &report, told, &live, &options.cancel)
                .map_err(|error| Obstacle::new("open", &dest, error))?;
            if group.name == sample::LARGE {
                judge.flush(group).map_err(|error| Obstacle::new("write to", &dest, error))?;
            }
            pace.add(group, &report, begun.elapsed().as_secs_f64());
            let judged = judge.group(group);
            self.entries += group.entries.len() as u64;
            self.live += judge.live_files;
            self.check.bytes += report.written_bytes;
            self.findings.append(&mut judge.findings);
            for note in judge.notes {
                if !self.notes.contains(&note) {
                    self.notes.push(note);
                }
            }
            judged.map_err(|error| Obstacle::new("compare what was restored into", &dest, error))?;
        }
        self.check.full_restore_secs = Some(pace.secs_of_all(&sample));
        Ok(())
    }

    /// A catalog that cannot be read is damage, or not read now.
    fn unreadable(&mut self, error: sample::DrawError) -> Result<(), Obstacle> {
        match error {
            sample::DrawError::Stopped => Err(Obstacle("it was stopped".to_owned())),
            sample::DrawError::Catalog(error) if error.is_damage() => {
                self.findings.push(error.to_string());
                Ok(())
            }
            sample::DrawError::Catalog(error) => Err(Obstacle(error.to_string())),
        }
    }

    fn restore(
        &mut self,
        reader: &Reader,
        tree: &PointTree,
        group: &Group,
        dest: &Path,
        options: &Options,
        progress: &Progress,
    ) -> Result<(Report, BTreeSet<Vec<u8>>), Obstacle> {
        let damaged = |error: CatalogError| Obstacle(error.to_string());
        let only = Some(Arc::new(group.records(tree).map_err(damaged)?));
        let how = restore::Options { only, cancel: Arc::clone(&options.cancel), ..restore::Options::default() };
        let (mut findings, mut told) = (Vec::new(), BTreeSet::new());
        let mut notify = |notice: Notice| {
            if let Some((path, what)) = wrong(&notice, dest) {
                told.insert(path);
                findings.push(what);
            }
        };
        let outcome = restore::restore(reader, tree, b"", dest, &how, progress, &mut notify);
        self.findings.append(&mut findings);
        outcome.map(|report| (report, told)).map_err(|error| match error {
            RestoreError::Cancelled => Obstacle("it was stopped".to_owned()),
            RestoreError::Destination { act, path, source } => Obstacle::new(act, &path, source),
            error => Obstacle(error.to_string()),
        })
    }
}

/// What a notice of a restore says against the backup, or against restoring it here, and of which entry.
fn wrong(notice: &Notice, dest: &Path) -> Option<(Vec<u8>, String)> {
    let path = |path: &Path| path.strip_prefix(dest).unwrap_or(path).as_os_str().as_bytes().to_vec();
    let shown = |path: &[u8]| String::from_utf8_lossy(path).escape_debug().to_string();
    match notice {
        Notice::Damaged { path: at, error } => {
            let path = path(at);
            let what = format!("{}: it cannot be restored: {error}", shown(&path));
            Some((path, what))
        }
        Notice::Failed { path: at, act, error } => {
            let path = path(at);
            let what = format!("{}: cannot {act} it: {error}", shown(&path));
            Some((path, what))
        }
        // That a file could not be read at the source, or only in an older version, was said by the backup.
        _ => None,
    }
}

/// How fast the sample was restored.
#[derive(Debug, Default)]
struct Pace {
    small: Option<(f64, u64)>,
    large: Option<(f64, u64)>,
}

impl Pace {
    fn add(&mut self, group: &Group, report: &Report, secs: f64) {
        match group.name {
            sample::SMALL => self.small = Some((secs, report.entries)),
            sample::LARGE => self.large = Some((secs, report.written_bytes)),
            _ => {}
        }
    }

    /// How long all of the point would take: small entries by their number, large files by their bytes.
    #[expect(clippy::cast_precision_loss, reason = "an estimate")]
    fn secs_of_all(&self, sample: &Sample) -> f64 {
        let of = |pace: Option<(f64, u64)>, all: u64| match pace {
            Some((secs, measured @ 1..)) => secs * all as f64 / measured as f64,
            _ => 0.0,
        };
        of(self.small, sample.all_small) + of(self.large, sample.all_large_bytes)
    }
}

/// Whether a rehearsal was told to stop.
fn is_stopped(cancel: &AtomicBool) -> bool {
    cancel.load(Ordering::Relaxed)
}
