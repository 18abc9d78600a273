//! Is what the store holds whole, and if not, what is lost?
//!
//! Owns the passes over packs, catalogs and small files, and the way from a damaged block to the paths that it takes with it. Refuses to print, to
//! mend and to write. Invariant: nothing is held that grows with the data: of a sound store, a few bytes for each block and, while
//! its catalog is looked at, some bits for each record.
//!
//! Three passes. Packs first: each is opened or, with [`Depth::Data`], read once from its first byte to its last. Then catalogs: each is decoded wholly and
//! its places are held against the packs. Then, only where something is damaged, each point is walked down to the files that it touches.

mod catalogs;
mod damage;
mod packs;
mod sample;
mod touched;
pub mod written;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

pub use damage::{Damage, DamageError, Harm, Object};
use packs::PackStates;

use crate::catalog::CatalogError;
use crate::format::{Number, layout};
use crate::pack::PackError;
use crate::repository::config::{CONFIG_LIMIT_BYTES, Config};
use crate::repository::marks::Marks;
use crate::repository::notes::Notes;
use crate::repository::tags::is_forgotten;
use crate::repository::{Reader, RepositoryError, notes, sources};
use crate::storage::StorageError;

/// How much is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    /// Catalogs wholly, of packs only the tables.
    Structure,
    /// Every byte.
    Data,
}

/// Why a verification could not be made; damage is no such reason.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// The store's directories could not be listed.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// A thread could not be started.
    #[error("cannot start a thread")]
    Thread(#[source] std::io::Error),
}

/// What is told while a verification runs.
#[derive(Debug)]
pub enum Event<'a> {
    /// Something is damaged.
    Damage(&'a Damage),
    /// A file cannot be read, at one point in time, because of damage in a pack.
    Touched {
        /// The point.
        point: Number,
        /// The file's path, from the root of the point, without `/` in front.
        path: &'a [u8],
        /// The damage.
        cause: Object,
    },
}

/// How far a verification has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Bytes of catalogs and packs that have been dealt with.
    pub done_bytes: u64,
    /// Bytes of all catalogs and packs that there are to deal with.
    pub total_bytes: u64,
}

/// A file that is touched by damage, kept for the report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TouchedFile {
    /// Its path, from the root of the point, without `/` in front.
    pub path: Vec<u8>,
    /// The damage.
    pub cause: Object,
}

/// How one point fares.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PointReport {
    /// Whether it has been forgotten: it is looked at, for others may stand on it, but nobody sees it.
    pub is_forgotten: bool,
    /// What is damaged that it needs.
    pub damaged: BTreeSet<Object>,
    /// Files that cannot be read, names counted.
    pub touched_files: u64,
    /// The first of these files, [`KEPT_FILES`] at most; the others were told as events only.
    pub files: Vec<TouchedFile>,
}

impl PointReport {
    /// Whether nothing that the point needs is damaged.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.damaged.is_empty()
    }
}

/// Files that a report keeps of each point.
pub const KEPT_FILES: usize = 100;

/// What a verification found.
#[derive(Debug, Default)]
pub struct Report {
    /// All damage, in the order in which it was found.
    pub damages: Vec<Damage>,
    /// Every point that has a catalog, readable or not, and every base that is missing.
    pub points: BTreeMap<Number, PointReport>,
    /// Catalogs looked at.
    pub catalogs: u64,
    /// Packs looked at.
    pub packs: u64,
    /// Blocks in them.
    pub blocks: u64,
    /// Chunks in them.
    pub chunks: u64,
    /// Bytes of these packs.
    pub pack_bytes: u64,
    /// Bytes of blocks that were read, as they are stored.
    pub read_bytes: u64,
    /// Packs that no catalog refers to: what an interrupted backup, or prune, has left. No damage.
    pub orphan_packs: u64,
    /// Bytes of orphan packs.
    pub orphan_bytes: u64,
}

impl Report {
    /// Whether nothing is damaged.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.damages.is_empty()
    }

    fn add(&mut self, damage: Damage, notify: &mut dyn FnMut(Event<'_>)) {
        notify(Event::Damage(&damage));
        self.damages.push(damage);
    }

    /// The report of a point, begun if need be.
    fn point(&mut self, number: Number) -> &mut PointReport {
        self.points.entry(number).or_default()
    }
}

/// Verifies the store of `reader`. `progress` is called from several threads.
///
/// # Errors
/// Where the store cannot be listed. Damage is no error: it stands in the report.
pub fn verify(
    reader: &Reader,
    depth: Depth,
    progress: &(dyn Fn(Progress) + Sync),
    notify: &mut dyn FnMut(Event<'_>),
) -> Result<Report, VerifyError> {
    let storage = reader.store().storage();
    let mut report = Report::default();
    let files = storage.list(layout::CATALOGS)?;
    let mut catalogs: Vec<(Number, u64)> =
        files.iter().filter_map(|(name, len)| Some((layout::catalog_number(name)?, *len))).collect();
    catalogs.sort_unstable();
    let listed = crate::pack::list(storage)?;
    let total_bytes =
        catalogs.iter().map(|(_, len)| len).sum::<u64>() + listed.iter().map(|pack| pack.file_len).sum::<u64>();
    let meter = packs::Meter::new(total_bytes, progress);

    let notes = small_files(reader, &catalogs, &mut report, notify)?;
    let mut packs = packs::check(reader, depth.into(), &listed, &|| false, &meter, &mut report, notify)?;
    let trees = catalogs::check(reader, depth, &catalogs, &mut packs, &meter, &mut report, notify);
    name_points(&trees, &packs, &mut report);
    let aside = files.iter().filter_map(|(name, _)| layout::set_aside_catalog_number(name));
    set_aside(aside, &notes, &mut report, notify);
    touched::find(reader, &trees, &packs, &mut report, notify);
    for state in packs.orphans() {
        report.orphan_packs += 1;
        report.orphan_bytes += state.file_len;
    }
    Ok(report)
}

/// The files that are text; answers what is noted of points.
fn small_files(
    reader: &Reader,
    catalogs: &[(Number, u64)],
    report: &mut Report,
    notify: &mut dyn FnMut(Event<'_>),
) -> Result<Notes, VerifyError> {
    let storage = reader.store().storage();
    let mut wrong = |file: &str, error: DamageError| {
        report.add(Damage { object: Object::File(file.to_owned()), error, harm: Harm::Notes }, notify);
    };
    let config = storage.read_small(layout::STORE_TOML, CONFIG_LIMIT_BYTES).map_err(DamageError::from);
    match config.and_then(|text| Config::parse(&text).map_err(DamageError::from)) {
        Ok(config) if config == *reader.store().config() => {}
        Ok(_) => wrong(layout::STORE_TOML, DamageError::Changed),
        Err(error) => wrong(layout::STORE_TOML, error),
    }
    match (Marks::read(storage), catalogs.last()) {
        (Ok(marks), Some((highest, _))) if marks.highest < highest.0 => {
            wrong(layout::MARKS_TOML, DamageError::MarkTooLow { mark: marks.highest, highest: *highest });
        }
        (Ok(_), _) => {}
        (Err(error), _) => wrong(layout::MARKS_TOML, error.into()),
    }
    let (points, broken_points) = notes::read_all(storage)?;
    let (_, broken_sources) = sources::read_all(storage)?;
    for (directory, error) in broken_points
        .into_iter()
        .map(|error| (layout::POINTS, error))
        .chain(broken_sources.into_iter().map(|error| (layout::SOURCES, error)))
    {
        let file = match &error {
            RepositoryError::Damaged { name, .. } => name.clone(),
            _ => directory.to_owned(),
        };
        wrong(&file, error.into());
    }
    for (number, _) in catalogs {
        report.point(*number).is_forgotten = is_forgotten(&points, *number);
    }
    Ok(points)
}

/// Points whose catalogs were set aside, but for those that are forgotten.
fn set_aside(
    numbers: impl Iterator<Item = Number>,
    notes: &Notes,
    report: &mut Report,
    notify: &mut dyn FnMut(Event<'_>),
) {
    for number in numbers {
        if is_forgotten(notes, number) || report.points.contains_key(&number) {
            continue;
        }
        let object = Object::Catalog(number);
        report.point(number).damaged.insert(object.clone());
        report.add(Damage { object, error: DamageError::SetAside { number }, harm: Harm::Point }, notify);
    }
}

/// Names the points that a damaged catalog takes with it, and those that refer to a pack that is not what was written.
fn name_points(trees: &catalogs::Trees, packs: &PackStates, report: &mut Report) {
    for number in trees.points.keys() {
        let mut damaged = BTreeSet::new();
        for needed in trees.needed(*number) {
            if trees.damaged.contains(&needed) {
                damaged.insert(Object::Catalog(needed));
            }
            damaged.extend(trees.hurt(needed).filter(|pack| packs.is_latent(pack)).map(Object::Pack));
        }
        report.point(*number).damaged.extend(damaged);
    }
}

impl From<CatalogError> for DamageError {
    fn from(error: CatalogError) -> Self {
        Self::Catalog(error)
    }
}

impl From<PackError> for DamageError {
    fn from(error: PackError) -> Self {
        Self::Pack(error)
    }
}
