//! The directory that is a store, and everything that can be done to the files in it.
//!
//! Owns the descriptor of the directory, through which all access goes. Refuses to know layout and formats. Its
//! invariant: no access leaves that directory, not even if it is renamed meanwhile or somebody puts symbolic links in it.

use std::{
    collections::HashSet,
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use rustix::{
    fd::OwnedFd,
    fs::{Access, AtFlags, FileType, Mode, OFlags, accessat, fstat, fstatfs, open, statat},
    io::Errno,
};

use crate::format::Timestamp;

use super::{
    beneath::{DIRECTORY, check_name, open_beneath, split},
    disk::{self, Place},
    durable::{self, Replace},
    error::{Act, StorageError},
    file::StoredFile,
    file_system::FlockReach,
    lock::{Lock, LockKind, Wait},
    new_file::{NewFile, TEMPORARY_PREFIX},
};

/// A store's directory. All names are relative to it, their components joined by `/`. A clone is the same directory.
#[derive(Clone, Debug)]
pub struct Storage {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    root: OwnedFd,
    path: PathBuf,
    /// Directories that are there, their own names durable, as far as this process knows.
    durable_directories: Mutex<HashSet<String>>,
}

impl Storage {
    /// Opens the directory at `path`, which may be reached by symbolic links.
    ///
    /// # Errors
    /// There is none, it is no directory, or this user may not read it.
    pub fn open_root(path: &Path) -> Result<Self, StorageError> {
        let root = open(path, DIRECTORY, Mode::empty())
            .map_err(|error| StorageError::new(Act::Open, &path.display().to_string(), error))?;
        let inner = Inner { root, path: path.to_owned(), durable_directories: Mutex::default() };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Opens the directory at `path`, and makes it first if it is absent, with what is missing above it, durably.
    ///
    /// # Errors
    /// It cannot be made or opened.
    pub fn create_root(path: &Path) -> Result<Self, StorageError> {
        let failed = |error: io::Error| StorageError::new(Act::Create, &path.display().to_string(), error);
        let path = std::path::absolute(path).map_err(failed)?;
        let missing: Vec<&Path> = path.ancestors().take_while(|path| !path.exists()).collect();
        for path in missing.iter().rev().chain([&&*path]) {
            disk::make_path(path).map_err(failed)?;
        }
        for parent in missing.into_iter().filter_map(Path::parent) {
            // A directory that this user may only pass through cannot be one in which something was just made.
            match File::open(parent).and_then(disk::sync) {
                Err(error) if error.kind() != io::ErrorKind::PermissionDenied => return Err(failed(error)),
                _ => {}
            }
        }
        Self::open_root(&path)
    }

    /// Where the directory was when it was opened: for messages, and for the one library that opens files by itself.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.inner.path
    }

    /// Opens a file for reading.
    ///
    /// # Errors
    /// It is not there, is no regular file, or cannot be opened.
    pub fn open(&self, name: &str) -> Result<StoredFile, StorageError> {
        let (file, len_bytes) = self.open_regular(name, OFlags::RDONLY)?;
        Ok(StoredFile::new(file, name, len_bytes))
    }

    /// Lets the kernel forget what it holds of a file: see [`StoredFile::forget_cached`]. What is not there or cannot be opened is left to whoever reads it.
    ///
    /// # Errors
    /// What the system says.
    pub fn forget_cached(&self, name: &str) -> Result<(), StorageError> {
        self.open(name).map_or(Ok(()), |file| file.forget_cached())
    }

    /// Reads a whole file that has at most `limit_bytes` bytes.
    ///
    /// # Errors
    /// It is not there, is larger, or cannot be read.
    pub fn read_small(&self, name: &str, limit_bytes: u64) -> Result<Vec<u8>, StorageError> {
        let (file, len_bytes) = self.open_regular(name, OFlags::RDONLY)?;
        let too_large = |len_bytes| StorageError::TooLarge { name: name.to_owned(), len_bytes, limit_bytes };
        if len_bytes > limit_bytes {
            return Err(too_large(len_bytes));
        }
        let mut bytes = Vec::new();
        let read = file.take(limit_bytes.saturating_add(1)).read_to_end(&mut bytes);
        read.map_err(|error| StorageError::new(Act::Read, name, error))?;
        if bytes.len() as u64 > limit_bytes {
            return Err(too_large(bytes.len() as u64));
        }
        Ok(bytes)
    }

    /// Begins a new file. Until it is finished it is a temporary in `directory`, which is made if absent.
    ///
    /// # Errors
    /// The temporary cannot be made.
    pub fn create(&self, directory: &str) -> Result<NewFile, StorageError> {
        let fd = self.ensure_directory(directory)?;
        let failed = |error: io::Error| StorageError::new(Act::Create, &join(directory, "a temporary file"), error);
        let temporary = format!("{TEMPORARY_PREFIX}{}", random_name().map_err(failed)?);
        let file = disk::create(Place { directory: &fd, name: &temporary }).map_err(failed)?;
        Ok(NewFile::new(self.clone(), file, fd, directory, temporary))
    }

    /// Writes a small file, durably and in one step.
    ///
    /// # Errors
    /// As for [`NewFile::finish`].
    pub fn put(&self, name: &str, bytes: &[u8], replace: Replace) -> Result<(), StorageError> {
        let mut file = self.create(split(name).0)?;
        file.write_all(bytes)?;
        file.finish(name, replace)
    }

    /// Gives a file another name, durably and in one step.
    ///
    /// # Errors
    /// [`StorageError::AlreadyExists`] where the name is taken and must not be replaced; else what the system says.
    pub fn rename(&self, from: &str, to: &str, replace: Replace) -> Result<(), StorageError> {
        let (from_directory, from_last) = split(from);
        let (to_directory, to_last) = split(to);
        let source = self.directory(from_directory, Act::Rename)?;
        let target = self.ensure_directory(to_directory)?;
        let (from, place) =
            (Place { directory: &source, name: from_last }, Place { directory: &target, name: to_last });
        durable::rename(from, place, replace).map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => StorageError::AlreadyExists { name: to.to_owned() },
            _ => StorageError::new(Act::Rename, to, error),
        })
    }

    /// Whether there is a directory of this name.
    ///
    /// # Errors
    /// It cannot be found out.
    pub fn has_dir(&self, directory: &str) -> Result<bool, StorageError> {
        match self.directory(directory, Act::Inspect) {
            Ok(_) => Ok(true),
            Err(error) if error.is_not_found() => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Makes a directory, if there is none. That it is there becomes durable only with the next file in the directory above it, or [`Storage::sync_dir`] of that.
    ///
    /// # Errors
    /// It cannot be made, or something else has its name.
    pub fn create_dir(&self, directory: &str) -> Result<(), StorageError> {
        let (above, last) = split(directory);
        let parent = self.ensure_directory(above)?;
        self.make(directory, &parent, last)?;
        self.directory(directory, Act::Open).map(drop)
    }

    /// Removes a file. That it is gone becomes durable only with [`Storage::sync_dir`].
    ///
    /// # Errors
    /// It is not there or cannot be removed.
    pub fn remove(&self, name: &str) -> Result<(), StorageError> {
        let (directory, last) = split(name);
        let fd = self.directory(directory, Act::Remove)?;
        disk::unlink(Place { directory: &fd, name: last }).map_err(|error| StorageError::new(Act::Remove, name, error))
    }

    /// Makes all changes of names in `directory` durable: what must be gone before something else goes.
    ///
    /// # Errors
    /// The disk reports a failure.
    pub fn sync_dir(&self, directory: &str) -> Result<(), StorageError> {
        let fd = self.directory(directory, Act::Flush)?;
        durable::sync_directory(&fd).map_err(|error| StorageError::new(Act::Flush, directory, error))
    }

    /// The length in bytes of a regular file; `None` if there is none of this name.
    ///
    /// # Errors
    /// It cannot be found out.
    pub fn len(&self, name: &str) -> Result<Option<u64>, StorageError> {
        let (directory, last) = split(name);
        let stat = match self.directory(directory, Act::Inspect) {
            Ok(fd) => statat(&fd, last, AtFlags::SYMLINK_NOFOLLOW),
            Err(error) if error.is_not_found() => return Ok(None),
            Err(error) => return Err(error),
        };
        match stat {
            Ok(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile => {
                Ok(Some(u64::try_from(stat.st_size).unwrap_or(0)))
            }
            Ok(_) | Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(StorageError::new(Act::Inspect, name, error)),
        }
    }

    /// Whether there is a regular file of this name.
    ///
    /// # Errors
    /// It cannot be found out.
    pub fn exists(&self, name: &str) -> Result<bool, StorageError> {
        Ok(self.len(name)?.is_some())
    }

    /// Locks a file, which is made if absent. `None` if another holds it and `wait` forbids to wait.
    ///
    /// # Errors
    /// The file cannot be made or opened for writing, or the file system has no locks.
    pub fn lock(&self, name: &str, kind: LockKind, wait: Wait) -> Result<Option<Lock>, StorageError> {
        self.lock_opened(name, OFlags::RDWR | OFlags::CREATE, kind, wait)
    }

    /// Locks a file that must be there. `None` if another holds it and `wait` forbids to wait.
    ///
    /// # Errors
    /// It is not there, cannot be opened for writing, or the file system has no locks.
    pub fn lock_existing(&self, name: &str, kind: LockKind, wait: Wait) -> Result<Option<Lock>, StorageError> {
        self.lock_opened(name, OFlags::RDWR, kind, wait)
    }

    /// Makes a file and locks it exclusively. `None` if another was quicker to lock or to remove it.
    ///
    /// # Errors
    /// [`StorageError::AlreadyExists`] if the name is taken; else what the system says.
    pub fn lock_fresh(&self, name: &str) -> Result<Option<Lock>, StorageError> {
        let (file, _) = self.open_regular(name, OFlags::RDWR | OFlags::CREATE | OFlags::EXCL)?;
        match Lock::acquire(file, name, LockKind::Exclusive, Wait::Never)? {
            Some(lock) if self.is_current(&lock)? => Ok(Some(lock)),
            _ => Ok(None),
        }
    }

    /// Whether the lock's name still leads to the locked file.
    ///
    /// # Errors
    /// It cannot be found out.
    pub fn is_current(&self, lock: &Lock) -> Result<bool, StorageError> {
        let name = lock.name();
        let failed = |error: io::Error| StorageError::new(Act::Inspect, name, error);
        let (directory, last) = split(name);
        let ours = fstat(lock.file()).map_err(|error| failed(error.into()))?;
        let fd = match self.directory(directory, Act::Inspect) {
            Err(error) if error.is_not_found() => return Ok(false),
            answer => answer?,
        };
        match statat(&fd, last, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(named) => Ok((named.st_dev, named.st_ino) == (ours.st_dev, ours.st_ino)),
            Err(Errno::NOENT) => Ok(false),
            Err(error) => Err(failed(error.into())),
        }
    }

    /// When names last came to `directory` or went from it.
    ///
    /// # Errors
    /// It cannot be found out.
    pub fn changed_at(&self, directory: &str) -> Result<Timestamp, StorageError> {
        let fd = self.directory(directory, Act::Inspect)?;
        let stat = fstat(&fd).map_err(|error| StorageError::new(Act::Inspect, &self.shown(directory), error))?;
        #[allow(clippy::useless_conversion, reason = "narrower on some machines")]
        let nanos = u32::try_from(stat.st_mtime_nsec).unwrap_or(0);
        Ok(Timestamp::new(stat.st_mtime, nanos))
    }

    /// Whether files can be made in `directory` by this user; the error says why not.
    ///
    /// # Errors
    /// They cannot ([`StorageError::is_read_only`]), or it cannot be found out.
    pub fn check_writable(&self, directory: &str) -> Result<(), StorageError> {
        let fd = self.directory(directory, Act::Write)?;
        accessat(&fd, ".", Access::WRITE_OK | Access::EXEC_OK, AtFlags::EACCESS)
            .map_err(|error| StorageError::new(Act::Write, &self.shown(directory), error))
    }

    /// Whose locks a process on this machine is known to see.
    ///
    /// # Errors
    /// The file system does not answer.
    pub fn flock_reach(&self) -> Result<FlockReach, StorageError> {
        let stat =
            fstatfs(&self.inner.root).map_err(|error| StorageError::new(Act::Inspect, &self.shown(""), error))?;
        // The magic number is 32 bits in a field whose width and sign differ between machines.
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the low 32 bits are the number")]
        let magic = stat.f_type as u32;
        Ok(FlockReach::of_magic(magic))
    }

    /// Opens `directory`, made durably if absent. One that is there is durable: a writer that finds that another has died makes what it left durable
    /// before anything else.
    pub(super) fn ensure_directory(&self, directory: &str) -> Result<OwnedFd, StorageError> {
        let known = || self.inner.durable_directories.lock().unwrap_or_else(PoisonError::into_inner);
        if directory.is_empty() || known().contains(directory) {
            match self.directory(directory, Act::Open) {
                // Somebody removed it: make it again.
                Err(error) if error.is_not_found() && !directory.is_empty() => {}
                answer => return answer,
            }
        }
        let (above, last) = split(directory);
        check_name(directory).map_err(|error| StorageError::new(Act::Create, directory, error))?;
        let parent = self.ensure_directory(above)?;
        if self.make(directory, &parent, last)? {
            durable::sync_directory(&parent).map_err(|error| StorageError::new(Act::Create, directory, error))?;
        }
        let fd = self.directory(directory, Act::Open)?;
        known().insert(directory.to_owned());
        Ok(fd)
    }

    /// Makes a directory; answers whether it was not there before.
    fn make(&self, directory: &str, parent: &OwnedFd, last: &str) -> Result<bool, StorageError> {
        check_name(directory).map_err(|error| StorageError::new(Act::Create, directory, error))?;
        match disk::make_directory(Place { directory: parent, name: last }) {
            Ok(()) => Ok(true),
            Err(Errno::EXIST) => Ok(false),
            Err(error) => Err(StorageError::new(Act::Create, directory, error)),
        }
    }

    pub(super) fn directory(&self, directory: &str, act: Act) -> Result<OwnedFd, StorageError> {
        open_beneath(&self.inner.root, directory, DIRECTORY)
            .map_err(|error| StorageError::new(act, &self.shown(directory), error))
    }

    pub(super) fn shown(&self, directory: &str) -> String {
        if directory.is_empty() { self.inner.path.display().to_string() } else { directory.to_owned() }
    }

    fn open_regular(&self, name: &str, flags: OFlags) -> Result<(File, u64), StorageError> {
        let act = if flags.contains(OFlags::CREATE) { Act::Create } else { Act::Open };
        let failed = |error: io::Error| match error.kind() {
            io::ErrorKind::AlreadyExists => StorageError::AlreadyExists { name: name.to_owned() },
            _ => StorageError::new(act, name, error),
        };
        let fd = disk::open(&self.inner.root, name, flags).map_err(failed)?;
        let stat = fstat(&fd).map_err(|error| failed(error.into()))?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(failed(io::Error::other("it is not a regular file")));
        }
        Ok((fd.into(), u64::try_from(stat.st_size).unwrap_or(0)))
    }

    fn lock_opened(&self, name: &str, flags: OFlags, kind: LockKind, wait: Wait) -> Result<Option<Lock>, StorageError> {
        loop {
            let (file, _) = self.open_regular(name, flags)?;
            let Some(lock) = Lock::acquire(file, name, kind, wait)? else { return Ok(None) };
            // Removed or replaced between opening and locking: then the lock protects nothing, and the next one may.
            if self.is_current(&lock)? {
                return Ok(Some(lock));
            }
        }
    }
}

pub(super) fn join(directory: &str, name: &str) -> String {
    if directory.is_empty() { name.to_owned() } else { format!("{directory}/{name}") }
}

/// Sixteen random hexadecimal digits.
fn random_name() -> io::Result<String> {
    let random = getrandom::u64().map_err(|error| io::Error::other(error.to_string()))?;
    Ok(format!("{random:016x}"))
}

#[cfg(test)]
mod tests;
