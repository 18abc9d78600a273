//! The configuration file: which sources there are, when and how each is backed up, what is kept, and who is told.
//!
//! Owns the file's keys, their defaults and what is wrong with a value. Refuses to do anything of what it says. Invariant: a key that is not known is an
//! error, never silently without effect; `[defaults]` holds for every source that does not say otherwise.

mod source;
mod tell;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use jiff::tz::TimeZone;
use serde::Deserialize;
use toml::{Table, Value};

use crate::repository::{SourceName, SourceNameError};

pub use crate::policy::rehearsal::Rehearse;
pub use crate::policy::schedule::{Task, When};
pub use source::{Hooks, SourceSettings, VerifyAfter};
pub use tell::{Metrics, Notify, NotifyOn};

/// The most bytes that a configuration may have.
const LIMIT_BYTES: u64 = 1 << 20;

/// What the configuration file says.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The store; none where the command line or the default says.
    pub store: Option<PathBuf>,
    /// Where days begin and what cron expressions mean: an IANA name; the system's zone if absent.
    pub zone: Option<TimeZone>,
    /// Prometheus metrics.
    pub metrics: Metrics,
    /// Who is told.
    pub notify: Notify,
    /// The sources, by name.
    pub sources: BTreeMap<SourceName, SourceSettings>,
    /// What holds for a source that is not among them, and is named on the command line: its path is of no account.
    pub defaults: SourceSettings,
}

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// It cannot be read.
    #[error("cannot read the configuration {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It is no TOML, or a key or value is wrong.
    #[error("{}: {message}", path.display())]
    Wrong {
        /// The file.
        path: PathBuf,
        /// What is wrong, with the place.
        message: String,
    },
    /// It has no source of that name.
    #[error("{} has no source named {name}", path.display())]
    NoSource {
        /// The file.
        path: PathBuf,
        /// The name.
        name: SourceName,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    #[serde(default)]
    store: Option<PathBuf>,
    #[serde(default)]
    timezone: Option<String>,
    #[serde(default)]
    metrics: Metrics,
    #[serde(default)]
    notify: Notify,
    #[serde(default)]
    defaults: Table,
    #[serde(default)]
    sources: BTreeMap<String, Table>,
}

impl Default for Settings {
    /// What holds where there is no configuration.
    fn default() -> Self {
        Self::parse("").expect("every key may be absent")
    }
}

impl Settings {
    /// Reads a configuration file.
    ///
    /// # Errors
    /// It cannot be read, is larger than 1 MiB, or says something that is not known.
    pub fn read(path: &Path) -> Result<Self, SettingsError> {
        let read = |source| SettingsError::Read { path: path.to_owned(), source };
        let mut text = String::new();
        let file = std::fs::File::open(path).map_err(read)?;
        let limited = &mut std::io::Read::take(file, LIMIT_BYTES + 1);
        std::io::Read::read_to_string(limited, &mut text).map_err(read)?;
        let wrong = |message| SettingsError::Wrong { path: path.to_owned(), message };
        if text.len() as u64 > LIMIT_BYTES {
            return Err(wrong(format!("it has more than {LIMIT_BYTES} bytes")));
        }
        Self::parse(&text).map_err(wrong)
    }

    /// Reads the text of a configuration.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let document: Document = toml::from_str(text).map_err(|error| on_one_line(error, text))?;
        document.notify.check().map_err(|error| format!("notify: {error}"))?;
        let zone = document.timezone.as_deref().map(TimeZone::get).transpose();
        let zone = zone.map_err(|error| format!("timezone: {error}"))?;
        let read = |part: &str, table: Table| {
            let wrong = |message: String| format!("{part}: {message}");
            let source: Result<SourceSettings, toml::de::Error> = Value::Table(table).try_into();
            let source = source.map_err(|error| wrong(on_one_line(error, text)))?;
            source.check().map_err(wrong).map(|()| source)
        };
        let mut defaults = document.defaults.clone();
        defaults.entry("path").or_insert_with(|| Value::String("/".to_owned()));
        let defaults = read("defaults", defaults)?;
        let mut sources = BTreeMap::new();
        for (name, own) in document.sources {
            let key = SourceName::new(&name).map_err(|error: SourceNameError| format!("sources: {error}"))?;
            sources.insert(key, read(&format!("sources.{name}"), merged(document.defaults.clone(), own))?);
        }
        let Document { store, metrics, notify, .. } = document;
        Ok(Self { store, zone, metrics, notify, sources, defaults })
    }

    /// What holds for the source of this name, be it configured or not.
    #[must_use]
    pub fn of(&self, name: &SourceName) -> &SourceSettings {
        self.sources.get(name).unwrap_or(&self.defaults)
    }

    /// The zone in which days begin.
    #[must_use]
    pub fn zone(&self) -> TimeZone {
        self.zone.clone().unwrap_or_else(TimeZone::system)
    }
}

/// What is wrong, on one line: the line in `text` where that is known, the key that it is a value of, and why.
fn on_one_line(mut error: toml::de::Error, text: &str) -> String {
    let line = error.span().and_then(|span| text.get(..span.start)).map(|before| before.matches('\n').count() + 1);
    // Without the text to quote from, it names the key.
    error.set_input(None);
    let told = error.to_string();
    let mut parts: Vec<&str> = told.lines().map(str::trim).filter(|part| !part.is_empty()).collect();
    let key = parts.last().and_then(|part| part.strip_prefix("in `")?.strip_suffix('`'));
    if key.is_some() {
        parts.pop();
    }
    let line = line.map_or_else(String::new, |line| format!("line {line}: "));
    let key = key.map_or_else(String::new, |key| format!("{key}: "));
    format!("{line}{key}{}", parts.join("; "))
}

/// `own` laid over `defaults`, table by table.
fn merged(mut defaults: Table, own: Table) -> Table {
    for (key, value) in own {
        let value = match (defaults.remove(&key), value) {
            (Some(Value::Table(below)), Value::Table(above)) => Value::Table(merged(below, above)),
            (_, value) => value,
        };
        defaults.insert(key, value);
    }
    defaults
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::Secs;

    #[test]
    fn a_source_says_what_is_its_own_and_the_defaults_the_rest() {
        let settings = Settings::parse(
            r#"
            store = "/srv/backups"
            timezone = "Europe/Berlin"
            [defaults]
            keep_days = 60
            schedule.verify = "0 6 * * *"
            [sources.www]
            path = "/srv/www"
            full_day = "Sunday"
            schedule.auto = "0 2 * * *"
            [sources.db]
            path = "/srv/db"
            keep_days = 3
            schedule.differential = { every = "6h" }
            schedule.verify = { after = "full" }
            hooks.before = "pg_dump shop > /srv/db/shop.sql"
            "#,
        )
        .unwrap();
        let of = |name: &str| &settings.sources[&SourceName::new(name).unwrap()];
        assert_eq!(of("www").keep().keep_days, 60);
        assert_eq!(of("www").decision().full_day.unwrap().to_string(), "Sunday");
        assert_eq!(of("www").schedule[&Task::Auto], When::Cron("0 2 * * *".parse().unwrap()));
        assert_eq!(of("www").schedule[&Task::Verify], When::Cron("0 6 * * *".parse().unwrap()));
        assert_eq!(of("db").keep().keep_days, 3);
        assert_eq!(of("db").schedule[&Task::Differential], When::Every(Secs(21_600)));
        assert_eq!(of("db").schedule[&Task::Verify], When::After(Task::Full));
        assert_eq!(settings.of(&SourceName::new("other").unwrap()).keep().keep_days, 60);
        assert_eq!(of("db").decision(), crate::policy::decision::DecisionRules::default());
    }

    #[test]
    fn what_is_not_known_is_refused_with_its_place() {
        for (text, part) in [
            ("stor = '/x'", "stor"),
            ("timezone = 'Mars/Olympus'", "timezone"),
            ("[sources.www]\npath = '/x'\nkeep_dais = 3", "sources.www: unknown field `keep_dais`"),
            ("[sources.www]\nkeep_days = 3", "sources.www: missing field `path`"),
            ("[sources.www]\npath = 'x'", "sources.www: path"),
            ("[sources.'a/b']\npath = '/x'", "sources: "),
            ("[sources.www]\npath = '/x'\nfull_day = 'Sonntag'", "no day of the week"),
            ("[sources.www]\npath = '/x'\nschedule.hourly = '0 * * * *'", "sources.www: "),
            ("[sources.www]\npath = '/x'\nschedule.auto = {every = '6h', after = 'full'}", "sources.www: "),
            (
                "[sources.www]\npath = '/x'\nschedule.auto = '0 2 * *'",
                "sources.www: schedule.auto: \"0 2 * *\" is no cron",
            ),
            ("[sources.www]\npath = '/x'\nschedule.full = {after = 'auto'}", "only verify comes after"),
            ("[sources.www]\npath = '/x'\nschedule.verify = {after = 'verify'}", "only verify comes after"),
            ("[notify]\nwebhook = 'example.org'", "notify: webhook"),
            ("[notify]\nmail = ['admin@example.org\\nBcc: x@example.org']", "notify: mail"),
            ("[notify]\nmail = ['-oQ/tmp']", "notify: mail"),
            ("[sources.www]\npath = '/x'\nmax_full_age = 'soon'", "no span of time"),
            ("[defaults]\nkeep_dais = 3\n[sources.www]\npath = '/x'", "keep_dais"),
            ("store = '/x'\n\n[sources.www\npath = '/x'", "line 3: "),
            ("store = '/x'\nkeep =", "line 2: "),
            ("store = '/x'\nstore = '/y'", "line 2: duplicate key"),
            ("[metrics]\nlisten = 'nowhere'", "line 2: metrics.listen: invalid socket address"),
            ("[notify]\non = 'never'", "line 2: notify.on: unknown variant `never`"),
            ("[sources.www]\npath = '/x'\nkeep_days = 'all'", "sources.www: keep_days: invalid type: string"),
            ("[sources.www]\npath = '/x'\nkeep_days = -1", "sources.www: keep_days: invalid value"),
            ("[sources.www]\npath = '/x'\nmax_full_age = 'soon'", "sources.www: max_full_age: \"soon\""),
            ("[sources.www]\npath = '/x'\nhooks.timeout = 'long'", "sources.www: hooks.timeout: \"long\""),
            ("[sources.www]\npath = '/x'\nschedule.full = 5", "sources.www: schedule.full: a schedule is a cron"),
            ("[sources.www]\npath = '/x'\nschedule.full = {every = '0s'}", "sources.www: schedule.full: every 0 is"),
        ] {
            let error = Settings::parse(text).unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
            assert!(!error.contains(char::is_control), "it is one line: {error:?}");
        }
    }
}
