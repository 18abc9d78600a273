//! The state directory: what could not be noted in the store, what the schedule knows since when, and the locks of runs on this machine.
//!
//! Losing it loses no backup and no success: at most that of a failure nobody is told any more.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::record::{Entry, Noted};
use crate::format::Timestamp;
use crate::repository::SourceName;
use crate::storage::{Lock, LockKind, Replace, Storage, StorageError, Wait};

const UNRECORDED: &str = "unrecorded.jsonl";
const UNRECORDED_LOCK: &str = "unrecorded.lock";
const SINCE: &str = "schedule.json";
const LIMIT_BYTES: u64 = 4 << 20;
/// Lines that are kept at most: of a store that never comes back there would be ever more.
const LINES_KEPT: usize = 1_000;

/// What of the environment says where the state directory is.
#[derive(Clone, Debug, Default)]
pub struct Environment {
    /// `STATE_DIRECTORY`, as systemd sets it.
    pub state_directory: Option<OsString>,
    /// `XDG_STATE_HOME`.
    pub xdg_state_home: Option<OsString>,
    /// `HOME`.
    pub home: Option<OsString>,
    /// Whether this is root.
    pub is_root: bool,
}

impl Environment {
    /// That of this process.
    #[must_use]
    pub fn of_process() -> Self {
        Self {
            state_directory: std::env::var_os("STATE_DIRECTORY"),
            xdg_state_home: std::env::var_os("XDG_STATE_HOME"),
            home: std::env::var_os("HOME"),
            is_root: rustix::process::geteuid().is_root(),
        }
    }

    /// The state directory; none where nothing says where it is.
    #[must_use]
    pub fn state_path(&self) -> Option<PathBuf> {
        let absolute = |path: &Option<OsString>| path.clone().map(PathBuf::from).filter(|path| path.is_absolute());
        // systemd names several, if there are several, with colons between them.
        let given = self.state_directory.as_ref().and_then(|paths| std::env::split_paths(paths).next());
        if let Some(given) = given.filter(|path| path.is_absolute()) {
            return Some(given);
        }
        if self.is_root {
            return Some(PathBuf::from("/var/lib/dbakfs"));
        }
        let base = absolute(&self.xdg_state_home).or_else(|| Some(absolute(&self.home)?.join(".local/state")))?;
        Some(base.join("dbakfs"))
    }
}

/// Something that belongs into the ledger of a store and is not there yet. One line of JSON.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Spooled {
    /// The store, as an absolute path.
    pub store: String,
    /// The source.
    pub name: String,
    /// What is to be noted.
    #[serde(flatten)]
    pub what: Noted,
    /// Whether the run was told to stop.
    #[serde(default)]
    pub was_stopped: bool,
}

/// The state directory.
#[derive(Clone, Debug)]
pub struct State {
    storage: Storage,
}

impl State {
    /// Opens it, and makes it where there is none.
    ///
    /// # Errors
    /// The system refuses.
    pub fn open(path: &Path) -> Result<Self, StorageError> {
        Ok(Self { storage: Storage::create_root(path)? })
    }

    /// Opens it where there is one.
    ///
    /// # Errors
    /// There is none, or the system refuses.
    pub fn open_existing(path: &Path) -> Result<Self, StorageError> {
        Ok(Self { storage: Storage::open_root(path)? })
    }

    /// Keeps what could not be noted in its store.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn keep(&self, store: &Path, entries: &[Entry]) -> Result<(), StorageError> {
        let _lock = self.storage.lock(UNRECORDED_LOCK, LockKind::Exclusive, Wait::Forever)?;
        let mut lines = self.lines()?;
        lines.extend(entries.iter().map(|entry| Spooled {
            store: key(store),
            name: entry.name.to_string(),
            what: entry.what.clone(),
            was_stopped: entry.was_stopped,
        }));
        self.write(&lines)
    }

    /// What is kept of a store.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn kept(&self, store: &Path) -> Result<Vec<Spooled>, StorageError> {
        let store = key(store);
        let mut lines = self.lines()?;
        lines.retain(|line| line.store == store);
        Ok(lines)
    }

    /// Gives what is kept of a store to `take`, and lets go of it if that succeeds. A state directory that cannot be read or written keeps nothing from its
    /// place: what it holds is then given again the next time.
    pub(super) fn hand_over<E>(&self, store: &Path, take: impl FnOnce(Vec<Entry>) -> Result<(), E>) -> Result<(), E> {
        let lock = self.storage.lock(UNRECORDED_LOCK, LockKind::Exclusive, Wait::Forever);
        let lines = if lock.is_ok() { self.lines().unwrap_or_default() } else { Vec::new() };
        let store = key(store);
        let (ours, others): (Vec<_>, Vec<_>) = lines.into_iter().partition(|line| line.store == store);
        let is_empty = ours.is_empty();
        let entries = ours.into_iter().filter_map(|line| {
            let name = SourceName::new(&line.name).ok()?;
            Some(Entry { name, what: line.what, was_stopped: line.was_stopped })
        });
        take(entries.collect())?;
        if !is_empty {
            let _ = self.write(&others);
        }
        Ok(())
    }

    /// Since when the schedule has had each of these lines: now, if it is new. Nothing is remembered.
    #[must_use]
    pub fn since(&self, store: &Path, lines: &[String], now: Timestamp) -> Vec<Timestamp> {
        let known = self.known_lines().unwrap_or_default();
        let store = key(store);
        let since = |line: &String| known.get(&format!("{store}\n{line}")).map_or(now, |since| now.min(*since));
        lines.iter().map(since).collect()
    }

    /// As [`State::since`], for the daemon: these are all the lines that the schedule of this store has, and those that are new are remembered.
    ///
    /// # Errors
    /// It cannot be read or written.
    pub fn remember(&self, store: &Path, lines: &[String], now: Timestamp) -> Result<Vec<Timestamp>, StorageError> {
        let mut known = self.known_lines()?;
        let before = known.clone();
        let answers = self.since(store, lines, now);
        let store = key(store);
        // What the schedule no longer says may be said anew one day.
        known.retain(|line, _| !line.starts_with(&format!("{store}\n")));
        known.extend(lines.iter().map(|line| format!("{store}\n{line}")).zip(answers.iter().copied()));
        if known != before {
            let text = serde_json::to_vec(&known).unwrap_or_default();
            self.storage.put(SINCE, &text, Replace::Always)?;
        }
        Ok(answers)
    }

    fn known_lines(&self) -> Result<BTreeMap<String, Timestamp>, StorageError> {
        match self.storage.read_small(SINCE, LIMIT_BYTES) {
            // What cannot be understood is begun anew.
            Ok(bytes) => Ok(serde_json::from_slice(&bytes).unwrap_or_default()),
            Err(StorageError::TooLarge { .. }) => Ok(BTreeMap::new()),
            Err(error) if error.is_not_found() => Ok(BTreeMap::new()),
            Err(error) => Err(error),
        }
    }

    /// The lock that only one run of a source has, or, without a source, only one daemon; none if another has it.
    ///
    /// # Errors
    /// The system refuses.
    pub fn lock(&self, store: &Path, source: Option<&SourceName>) -> Result<Option<Lock>, StorageError> {
        let what = source.map_or_else(|| "daemon".to_owned(), |name| format!("run\n{name}"));
        let hash = blake3::hash(format!("{}\n{what}", key(store)).as_bytes()).to_hex();
        self.storage.lock(&format!("{}.lock", &hash[..32]), LockKind::Exclusive, Wait::Never)
    }

    fn lines(&self) -> Result<Vec<Spooled>, StorageError> {
        let bytes = match self.storage.read_small(UNRECORDED, LIMIT_BYTES) {
            Err(error) if error.is_not_found() => return Ok(Vec::new()),
            answer => answer?,
        };
        Ok(bytes.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice(line).ok()).collect())
    }

    fn write(&self, lines: &[Spooled]) -> Result<(), StorageError> {
        let mut text = String::new();
        for line in &lines[lines.len().saturating_sub(LINES_KEPT)..] {
            text.push_str(&serde_json::to_string(line).unwrap_or_default());
            text.push('\n');
        }
        self.storage.put(UNRECORDED, text.as_bytes(), Replace::Always)
    }
}

/// A store by its path: where there is no store there is nothing else to know it by.
fn key(store: &Path) -> String {
    let path = store.canonicalize().or_else(|_| std::path::absolute(store));
    path.unwrap_or_else(|_| store.to_owned()).to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::automation::record::failed;
    use crate::repository::runs::BackupType;

    #[test]
    fn state_lies_where_systemd_says_else_where_such_things_lie() {
        let path = |state: &str, xdg: &str, home: &str, is_root| {
            let set = |text: &str| (!text.is_empty()).then(|| text.into());
            let (state_directory, xdg_state_home, home) = (set(state), set(xdg), set(home));
            Environment { state_directory, xdg_state_home, home, is_root }.state_path()
        };
        assert_eq!(path("/run/a:/run/b", "/x", "/home/u", true), Some("/run/a".into()));
        assert_eq!(path("", "/x", "/root", true), Some("/var/lib/dbakfs".into()));
        assert_eq!(path("", "/x", "/home/u", false), Some("/x/dbakfs".into()));
        assert_eq!(path("relative", "relative", "/home/u", false), Some("/home/u/.local/state/dbakfs".into()));
        assert_eq!(path("", "", "", false), None);
    }

    #[test]
    fn what_is_kept_is_handed_to_its_own_store_once() {
        let dir = tempfile::tempdir().unwrap();
        let state = State::open(&dir.path().join("state")).unwrap();
        let entry = |name: &str, secs| Entry {
            name: SourceName::new(name).unwrap(),
            what: Noted::Run(failed(Timestamp::new(secs, 0), 1.5, BackupType::Full, "no disk".to_owned())),
            was_stopped: false,
        };
        let (one, two) = (dir.path().join("one"), dir.path().join("two"));
        state.keep(&one, &[entry("www", 1)]).unwrap();
        state.keep(&two, &[entry("www", 2)]).unwrap();
        state.keep(&one, &[entry("db", 3)]).unwrap();
        assert_eq!(state.hand_over(&one, |_| Err("busy")), Err("busy"));
        let mut handed = Vec::new();
        let take = |entries| {
            handed = entries;
            Ok::<(), ()>(())
        };
        state.hand_over(&one, take).unwrap();
        assert_eq!(handed, [entry("www", 1), entry("db", 3)], "what was refused is still there");
        assert!(state.kept(&one).unwrap().is_empty());
        assert_eq!(state.kept(&two).unwrap().len(), 1);
    }

    #[test]
    fn schedule_is_known_since_it_was_first_seen_and_never_since_the_future() {
        let dir = tempfile::tempdir().unwrap();
        let state = State::open(dir.path()).unwrap();
        let store = dir.path().join("store");
        let since = |lines: &[&str], secs| {
            let lines: Vec<String> = lines.iter().map(|line| (*line).to_owned()).collect();
            let now = Timestamp::new(secs, 0);
            let looked = state.since(&store, &lines, now);
            let times = state.remember(&store, &lines, now).unwrap();
            assert_eq!(looked, times, "who only looks sees the same");
            times.iter().map(|time| time.secs).collect::<Vec<_>>()
        };
        assert_eq!(since(&["a"], 100), [100]);
        assert_eq!(since(&["a", "b"], 200), [100, 200]);
        assert_eq!(since(&["a", "b"], 150), [100, 150]);
        assert_eq!(since(&["b"], 300), [150]);
        assert_eq!(since(&["a", "b"], 400), [400, 150], "a was taken out and has come back");
    }
}
