//! The file that an archive is written to: it has its name only when it is whole.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::hash::BuildHasher;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// A file beside the one that is to be. Dropped before it is finished, it leaves nothing.
pub struct NewArchive {
    file: File,
    temporary: PathBuf,
    path: PathBuf,
    may_replace: bool,
    is_published: bool,
}

impl NewArchive {
    /// Begins the file `path`, which only its owner can read: it holds what the source kept from others.
    ///
    /// # Errors
    /// Where there is such a file and it must not be replaced, or none can be made beside it.
    pub fn create(path: &Path, may_replace: bool) -> io::Result<Self> {
        if !may_replace && path.symlink_metadata().is_ok() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
        let mut beside = OsString::from(".dbakfs-");
        let unique = std::hash::RandomState::new().hash_one(std::process::id());
        beside.push(format!("{unique:016x}-"));
        // The name may be as long as names can be.
        beside.push(name.to_string_lossy().chars().take(40).collect::<String>());
        let temporary = path.with_file_name(beside);
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
        Ok(Self { file, temporary, path: path.to_owned(), may_replace, is_published: false })
    }

    /// Makes the file durable and gives it its name.
    ///
    /// # Errors
    /// Where it cannot be written, or another took the name meanwhile and must not be replaced.
    pub fn finish(mut self) -> io::Result<()> {
        self.file.sync_all()?;
        if self.may_replace {
            fs::rename(&self.temporary, &self.path)?;
            self.is_published = true;
        } else {
            // A link never replaces; the other name goes with the value.
            match fs::hard_link(&self.temporary, &self.path) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                    // A file system without links.
                    fs::rename(&self.temporary, &self.path)?;
                    self.is_published = true;
                }
                answer => answer?,
            }
        }
        let directory = self.path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        File::open(directory)?.sync_all()
    }
}

impl Write for NewArchive {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Drop for NewArchive {
    fn drop(&mut self) {
        if !self.is_published {
            let _ = fs::remove_file(&self.temporary);
        }
    }
}
