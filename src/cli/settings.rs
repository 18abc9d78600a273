//! The configuration file of a command.

use std::path::{Path, PathBuf};

use dbakfs::automation::{Environment, State};
use dbakfs::repository::SourceName;
use dbakfs::settings::{Settings, SettingsError, SourceSettings};

use super::{Exit, Failure, Global, Result, output};

/// The configuration; none where no file was named and the default one is not there.
pub(crate) fn load(global: &Global) -> Result<Option<Settings>> {
    let (path, is_default) = match &global.config {
        Some(path) => (path.clone(), false),
        None => match default_path() {
            Some(path) => (path, true),
            None => return Ok(None),
        },
    };
    // What this user cannot even see, as in the home that `su` has left behind, is not there for it.
    if is_default && rustix::fs::stat(&path).is_err() {
        return Ok(None);
    }
    match Settings::read(&path) {
        Err(SettingsError::Read { source, .. }) if is_default && source.kind() == std::io::ErrorKind::NotFound => {
            Ok(None)
        }
        // Somebody else's, in a home that is not this user's.
        Err(SettingsError::Read { source, .. })
            if is_default && source.kind() == std::io::ErrorKind::PermissionDenied =>
        {
            output::complain(&format!(
                "warning: the configuration {} is closed to this user: going without",
                path.display()
            ));
            Ok(None)
        }
        answer => Ok(Some(answer?)),
    }
}

/// What the configuration says of the source of this name; nothing where it, or the configuration, is not there.
pub(crate) fn of_source(global: &Global, name: &SourceName) -> Result<Option<SourceSettings>> {
    Ok(load(global)?.and_then(|mut settings| settings.sources.remove(name)))
}

/// The configuration, for a command that does nothing without one.
pub(crate) fn required(global: &Global) -> Result<Settings> {
    load(global)?.ok_or_else(|| {
        let place = default_path().map_or_else(String::new, |path| format!(" at {}", path.display()));
        Failure::new(Exit::Usage, format!("there is no configuration{place}"))
            .hint("name one with --config FILE or DBAKFS_CONFIG; contrib/config.toml explains every key")
    })
}

/// What the configuration says of the source of this name, which it must have.
pub(crate) fn source<'a>(settings: &'a Settings, name: &SourceName) -> Result<&'a SourceSettings> {
    settings.sources.get(name).ok_or_else(|| {
        let names: Vec<&str> = settings.sources.keys().map(SourceName::as_str).collect();
        let hint = if names.is_empty() { "it has none".to_owned() } else { format!("it has {}", names.join(", ")) };
        Failure::new(Exit::Usage, format!("the configuration has no source named {name}")).hint(hint)
    })
}

/// The directory of what cannot be noted in a store; none, said, where it cannot be used.
pub(crate) fn state() -> Option<State> {
    let path = Environment::of_process().state_path()?;
    match State::open(&path) {
        Ok(state) => Some(state),
        Err(error) => {
            let failure = Failure::of(Exit::Failed, &error);
            output::complain(&format!("warning: no state directory at {}: {failure}", path.display()));
            None
        }
    }
}

/// The same, if there is one already.
pub(crate) fn existing_state() -> Option<State> {
    State::open_existing(&Environment::of_process().state_path()?).ok()
}

/// `/etc/dbakfs/config.toml` for root, else `dbakfs/config.toml` in the user's configuration.
fn default_path() -> Option<PathBuf> {
    if rustix::process::geteuid().is_root() {
        return Some(Path::new("/etc/dbakfs/config.toml").to_owned());
    }
    let absolute = |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let base = absolute("XDG_CONFIG_HOME").or_else(|| absolute("HOME").map(|home| home.join(".config")))?;
    Some(base.join("dbakfs/config.toml"))
}

impl From<SettingsError> for Failure {
    fn from(error: SettingsError) -> Self {
        Self::of(Exit::Usage, &error)
    }
}
