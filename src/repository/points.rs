//! The points of a store: what its catalogs say, and what the small files add.
//!
//! Owns listing. Refuses to fail as a whole where one catalog is damaged: that one is a problem, the others are listed. Invariant:
//! points come in the order of their numbers.

use std::collections::{BTreeMap, BTreeSet};

use super::notes::{self, Notes};
use super::tags::is_forgotten;
use super::{PointNotes, RepositoryError, when};
use crate::catalog::{Catalog, CatalogError};
use crate::format::layout;
use crate::format::{Number, Origin, Point, Timestamp};
use crate::storage::Storage;

/// What a listing found.
#[derive(Debug, Default)]
pub struct Points {
    /// The points that can be seen (forgotten ones are left out), by number.
    pub points: Vec<Point>,
    /// The forgotten ones whose space has not been reclaimed, by number.
    pub forgotten: Vec<Point>,
    /// Those whose catalogs cannot be read or were set aside; of forgotten ones nothing more is said.
    pub unreadable: BTreeSet<Number>,
    /// Bytes of each one's catalog, forgotten or not.
    pub catalog_bytes: BTreeMap<Number, u64>,
    /// What can change about them.
    pub notes: Notes,
    /// What could not be read.
    pub problems: Vec<Problem>,
}

/// Something that a listing could not read; the rest is listed.
#[derive(Debug, thiserror::Error)]
pub enum Problem {
    /// A catalog.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    /// A small file.
    #[error(transparent)]
    Notes(#[from] RepositoryError),
}

impl Points {
    /// Lists the points of a store.
    ///
    /// # Errors
    /// Where the directory itself cannot be read.
    pub fn list(storage: &Storage) -> Result<Self, RepositoryError> {
        Self::list_again(storage, &Self::default())
    }

    /// As [`Points::list`], but opens no catalog that `before` knows: a catalog never changes what it says of its point.
    ///
    /// # Errors
    /// As [`Points::list`].
    pub fn list_again(storage: &Storage, before: &Self) -> Result<Self, RepositoryError> {
        let listed = storage.list(layout::CATALOGS)?;
        let mut files: Vec<(Number, u64)> =
            listed.iter().filter_map(|(name, len)| Some((layout::catalog_number(name)?, *len))).collect();
        files.sort_unstable();
        // After the catalogs: a writer puts a point's tags there before the point itself.
        let (notes, broken) = notes::read_all(storage)?;
        let mut found = Self { notes, problems: broken.into_iter().map(Problem::from).collect(), ..Self::default() };
        found.unreadable = listed.iter().filter_map(|(name, _)| layout::set_aside_catalog_number(name)).collect();
        found.unreadable.retain(|number| files.iter().all(|(there, _)| there != number));
        for (number, len) in files {
            let known = before.known(number).filter(|_| before.catalog_bytes.get(&number) == Some(&len));
            let read = known.map_or_else(|| Catalog::read_point(storage, number), |known| Ok(known.clone()));
            let is_forgotten = is_forgotten(&found.notes, number);
            match read {
                Ok(point) => {
                    found.catalog_bytes.insert(number, len);
                    if is_forgotten { found.forgotten.push(point) } else { found.points.push(point) }
                }
                // A prune has taken it away since the directory was read.
                Err(CatalogError::Storage(error)) if error.is_not_found() => {}
                Err(error) => {
                    found.unreadable.insert(number);
                    if !is_forgotten {
                        found.problems.push(error.into());
                    }
                }
            }
        }
        Ok(found)
    }

    /// The point with this number.
    #[must_use]
    pub fn get(&self, number: Number) -> Option<&Point> {
        self.points.binary_search_by_key(&number, |point| point.number).ok().map(|at| &self.points[at])
    }

    fn known(&self, number: Number) -> Option<&Point> {
        let forgotten = self.forgotten.binary_search_by_key(&number, |point| point.number);
        self.get(number).or_else(|| forgotten.ok().map(|at| &self.forgotten[at]))
    }

    /// The points of the source of that name, by number.
    pub fn of_source<'a>(&'a self, name: &'a str) -> impl DoubleEndedIterator<Item = &'a Point> {
        self.points.iter().filter(move |point| point.source.name == name)
    }

    /// Those of them that are backups: what was imported or promoted stands outside the rotation.
    pub fn backups_of<'a>(&'a self, name: &'a str) -> impl DoubleEndedIterator<Item = &'a Point> {
        self.of_source(name).filter(|point| point.origin == Origin::Backup)
    }

    /// How many points the series of a full has had, the full and the forgotten ones among them.
    #[must_use]
    pub fn length_of_series(&self, full: Number) -> u32 {
        let all = self.points.iter().chain(&self.forgotten);
        u32::try_from(all.filter(|point| point.series() == full).count()).unwrap_or(u32::MAX)
    }

    /// The times of the points of the source of that name, the forgotten ones included: who brings one back wants its time to be its own.
    pub fn times_of<'a>(&'a self, name: &'a str) -> impl Iterator<Item = Timestamp> + 'a {
        self.points.iter().chain(&self.forgotten).filter(move |point| point.source.name == name).map(|point| point.time)
    }

    /// The first time, not before `time`, that no point of the source of that name has.
    #[must_use]
    pub fn free_time(&self, name: &str, time: Timestamp) -> Timestamp {
        let taken: BTreeSet<i64> = self.times_of(name).map(|time| time.secs).collect();
        let mut free = Timestamp::new(time.secs, 0);
        while taken.contains(&free.secs) && free.secs < i64::MAX {
            free = free.plus_secs(1);
        }
        free
    }

    /// The time of a new backup of the source of that name: it rises from backup to backup, whatever was imported, and is nobody else's.
    #[must_use]
    pub fn next_time(&self, name: &str, clock: Timestamp) -> Timestamp {
        let backups = self.points.iter().chain(&self.forgotten).filter(|point| point.origin == Origin::Backup);
        let newest = backups.filter(|point| point.source.name == name).map(|point| point.time).max();
        self.free_time(name, when::next_point_time(clock, newest).0)
    }

    /// The names of all sources that have points, sorted.
    #[must_use]
    pub fn source_names(&self) -> Vec<&str> {
        let mut names: Vec<&str> = self.points.iter().map(|point| point.source.name.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        names
    }

    /// What can change about a point.
    #[must_use]
    pub fn notes_of(&self, number: Number) -> PointNotes {
        self.notes.get(&number).cloned().unwrap_or_default()
    }

    /// The numbers of all backups that have a catalog, readable or not, in order.
    ///
    /// # Errors
    /// Where the directory cannot be read.
    pub fn numbers(storage: &Storage) -> Result<Vec<Number>, RepositoryError> {
        let listed = storage.list(layout::CATALOGS)?;
        let mut numbers: Vec<Number> = listed.iter().filter_map(|(name, _)| layout::catalog_number(name)).collect();
        numbers.sort_unstable();
        Ok(numbers)
    }

    /// The highest number that any catalog has, readable or not.
    ///
    /// # Errors
    /// Where the directory cannot be read.
    pub fn highest(storage: &Storage) -> Result<Option<Number>, RepositoryError> {
        // Those that were pruned or set aside, too: their numbers are used.
        Ok(storage.list(layout::CATALOGS)?.iter().filter_map(|(name, _)| layout::any_catalog_number(name)).max())
    }
}
