//! Which store a command works on.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use dbakfs::repository::config::Chunking;
use dbakfs::repository::{CacheBytes, Reader, RepositoryError, Store, WriterLock, default_path};
use dbakfs::settings::Settings;
use dbakfs::storage::Wait;

use super::{Exit, Failure, Global, Result, output, settings, signals};

/// A writer that only notes something, such as the verdict of a check, has done so by then.
const NOTED_WITHIN: Duration = Duration::from_secs(1);

/// The path of the store, and whether it is the default one.
fn path(global: &Global) -> Result<(PathBuf, bool)> {
    if let Some(path) = &global.store {
        return Ok((path.clone(), false));
    }
    if let Some(path) = settings::load(global)?.and_then(|settings| settings.store) {
        return Ok((path, false));
    }
    default()
}

fn default() -> Result<(PathBuf, bool)> {
    let default = default_path(std::env::var_os("XDG_DATA_HOME"), std::env::var_os("HOME"));
    let missing =
        || Failure::new(Exit::Usage, "neither --store, DBAKFS_STORE, XDG_DATA_HOME nor HOME says where the store is");
    default.map(|path| (path, true)).ok_or_else(missing)
}

/// Keeps to the owner whatever this process makes from here on, for commands that write to a store and nowhere else: all of it has its mode given,
/// but for the files of the index, which sled makes as the umask says.
pub(crate) fn close_to_others() {
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
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
    Ok(opened_or_made(&path, is_default)?)
}

/// The path of the store and whether it is the default one, by a configuration that has been read.
pub(crate) fn of_settings(global: &Global, settings: &Settings) -> Result<(PathBuf, bool)> {
    match (&global.store, &settings.store) {
        (Some(path), _) | (None, Some(path)) => Ok((path.clone(), false)),
        (None, None) => default(),
    }
}

/// Opens the store at `path`; the default one is made where there is none yet.
pub(crate) fn opened_or_made(path: &Path, is_default: bool) -> std::result::Result<Store, RepositoryError> {
    match Store::open(path) {
        Err(RepositoryError::NotFound { .. } | RepositoryError::NotAStore { .. }) if is_default => make(path),
        answer => answer,
    }
}

/// Makes the default store, unless another process is just doing so: then that one's is opened.
fn make(path: &Path) -> std::result::Result<Store, RepositoryError> {
    let patience = Instant::now() + Duration::from_secs(5);
    loop {
        match Store::init(path, Chunking::default()) {
            Ok(made) => {
                output::complain(&format!("made the store {}", path.display()));
                return Ok(made);
            }
            Err(RepositoryError::AlreadyAStore { .. }) => return Store::open(path),
            Err(RepositoryError::Busy { .. }) if Instant::now() < patience => {
                std::thread::sleep(Duration::from_millis(10));
            }
            Err(error) => return Err(error),
        }
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

/// The store and its writer lock.
pub(crate) fn writer(global: &Global, wait: bool) -> Result<(Store, WriterLock)> {
    close_to_others();
    let store = open(global)?;
    let cancel = signals::stop_flag()?;
    let lock = waiting(wait, &cancel, || Ok(WriterLock::take(&store, Wait::Never)?))?;
    Ok((store, lock))
}

/// Tries until no other writer is busy, if that is to be waited for. Whoever waits can be told to stop.
pub(crate) fn waiting<T>(wait: bool, cancel: &AtomicBool, attempt: impl Fn() -> Result<T>) -> Result<T> {
    let mut is_said = false;
    let end = Instant::now() + NOTED_WITHIN;
    loop {
        match attempt() {
            Err(busy) if busy.exit == Exit::Busy && !wait && Instant::now() < end => {
                std::thread::sleep(Duration::from_millis(20));
            }
            Err(busy) if busy.exit == Exit::Busy && wait => {
                if !std::mem::replace(&mut is_said, true) {
                    output::complain(&format!("note: waiting: {busy}"));
                }
                if cancel.load(Ordering::Relaxed) {
                    return Err(Failure::new(
                        Exit::Failed,
                        "stopped while waiting for another writer; nothing was done",
                    ));
                }
                std::thread::sleep(Duration::from_millis(100));
            }
            answer => return answer,
        }
    }
}
