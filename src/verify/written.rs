//! What a backup has just written, read back from the medium: is it what was meant?
//!
//! Owns which files of the store that is, how much of them is read, and the verdict. Refuses to mend and to print. Invariants: older packs are looked at by
//! name and length alone, so the cost follows what was written; a check that could not be made to its end is no pass.
//!
//! The order: the kernel forgets what it holds of the files; each pack is opened, its tables decoded, its blocks (or a sample) unpacked and each chunk held against its id;
//! the catalog is decoded wholly, hashed, and its records held against the packs; packs of earlier backups must be there with their lengths; at last some files are read as a restore
//! reads them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

use super::packs::{self, Blocks, Meter, PackStates};
use super::{Damage, DamageError, Depth, Harm, Object, Progress, Report, VerifyError, catalogs, sample};
use crate::cache::ByteCache;
use crate::catalog::{Catalog, CatalogError};
use crate::causes::chain;
use crate::format::catalog::PackRef;
use crate::format::pack::PackId;
use crate::format::{Number, PointKind, Timestamp, layout};
use crate::overlay::{Layer, PointTree};
use crate::pack::PackError;
use crate::repository::runs::{BackupType, Check, CheckEnd, CheckKind};
use crate::repository::{
    CacheBytes, PointNotes, Points, Reader, RepositoryError, RunNotes, SourceName, Store, WriterLock,
};
use crate::storage::StorageError;

/// Memory for what a check reads, in bytes.
const CACHE_BYTES: usize = 24 << 20;
/// Findings that are kept of a check, a line each.
pub const KEPT_FINDINGS: usize = 10;

/// How much is read back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// All that the backup wrote.
    Written,
    /// Of it the catalog, all tables and some blocks: of each pack one at least, of all one in sixteen.
    Sample,
    /// The whole store, every byte.
    Full,
}

/// What a backup has written.
#[derive(Clone, Copy, Debug)]
pub struct Wrote<'a> {
    /// The point that it made.
    pub number: Number,
    /// The packs that it wrote.
    pub packs: &'a [PackRef],
}

/// A check that is to be made when the backup has let go of the writer lock.
pub struct Pending {
    level: Level,
    number: Number,
    packs: Vec<PackRef>,
    reader: Result<Reader, RepositoryError>,
}

impl Pending {
    /// Gets ready to check what was written. To be called while the writer lock is held: from here on no prune takes what is checked.
    #[must_use]
    pub fn begin(store: &Store, level: Level, number: Number, packs: Vec<PackRef>) -> Self {
        Self { level, number, packs, reader: Reader::open(store.clone(), CacheBytes::of_total(CACHE_BYTES)) }
    }

    /// Makes the check. `progress` is called from several threads.
    #[must_use]
    pub fn check(self, is_stopped: &(dyn Fn() -> bool + Sync), progress: &(dyn Fn(Progress) + Sync)) -> Outcome {
        let Self { level, number, packs, reader } = self;
        match reader {
            Ok(reader) => check(&reader, Wrote { number, packs: &packs }, level, is_stopped, progress),
            Err(error) => Outcome::not_run(level, Some(number), &chain(&error)),
        }
    }
}

/// What a check came to.
#[derive(Debug)]
pub struct Outcome {
    /// The verdict, as it is kept.
    pub check: Check,
    /// What each point lost, a line each.
    hurt: BTreeMap<Number, BTreeSet<String>>,
    /// Packs in which there is damage.
    packs: BTreeSet<PackId>,
}

impl Outcome {
    /// Whether all was as it should be.
    #[must_use]
    pub fn is_pass(&self) -> bool {
        self.check.end == CheckEnd::Pass
    }

    /// A check that could not be made, and why.
    #[must_use]
    pub fn not_run(level: Level, number: Option<Number>, reason: &str) -> Self {
        Found::new(level, number).conclude(Err(Obstacle(reason.to_owned())))
    }

    /// Keeps the verdict with the source `name`, and marks points that are hurt: from then on no backup holds new data to be stored in the packs that are damaged, and the
    /// next one reads what lies in them from the source again.
    ///
    /// # Errors
    /// A small file is damaged, or cannot be written. Points are marked first.
    pub fn keep(
        &self,
        store: &Store,
        writer: &WriterLock,
        name: &SourceName,
    ) -> Result<Option<RepositoryError>, RepositoryError> {
        self.mark(store, writer)?;
        RunNotes::keep_check(store, writer, name, self.check.clone())
    }

    /// Marks points that are hurt, as [`Outcome::keep`] does.
    ///
    /// # Errors
    /// As there.
    pub fn mark(&self, store: &Store, writer: &WriterLock) -> Result<(), RepositoryError> {
        for (number, lines) in &self.hurt {
            let before = PointNotes::read(store.storage(), *number)?;
            let mut notes = before.clone();
            let new: Vec<String> = lines.iter().filter(|line| !notes.damaged.contains(line)).cloned().collect();
            notes.damaged.extend(new);
            notes.distrusted.extend(self.packs.iter().map(ToString::to_string));
            if notes != before {
                notes.write(store, writer, *number)?;
            }
        }
        Ok(())
    }
}

/// Reads back what a backup wrote. `reader` must have been opened while the backup held the writer lock, and not have read of it yet: its lease keeps the packs, and it holds
/// nothing of them in memory. `progress` is called from several threads.
#[must_use]
pub fn check(
    reader: &Reader,
    wrote: Wrote<'_>,
    level: Level,
    is_stopped: &(dyn Fn() -> bool + Sync),
    progress: &(dyn Fn(Progress) + Sync),
) -> Outcome {
    let mut found = Found::new(level, Some(wrote.number));
    let end = match level {
        Level::Full => found.whole_store(reader, progress),
        Level::Written | Level::Sample => found.written(reader, wrote, level, is_stopped, progress),
    };
    found.conclude(end)
}

/// The verdict of a verification of the whole store that was made for its own sake, to be kept with every source; `secs` is how long it took.
#[must_use]
pub fn of_report(report: &Report, began: Timestamp, secs: f64) -> Outcome {
    let mut found = Found::new(Level::Full, None);
    found.check.began = began;
    found.take_over(report);
    let mut outcome = found.conclude(Ok(()));
    outcome.check.secs = secs;
    outcome
}

/// Why a check could not go on. Damage is no such reason.
struct Obstacle(String);

impl From<StorageError> for Obstacle {
    fn from(error: StorageError) -> Self {
        Self(error.to_string())
    }
}

impl From<VerifyError> for Obstacle {
    fn from(error: VerifyError) -> Self {
        Self(error.to_string())
    }
}

impl From<RepositoryError> for Obstacle {
    fn from(error: RepositoryError) -> Self {
        Self(error.to_string())
    }
}

/// A check in the making.
struct Found {
    check: Check,
    begun: Instant,
    hurt: BTreeMap<Number, BTreeSet<String>>,
    packs: BTreeSet<PackId>,
    lines: Vec<String>,
    /// What was taken for damage and is the machine's.
    passing: Option<String>,
}

impl Found {
    fn new(level: Level, number: Option<Number>) -> Self {
        let kind = match level {
            Level::Written => CheckKind::Written,
            Level::Sample => CheckKind::Sample,
            Level::Full => CheckKind::Full,
        };
        let check = Check {
            began: Timestamp::now(),
            secs: 0.0,
            kind,
            end: CheckEnd::NotRun,
            number,
            r#type: None,
            findings: Vec::new(),
            bytes: 0,
            full_restore_secs: None,
        };
        let (hurt, packs, lines) = (BTreeMap::new(), BTreeSet::new(), Vec::new());
        Self { check, begun: Instant::now(), hurt, packs, lines, passing: None }
    }

    fn conclude(self, end: Result<(), Obstacle>) -> Outcome {
        let Self { mut check, begun, hurt, packs, mut lines, passing } = self;
        let obstacle = end.err().map(|Obstacle(reason)| reason).or(passing);
        // What was found to be damaged is so, whatever could not be looked at besides.
        check.end = match (lines.is_empty(), &obstacle) {
            (false, _) => CheckEnd::Fail,
            (true, Some(_)) => CheckEnd::NotRun,
            (true, None) => CheckEnd::Pass,
        };
        lines.extend(obstacle.map(|reason| format!("it could not be checked: {reason}")));
        let surplus = lines.len().saturating_sub(KEPT_FINDINGS);
        lines.truncate(KEPT_FINDINGS);
        if surplus > 0 {
            lines.push(format!("and {surplus} more"));
        }
        check.findings = lines;
        check.secs = begun.elapsed().as_secs_f64();
        Outcome { check, hurt, packs }
    }

    /// Takes note of damage that hurts the point.
    fn damage(&mut self, number: Number, damage: &Damage) {
        if let Some(error) = damage.error.passing() {
            self.passing.get_or_insert_with(|| error.to_string());
            return;
        }
        self.lines.push(damage.to_string());
        self.packs.extend(damage.object.pack());
        self.hurt.entry(number).or_default().insert(line(&damage.object));
    }

    fn whole_store(&mut self, reader: &Reader, progress: &(dyn Fn(Progress) + Sync)) -> Result<(), Obstacle> {
        let storage = reader.store().storage();
        for pack in crate::pack::list(storage)? {
            storage.forget_cached(&layout::pack(&pack.id))?;
        }
        for number in Points::numbers(storage)? {
            storage.forget_cached(&layout::catalog(number))?;
        }
        let report = super::verify(reader, Depth::Data, progress, &mut |_| ())?;
        self.r#type(reader);
        self.take_over(&report);
        Ok(())
    }

    fn take_over(&mut self, report: &Report) {
        for damage in &report.damages {
            match damage.error.passing() {
                Some(error) => drop(self.passing.get_or_insert_with(|| error.to_string())),
                None => {
                    self.lines.push(damage.to_string());
                    self.packs.extend(damage.object.pack());
                }
            }
        }
        self.check.bytes = report.pack_bytes;
        // Where the machine could not read, nothing is said of points.
        if self.passing.is_none() {
            let hurt = report.points.iter().filter(|(_, point)| !point.is_whole());
            self.hurt = hurt.map(|(number, point)| (*number, point.damaged.iter().map(line).collect())).collect();
        }
    }

    fn r#type(&mut self, reader: &Reader) {
        let catalog = self.check.number.and_then(|number| reader.catalog(number).ok());
        self.check.r#type = catalog.map(|catalog| match catalog.point().kind {
            PointKind::Full => BackupType::Full,
            PointKind::Differential { .. } => BackupType::Differential,
        });
    }

    fn written(
        &mut self,
        reader: &Reader,
        Wrote { number, packs }: Wrote<'_>,
        level: Level,
        is_stopped: &(dyn Fn() -> bool + Sync),
        progress: &(dyn Fn(Progress) + Sync),
    ) -> Result<(), Obstacle> {
        let storage = reader.store().storage();
        let go_on = || if is_stopped() { Err(Obstacle("it was stopped".to_owned())) } else { Ok(()) };
        storage.forget_cached(&layout::catalog(number))?;
        let catalog = match reader.catalog(number) {
            Ok(catalog) => Some(catalog),
            Err(error) => {
                self.damage(number, &damaged_catalog(number, error));
                None
            }
        };
        self.r#type(reader);
        let mut fresh = packs.to_vec();
        if let Some(catalog) = &catalog {
            fresh.extend(first_named(reader, catalog, packs)?);
        }
        for pack in &fresh {
            storage.forget_cached(&layout::pack(&pack.id))?;
        }
        // Without its catalog a backup has no seed of its own; there is damage already then.
        let seed = catalog.as_ref().map_or([0; 16], |catalog| catalog.point().id.0);
        let blocks = if level == Level::Sample { Blocks::Sample(seed) } else { Blocks::All };
        let catalog_bytes = catalog.as_ref().map_or(0, |catalog| catalog.file_len());
        let total = fresh.iter().map(|pack| pack.file_len).sum::<u64>() + catalog_bytes;
        let meter = Meter::new(total, progress);
        let mut report = Report::default();
        let mut states = packs::check(reader, blocks, &fresh, is_stopped, &meter, &mut report, &mut |_| ())?;
        go_on()?;
        for pack in &fresh {
            if let Some(damage) = states.refer(*pack) {
                report.damages.push(damage);
            }
        }
        self.check.bytes = report.read_bytes + catalog_bytes;
        report.damages.iter().for_each(|damage| self.damage(number, damage));
        let Some(catalog) = catalog else { return Ok(()) };
        self.older_packs(reader, &catalog, &states)?;
        if let Err(error) = fits(reader, &catalog, &states) {
            self.damage(number, &damaged_catalog(number, error));
            return Ok(());
        }
        meter.add(catalog_bytes);
        go_on()?;
        let fresh: BTreeSet<PackId> = fresh.iter().map(|pack| pack.id).filter(|pack| !states.is_hurt(pack)).collect();
        match sample::extract(reader, &catalog, &fresh, is_stopped) {
            Ok(bytes) => self.check.bytes += bytes,
            Err(error) => {
                let object = error.pack().map_or(Object::Catalog(number), Object::Pack);
                self.damage(number, &Damage { object, error, harm: Harm::Data });
            }
        }
        go_on()
    }

    /// Packs of earlier backups must be there, with the lengths that they should have.
    fn older_packs(&mut self, reader: &Reader, catalog: &Catalog, fresh: &PackStates) -> Result<(), Obstacle> {
        for PackRef { id: pack, file_len: expected } in catalog.packs().iter().copied() {
            if fresh.knows(&pack) {
                continue;
            }
            let error = match reader.store().storage().len(&layout::pack(&pack))? {
                Some(found) if found == expected => continue,
                Some(found) => PackError::Length { pack, found, expected }.into(),
                None => DamageError::NoPack { pack },
            };
            self.damage(catalog.point().number, &Damage { object: Object::Pack(pack), error, harm: Harm::Data });
        }
        Ok(())
    }
}

/// What is noted of a point that needs a damaged thing.
fn line(object: &Object) -> String {
    format!("{object} is lost or damaged")
}

fn damaged_catalog(number: Number, error: CatalogError) -> Damage {
    Damage { object: Object::Catalog(number), error: error.into(), harm: Harm::Point }
}

/// Whether a catalog is whole and its records fit together, with its base and with the packs.
fn fits(reader: &Reader, catalog: &Arc<Catalog>, states: &PackStates) -> Result<(), CatalogError> {
    catalog.check()?;
    let tree = match catalog.point().kind {
        PointKind::Full => PointTree::of_full(Arc::clone(catalog))?,
        PointKind::Differential { .. } => reader.tree(catalog.point())?,
    };
    let full = (!catalog.point().is_full()).then(|| &**tree.catalog(Layer::Full));
    catalogs::fits_together(catalog, full, states)
}

/// Packs besides `wrote` that `catalog` is the first to name: a backup that was broken off wrote them, and nobody has looked at them yet.
fn first_named(reader: &Reader, catalog: &Catalog, wrote: &[PackRef]) -> Result<Vec<PackRef>, Obstacle> {
    let point = catalog.point();
    let mut left: BTreeMap<PackId, PackRef> = catalog.packs().iter().map(|pack| (pack.id, *pack)).collect();
    left.retain(|id, _| wrote.iter().all(|pack| pack.id != *id));
    if left.is_empty() {
        return Ok(Vec::new());
    }
    // The previous one and the base name nearly all of them; the rest is asked only where they do not.
    let mut others = Points::numbers(reader.store().storage())?;
    others.retain(|number| *number != point.number);
    others
        .sort_unstable_by_key(|number| (point.previous != Some(*number), point.kind.base() != Some(*number), *number));
    for number in others {
        if left.is_empty() {
            break;
        }
        // One that cannot be read names nothing: then more is looked at than need be.
        if let Ok(other) = Catalog::open(reader.store().storage(), number, Arc::new(ByteCache::new(0))) {
            for pack in other.packs() {
                left.remove(&pack.id);
            }
        }
    }
    Ok(left.into_values().collect())
}
