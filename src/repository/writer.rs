//! The one writer of a store.
//!
//! Owns the lock that backup, prune and every change of a small file need. Refuses to know what is written. Its
//! invariant: at most one [`WriterLock`] of a store lives, on all machines whose file system carries locks; it cannot
//! go stale, for the kernel drops it with the process.

use std::fmt;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::storage::{Lock, LockKind, StorageError, Wait};

use super::{Store, error::RepositoryError};
use crate::format::layout;

const HOLDER_LIMIT_BYTES: u64 = 4 << 10;
const COMMAND_LIMIT_LETTERS: usize = 200;
const PAUSE: Duration = Duration::from_millis(20);

/// The proof that this process is the one writer. Dropped, another may be.
#[derive(Debug)]
pub struct WriterLock {
    lock: Lock,
}

impl WriterLock {
    /// Becomes the one writer, or says who is, or waits.
    ///
    /// # Errors
    /// [`RepositoryError::Busy`] where another is and `wait` forbids to wait; [`RepositoryError::ReadOnlyFeature`] where this
    /// program must not write; a store that this user cannot write ([`StorageError::is_read_only`]).
    pub fn take(store: &Store, wait: Wait) -> Result<Self, RepositoryError> {
        if let Some(feature) = store.config().unknown_to_writers() {
            return Err(RepositoryError::ReadOnlyFeature {
                path: store.path().to_owned(),
                feature: feature.to_owned(),
            });
        }
        let Some(lock) = store.storage().lock(layout::WRITER_LOCK, LockKind::Exclusive, wait)? else {
            return Err(RepositoryError::Busy { holder: Holder::read(store) });
        };
        if store.storage().len(layout::WRITER_LOCK)? != Some(0) {
            make_durable(store)?;
        }
        // A disk too full for it may still be one on which prune is about to make room.
        let note = toml::to_string(&Holder::this_process()).unwrap_or_default();
        let _ = lock.write_note(note.as_bytes());
        Ok(Self { lock })
    }

    /// Becomes the one writer, and waits for that no longer than `patience`.
    ///
    /// # Errors
    /// As [`WriterLock::take`].
    pub fn take_within(store: &Store, patience: Duration) -> Result<Self, RepositoryError> {
        let end = Instant::now() + patience;
        loop {
            match Self::take(store, Wait::Never) {
                Err(RepositoryError::Busy { .. }) if Instant::now() < end => std::thread::sleep(PAUSE),
                answer => return answer,
            }
        }
    }

    /// Removes what writers that died have left half-written, and says how many files. To be called once, before this
    /// writer begins any file.
    ///
    /// # Errors
    /// One cannot be removed.
    pub fn remove_stale_temporaries(&self, store: &Store) -> Result<usize, StorageError> {
        let mut removed = 0;
        for name in store.storage().list_all("")?.iter().filter(|name| name.starts_with(".tmp-")) {
            store.storage().remove(name)?;
            removed += 1;
        }
        for directory in layout::WRITTEN {
            removed += store.storage().remove_stale_temporaries(directory)?;
        }
        Ok(removed)
    }

    /// Whether the lock file is still the one that was locked; if not, somebody has removed it and the run must stop.
    ///
    /// # Errors
    /// It cannot be found out.
    pub fn is_current(&self, store: &Store) -> Result<bool, StorageError> {
        store.storage().is_current(&self.lock)
    }
}

/// Makes all names durable. The last writer did not end, for it has left its note: it may have died between giving a name and syncing it. What can be seen
/// is built upon, and must not go when the power does.
fn make_durable(store: &Store) -> Result<(), StorageError> {
    let storage = store.storage();
    for directory in layout::WRITTEN {
        for below in storage.list_dirs(directory)? {
            storage.sync_dir(&format!("{directory}/{below}"))?;
        }
        if storage.has_dir(directory)? {
            storage.sync_dir(directory)?;
        }
    }
    storage.sync_dir("")
}

impl Drop for WriterLock {
    fn drop(&mut self) {
        // So that no later message names a writer long gone, and the next one knows that this one ended.
        let _ = self.lock.write_note(b"");
    }
}

/// Who holds the writer lock, as it says itself; for people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// The process, on its machine.
    pub pid: u32,
    /// Its machine.
    pub host: String,
    /// Its command line, shortened.
    pub command: String,
}

impl Holder {
    fn this_process() -> Self {
        let words: Vec<_> = std::env::args_os().map(|word| word.to_string_lossy().into_owned()).collect();
        Self {
            pid: std::process::id(),
            host: rustix::system::uname().nodename().to_string_lossy().into_owned(),
            command: words.join(" ").chars().take(COMMAND_LIMIT_LETTERS).collect(),
        }
    }

    fn read(store: &Store) -> Option<Self> {
        let bytes = store.storage().read_small(layout::WRITER_LOCK, HOLDER_LIMIT_BYTES).ok()?;
        toml::from_str(str::from_utf8(&bytes).ok()?).ok()
    }
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { pid, host, command } = self;
        write!(f, "process {pid} on {} ({})", host.escape_debug(), command.escape_debug())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::repository::config::Chunking;

    fn store() -> (tempfile::TempDir, Store) {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::init(dir.path(), Chunking::default()).unwrap();
        (dir, store)
    }

    #[test]
    fn second_writer_is_told_who_the_first_is() {
        let (dir, store) = store();
        let held = WriterLock::take(&store, Wait::Never).unwrap();
        let error = WriterLock::take(&Store::open(dir.path()).unwrap(), Wait::Never).unwrap_err();
        let RepositoryError::Busy { holder: Some(holder) } = &error else { panic!("{error}") };
        assert_eq!(holder.pid, std::process::id());
        assert!(error.to_string().starts_with("another writer is busy with the store: process "), "{error}");
        drop(held);
        assert_eq!(fs::read(dir.path().join("writer.lock")).unwrap(), b"");
        WriterLock::take(&store, Wait::Never).unwrap();
    }

    #[test]
    fn rubbish_in_the_lock_file_hides_the_holder_and_nothing_else() {
        let (dir, store) = store();
        let _held = WriterLock::take(&store, Wait::Never).unwrap();
        fs::write(dir.path().join("writer.lock"), [0xff; 9000]).unwrap();
        let error = WriterLock::take(&store, Wait::Never).unwrap_err();
        assert_eq!(error.to_string(), "another writer is busy with the store");
    }

    #[test]
    fn second_process_finds_the_writer_busy_and_its_death_frees_the_lock() {
        let (dir, store) = store();
        // A process of its own that holds the lock until its input ends.
        let mut other = std::process::Command::new("flock")
            .arg(dir.path().join("writer.lock"))
            .args(["sh", "-c", "echo held; exec cat"])
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .expect("util-linux has flock");
        let mut said = [0; 5];
        std::io::Read::read_exact(other.stdout.as_mut().unwrap(), &mut said).unwrap();
        assert!(matches!(WriterLock::take(&store, Wait::Never), Err(RepositoryError::Busy { .. })));
        drop(other.stdin.take());
        other.wait().unwrap();
        WriterLock::take(&store, Wait::Forever).unwrap();
    }

    #[test]
    fn store_with_a_feature_unknown_to_writers_is_not_written() {
        let (dir, _) = store();
        let path = dir.path().join("store.toml");
        let text = fs::read_to_string(&path).unwrap().split_once('\n').unwrap().1.to_owned();
        fs::write(&path, text.replace("read_only_compatible = []", "read_only_compatible = [\"colour\"]")).unwrap();
        let error = WriterLock::take(&Store::open(dir.path()).unwrap(), Wait::Never).unwrap_err();
        assert!(matches!(&error, RepositoryError::ReadOnlyFeature { feature, .. } if feature == "colour"), "{error}");
    }

    #[test]
    fn new_writer_removes_what_a_dead_one_left() {
        let (dir, store) = store();
        for name in [".tmp-1", "packs/.tmp-2", "catalogs/.tmp-3"] {
            fs::write(dir.path().join(name), "rest").unwrap();
        }
        let lock = WriterLock::take(&store, Wait::Never).unwrap();
        assert_eq!(lock.remove_stale_temporaries(&store).unwrap(), 3);
        assert!(lock.is_current(&store).unwrap());
        assert!(dir.path().join("store.toml").exists());
    }
}
