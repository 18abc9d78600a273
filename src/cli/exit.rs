//! Exit codes, and failures as a person reads them.

use std::fmt::Display;

use dbakfs::automation::RunError;
use dbakfs::backup::BackupError;
use dbakfs::catalog::CatalogError;
use dbakfs::causes::chain;
use dbakfs::pack::PackError;
use dbakfs::repository::config::ConfigError;
use dbakfs::repository::{ReadError, RepositoryError};

use super::output;

/// How a command ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Done.
    Done,
    /// Failed.
    Failed,
    /// Wrong usage.
    Usage,
    /// Done, but some files of the source could not be read, or what was written could not be checked.
    Incomplete,
    /// Damage was found.
    Damage,
    /// There is no store.
    NoStore,
    /// Another writer is busy.
    Busy,
}

impl Exit {
    /// The process's exit code.
    pub(crate) const fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::Incomplete => 3,
            Self::Damage => 4,
            Self::NoStore => 10,
            Self::Busy => 11,
        }
    }

    /// The end that has this code.
    pub(crate) fn from_code(code: i32) -> Option<Self> {
        let all = [Self::Done, Self::Failed, Self::Usage, Self::Incomplete, Self::Damage, Self::NoStore, Self::Busy];
        all.into_iter().find(|exit| i32::from(exit.code()) == code)
    }

    /// The worse of two ends of parts of one command.
    pub(crate) fn worse(self, other: Self) -> Self {
        let rank = |exit| match exit {
            Self::Done => 0,
            Self::Incomplete => 1,
            Self::Damage => 2,
            _ => 3,
        };
        if rank(other) > rank(self) { other } else { self }
    }
}

/// A failure: one line, and a remedy.
#[derive(Debug)]
pub(crate) struct Failure {
    /// The exit code.
    pub(crate) exit: Exit,
    message: String,
    hint: Option<String>,
}

impl Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

/// The result of a command.
pub(crate) type Result<T> = std::result::Result<T, Failure>;

impl Failure {
    /// A failure with this message.
    pub(crate) fn new(exit: Exit, message: impl Display) -> Self {
        Self { exit, message: message.to_string(), hint: None }
    }

    /// A failure with the messages of an error and of its causes.
    pub(crate) fn of(exit: Exit, error: &dyn std::error::Error) -> Self {
        Self::new(exit, chain(error))
    }

    /// With a remedy.
    pub(crate) fn hint(mut self, hint: impl Display) -> Self {
        self.hint = Some(hint.to_string());
        self
    }

    /// Prints it on standard error.
    pub(crate) fn print(&self) {
        output::complain(&format!("error: {}", self.message));
        if let Some(hint) = &self.hint {
            output::complain(&format!("hint: {hint}"));
        }
    }
}

impl From<RepositoryError> for Failure {
    fn from(error: RepositoryError) -> Self {
        match &error {
            RepositoryError::NotFound { path } => {
                Self::of(Exit::NoStore, &error).hint(format!("`dbakfs --store {} init` makes one", path.display()))
            }
            RepositoryError::NotAStore { .. } => {
                Self::of(Exit::NoStore, &error).hint("name a store with --store DIR or DBAKFS_STORE")
            }
            RepositoryError::Busy { .. } => Self::of(Exit::Busy, &error).hint("wait until it is done, or use --wait"),
            RepositoryError::Config {
                source: ConfigError::NewerVersion { .. } | ConfigError::UnknownFeature(_),
                ..
            } => Self::of(Exit::Failed, &error).hint("use the dbakfs that wrote it, or a newer one"),
            _ => Self::of(Exit::Failed, &error),
        }
    }
}

impl From<BackupError> for Failure {
    fn from(error: BackupError) -> Self {
        match error {
            BackupError::Repository(error) => error.into(),
            BackupError::SourceElsewhere { .. } => Self::of(Exit::Failed, &error)
                .hint("choose another name with --name, or say that the source has moved with --rename-source"),
            _ => Self::of(Exit::Failed, &error),
        }
    }
}

impl From<RunError> for Failure {
    fn from(error: RunError) -> Self {
        match error {
            RunError::Repository(error) => error.into(),
            RunError::Backup(error) => error.into(),
            RunError::Exclude(error) => Self::of(Exit::Usage, &error),
            error => Self::of(Exit::Failed, &error),
        }
    }
}

impl From<CatalogError> for Failure {
    fn from(error: CatalogError) -> Self {
        let exit = if matches!(error, CatalogError::Damaged { .. } | CatalogError::Mismatch { .. }) {
            Exit::Damage
        } else {
            Exit::Failed
        };
        Self::of(exit, &error)
    }
}

impl From<PackError> for Failure {
    fn from(error: PackError) -> Self {
        let exit = if matches!(error, PackError::Damaged { .. }) { Exit::Damage } else { Exit::Failed };
        Self::of(exit, &error)
    }
}

impl From<ReadError> for Failure {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Catalog(error) => error.into(),
            ReadError::Pack(error) => error.into(),
            ReadError::NeverRead => Self::of(Exit::Failed, &error),
        }
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::of(Exit::Failed, &error)
    }
}
