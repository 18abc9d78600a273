//! A store: its directory and its description.
//!
//! Owns making one and opening one. Refuses to know what is in it. Its invariant: `store.toml` is written last, so that
//! a directory with a `store.toml` is a whole store.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
};

use crate::storage::{LockKind, Replace, Storage, StorageError, Wait};

use crate::format::layout;

use super::{
    config::{CONFIG_LIMIT_BYTES, Chunking, Config, ConfigError},
    error::RepositoryError,
    marks::Marks,
};

/// An open store. A clone is the same store.
#[derive(Clone, Debug)]
pub struct Store {
    storage: Storage,
    config: Config,
}

impl Store {
    /// Makes a store at `path`: a directory that is absent or empty, or in which an earlier `init` was interrupted.
    ///
    /// # Errors
    /// There is a store already, or something else; another is just making one; or the system refuses.
    pub fn init(path: &Path, chunking: Chunking) -> Result<Self, RepositoryError> {
        let storage = Storage::create_root(path)?;
        refuse_unless_empty(&storage, path)?;
        // Held until the end, so that of two that begin at the same time one makes the store and one finds it.
        let Some(_lock) = storage.lock(layout::WRITER_LOCK, LockKind::Exclusive, Wait::Never)? else {
            return Err(RepositoryError::Busy { holder: None });
        };
        refuse_unless_empty(&storage, path)?;
        let mut random = [0; 56];
        getrandom::fill(&mut random).map_err(|error| RepositoryError::NoRandomness(error.to_string()))?;
        let config = Config::new(chunking, &random);
        let configured = |source| RepositoryError::Config { path: path.to_owned(), source };
        let text = config.to_toml().map_err(configured)?;
        // A store that could not be opened again is not made.
        Config::parse(text.as_bytes()).map_err(configured)?;
        for directory in layout::DIRECTORIES {
            storage.create_dir(directory)?;
        }
        Marks::default().write(&storage)?;
        storage.put(layout::STORE_COPY, text.as_bytes(), Replace::Always)?;
        match storage.put(layout::STORE_TOML, text.as_bytes(), Replace::Never) {
            Err(error) if error.is_already_exists() => Err(RepositoryError::AlreadyAStore { path: path.to_owned() }),
            answer => answer.map_err(Into::into),
        }?;
        Ok(Self { storage, config })
    }

    /// Opens the store at `path`, for reading or writing.
    ///
    /// # Errors
    /// There is none, it is something else, or this program must not read it.
    pub fn open(path: &Path) -> Result<Self, RepositoryError> {
        let storage = open_root(path)?;
        let not_a_store = |reason: &str| not_a_store(path, reason);
        let text = storage.read_small(layout::STORE_TOML, CONFIG_LIMIT_BYTES).map_err(|error| match error {
            StorageError::TooLarge { .. } => not_a_store("its store.toml is too large to be one"),
            error if error.is_not_found() => not_a_store("it has no store.toml"),
            error => error.into(),
        })?;
        let config =
            Config::parse(&text).map_err(|source| RepositoryError::Config { path: path.to_owned(), source })?;
        Ok(Self { storage, config })
    }

    /// Puts the description of the store at `path` back from its copy, where it is lost or damaged, and sets a damaged one aside; answers whether it had to. A copy that is lost or damaged is made anew.
    ///
    /// # Errors
    /// There is no store, both are lost, or the system refuses.
    pub fn mend_description(path: &Path) -> Result<bool, RepositoryError> {
        let storage = open_root(path)?;
        let Some(text) = intact(&storage, path, layout::STORE_TOML)? else {
            let Some(copy) = intact(&storage, path, layout::STORE_COPY)? else {
                return Err(Self::open(path).err().unwrap_or(RepositoryError::NotFound { path: path.to_owned() }));
            };
            let Some(_lock) = storage.lock(layout::WRITER_LOCK, LockKind::Exclusive, Wait::Never)? else {
                return Err(RepositoryError::Busy { holder: None });
            };
            if let Ok(damaged) = storage.read_small(layout::STORE_TOML, CONFIG_LIMIT_BYTES) {
                let aside = format!("{}{}", layout::STORE_TOML, layout::DAMAGED_SUFFIX);
                storage.put(&aside, &damaged, Replace::Always)?;
            }
            storage.put(layout::STORE_TOML, &copy, Replace::Always)?;
            return Ok(true);
        };
        let may_write = Config::parse(&text).is_ok_and(|config| config.unknown_to_writers().is_none());
        if may_write && intact(&storage, path, layout::STORE_COPY)?.as_ref() != Some(&text) {
            // Another writer may be at it: then the next repair does this.
            if let Some(_lock) = storage.lock(layout::WRITER_LOCK, LockKind::Exclusive, Wait::Never)? {
                storage.put(layout::STORE_COPY, &text, Replace::Always)?;
            }
        }
        Ok(false)
    }

    /// The store's files.
    #[must_use]
    pub const fn storage(&self) -> &Storage {
        &self.storage
    }

    /// The store's description.
    #[must_use]
    pub const fn config(&self) -> &Config {
        &self.config
    }

    /// Where the store was when it was opened.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.storage.path()
    }
}

fn not_a_store(path: &Path, reason: &str) -> RepositoryError {
    RepositoryError::NotAStore { path: path.to_owned(), reason: reason.to_owned() }
}

fn open_root(path: &Path) -> Result<Storage, RepositoryError> {
    Storage::open_root(path).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => RepositoryError::NotFound { path: path.to_owned() },
        std::io::ErrorKind::NotADirectory => not_a_store(path, "it is not a directory"),
        _ => error.into(),
    })
}

/// Where a store lies if nobody says otherwise, given the environment's `XDG_DATA_HOME` and `HOME`; `None` where
/// neither is an absolute path.
#[must_use]
pub fn default_path(xdg_data_home: Option<OsString>, home: Option<OsString>) -> Option<PathBuf> {
    let absolute = |path: Option<OsString>| path.map(PathBuf::from).filter(|path| path.is_absolute());
    let data = absolute(xdg_data_home).or_else(|| absolute(home).map(|home| home.join(".local/share")))?;
    Some(data.join("dbakfs/store"))
}

/// The text of a description; nothing where it is lost or damaged. One that this program must not obey is no damage.
fn intact(storage: &Storage, path: &Path, name: &str) -> Result<Option<Vec<u8>>, RepositoryError> {
    let text = match storage.read_small(name, CONFIG_LIMIT_BYTES) {
        Ok(text) => text,
        Err(error @ StorageError::Io { .. }) if !error.is_not_found() && !error.is_unreadable() => {
            return Err(error.into());
        }
        Err(_) => return Ok(None),
    };
    match Config::parse(&text) {
        Ok(_) => Ok(Some(text)),
        Err(ConfigError::Malformed(_) | ConfigError::OutOfBounds { .. }) => Ok(None),
        Err(source) => Err(RepositoryError::Config { path: path.to_owned(), source }),
    }
}

/// Accepts what an interrupted `init` may have left, and the one directory that new file systems are born with.
fn refuse_unless_empty(storage: &Storage, path: &Path) -> Result<(), RepositoryError> {
    let names = storage.list_all("")?;
    if names.iter().any(|name| name == layout::STORE_TOML) {
        return Err(RepositoryError::AlreadyAStore { path: path.to_owned() });
    }
    let not_empty = |found: String| RepositoryError::NotEmpty { path: path.to_owned(), found };
    for name in names {
        if layout::DIRECTORIES.contains(&name.as_str()) {
            if let Some(found) = storage.list_all(&name)?.first() {
                return Err(not_empty(format!("{name}/{found}")));
            }
        } else if ![layout::WRITER_LOCK, layout::MARKS_TOML, layout::STORE_COPY, "lost+found"].contains(&name.as_str())
            && !name.starts_with(".tmp-")
        {
            return Err(not_empty(name));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn made_store_opens_with_the_same_secrets() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("new/store");
        let made = Store::init(&path, Chunking::default()).unwrap();
        assert_eq!(Store::open(&path).unwrap().config(), made.config());
        let other = Store::init(&dir.path().join("other"), Chunking::default()).unwrap();
        assert_ne!(other.config().secrets, made.config().secrets);
        assert_ne!(other.config().id, made.config().id);
    }

    #[test]
    fn store_is_not_made_twice_nor_over_anything_else() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::init(dir.path(), Chunking::default()).unwrap();
        let before = fs::read(dir.path().join("store.toml")).unwrap();
        assert!(matches!(Store::init(dir.path(), Chunking::default()), Err(RepositoryError::AlreadyAStore { .. })));
        assert_eq!(fs::read(store.path().join("store.toml")).unwrap(), before);

        let full = tempfile::tempdir().unwrap();
        fs::write(full.path().join("thesis.tex"), "x").unwrap();
        let error = Store::init(full.path(), Chunking::default()).unwrap_err();
        assert!(matches!(&error, RepositoryError::NotEmpty { found, .. } if found == "thesis.tex"), "{error}");
        assert_eq!(fs::read_dir(full.path()).unwrap().count(), 1, "nothing was left in it");
    }

    #[test]
    fn interrupted_init_is_completed_but_a_store_that_lost_its_description_is_not_made_anew() {
        let dir = tempfile::tempdir().unwrap();
        Store::init(dir.path(), Chunking::default()).unwrap();
        fs::remove_file(dir.path().join("store.toml")).unwrap();
        fs::write(dir.path().join(".tmp-1"), "rest").unwrap();
        Store::init(dir.path(), Chunking::default()).unwrap();

        fs::remove_file(dir.path().join("store.toml")).unwrap();
        fs::write(dir.path().join("catalogs/00000001.catalog"), "x").unwrap();
        let error = Store::init(dir.path(), Chunking::default()).unwrap_err();
        assert!(matches!(&error, RepositoryError::NotEmpty { found, .. } if found == "catalogs/00000001.catalog"));
    }

    #[test]
    fn what_is_no_store_is_told_apart() {
        let dir = tempfile::tempdir().unwrap();
        let open = |name: &str| Store::open(&dir.path().join(name)).unwrap_err();
        assert!(matches!(open("none"), RepositoryError::NotFound { .. }));
        fs::write(dir.path().join("file"), "x").unwrap();
        assert!(open("file").to_string().ends_with("file is not a store: it is not a directory"));
        fs::create_dir(dir.path().join("empty")).unwrap();
        assert!(open("empty").to_string().ends_with("empty is not a store: it has no store.toml"));
        fs::write(dir.path().join("empty/store.toml"), "format = 2").unwrap();
        let error = open("empty").to_string();
        assert!(error.ends_with("written by a newer dbakfs: format 2, this program knows 1"), "{error}");
    }

    #[test]
    fn default_store_lies_in_the_data_directory() {
        let path = |xdg: &str, home: &str| default_path(Some(xdg.into()), Some(home.into()));
        assert_eq!(path("/data", "/home/u"), Some("/data/dbakfs/store".into()));
        assert_eq!(path("", "/home/u"), Some("/home/u/.local/share/dbakfs/store".into()));
        assert_eq!(path("relative", "/home/u"), Some("/home/u/.local/share/dbakfs/store".into()));
        assert_eq!(default_path(None, None), None);
    }
}
