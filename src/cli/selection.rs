//! Which part of a source is backed up.

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use dbakfs::settings::SourceSettings;
use dbakfs::source::{self, Exclude};

use super::{Exit, Failure, Result};

/// What is left out.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct Selection {
    /// Leave out what matches this pattern, written as in .gitignore; may be given again
    #[arg(long, value_name = "PATTERN")]
    exclude: Vec<OsString>,
    /// Leave out what matches the patterns in this file; may be given again
    #[arg(long, value_name = "FILE")]
    exclude_from: Vec<PathBuf>,
    /// Leave out what stands in directories that hold a CACHEDIR.TAG
    #[arg(long)]
    exclude_caches: bool,
    /// Do not enter other file systems
    #[arg(short = 'x', long)]
    one_file_system: bool,
}

impl Selection {
    /// What the configuration leaves out of a source, and what was asked for besides.
    pub(crate) fn and(&self, settings: &SourceSettings) -> Self {
        let mut all = self.clone();
        all.exclude.extend(settings.exclude.iter().map(OsString::from));
        all.exclude_from.extend(settings.exclude_from.iter().cloned());
        all.exclude_caches |= settings.exclude_caches;
        all.one_file_system |= settings.one_file_system;
        all
    }

    /// How a source is walked, but for the directories that are never entered.
    pub(crate) fn walk(&self, cancel: &Arc<AtomicBool>) -> Result<source::Options> {
        let wrong = |error: source::ExcludeError| Failure::of(Exit::Usage, &error);
        let mut builder = Exclude::builder();
        for path in &self.exclude_from {
            builder.file(path).map_err(wrong)?;
        }
        for pattern in &self.exclude {
            builder.pattern(pattern).map_err(wrong)?;
        }
        Ok(source::Options {
            one_file_system: self.one_file_system,
            exclude_caches: self.exclude_caches,
            exclude: builder.finish().map_err(wrong)?,
            never_enter: Vec::new(),
            cancel: Arc::clone(cancel),
            // What is read ahead is for the backup to say.
            read_ahead: None,
        })
    }
}
