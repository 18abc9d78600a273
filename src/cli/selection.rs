//! Which part of a source is backed up, as it is asked for on the command line.

use std::ffi::OsString;
use std::path::PathBuf;

use dbakfs::automation::LeftOut;
use dbakfs::source::ExcludeError;

use super::{Exit, Failure};

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

impl From<&Selection> for LeftOut {
    fn from(asked: &Selection) -> Self {
        Self {
            exclude: asked.exclude.clone(),
            exclude_from: asked.exclude_from.clone(),
            exclude_caches: asked.exclude_caches,
            one_file_system: asked.one_file_system,
        }
    }
}

impl From<ExcludeError> for Failure {
    fn from(error: ExcludeError) -> Self {
        Self::of(Exit::Usage, &error)
    }
}
