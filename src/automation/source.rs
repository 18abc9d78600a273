//! What the configuration says of a source, as the backup takes it: one place for all who back up.

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use super::run::store_id;
use crate::backup::Options;
use crate::repository::{SourceName, Store};
use crate::settings::{Settings, SourceSettings};
use crate::source::{self, Exclude, ExcludeError};

/// How a source is backed up, as the configuration has it. What stands in `[defaults]` holds for one that it does not name, but for the rules of
/// retention: those are noted at fulls only where a source has some.
#[must_use]
pub fn options(settings: &Settings, name: &SourceName, host: &str) -> Options {
    let source = settings.of(name);
    Options {
        rules: source.decision(),
        keep: settings.sources.get(name).map(SourceSettings::keep),
        alarm: source.alarm,
        zone: Some(settings.zone()),
        host: host.to_owned(),
        full_level: source.full_level,
        differential_level: source.differential_level,
        ..Options::default()
    }
}

/// What of a source is left out.
#[derive(Clone, Debug, Default)]
pub struct LeftOut {
    /// What matches these patterns, written as in .gitignore.
    pub exclude: Vec<OsString>,
    /// What matches the patterns in these files.
    pub exclude_from: Vec<PathBuf>,
    /// What stands in directories that hold a CACHEDIR.TAG.
    pub exclude_caches: bool,
    /// Other file systems.
    pub one_file_system: bool,
}

impl From<&SourceSettings> for LeftOut {
    fn from(source: &SourceSettings) -> Self {
        Self {
            exclude: source.exclude.iter().map(OsString::from).collect(),
            exclude_from: source.exclude_from.clone(),
            exclude_caches: source.exclude_caches,
            one_file_system: source.one_file_system,
        }
    }
}

impl LeftOut {
    /// This, and what another leaves out besides.
    #[must_use]
    pub fn and(mut self, other: &Self) -> Self {
        self.exclude.extend_from_slice(&other.exclude);
        self.exclude_from.extend_from_slice(&other.exclude_from);
        self.exclude_caches |= other.exclude_caches;
        self.one_file_system |= other.one_file_system;
        self
    }

    /// Whether it can be said.
    ///
    /// # Errors
    /// A pattern is wrong, or a file of them cannot be read.
    pub fn check(&self) -> Result<(), ExcludeError> {
        self.patterns().map(drop)
    }

    fn patterns(&self) -> Result<Exclude, ExcludeError> {
        let mut builder = Exclude::builder();
        for path in &self.exclude_from {
            builder.file(path)?;
        }
        for pattern in &self.exclude {
            builder.pattern(pattern)?;
        }
        builder.finish()
    }

    /// How the source is walked; `store` is never entered.
    ///
    /// # Errors
    /// As [`LeftOut::check`].
    pub fn walk(&self, store: &Store, cancel: &Arc<AtomicBool>) -> Result<source::Options, ExcludeError> {
        Ok(source::Options {
            one_file_system: self.one_file_system,
            exclude_caches: self.exclude_caches,
            exclude: self.patterns()?,
            never_enter: store_id(store).into_iter().collect(),
            cancel: Arc::clone(cancel),
            // What is read ahead is for the backup to say.
            read_ahead: None,
        })
    }
}
