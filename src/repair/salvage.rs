//! What can still be read of damaged packs, in new packs.
//!
//! Owns which packs are copied and set aside. Refuses to find damage. Invariant: a pack is set aside only when every catalog that can be read says where the rest
//! of it lies now.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::Result;
use super::action::Action;
use super::places::set_aside;
use crate::cache::ByteCache;
use crate::catalog::Catalog;
use crate::compaction::{self, Moves, OnDamage, Scan, Stay};
use crate::format::catalog::PackRef;
use crate::format::layout;
use crate::format::pack::PackId;
use crate::pack::{self, Pack};
use crate::repository::{Points, ReaderWait, Store, WriterLock, readers};
use crate::verify::{Harm, Report};

/// Packs of which something cannot be read.
pub(super) fn hurt(report: &Report) -> BTreeSet<PackId> {
    report.damages.iter().filter(|damage| damage.harm == Harm::Data).filter_map(|damage| damage.object.pack()).collect()
}

/// Copies what can be read of these packs, points catalogs at it and sets the packs aside.
pub(super) fn packs(
    store: &Store,
    lock: &WriterLock,
    hurt: &BTreeSet<PackId>,
    is_stopped: &dyn Fn() -> bool,
    done: &mut dyn FnMut(Action),
) -> Result<()> {
    let storage = store.storage();
    // What is not there cannot be copied.
    let there: Vec<PackRef> = pack::list(storage)?.into_iter().filter(|pack| hurt.contains(&pack.id)).collect();
    if there.is_empty() {
        return Ok(());
    }
    let mut scan = Scan::new(storage);
    Points::numbers(store.storage())?.into_iter().for_each(|number| scan.catalog(number));
    let usage = scan.finish();
    // Why nothing could be copied of a pack is found again below.
    let moves = Moves::copy(store, &usage, &there, OnDamage::Salvage, &mut |_| (), &mut |_| !is_stopped())?;
    let level = store.config().chunking.zstd_level;
    for (number, packs) in &usage.listed_by {
        let names_one = packs.iter().any(|pack| moves.has(&pack.id));
        if names_one && !usage.damaged.contains(number) {
            compaction::revise(storage, *number, &moves, Stay::WhereLost, level)?;
        }
    }
    // Mounts go over to the revisions; whoever does not in time meets errors, as before.
    readers::left(store, lock, Points::highest(storage)?, ReaderWait::default(), &mut |_| ())?;
    let listed_by_damaged = usage.listed_by_damaged();
    for pack in there {
        let name = layout::pack(&pack.id);
        if listed_by_damaged.contains(&pack.id) {
            done(Action::Left { name, why: "a catalog that is damaged, too, refers to it".to_owned() });
            continue;
        }
        let why = match Pack::open_headless(storage, pack) {
            _ if moves.has(&pack.id) => "what can be read of it was copied".to_owned(),
            _ if !usage.needs(&pack.id) => "nothing refers to it".to_owned(),
            Err(error) if error.is_damage() => error.to_string(),
            // Its blocks are found by their numbers, so what is sound of them can be read where it is.
            _ => {
                let why = "its table of chunks cannot be read, so nothing says which of its bytes are right".to_owned();
                done(Action::Left { name, why });
                continue;
            }
        };
        let to = set_aside(store, &name)?;
        done(Action::SetAside { name, to, why });
    }
    Ok(())
}

/// Sets catalogs aside that cannot be opened at all.
pub(super) fn catalogs(store: &Store, done: &mut dyn FnMut(Action)) -> Result<()> {
    for number in Points::numbers(store.storage())? {
        match Catalog::open(store.storage(), number, Arc::new(ByteCache::new(0))) {
            Err(error) if error.is_damage() => {
                let name = layout::catalog(number);
                let to = set_aside(store, &name)?;
                done(Action::SetAside { name, to, why: error.to_string() });
            }
            Err(error) => return Err(error.into()),
            Ok(_) => {}
        }
    }
    Ok(())
}
