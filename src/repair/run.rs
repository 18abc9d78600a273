//! A repair from its beginning to its end.
//!
//! Owns the order and what is noted of points. Refuses to move anything itself.

use std::collections::BTreeSet;

use super::action::Action;
use super::{Result, places, salvage};
use crate::format::{Number, layout};
use crate::repository::{CacheBytes, PointNotes, Points, Reader, Store, WriterLock, lease, marks};
use crate::verify::{self, Damage, Depth, Harm, Object, PointReport, Progress};

/// What is told while a store is mended.
#[derive(Debug)]
pub enum Event<'a> {
    /// Something is damaged.
    Damage(&'a Damage),
    /// Something was done.
    Done(&'a Action),
}

/// What a repair did, and what is left.
#[derive(Debug)]
pub struct Report {
    /// What was done, in order.
    pub actions: Vec<Action>,
    /// What the structure of the store looks like now.
    pub after: verify::Report,
}

/// Mends the store. Readers may go on; mounts go over to what was saved. `progress` is called from several threads.
///
/// # Errors
/// Where the store cannot be read or written, or it was stopped; what was done till then is whole, and another repair goes on.
pub fn repair(
    store: &Store,
    lock: &WriterLock,
    is_stopped: &dyn Fn() -> bool,
    progress: &(dyn Fn(Progress) + Sync),
    notify: &mut dyn FnMut(Event<'_>),
) -> Result<Report> {
    let mut actions = Vec::new();
    let mut done = |action: Action, notify: &mut dyn FnMut(Event<'_>)| {
        notify(Event::Done(&action));
        actions.push(action);
    };
    lock.remove_stale_temporaries(store)?;
    lease::sweep(store, lock)?;
    places::small_files(store, &mut |action| done(action, notify))?;
    places::catalogs(store, &mut |action| done(action, notify))?;
    places::packs(store, &mut |action| done(action, notify))?;
    if let Some(why) = marks::mend(store, lock, Points::highest(store.storage())?)? {
        done(Action::MadeAnew { name: layout::MARKS_TOML.to_owned(), why }, notify);
    }
    let found = verified(store, Depth::Data, progress, notify)?;
    // First: what catalogs that cannot be opened need is not known, and they are told from those that only now cannot be.
    salvage::catalogs(store, &mut |action| done(action, notify))?;
    let hurt = salvage::hurt(&found);
    salvage::packs(store, lock, &hurt, is_stopped, &mut |action| done(action, notify))?;
    // Blocks that are damaged where they stay were found before; everything else is seen in the structure.
    let mut after = verified(store, Depth::Structure, &|_| (), &mut |_| ())?;
    for (number, before) in &found.points {
        let left = before.damaged.iter().filter(|object| is_left(store, object));
        let left: Vec<Object> = left.cloned().collect();
        if let Some(point) = after.points.get_mut(number) {
            point.touched_files = point.touched_files.max(if left.is_empty() { 0 } else { before.touched_files });
            point.damaged.extend(left);
        }
    }
    // All of these can be read; only new data is not recognised in them, and is stored anew.
    let latent = after.damages.iter().filter(|damage| damage.harm == Harm::Latent).map(|damage| damage.object.clone());
    let latent: BTreeSet<Object> = latent.collect();
    for object in &latent {
        if let Object::Pack(pack) = object {
            let why = "all its data can be read; only its table of chunks cannot, so new data is not recognised in it"
                .to_owned();
            done(Action::Left { name: layout::pack(pack), why }, notify);
        }
    }
    after.points.values_mut().for_each(|point| point.damaged.retain(|object| !latent.contains(object)));
    for (number, point) in &after.points {
        if let Some(action) = note(store, lock, *number, point)? {
            done(action, notify);
        }
    }
    Ok(Report { actions, after })
}

fn verified(
    store: &Store,
    depth: Depth,
    progress: &(dyn Fn(Progress) + Sync),
    notify: &mut dyn FnMut(Event<'_>),
) -> Result<verify::Report> {
    let reader = Reader::open(store.clone(), CacheBytes::of_total(48 << 20))?;
    let mut passing = None;
    let found = verify::verify(&reader, depth, progress, &mut |event| {
        if let verify::Event::Damage(damage) = event {
            passing = passing.take().or_else(|| damage.error.passing().map(|_| damage.error.to_string()));
            notify(Event::Damage(damage));
        }
    })?;
    // Nothing is mended on the word of a machine that could not read.
    passing.map_or(Ok(found), |error| Err(super::RepairError::NotReadNow(error)))
}

/// Whether a damaged block is still where catalogs look for it.
fn is_left(store: &Store, object: &Object) -> bool {
    match object {
        Object::Block { pack, .. } => store.storage().exists(&layout::pack(pack)).unwrap_or(true),
        _ => false,
    }
}

/// Notes what a point has lost, where that is not noted yet.
fn note(store: &Store, lock: &WriterLock, number: Number, point: &PointReport) -> Result<Option<Action>> {
    let mut notes = PointNotes::read(store.storage(), number)?;
    let mut damaged: Vec<String> = point.damaged.iter().map(|object| format!("{object} is lost or damaged")).collect();
    if point.touched_files > 0 {
        let first = point.files.first().map(|file| String::from_utf8_lossy(&file.path).escape_debug().to_string());
        let first = first.map_or_else(String::new, |first| format!(", {first} the first"));
        damaged.insert(0, format!("{} files cannot be read{first}", point.touched_files));
    }
    // What a check distrusted was set aside or is whole, but for what is damaged where it is.
    let left = point.damaged.iter().filter(|object| is_left(store, object)).filter_map(Object::pack);
    let distrusted: BTreeSet<String> =
        left.map(|pack| pack.to_string()).filter(|pack| notes.distrusted.contains(pack)).collect();
    if notes.damaged == damaged && notes.distrusted == distrusted {
        return Ok(None);
    }
    notes.distrusted = distrusted;
    notes.damaged.clone_from(&damaged);
    notes.write(store, lock, number)?;
    Ok(Some(if damaged.is_empty() { Action::Whole { number } } else { Action::Marked { number, damaged } }))
}
