//! What must be true of a damaged store after the power was cut in a repair, or after it.
//!
//! Owns what a repair promises. Refuses to know what was damaged. Its invariant: as the other oracle's, whatever it finds wrong it says in words.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use super::look::Shown;
use super::oracle::{Going, IndexIs, Promise, differ, lay_index};
use super::script::{self, CACHE, Script, Step, say};
use super::world::{Seen, World};
use super::wounds;
use crate::backup::Mode;
use crate::format::{Number, layout};
use crate::repository::{PointNotes, Reader, Store};
use crate::storage::recorder::Event;
use crate::verify::{DamageError, Depth, verify};

/// Holds the store in the image that was written out below `base` against what a repair promises, mends it where that was not done, and goes on with it.
pub(super) fn check(script: &Script, promise: &Promise<'_>, base: &Path, index: IndexIs) -> Result<(), String> {
    let path = base.join(script::STORE);
    let repair = script.steps.iter().position(|step| step.command == "repair").expect("there is a repair");
    let past = &script.steps[..=promise.step];
    let mut now = World::of_damaged(&path);
    hold(past, promise, &now)?;
    nothing_is_removed(script, &path)?;
    if (promise.step, promise.is_done) < (repair, true) {
        lay_index(script, index, &path);
        // Before it is mended, something may be done with it, too: a backup with tags does not write over what it cannot understand, so this one has none.
        if now.exists && matches!(index, IndexIs::Old | IndexIs::Rubbish) {
            let store = Store::open(&path).map_err(say)?;
            script::back_up_somehow(&store, &script.source, &script::tagged(&[], Mode::Auto))
                .map_err(|error| format!("the next backup, without a repair: {}", say(error)))?;
            let after = World::of_damaged(&path);
            now.points.keys().try_for_each(|number| as_readable(*number, &now, &after, "after a backup"))?;
            for (number, seen) in after.points.iter().filter(|(number, _)| !now.points.contains_key(*number)) {
                is_right(*number, seen, &[&script.shown])?;
            }
        }
        script::repair(&path).map_err(|error| format!("the next repair: {error}"))?;
        now = World::of_damaged(&path);
        let uncut = &script.steps[repair].after;
        for (number, seen) in &uncut.points {
            as_readable(*number, uncut, &now, "after the next repair")?;
            is_right(*number, &now.points[number], &trees(past, *number))?;
            if now.points[number].tags != seen.tags {
                return Err(format!("after the next repair backup {number} has other tags"));
            }
        }
        if now.lost != uncut.lost {
            return Err(format!("after the next repair {:?} are known to be lost, not {:?}", now.lost, uncut.lost));
        }
    } else {
        lay_index(script, index, &path);
    }
    let store = Store::open(&path).map_err(say)?;
    known(&store, "before the next backup")?;
    if !now.lost.is_empty() {
        script::prune(&store).map_err(|error| format!("a prune while something is lost: {}", say(error)))?;
        let pruned = World::of_damaged(&path);
        if pruned.packs != now.packs {
            return Err("a pack was pruned that a lost point may need".to_owned());
        }
        let lost: Vec<_> = now.lost.iter().copied().collect();
        script::forget(&store, &lost, true).map_err(|error| format!("giving up what is lost: {error}"))?;
        now = World::of_damaged(&path);
    }
    let given = highest(&past[..promise.step + usize::from(promise.is_done)]);
    let look = |path: &Path| Ok(World::of_damaged(path));
    let going = Going { look, back_up: script::back_up_somehow, verify: known };
    going.on(script, &store, &now, given.0)
}

/// What is promised at once. `past` has all that was ever right or known.
fn hold(past: &[Step], promise: &Promise<'_>, found: &World) -> Result<(), String> {
    for (number, seen) in &found.points {
        is_right(*number, seen, &trees(past, *number))?;
        let mut known = past.iter().filter_map(|step| step.after.points.get(number));
        if !known.any(|known| known.tags == seen.tags && known.is_forgotten == seen.is_forgotten) {
            return Err(format!("backup {number} has tags or is forgotten as it never was: {:?}", seen.tags));
        }
    }
    let after = promise.after();
    let before = if promise.is_done { after } else { &promise.before };
    for number in before.points.keys().filter(|number| after.points.contains_key(number)) {
        as_readable(*number, before, found, "at once")?;
    }
    if !promise.is_done {
        return Ok(());
    }
    for (number, seen) in &after.points {
        let found = &found.points[number];
        if found.tags != seen.tags || found.is_forgotten != seen.is_forgotten {
            return Err(format!("backup {number} has the tags {:?} instead of {:?}", found.tags, seen.tags));
        }
    }
    if let Some(pack) = found.packs.difference(&after.packs).next() {
        return Err(format!("pack {pack} is back although it was removed or set aside"));
    }
    if (&found.marked, &found.lost) != (&after.marked, &after.lost) {
        return Err(format!(
            "{:?} are marked and {:?} lost, not {:?} and {:?}",
            found.marked, found.lost, after.marked, after.lost
        ));
    }
    if found.texts != after.texts {
        return Err(format!("the description or its copy is another: {:?}", found.texts));
    }
    if found.success != after.success || found.highest < after.highest {
        return Err("the marks or the last success is another".to_owned());
    }
    if found.problems.len() > after.problems.len() {
        return Err(format!("more is wrong than was: {:?}", found.problems));
    }
    Ok(())
}

/// Whether what was damaged is still there, whatever it is called now; what is made anew without being lost may be not.
fn nothing_is_removed(script: &Script, path: &Path) -> Result<(), String> {
    let mut there = BTreeSet::new();
    contents(path, &mut there);
    for event in &script.log {
        if let Event::Damaged { bytes, .. } = event
            && !wounds::MADE_ANEW.iter().any(|name| *bytes == wounds::rubbish(name))
            && !there.contains(bytes)
        {
            return Err(format!(
                "what was damaged is gone: {:?}",
                String::from_utf8_lossy(&bytes[..bytes.len().min(80)])
            ));
        }
    }
    Ok(())
}

/// What all files below a directory hold, but for the index.
fn contents(path: &Path, into: &mut BTreeSet<Vec<u8>>) {
    for entry in fs::read_dir(path).unwrap().map(Result::unwrap) {
        if !entry.file_type().unwrap().is_dir() {
            into.insert(fs::read(entry.path()).unwrap());
        } else if entry.file_name() != layout::INDEX {
            contents(&entry.path(), into);
        }
    }
}

/// What a point has ever shown.
fn trees(past: &[Step], number: Number) -> Vec<&Shown> {
    past.iter().filter_map(|step| step.after.points.get(&number)).map(|seen| &*seen.tree).collect()
}

/// The highest number that was given away.
fn highest(past: &[Step]) -> Number {
    Number(past.iter().map(|step| step.after.highest).max().unwrap_or(0))
}

/// Whether all that a point shows is what one of `trees` shows.
fn is_right(number: Number, seen: &Seen, trees: &[&Shown]) -> Result<(), String> {
    match seen.tree.iter().find(|(name, line)| !trees.iter().any(|tree| tree.get(*name) == Some(*line))) {
        None => Ok(()),
        Some((name, line)) => Err(format!("backup {number} shows what never was: {name:?}: {line}")),
    }
}

/// Whether of a point, in `found`, everything can be read that could be `before`.
fn as_readable(number: Number, before: &World, found: &World, when: &str) -> Result<(), String> {
    let known = &before.points[&number];
    let Some(seen) = found.points.get(&number) else { return Err(format!("{when} backup {number} is lost")) };
    let is_there = |(name, line): (&String, &String)| seen.tree.get(name) == Some(line);
    if known.tree.iter().all(is_there) {
        return Ok(());
    }
    Err(format!("{when} backup {number} has lost something: {}; {:?}", differ(&known.tree, &seen.tree), found.problems))
}

/// Verifies every byte: nothing is damaged but what was set aside, and just the points that lost something are marked. Answers how many packs nobody needs.
fn known(store: &Store, when: &str) -> Result<u64, String> {
    let reader = Reader::open(store.clone(), CACHE).map_err(say)?;
    let report = verify(&reader, Depth::Data, &|_| {}, &mut |_| {}).map_err(say)?;
    let is_known = |error: &DamageError| {
        matches!(error, DamageError::NoPack { .. } | DamageError::NoCatalog { .. } | DamageError::SetAside { .. })
    };
    if let Some(damage) = report.damages.iter().find(|damage| !is_known(&damage.error)) {
        return Err(format!("{when} verify finds damage: {damage:?}"));
    }
    let mut hurt = BTreeSet::new();
    let mut marked = BTreeSet::new();
    for (number, point) in &report.points {
        if !point.is_whole() {
            hurt.insert(*number);
        }
        if !PointNotes::read(store.storage(), *number).map_err(say)?.damaged.is_empty() {
            marked.insert(*number);
        }
    }
    if hurt != marked {
        return Err(format!("{when} {hurt:?} have lost something, and {marked:?} are marked"));
    }
    Ok(report.orphan_packs)
}
