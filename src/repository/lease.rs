//! A reader's lease: the promise that nothing it may still read is removed.
//!
//! Owns the files in `leases/`. Refuses to know what is read. Its invariant: while a process holds a lease, its file is
//! there, locked, and states a generation that is not newer than the one the process has read. What is not understood
//! states generation 0, which keeps everything.
//!
//! The order that makes it safe. A reader: make the file, lock it, see that it is still there, read the generation,
//! state it, *then* list catalogs. A remover: rename catalogs away, raise the generation to g, *then* look at leases,
//! and delete only if each states g or more. A lease that the remover did not see was locked after it looked, so its
//! reader read g, and lists catalogs that no longer name what is deleted.

use crate::storage::{Lock, LockKind, Storage, StorageError, Wait};

use super::{Store, WriterLock, error::RepositoryError, marks::Marks};
use crate::format::layout;

/// The highest generation: it is stated in twenty digits, and one may still be added.
pub const GENERATION_MAX: u64 = u64::MAX - 1;

const DIGITS: usize = 20;
const ATTEMPTS: usize = 100;

/// A reader's lease, or the reason why it has none. Removed when dropped.
///
/// A child made by `fork` shares the lock, and the parent's end removes the file: take leases after forking.
#[derive(Debug)]
pub enum Lease {
    /// The store knows of this reader.
    Held(HeldLease),
    /// The store cannot be written, so nobody knows of this reader, and prune may remove what it reads.
    None {
        /// Why the store cannot be written; to be told.
        reason: StorageError,
        /// The generation that was read.
        generation: u64,
    },
}

/// A lease that is held.
#[derive(Debug)]
pub struct HeldLease {
    storage: Storage,
    lock: Lock,
    generation: u64,
}

impl Lease {
    /// Takes a lease. List catalogs only after this.
    ///
    /// # Errors
    /// The store could be written but was not; or the generation cannot be read.
    pub fn take(store: &Store) -> Result<Self, RepositoryError> {
        let lock = match lock_new_file(store.storage()) {
            Ok(lock) => lock,
            Err(reason) if reason.is_read_only() || reason.is_full() => {
                return Ok(Self::None { reason, generation: readable_generation(store)? });
            }
            Err(error) => return Err(error.into()),
        };
        // From here on the file is removed if anything fails. It is empty, which states generation 0.
        let mut held = HeldLease { storage: store.storage().clone(), lock, generation: 0 };
        match held.state(readable_generation(store)?) {
            // An empty lease keeps everything: on a full disk, of all places, one must be able to restore.
            Err(error) if error.is_full() => {}
            answer => answer?,
        }
        Ok(Self::Held(held))
    }

    /// The generation that this reader has read.
    #[must_use]
    pub const fn generation(&self) -> u64 {
        match self {
            Self::Held(held) => held.generation,
            Self::None { generation, .. } => *generation,
        }
    }

    /// Why there is no lease, if there is none.
    #[must_use]
    pub const fn missing(&self) -> Option<&StorageError> {
        match self {
            Self::Held(_) => None,
            Self::None { reason, .. } => Some(reason),
        }
    }

    /// States that this reader no longer needs what was unreachable at `generation`. An older one changes nothing.
    ///
    /// # Errors
    /// The lease cannot be written; it then states the generation before, or 0.
    pub fn advance(&mut self, generation: u64) -> Result<(), StorageError> {
        match self {
            Self::Held(held) if generation > held.generation => held.state(generation),
            Self::Held(_) => Ok(()),
            Self::None { generation: read, .. } => {
                *read = generation.max(*read);
                Ok(())
            }
        }
    }
}

impl HeldLease {
    /// Not flushed: an older statement only keeps more, and no lease outlives a power cut.
    fn state(&mut self, generation: u64) -> Result<(), StorageError> {
        self.lock.write_note(format!("{generation:0DIGITS$}").as_bytes())?;
        self.generation = generation;
        Ok(())
    }
}

impl Drop for HeldLease {
    fn drop(&mut self) {
        // Still locked, so that nobody else removes it too. What stays is swept.
        let _ = self.storage.remove(self.lock.name());
    }
}

/// The oldest generation that a live reader states; `None` without live readers. Meant for whoever has just raised the
/// generation under the writer lock.
///
/// # Errors
/// The leases cannot be read.
pub fn oldest_generation(store: &Store) -> Result<Option<u64>, RepositoryError> {
    Ok(live(store)?.into_iter().min())
}

/// How many live readers state a generation older than this one.
///
/// # Errors
/// The leases cannot be read.
pub fn older_than(store: &Store, generation: u64) -> Result<usize, RepositoryError> {
    Ok(live(store)?.into_iter().filter(|stated| *stated < generation).count())
}

/// The newest generation that a live reader states; `None` without live readers.
pub(super) fn newest_generation(store: &Store) -> Result<Option<u64>, RepositoryError> {
    Ok(live(store)?.into_iter().max())
}

/// Removes the leases of readers that died, and says how many.
///
/// # Errors
/// One cannot be looked at or removed.
pub fn sweep(store: &Store, _writer: &WriterLock) -> Result<usize, RepositoryError> {
    let mut removed = 0;
    for name in files(store)? {
        // Held while it is removed: a reader that has just made the file and not locked it yet finds it locked or gone,
        // and makes another.
        if let Attempt::Dead(_lock) = attempt(store, &name)? {
            store.storage().remove(&name)?;
            removed += 1;
        }
    }
    Ok(removed)
}

enum Attempt {
    Dead(Lock),
    Live,
    Gone,
}

fn attempt(store: &Store, name: &str) -> Result<Attempt, StorageError> {
    match store.storage().lock_existing(name, LockKind::Exclusive, Wait::Never) {
        Ok(Some(lock)) => Ok(Attempt::Dead(lock)),
        Ok(None) => Ok(Attempt::Live),
        Err(error) if error.is_not_found() => Ok(Attempt::Gone),
        // Another user's, whom only such a user can find dead.
        Err(error) if error.is_read_only() => Ok(Attempt::Live),
        Err(error) => Err(error),
    }
}

fn live(store: &Store) -> Result<Vec<u64>, RepositoryError> {
    let mut generations = Vec::new();
    for name in files(store)? {
        if matches!(attempt(store, &name)?, Attempt::Live) {
            generations.push(match store.storage().read_small(&name, DIGITS as u64) {
                Ok(bytes) => stated(&bytes),
                // It ended this very moment.
                Err(error) if error.is_not_found() => continue,
                Err(StorageError::TooLarge { .. }) => 0,
                Err(error) if error.is_read_only() => 0,
                Err(error) => return Err(error.into()),
            });
        }
    }
    Ok(generations)
}

fn files(store: &Store) -> Result<Vec<String>, StorageError> {
    let files = store.storage().list(layout::LEASES)?;
    let leases = files.into_iter().filter(|(name, _)| name.ends_with(layout::LEASE_SUFFIX));
    Ok(leases.map(|(name, _)| format!("{}/{name}", layout::LEASES)).collect())
}

/// The generation that the note in a lease states; 0, which keeps everything, where it is not whole.
#[must_use]
pub fn stated(bytes: &[u8]) -> u64 {
    let text = str::from_utf8(bytes).ok();
    let digits = text.filter(|text| text.len() == DIGITS && text.bytes().all(|byte| byte.is_ascii_digit()));
    digits.and_then(|text| text.parse().ok()).unwrap_or(0)
}

/// The generation for a new reader: where the marks are damaged, 0, which keeps everything until a writer mends them.
fn readable_generation(store: &Store) -> Result<u64, RepositoryError> {
    match Marks::read(store.storage()) {
        Ok(marks) => Ok(marks.generation),
        Err(RepositoryError::Damaged { .. }) => Ok(0),
        Err(error) => Err(error),
    }
}

fn lock_new_file(storage: &Storage) -> Result<Lock, StorageError> {
    if !storage.has_dir(layout::LEASES)? {
        storage.create_dir(layout::LEASES)?;
    }
    for _ in 0..ATTEMPTS {
        let random = getrandom::u64().map_err(|error| StorageError::Io {
            act: crate::storage::Act::Create,
            name: layout::LEASES.to_owned(),
            source: std::io::Error::other(error.to_string()),
        })?;
        let name = format!("{}/{random:016x}{}", layout::LEASES, layout::LEASE_SUFFIX);
        match storage.lock_fresh(&name) {
            Ok(Some(lock)) => return Ok(lock),
            // A writer that sweeps took it for dead; or the name is taken.
            Ok(None) => {}
            Err(error) if error.is_already_exists() => {}
            Err(error) => return Err(error),
        }
    }
    Err(StorageError::Io {
        act: crate::storage::Act::Lock,
        name: layout::LEASES.to_owned(),
        source: std::io::Error::other("every new lease was taken away"),
    })
}

#[cfg(test)]
mod tests {
    use std::{fs, process};

    use super::*;
    use crate::repository::{config::Chunking, marks};

    fn store() -> (tempfile::TempDir, Store) {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::init(dir.path(), Chunking::default()).unwrap();
        (dir, store)
    }

    fn writer(store: &Store) -> WriterLock {
        WriterLock::take(store, Wait::Never).unwrap()
    }

    fn count(dir: &tempfile::TempDir) -> usize {
        fs::read_dir(dir.path().join("leases")).unwrap().count()
    }

    #[test]
    fn lease_counts_while_it_is_held_and_is_gone_after() {
        let (dir, store) = store();
        assert_eq!(oldest_generation(&store).unwrap(), None);
        let mut lease = Lease::take(&store).unwrap();
        assert!(lease.missing().is_none());
        assert_eq!(oldest_generation(&store).unwrap(), Some(1));
        let generation = marks::raise_generation(&store, &writer(&store), None).unwrap().value;
        let newer = Lease::take(&store).unwrap();
        assert_eq!((newer.generation(), generation), (2, 2));
        assert_eq!(oldest_generation(&store).unwrap(), Some(1));
        assert_eq!([1, 2, 3].map(|generation| older_than(&store, generation).unwrap()), [0, 1, 2]);
        lease.advance(2).unwrap();
        lease.advance(1).unwrap();
        assert_eq!(oldest_generation(&store).unwrap(), Some(2));
        assert_eq!(sweep(&store, &writer(&store)).unwrap(), 0, "live leases are not swept");
        drop((lease, newer));
        assert_eq!(count(&dir), 0);
        assert_eq!(oldest_generation(&store).unwrap(), None);
    }

    #[test]
    fn killed_reader_leaves_a_lease_that_counts_for_nothing_and_is_swept() {
        let (dir, store) = store();
        let path = dir.path().join("leases/00000000deadbeef.lease");
        fs::write(&path, "00000000000000000001").unwrap();
        let mut reader = process::Command::new("flock")
            .arg("--no-fork")
            .arg(&path)
            .args(["sh", "-c", "echo held; exec cat"])
            .stdin(process::Stdio::piped())
            .stdout(process::Stdio::piped())
            .spawn()
            .expect("util-linux has flock");
        let mut said = [0; 5];
        std::io::Read::read_exact(reader.stdout.as_mut().unwrap(), &mut said).unwrap();
        assert_eq!(oldest_generation(&store).unwrap(), Some(1));
        assert_eq!(sweep(&store, &writer(&store)).unwrap(), 0);
        reader.kill().unwrap();
        reader.wait().unwrap();
        assert_eq!(oldest_generation(&store).unwrap(), None);
        assert_eq!(sweep(&store, &writer(&store)).unwrap(), 1);
        assert_eq!(count(&dir), 0);
    }

    #[test]
    fn lease_that_is_not_understood_keeps_everything() {
        let (dir, store) = store();
        let _lease = Lease::take(&store).unwrap();
        let path = fs::read_dir(dir.path().join("leases")).unwrap().next().unwrap().unwrap().path();
        for note in ["", "7", "-0000000000000000007", "99999999999999999999", "000000000000000000071"] {
            fs::write(&path, note).unwrap();
            assert_eq!(oldest_generation(&store).unwrap(), Some(0), "{note:?}");
        }
    }

    /// Runs `work` as a user for whom permissions count, who owns everything below `dir`.
    fn as_ordinary_user(dir: &tempfile::TempDir, work: impl FnOnce() + Send) {
        use rustix::thread::set_thread_res_uid;
        let is_root = rustix::process::geteuid().is_root();
        let nobody = rustix::process::Uid::from_raw(65_534);
        if is_root {
            let status = process::Command::new("chown").args(["-R", "65534"]).arg(dir.path()).status().unwrap();
            assert!(status.success());
        }
        std::thread::scope(|scope| {
            scope.spawn(|| {
                if is_root {
                    set_thread_res_uid(nobody, nobody, nobody).unwrap();
                }
                work();
            });
        });
    }

    #[test]
    fn store_that_cannot_be_written_gives_no_lease_and_says_why() {
        use std::os::unix::fs::PermissionsExt;
        let (dir, store) = store();
        for name in ["leases", "writer.lock"] {
            fs::set_permissions(dir.path().join(name), fs::Permissions::from_mode(0o500)).unwrap();
        }
        as_ordinary_user(&dir, || {
            let mut lease = Lease::take(&store).unwrap();
            let reason = lease.missing().expect("no lease").to_string();
            assert!(reason.ends_with(": Permission denied"), "{reason}");
            assert_eq!(lease.generation(), 1);
            lease.advance(3).unwrap();
            assert_eq!(lease.generation(), 3);
            assert!(store.storage().check_writable("leases").unwrap_err().is_read_only());
            let error = WriterLock::take(&store, Wait::Never).unwrap_err();
            assert!(matches!(&error, RepositoryError::Storage(error) if error.is_read_only()), "{error}");
        });
        assert_eq!(count(&dir), 0);
    }

    #[test]
    fn readers_that_come_while_leases_are_swept_all_keep_theirs() {
        let (_dir, store) = store();
        let done = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            let readers: Vec<_> = (0..2)
                .map(|_| {
                    scope.spawn(|| {
                        for _ in 0..200 {
                            let lease = Lease::take(&store).unwrap();
                            let Lease::Held(held) = &lease else { panic!("no lease") };
                            assert!(store.storage().is_current(&held.lock).unwrap());
                        }
                    })
                })
                .collect();
            let sweeper = scope.spawn(|| {
                let lock = writer(&store);
                while !done.load(std::sync::atomic::Ordering::Relaxed) {
                    sweep(&store, &lock).unwrap();
                    oldest_generation(&store).unwrap();
                }
            });
            readers.into_iter().for_each(|reader| reader.join().unwrap());
            done.store(true, std::sync::atomic::Ordering::Relaxed);
            sweeper.join().unwrap();
        });
    }

    #[test]
    fn damaged_marks_make_a_lease_that_keeps_everything() {
        let (dir, store) = store();
        fs::write(dir.path().join("marks.toml"), "rubbish").unwrap();
        let _lease = Lease::take(&store).unwrap();
        assert_eq!(oldest_generation(&store).unwrap(), Some(0));
    }
}
