//! Files that do not stand where they should, and those that are set aside.
//!
//! Owns names. Refuses to look at data. Invariant: no file is ever replaced.

use super::Result;
use super::action::Action;
use crate::catalog::Catalog;
use crate::compaction::MoveError;
use crate::format::catalog::PackRef;
use crate::format::{Number, layout};
use crate::pack::{self, Pack, PackError};
use crate::repository::RepositoryError;
use crate::repository::{Points, Store, notes, sources};
use crate::storage::{Replace, StorageError};

/// Attempts at a free name: the same thing can be damaged more than once in its life.
const NAMES: u32 = 1_000;

/// Gives a file a name that nothing looks at; answers that name.
pub(super) fn set_aside(store: &Store, name: &str) -> Result<String> {
    aside(name, |to| store.storage().rename(name, to, Replace::Never))
}

/// Tries names for what is to stand aside from `name` until one is free; answers that one.
fn aside(name: &str, take: impl Fn(&str) -> std::result::Result<(), StorageError>) -> Result<String> {
    let mut to = format!("{name}{}", layout::DAMAGED_SUFFIX);
    for attempt in 1..NAMES {
        match take(&to) {
            Err(StorageError::AlreadyExists { .. }) => to = format!("{name}{}-{attempt}", layout::DAMAGED_SUFFIX),
            answer => {
                answer?;
                return Ok(to);
            }
        }
    }
    Err(StorageError::AlreadyExists { name: to }.into())
}

/// Sets the small files aside that cannot be understood.
pub(super) fn small_files(store: &Store, done: &mut dyn FnMut(Action)) -> Result<()> {
    let storage = store.storage();
    let (_, broken_points) = notes::read_all(storage)?;
    let (_, broken_sources) = sources::read_all(storage)?;
    for error in broken_points.into_iter().chain(broken_sources) {
        let why = error.to_string();
        if let RepositoryError::Damaged { name, .. } = error {
            let to = set_aside(store, &name)?;
            done(Action::SetAside { name, to, why });
        }
    }
    Ok(())
}

/// Puts packs back that stand under other packs' names, or that an earlier repair took away from there.
pub(super) fn packs(store: &Store, done: &mut dyn FnMut(Action)) -> Result<()> {
    let storage = store.storage();
    for listed in pack::list(storage)? {
        if let Err(error @ PackError::OtherPack { .. }) = Pack::open_headless(storage, listed) {
            let name = layout::pack(&listed.id);
            let to = set_aside(store, &name)?;
            done(Action::SetAside { name, to, why: error.to_string() });
        }
    }
    for directory in storage.list_dirs(layout::PACKS)? {
        for (file, file_len) in storage.list(&format!("{}/{directory}", layout::PACKS))? {
            let Some(before) = layout::before_set_aside(&file).and_then(|name| layout::pack_id(&directory, name))
            else {
                continue;
            };
            let from = format!("{}/{directory}/{file}", layout::PACKS);
            // One that was set aside under its own name is damaged.
            let Some(found) =
                Pack::read_name(storage, &from).map_err(MoveError::from)?.filter(|found| *found != before)
            else {
                continue;
            };
            let is_whole = |id| Pack::open_headless(storage, PackRef { id, file_len }).is_ok();
            put_back(store, &from, &layout::pack(&found), || is_whole(found), || Ok(()), done)?;
        }
    }
    Ok(())
}

/// Puts catalogs back that stand under other catalogs' names, or that an earlier repair took away from there.
pub(super) fn catalogs(store: &Store, done: &mut dyn FnMut(Action)) -> Result<()> {
    let storage = store.storage();
    for number in Points::numbers(storage)? {
        match Catalog::read_number(storage, &layout::catalog(number), number) {
            Ok(said) if said != number => {
                let name = layout::catalog(number);
                let to = set_aside(store, &name)?;
                done(Action::SetAside { name, to, why: format!("it is the catalog of backup {said}") });
            }
            // What cannot be read is for verification to find.
            Err(error) if !error.is_damage() => return Err(error.into()),
            Ok(_) | Err(_) => {}
        }
    }
    let mut strays = Vec::new();
    for (file, _) in storage.list(layout::CATALOGS)? {
        let Some(before) = layout::set_aside_catalog_number(&file) else { continue };
        let from = format!("{}/{file}", layout::CATALOGS);
        let Ok(said) = Catalog::read_number(storage, &from, before) else { continue };
        if said != before {
            strays.push((from, before, said));
        }
    }
    for (at, (from, before, said)) in strays.iter().enumerate() {
        let to = layout::catalog(*said);
        let is_whole = || Catalog::read_number(storage, &to, *said).is_ok_and(|there| there == *said);
        let comes_back = strays[at + 1..].iter().any(|(_, _, said)| said == before);
        let leave = || if comes_back { Ok(()) } else { remember(store, *before, from) };
        put_back(store, from, &to, is_whole, leave, done)?;
    }
    Ok(())
}

/// Sees to it that something else than `from` says that there was a backup `number`, durably and before `from` goes: what stood there is lost, and that is not to be forgotten with the
/// file that stood in its place.
fn remember(store: &Store, number: Number, from: &str) -> Result<()> {
    let storage = store.storage();
    let says_so = |file: &str| {
        let its = layout::catalog_number(file).or_else(|| layout::set_aside_catalog_number(file));
        its == Some(number) && format!("{}/{file}", layout::CATALOGS) != from
    };
    if !storage.list(layout::CATALOGS)?.iter().any(|(file, _)| says_so(file)) {
        aside(&layout::catalog(number), |to| match storage.exists(to)? {
            true => Err(StorageError::AlreadyExists { name: to.to_owned() }),
            false => storage.put(to, b"", Replace::Never),
        })?;
    }
    Ok(())
}

/// Gives a file its own name, where nothing whole has it; `leave` is done right before it loses the one that it has.
fn put_back(
    store: &Store,
    from: &str,
    to: &str,
    is_whole: impl Fn() -> bool,
    leave: impl Fn() -> Result<()>,
    done: &mut dyn FnMut(Action),
) -> Result<()> {
    if store.storage().exists(to)? {
        if is_whole() {
            return Ok(());
        }
        let aside = set_aside(store, to)?;
        let why = "it is damaged, and what belongs there was found".to_owned();
        done(Action::SetAside { name: to.to_owned(), to: aside, why });
    }
    leave()?;
    store.storage().rename(from, to, Replace::Never)?;
    done(Action::PutBack { name: to.to_owned() });
    Ok(())
}
