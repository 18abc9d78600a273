//! A file outside the store that others read while it is replaced: a page, a textfile of metrics.
//!
//! Owns writing beside and renaming. Refuses to be durable: whoever lost it writes it anew. Invariant: under the name stands the old file or the new one, whole.

use std::ffi::OsString;
use std::fs::{self, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::random;

/// What is read of a page at most.
const LIMIT_BYTES: u64 = 16 << 20;

/// Why a file was not replaced.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The path ends in no name.
    #[error("{} is no name of a file", path.display())]
    NoName {
        /// The path.
        path: PathBuf,
    },
    /// node_exporter would pass it over.
    #[error("{} does not end in .prom, and node_exporter reads no other files", path.display())]
    NotProm {
        /// The path.
        path: PathBuf,
    },
    /// The system refused.
    #[error("cannot write {}: {source}", path.display())]
    Write {
        /// The path.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
}

/// Replaces the file at `path` in one step, with a mode that everybody may read. A link there is replaced, not followed.
///
/// # Errors
/// The path has no name, or the system refuses; what stood there stands there still.
pub fn replace(path: &Path, bytes: &[u8]) -> Result<(), FileError> {
    let name = path.file_name().ok_or_else(|| FileError::NoName { path: path.to_owned() })?;
    // Hidden, and of another suffix: node_exporter does not take it for one of its own.
    let mut beside = OsString::from(".");
    beside.push(name);
    let mut bytes_of_name = [0; 8];
    random::fill(&mut bytes_of_name);
    beside.push(format!(".{:016x}.tmp", u64::from_le_bytes(bytes_of_name)));
    let beside = path.with_file_name(beside);
    write(&beside, bytes).and_then(|()| fs::rename(&beside, path)).map_err(|source| {
        let _ = fs::remove_file(&beside);
        FileError::Write { path: path.to_owned(), source }
    })
}

/// The page at `path` as it was written last; none where there is none that is one.
#[must_use]
pub fn page_of(path: &Path) -> Option<String> {
    let mut text = String::new();
    let read = fs::File::open(path).and_then(|file| file.take(LIMIT_BYTES).read_to_string(&mut text));
    read.is_ok_and(|bytes| bytes > 0).then_some(text)
}

fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(bytes)?;
    // Whatever the umask.
    file.set_permissions(Permissions::from_mode(0o644))
}
