//! What would come back if more points were forgotten.
//!
//! Owns the comparison of two plans. Refuses to change anything. Invariant: both plans are those that a prune without time of grace would make, so the
//! figure is what such a prune frees more with the points forgotten than without.

use std::collections::BTreeSet;

use super::Result;
use super::plan::{Deadlines, Plan, expire, judge};
use crate::compaction::Scan;
use crate::format::{Number, Timestamp};
use crate::pack;
use crate::repository::{Alarms, Points, Store};

/// Bytes that would come back, by a prune without time of grace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Estimate {
    /// For the points that would be forgotten.
    pub freed_bytes: u64,
    /// For what is forgotten already, or needed by no point.
    pub waiting_bytes: u64,
    /// Why less would come back than could, a line each.
    pub problems: Vec<String>,
}

/// Estimates what comes back once the living points `going` are forgotten and pruned. `repack_below` is as in [`super::Options`].
///
/// # Errors
/// Where the store cannot be read.
pub fn estimate(store: &Store, points: &Points, going: &BTreeSet<Number>, repack_below: u8) -> Result<Estimate> {
    let storage = store.storage();
    let alarms = Alarms::read(storage)?;
    let listed = pack::list(storage)?;
    let numbers: BTreeSet<Number> = Points::numbers(storage)?.into_iter().chain(points.unreadable.clone()).collect();
    let ever = Deadlines::all(Timestamp::new(i64::MAX, 0));
    let gone = |points: &Points| -> BTreeSet<Number> {
        expire(points, &ever, &alarms).expired.into_iter().map(|expired| expired.number).collect()
    };
    let (less, more) = (gone(points), gone(&as_if_forgotten(points, going)));
    let bytes = |plan: &Plan, gone: &BTreeSet<Number>| {
        let catalogs: u64 = gone.iter().filter_map(|number| points.catalog_bytes.get(number)).sum();
        plan.freed_bytes() + catalogs
    };
    // What stays in the end first: the other plan needs that and what is between.
    let mut scan = Scan::new(storage);
    numbers.difference(&more).for_each(|number| scan.catalog(*number));
    let with = judge(scan.so_far(), &listed, repack_below);
    numbers.intersection(&more).filter(|number| !less.contains(number)).for_each(|number| scan.catalog(*number));
    let without = judge(scan.so_far(), &listed, repack_below);
    let waiting_bytes = bytes(&without, &less);
    let freed_bytes = bytes(&with, &more).saturating_sub(waiting_bytes);
    Ok(Estimate { freed_bytes, waiting_bytes, problems: with.problems })
}

/// The listing that there would be.
fn as_if_forgotten(points: &Points, going: &BTreeSet<Number>) -> Points {
    let (now, living) = points.points.iter().cloned().partition(|point| going.contains(&point.number));
    let mut forgotten: Vec<_> = now;
    forgotten.extend(points.forgotten.iter().cloned());
    forgotten.sort_unstable_by_key(|point| point.number);
    let mut notes = points.notes.clone();
    for number in going {
        notes.entry(*number).or_default().forgotten = Some(Timestamp::new(0, 0));
    }
    Points { points: living, forgotten, notes, unreadable: points.unreadable.clone(), ..Points::default() }
}
