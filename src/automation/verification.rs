//! `verify --data` as a task: every byte of the store, noted for every source that has points there.

use std::collections::BTreeSet;
use std::time::Instant;

use super::chain;
use super::record::Entry;
use super::run::{PATIENCE, RunError};
use crate::format::Timestamp;
use crate::repository::runs::Check;
use crate::repository::{CacheBytes, Points, Reader, RepositoryError, SourceName, Store, WriterLock, runs, sources};
use crate::verify::written::{self, Level};
use crate::verify::{self, Depth, Progress};

/// Memory for what is read of the store, in bytes.
const CACHE_BYTES: usize = 48 << 20;

/// What came of a verification.
pub(super) struct Found {
    pub(super) store: Store,
    pub(super) check: Check,
    pub(super) entries: Vec<Entry>,
}

/// Reads all of the store. The source that it was asked for is noted, too, if it has no points yet.
pub(super) fn of_store(
    open: &dyn Fn() -> Result<Store, RepositoryError>,
    asked_for: &SourceName,
    progress: &(dyn Fn(Progress) + Sync),
    say: &dyn Fn(String),
) -> Result<Found, RunError> {
    let (began, begun) = (Timestamp::now(), Instant::now());
    let store = open()?;
    let reader = Reader::open(store.clone(), CacheBytes::of_total(CACHE_BYTES))?;
    if let Some(reason) = reader.missing_lease() {
        say(format!("reading without a lease, a prune elsewhere would not wait: {reason}"));
    }
    let report = verify::verify(&reader, Depth::Data, progress, &mut |_| {})?;
    let outcome = written::of_report(&report, began, begun.elapsed().as_secs_f64());
    let marked = WriterLock::take_within(&store, PATIENCE).and_then(|lock| outcome.mark(&store, &lock));
    if let Err(error) = marked {
        say(format!("what was found is not marked: {}", chain(&error)));
    }
    let check = outcome.check;
    let mut names = known_sources(&store)?;
    names.insert(asked_for.clone());
    let entries = names.iter().map(|name| Entry::check(name, check.clone())).collect();
    Ok(Found { store, check, entries })
}

/// The sources that a store knows of: those that have points, those that had, and those of which only runs are noted.
///
/// # Errors
/// A directory of the store cannot be read.
pub fn known_sources(store: &Store) -> Result<BTreeSet<SourceName>, RepositoryError> {
    let (sources, _) = sources::read_all(store.storage())?;
    let (runs, _) = runs::read_all(store.storage())?;
    let points = Points::list(store.storage())?;
    let of_sources = sources.iter().map(|notes| notes.source.name.as_str());
    let names = of_sources.chain(runs.iter().map(|notes| notes.name.as_str())).chain(points.source_names());
    Ok(names.filter_map(|name| SourceName::new(name).ok()).collect())
}

/// A verification that could not be made, which is no pass.
pub(super) fn not_run(name: &SourceName, began: Timestamp, secs: f64, reason: &str) -> Entry {
    let check = written::Outcome::not_run(Level::Full, None, reason).check;
    Entry::check(name, Check { began, secs, ..check })
}
