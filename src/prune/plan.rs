//! What could go, and why: plain data.
//!
//! Owns the judgement. Refuses to read or write anything. Invariant: what a catalog that stays needs is in no list of things to be removed.

use std::collections::{BTreeMap, BTreeSet};

use crate::compaction::Usage;
use crate::format::catalog::PackRef;
use crate::format::pack::PackId;
use crate::format::{Number, Point, Timestamp};
use crate::repository::{Alarm, Alarms, Points};

/// A forgotten point whose time has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expired {
    /// Its number.
    pub number: Number,
    /// What is known of it; nothing where its catalog cannot be read.
    pub point: Option<Point>,
    /// When it was forgotten.
    pub forgotten: Timestamp,
}

/// A pack that is worth rewriting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Repack {
    /// The pack.
    pub pack: PackRef,
    /// Bytes of its file that are of no use, in proportion to its chunks.
    pub dead_bytes: u64,
}

/// What a prune would do.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    /// Points that go for good.
    pub expired: Vec<Expired>,
    /// Forgotten points that stay: not long enough ago, or a point that stays stands on them, or an alarm holds them.
    pub waiting: Vec<Number>,
    /// Those of them that an alarm holds.
    pub held: Vec<Number>,
    /// The alarms that stand, by source.
    pub alarms: BTreeMap<String, Alarm>,
    /// Packs that nothing refers to.
    pub unneeded: Vec<PackRef>,
    /// Packs that are rewritten, in the order in which that is done.
    pub repacks: Vec<Repack>,
    /// Catalogs that get a revision.
    pub revised: Vec<Number>,
    /// Packs that are needed, and their bytes, those that are rewritten included.
    pub needed_packs: usize,
    /// Bytes of these.
    pub needed_bytes: u64,
    /// Why less goes than could, a line each.
    pub problems: Vec<String>,
}

impl Plan {
    /// Bytes that come back, as far as can be told before: the unneeded packs and what is dead in those that are rewritten.
    #[must_use]
    pub fn freed_bytes(&self) -> u64 {
        let unneeded: u64 = self.unneeded.iter().map(|pack| pack.file_len).sum();
        unneeded + self.repacks.iter().map(|repack| repack.dead_bytes).sum::<u64>()
    }

    /// Bytes that are read and written anew.
    #[must_use]
    pub fn rewritten_bytes(&self) -> u64 {
        self.repacks.iter().map(|repack| repack.pack.file_len - repack.dead_bytes.min(repack.pack.file_len)).sum()
    }

    /// Whether there is nothing to do.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.expired.is_empty() && self.unneeded.is_empty() && self.repacks.is_empty()
    }
}

/// What becomes of forgotten points.
#[derive(Debug, Default)]
pub(super) struct Fate {
    /// They go.
    pub(super) expired: Vec<Expired>,
    /// They stay.
    pub(super) waiting: Vec<Number>,
    /// Those that stay for an alarm.
    pub(super) held: Vec<Number>,
}

/// Until when points must have been forgotten to go.
#[derive(Clone, Debug)]
pub struct Deadlines {
    /// Of a source that is not named.
    pub usual: Timestamp,
    /// By source.
    pub of_source: BTreeMap<String, Timestamp>,
}

impl Deadlines {
    /// The same for all.
    #[must_use]
    pub const fn all(at: Timestamp) -> Self {
        Self { usual: at, of_source: BTreeMap::new() }
    }

    /// Of a point; one whose source is not known has the earliest of all.
    fn of(&self, point: Option<&Point>) -> Timestamp {
        match point {
            Some(point) => self.of_source.get(&point.source.name).copied().unwrap_or(self.usual),
            None => self.of_source.values().copied().chain([self.usual]).min().unwrap_or(self.usual),
        }
    }
}

/// Parts the forgotten points into those whose time has come and those that stay. A forgotten full stays while anything that stays stands on it, and so does
/// what belongs to a source with an alarm, or may.
pub(super) fn expire(points: &Points, before: &Deadlines, alarms: &Alarms) -> Fate {
    let forgotten_at = |number: Number| points.notes.get(&number).and_then(|notes| notes.forgotten);
    let readable = points.forgotten.iter().map(|point| (point.number, Some(point)));
    let unreadable = points.unreadable.iter().map(|number| (*number, None));
    let forgotten: BTreeMap<Number, (Option<&Point>, Timestamp)> = readable
        .chain(unreadable)
        .filter_map(|(number, point)| Some((number, (point, forgotten_at(number)?))))
        .collect();
    let is_held = |point: Option<&Point>| match point {
        Some(point) => alarms.hold(&point.source.name),
        None => !alarms.is_empty(),
    };
    let has_time_come = |(point, at): &(Option<&Point>, Timestamp)| *at <= before.of(*point) && !is_held(*point);
    let base = |point: &Point| point.kind.base();
    let waiting_differentials = forgotten.values().filter(|it| !has_time_come(it)).filter_map(|(point, _)| *point);
    let bases: BTreeSet<Number> = points.points.iter().chain(waiting_differentials).filter_map(base).collect();
    // One that stays and cannot be read may stand on any full before it.
    let stays = |number: &&Number| forgotten.get(*number).is_none_or(|it| !has_time_come(it));
    let blind = points.unreadable.iter().filter(stays).max().copied();
    let may_be_stood_on = |number: Number, point: Option<&Point>| {
        bases.contains(&number) || point.is_none_or(Point::is_full) && blind.is_some_and(|blind| number < blind)
    };
    let mut fate = Fate::default();
    for (number, (point, forgotten)) in &forgotten {
        let (number, point, forgotten) = (*number, *point, *forgotten);
        if has_time_come(&(point, forgotten)) && !may_be_stood_on(number, point) {
            fate.expired.push(Expired { number, point: point.cloned(), forgotten });
        } else {
            fate.waiting.push(number);
            if is_held(point) {
                fate.held.push(number);
            }
        }
    }
    fate
}

/// Judges: `listed` are the packs that lie in the store, `repack_below` the percentage of live bytes below which a pack is rewritten.
pub(super) fn judge(usage: &Usage, listed: &[PackRef], repack_below: u8) -> Plan {
    let mut plan = Plan { problems: usage.problems.clone(), ..Plan::default() };
    let is_needed = |pack: &PackRef| usage.needs(&pack.id);
    let (needed, unneeded): (Vec<PackRef>, Vec<PackRef>) = listed.iter().copied().partition(is_needed);
    plan.needed_packs = needed.len();
    plan.needed_bytes = needed.iter().map(|pack| pack.file_len).sum();
    if !usage.unreadable.is_empty() {
        let numbers: Vec<String> = usage.unreadable.iter().map(Number::to_string).collect();
        plan.problems.push(format!("no pack is removed: what backup {} needs is not known", numbers.join(", ")));
        return plan;
    }
    let is_there: BTreeSet<PackId> = needed.iter().map(|pack| pack.id).collect();
    // A pack that damaged catalogs list is fixed: those cannot be revised.
    let fixed = usage.listed_by_damaged();
    plan.unneeded = unneeded.into_iter().filter(|pack| !fixed.contains(&pack.id)).collect();
    let mut worth: Vec<_> = usage
        .packs
        .values()
        .filter(|used| is_there.contains(&used.pack.id) && !fixed.contains(&used.pack.id) && !used.is_fixed)
        .filter(|used| u128::from(used.live_bytes) * 100 < u128::from(used.raw_bytes) * u128::from(repack_below))
        .collect();
    worth.sort_unstable_by_key(|used| (used.family, used.met));
    plan.repacks = worth.iter().map(|used| Repack { pack: used.pack, dead_bytes: used.dead_bytes() }).collect();
    let going: BTreeSet<PackId> =
        plan.unneeded.iter().chain(plan.repacks.iter().map(|repack| &repack.pack)).map(|pack| pack.id).collect();
    let names_one = |packs: &Vec<PackRef>| packs.iter().any(|pack| going.contains(&pack.id));
    plan.revised = usage.listed_by.iter().filter(|(_, packs)| names_one(packs)).map(|(number, _)| *number).collect();
    plan
}
