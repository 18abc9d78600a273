//! Small files of which each belongs to one source: `sources/<name>.toml`, `runs/<name>.toml`.
//!
//! Owns how they are found and read. Refuses to know what stands in them. Its invariant: a file belongs to the name that it states, and one that is damaged
//! hides no other.

use serde::de::DeserializeOwned;

use super::notes::read_toml;
use super::{RepositoryError, SourceName};
use crate::format::layout;
use crate::storage::{Storage, StorageError};

/// What states the name of its source.
pub(super) trait OfSource: DeserializeOwned {
    /// Where such files lie.
    const DIRECTORY: &'static str;

    /// The name of the source.
    fn source_name(&self) -> &str;
}

/// The file of a source.
pub(super) fn file<T: OfSource>(stem: &str) -> String {
    format!("{}/{stem}{}", T::DIRECTORY, layout::TOML_SUFFIX)
}

/// Reads the file of this name, without suffix; `None` if it is not there.
///
/// # Errors
/// It is damaged, belongs to another name, or cannot be read.
pub(super) fn read<T: OfSource>(storage: &Storage, stem: &str) -> Result<Option<T>, RepositoryError> {
    let file = file::<T>(stem);
    let Some(read) = read_toml::<T>(storage, &file)? else { return Ok(None) };
    match SourceName::new(read.source_name()) {
        Ok(name) if name.file_stem() == stem => Ok(Some(read)),
        Ok(name) => Err(RepositoryError::damaged(&file, format!("it states another name, {:?}", name.as_str()))),
        Err(error) => Err(RepositoryError::damaged(&file, error)),
    }
}

/// A file that cannot be read.
pub(super) struct Unreadable {
    /// Its name, without suffix.
    pub(super) stem: String,
    /// What is wrong with it.
    pub(super) problem: RepositoryError,
}

/// Reads those of all sources, by name, and says which cannot be read.
///
/// # Errors
/// The directory cannot be read.
pub(super) fn read_each<T: OfSource>(storage: &Storage) -> Result<(Vec<T>, Vec<Unreadable>), StorageError> {
    let (mut all, mut unreadable) = (Vec::new(), Vec::new());
    for (name, _) in storage.list(T::DIRECTORY)? {
        let Some(stem) = name.strip_suffix(layout::TOML_SUFFIX) else { continue };
        match read::<T>(storage, stem) {
            Ok(read) => all.extend(read),
            Err(problem) => unreadable.push(Unreadable { stem: stem.to_owned(), problem }),
        }
    }
    all.sort_by(|one, two| one.source_name().cmp(two.source_name()));
    Ok((all, unreadable))
}

/// As [`read_each`], for who has no need of the names of files.
///
/// # Errors
/// The directory cannot be read.
pub(super) fn read_all<T: OfSource>(storage: &Storage) -> Result<(Vec<T>, Vec<RepositoryError>), StorageError> {
    let (all, unreadable) = read_each(storage)?;
    Ok((all, unreadable.into_iter().map(|unreadable| unreadable.problem).collect()))
}
