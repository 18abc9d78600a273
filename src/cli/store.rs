//! Which store a command works on.

use std::path::PathBuf;

use dbakfs::repository::config::Chunking;
use dbakfs::repository::{CacheBytes, Reader, RepositoryError, Store, default_path};

use super::{Exit, Failure, Global, Result, output};

/// The path of the store, and whether it is the default one.
fn path(global: &Global) -> Result<(PathBuf, bool)> {
    if let Some(path) = &global.store {
        return Ok((path.clone(), false));
    }
    let default = default_path(std::env::var_os("XDG_DATA_HOME"), std::env::var_os("HOME"));
    let missing =
        || Failure::new(Exit::Usage, "neither --store, DBAKFS_STORE, XDG_DATA_HOME nor HOME says where the store is");
    default.map(|path| (path, true)).ok_or_else(missing)
}

/// The path of the store.
pub(crate) fn chosen(global: &Global) -> Result<PathBuf> {
    Ok(path(global)?.0)
}

/// Opens the store.
pub(crate) fn open(global: &Global) -> Result<Store> {
    let (path, is_default) = path(global)?;
    Store::open(&path).map_err(|error| match error {
        RepositoryError::NotFound { .. } if is_default => {
            Failure::of(Exit::NoStore, &error).hint("the first `dbakfs backup` makes it; --store DIR names another")
        }
        error => error.into(),
    })
}

/// Opens the store; the default one is made where there is none yet.
pub(crate) fn open_or_make(global: &Global) -> Result<Store> {
    let (path, is_default) = path(global)?;
    match Store::open(&path) {
        Err(RepositoryError::NotFound { .. }) if is_default => {
            let made = Store::init(&path, Chunking::default())?;
            output::complain(&format!("made the store {}", path.display()));
            Ok(made)
        }
        answer => Ok(answer?),
    }
}

/// Opens the store for reading.
pub(crate) fn reader(global: &Global, cache: CacheBytes) -> Result<Reader> {
    let reader = Reader::open(open(global)?, cache)?;
    if let Some(reason) = reader.missing_lease() {
        output::complain(&format!("warning: reading without a lease, a prune elsewhere would not wait: {reason}"));
    }
    Ok(reader)
}
