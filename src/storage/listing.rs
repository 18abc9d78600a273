//! What lies in the directories of a store.
//!
//! Owns reading directories and clearing them of temporaries. Refuses to know what names mean. Its invariant: a listing
//! of files shows no temporary, no symbolic link and nothing else that is not a regular file.

use rustix::{
    fd::OwnedFd,
    fs::{AtFlags, Dir, FileType, statat},
    io::Errno,
};

use super::{
    Storage,
    error::{Act, StorageError},
    new_file::TEMPORARY_PREFIX,
    root::join,
};

impl Storage {
    /// The regular files in `directory` with their lengths in bytes, sorted by name; temporaries are left out, and a
    /// directory that is not there holds nothing.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn list(&self, directory: &str) -> Result<Vec<(String, u64)>, StorageError> {
        let mut files = Vec::new();
        self.visit(directory, |fd, name, kind| {
            if name.starts_with(TEMPORARY_PREFIX) || !matches!(kind, FileType::RegularFile | FileType::Unknown) {
                return Ok(());
            }
            match statat(fd, name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile => {
                    files.push((name.to_owned(), u64::try_from(stat.st_size).unwrap_or(0)));
                }
                // Another kind, or removed since the directory was read.
                Ok(_) | Err(Errno::NOENT) => {}
                Err(error) => return Err(StorageError::new(Act::Inspect, &join(directory, name), error)),
            }
            Ok(())
        })?;
        files.sort_unstable();
        Ok(files)
    }

    /// The directories in `directory`, sorted by name; a directory that is not there holds nothing.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn list_dirs(&self, directory: &str) -> Result<Vec<String>, StorageError> {
        let mut names = Vec::new();
        self.visit(directory, |fd, name, kind| {
            let is_directory = match kind {
                FileType::Unknown => statat(fd, name, AtFlags::SYMLINK_NOFOLLOW)
                    .is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Directory),
                kind => kind == FileType::Directory,
            };
            if is_directory {
                names.push(name.to_owned());
            }
            Ok(())
        })?;
        names.sort_unstable();
        Ok(names)
    }

    /// Every name in `directory` whatever it is, sorted; bytes that are not UTF-8 are replaced.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn list_all(&self, directory: &str) -> Result<Vec<String>, StorageError> {
        let mut names = Vec::new();
        self.visit(directory, |_, name, _| {
            names.push(name.to_owned());
            Ok(())
        })?;
        names.sort_unstable();
        Ok(names)
    }

    /// Removes the temporaries in `directory` and below it, and says how many. Only for whoever is the one writer, and
    /// only while it writes nothing: any temporary is then one that a dead process left.
    ///
    /// # Errors
    /// One cannot be removed.
    pub fn remove_stale_temporaries(&self, directory: &str) -> Result<usize, StorageError> {
        let mut removed = 0;
        let names: Vec<_> =
            self.list_all(directory)?.into_iter().filter(|name| name.starts_with(TEMPORARY_PREFIX)).collect();
        for name in names {
            match self.remove(&join(directory, &name)) {
                Ok(()) => removed += 1,
                Err(error) if error.is_not_found() => {}
                Err(error) => return Err(error),
            }
        }
        for below in self.list_dirs(directory)? {
            removed += self.remove_stale_temporaries(&join(directory, &below))?;
        }
        Ok(removed)
    }

    fn visit(
        &self,
        directory: &str,
        mut each: impl FnMut(&OwnedFd, &str, FileType) -> Result<(), StorageError>,
    ) -> Result<(), StorageError> {
        let fd = match self.directory(directory, Act::List) {
            Err(error) if error.is_not_found() => return Ok(()),
            answer => answer?,
        };
        let failed = |error: Errno| StorageError::new(Act::List, &self.shown(directory), error);
        for entry in Dir::read_from(&fd).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let name = entry.file_name().to_string_lossy();
            if name != "." && name != ".." {
                each(&fd, &name, entry.file_type())?;
            }
        }
        Ok(())
    }
}
