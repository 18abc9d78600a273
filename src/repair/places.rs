//! Files that do not stand where they should, and those that are set aside.
//!
//! Owns names. Refuses to look at data. Invariant: no file is ever replaced.

use super::Result;
use super::run::Action;
use crate::catalog::Catalog;
use crate::format::layout;
use crate::pack::{self, Pack, PackError};
use crate::repository::RepositoryError;
use crate::repository::{Points, Store, notes, sources};
use crate::storage::{Replace, StorageError};

/// Attempts at a free name: the same thing can be damaged more than once in its life.
const NAMES: u32 = 1_000;

/// Gives a file a name that nothing looks at; answers that name.
pub(super) fn set_aside(store: &Store, name: &str) -> Result<String> {
    let mut to = format!("{name}{}", layout::DAMAGED_SUFFIX);
    for attempt in 1..NAMES {
        match store.storage().rename(name, &to, Replace::Never) {
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

/// Puts packs back that stand under other packs' names.
pub(super) fn packs(store: &Store, done: &mut dyn FnMut(Action)) -> Result<()> {
    let storage = store.storage();
    let mut misplaced = Vec::new();
    for listed in pack::list(storage)? {
        if let Err(error @ PackError::OtherPack { .. }) = Pack::open_headless(storage, listed) {
            let why = error.to_string();
            let PackError::OtherPack { pack, found } = error else { continue };
            let name = layout::pack(&pack);
            let to = set_aside(store, &name)?;
            misplaced.push((to.clone(), layout::pack(&found)));
            done(Action::SetAside { name, to, why });
        }
    }
    put_back(store, misplaced, done)
}

/// Puts catalogs back that stand under other catalogs' names.
pub(super) fn catalogs(store: &Store, done: &mut dyn FnMut(Action)) -> Result<()> {
    let storage = store.storage();
    let mut misplaced = Vec::new();
    for number in Points::numbers(store.storage())? {
        match Catalog::read_number(storage, number) {
            Ok(said) if said != number => {
                let name = layout::catalog(number);
                let to = set_aside(store, &name)?;
                misplaced.push((to.clone(), layout::catalog(said)));
                done(Action::SetAside { name, to, why: format!("it is the catalog of backup {said}") });
            }
            // What cannot be read is for verification to find.
            Err(error) if !error.is_damage() => return Err(error.into()),
            Ok(_) | Err(_) => {}
        }
    }
    put_back(store, misplaced, done)
}

fn put_back(store: &Store, misplaced: Vec<(String, String)>, done: &mut dyn FnMut(Action)) -> Result<()> {
    for (from, to) in misplaced {
        match store.storage().rename(&from, &to, Replace::Never) {
            // A copy of what is there.
            Err(StorageError::AlreadyExists { .. }) => {}
            answer => {
                answer?;
                done(Action::PutBack { name: to });
            }
        }
    }
    Ok(())
}
