//! What must be true of a store after the power was cut, and after the next backup and the next prune.
//!
//! Owns the promises. Refuses to know how the store came to be as it is. Its invariant: whatever it finds wrong, it says in words.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use super::look::Shown;
use super::script::{self, CACHE, Script, Step, say};
use super::world::World;
use crate::backup::{BackupError, Done, Mode, Options, Outcome};
use crate::format::{Number, layout};
use crate::repository::{Reader, Store};
use crate::verify::{Depth, verify};

/// What must be true, and what may be.
pub(super) struct Promise<'a> {
    /// What everybody knew before: what it says must be, if `after` says so, too.
    pub(super) before: World,
    /// What steps were doing when they were killed or the power went.
    may: Vec<&'a World>,
    /// Whether the last step had said that it was done.
    pub(super) is_done: bool,
    /// The last step.
    pub(super) step: usize,
}

/// What an index may be found as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum IndexIs {
    Lost,
    /// The one of an early backup.
    Old,
    /// The one of the end, which names packs that are not there.
    New,
    Rubbish,
}

pub(super) const INDEXES: [IndexIs; 4] = [IndexIs::Lost, IndexIs::Old, IndexIs::New, IndexIs::Rubbish];

impl<'a> Promise<'a> {
    /// What holds after so many changes.
    pub(super) fn at(steps: &'a [Step], cut: usize) -> Self {
        let last = steps.partition_point(|step| step.end <= cut);
        // Between two steps the one before has returned, and the one after has done nothing.
        let at_end = last.checked_sub(1).filter(|last| steps[*last].end == cut);
        let step = at_end.unwrap_or_else(|| last.min(steps.len() - 1));
        let returned = steps[..step].iter().rposition(|step| step.has_returned);
        let before = returned.map(|at| steps[at].after.clone()).unwrap_or_default();
        let may = steps[returned.map_or(0, |at| at + 1)..=step].iter().map(|step| &step.after).collect();
        Self { before, may, is_done: at_end.is_some() && steps[step].has_returned, step }
    }

    /// What tells it from other promises about the same steps.
    pub(super) const fn key(&self) -> (usize, bool) {
        (self.step, self.is_done)
    }

    /// What the last step came to.
    pub(super) fn after(&self) -> &World {
        self.may.last().expect("there is a step at least")
    }

    fn hold(&self, found: &World) -> Result<(), String> {
        let may = || self.may.iter().copied().chain((!self.is_done).then_some(&self.before));
        for (number, seen) in &found.points {
            let mut known = may().filter_map(|world| world.points.get(number)).peekable();
            if known.peek().is_none() {
                return Err(format!("backup {number} is there, and should not be"));
            }
            let known: Vec<_> = known.collect();
            if !known.iter().any(|known| known.tree == seen.tree) {
                return Err(format!("backup {number} shows another tree: {}", differ(&known[0].tree, &seen.tree)));
            }
            if !known.iter().any(|known| known.tags == seen.tags) {
                return Err(format!("backup {number} has the tags {:?} instead of {:?}", seen.tags, known[0].tags));
            }
            if !known.iter().any(|known| known.is_forgotten == seen.is_forgotten) {
                return Err(format!("that backup {number} was forgotten, or brought back, is lost"));
            }
        }
        let must = |number: &&Number| self.may.iter().all(|world| world.points.contains_key(number));
        let before = if self.is_done { self.after() } else { &self.before };
        if let Some(lost) = before.points.keys().filter(must).find(|number| !found.points.contains_key(number)) {
            return Err(format!("backup {lost} is lost"));
        }
        if before.exists && !found.exists {
            return Err("the store is gone".to_owned());
        }
        if self.is_done {
            let after = self.after();
            if let Some(pack) = found.packs.difference(&after.packs).next() {
                return Err(format!("pack {pack} is back although it was removed"));
            }
            if found.success != after.success {
                return Err(format!("the last success is {:?}, not {:?}", found.success, after.success));
            }
            if let Some(number) = found.noted.keys().find(|number| !after.noted.contains_key(number)) {
                return Err(format!("what was noted of backup {number} is back although it was removed"));
            }
            if found.highest < after.highest {
                return Err(format!("the mark says {}, not {}", found.highest, after.highest));
            }
        }
        Ok(())
    }

    /// The highest number that may have been durable.
    fn highest(&self) -> u32 {
        self.before.highest
    }
}

pub(super) fn differ(known: &Shown, found: &Shown) -> String {
    let names: BTreeSet<&String> = known.keys().chain(found.keys()).collect();
    let first = names.into_iter().find(|name| known.get(*name) != found.get(*name));
    let of = |shown: &Shown| first.and_then(|name| shown.get(name)).cloned().unwrap_or_default();
    format!("{first:?}: {} instead of {}", of(found), of(known))
}

/// Holds the store in the image that was written out below `base` against the promise, then goes on with it.
pub(super) fn check(script: &Script, promise: &Promise<'_>, base: &Path, index: IndexIs) -> Result<(), String> {
    let path = base.join(script::STORE);
    let found = World::look(&path)?;
    promise.hold(&found)?;
    let parts = layout::DIRECTORIES.iter().chain([&layout::MARKS_TOML, &layout::STORE_COPY]);
    if let Some(missing) = parts.filter(|_| found.exists).find(|part| !path.join(part).exists()) {
        return Err(format!("a store without {missing}"));
    }
    let text = |name: &str| fs::read(path.join(name)).ok();
    if found.exists && text(layout::STORE_TOML) != text(layout::STORE_COPY) {
        return Err("the copy of the store's description is another".to_owned());
    }
    if !found.exists {
        script::init(&path).map_err(|error| format!("init does not go on: {error}"))?;
    }
    let store = Store::open(&path).map_err(say)?;
    whole(&store, "at once")?;
    if promise.is_done && has(&path, &|name| name.ends_with(layout::REMOVED_SUFFIX)) {
        return Err("a catalog that was removed is back".to_owned());
    }
    lay_index(script, index, &path);
    let going = Going { look: World::look, back_up: script::back_up, verify: whole };
    going.on(script, &store, &found, promise.highest())
}

/// How a store is gone on with: what is done, and how it is looked at.
pub(super) struct Going {
    pub(super) look: fn(&Path) -> Result<World, String>,
    pub(super) back_up: fn(&Store, &Path, &Options) -> Result<Done, BackupError>,
    /// Every byte, at the time that is named; answers how many packs nobody needs.
    pub(super) verify: fn(&Store, &str) -> Result<u64, String>,
}

impl Going {
    /// The next backup, then a prune of all that need not stay: on a store that shows what was `found`, after no number above `highest` was given away.
    pub(super) fn on(&self, script: &Script, store: &Store, found: &World, highest: u32) -> Result<(), String> {
        let Self { look, back_up, verify } = self;
        let path = store.path();
        let done = back_up(store, &script.source, &script::tagged(&["next"], Mode::Auto))
            .map_err(|error| format!("the next backup: {}", say(error)))?;
        let number = match &done.outcome {
            Outcome::Made(made) if found.points.keys().any(|number| *number >= made.point.number) => {
                return Err(format!("the next backup has the number {}, which is taken", made.point.number));
            }
            Outcome::Made(made) if made.point.number.0 <= highest => {
                return Err(format!("the next backup has the number {}, which was used", made.point.number));
            }
            Outcome::Made(made) => made.point.number,
            Outcome::Unchanged(point) => point.number,
            Outcome::Tried { .. } => return Err("the next backup only tried".to_owned()),
        };
        let after = look(path).map_err(|error| format!("after the next backup: {error}"))?;
        if after.points[&number].tree != script.shown {
            return Err(format!("the next backup is wrong: {}", differ(&script.shown, &after.points[&number].tree)));
        }
        for (number, seen) in &found.points {
            if after.points.get(number).is_none_or(|now| now.tree != seen.tree || now.is_forgotten != seen.is_forgotten)
            {
                return Err(format!("the next backup changed backup {number}"));
            }
        }

        let base_of = |number| {
            Reader::open(store.clone(), CACHE)
                .and_then(|reader| reader.points())
                .map_err(say)
                .map(|points| points.get(number).map(crate::format::Point::series))
        };
        let series = base_of(number)?.ok_or("the next backup is not listed")?;
        let kept = [Some(number), Some(series), after.points.keys().next().copied()];
        let others: Vec<Number> = after
            .points
            .iter()
            .filter(|(number, seen)| !seen.is_forgotten && **number != series && !kept.contains(&Some(**number)))
            .map(|(number, _)| *number)
            .collect();
        script::forget(store, &others, true).map_err(|error| format!("forgetting what can be: {error}"))?;
        script::prune(store).map_err(|error| format!("the next prune: {}", say(error)))?;
        let pruned = look(path).map_err(|error| format!("after the next prune: {error}"))?;
        for (number, seen) in &pruned.points {
            if after.points.get(number).is_none_or(|before| before.tree != seen.tree) {
                return Err(format!("the next prune changed backup {number}"));
            }
        }
        if kept.iter().flatten().any(|number| !after.points[number].is_forgotten && !pruned.points.contains_key(number))
        {
            return Err("the next prune removed a point that was not forgotten".to_owned());
        }
        let orphans = verify(store, "after the next prune")?;
        if orphans > 0 {
            return Err(format!("{orphans} packs that nobody needs are left"));
        }
        let rest = |name: &str| name.starts_with(".tmp-") || name.ends_with(layout::REMOVED_SUFFIX);
        if has(path, &rest) {
            return Err("the next prune left temporaries or removed catalogs".to_owned());
        }
        // Tags of a point that never came to be stay, and nobody reads them.
        let is_left =
            |(number, is_forgotten): &(&Number, &bool)| **is_forgotten && !pruned.points.contains_key(*number);
        if let Some((number, _)) = pruned.noted.iter().find(is_left) {
            return Err(format!("the next prune left what was noted of backup {number}, which is gone"));
        }
        Ok(())
    }
}

/// Verifies every byte; answers how many packs nobody needs.
fn whole(store: &Store, when: &str) -> Result<u64, String> {
    let reader = Reader::open(store.clone(), CACHE).map_err(say)?;
    let report = verify(&reader, Depth::Data, &|_| {}, &mut |_| {}).map_err(say)?;
    match report.damages.first() {
        Some(damage) => Err(format!("{when} verify finds damage: {damage:?}")),
        None => Ok(report.orphan_packs),
    }
}

/// Whether a file of such a name is anywhere in the store.
fn has(path: &Path, is_it: &dyn Fn(&str) -> bool) -> bool {
    fs::read_dir(path).unwrap().map(Result::unwrap).any(|entry| {
        let name = entry.file_name().into_string().unwrap();
        is_it(&name) || name != layout::INDEX && entry.path().is_dir() && has(&entry.path(), is_it)
    })
}

pub(super) fn lay_index(script: &Script, index: IndexIs, store: &Path) {
    let path = store.join(layout::INDEX);
    fs::remove_dir_all(&path).unwrap();
    match index {
        IndexIs::Lost => {}
        IndexIs::Old => script::copy_flat(&script.indexes[0], &path),
        IndexIs::New => script::copy_flat(&script.indexes[script.indexes.len() - 1], &path),
        IndexIs::Rubbish => {
            fs::create_dir(&path).unwrap();
            ["db", "conf", "blobs"].iter().for_each(|name| fs::write(path.join(name), [0xa5; 5000]).unwrap());
        }
    }
}
