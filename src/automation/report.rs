//! What a run has come to, as hooks, webhooks and mail are told.

use std::fmt::Write as _;

use serde::Serialize;

use super::rfc3339;
use crate::format::{Counts, Number, Timestamp};
use crate::policy::schedule::Task;
use crate::repository::runs::{BackupType, Check};

/// How a run stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// It has just begun.
    Running,
    /// There is a new point.
    Made,
    /// There is, but some files could not be read.
    Incomplete,
    /// Nothing had changed.
    Unchanged,
    /// The store was verified and is whole.
    Verified,
    /// What is stored is damaged.
    Damaged,
    /// It failed.
    Failed,
}

impl Outcome {
    /// As it is written.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Made => "made",
            Self::Incomplete => "incomplete",
            Self::Unchanged => "unchanged",
            Self::Verified => "verified",
            Self::Damaged => "damaged",
            Self::Failed => "failed",
        }
    }

    /// Whether what was asked for was done.
    #[must_use]
    pub const fn is_success(self) -> bool {
        matches!(self, Self::Made | Self::Incomplete | Self::Unchanged | Self::Verified)
    }
}

/// What a run has come to.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// This program, with its version.
    pub program: &'static str,
    /// This machine.
    pub host: String,
    /// The store.
    pub store: String,
    /// The source.
    pub name: String,
    /// What is backed up.
    pub path: String,
    /// What was asked for.
    pub task: Task,
    /// How it ended.
    pub result: Outcome,
    /// When it began.
    pub began: String,
    /// How long it has taken.
    pub seconds: f64,
    /// Full or differential.
    pub r#type: Option<BackupType>,
    /// Why this type.
    pub reason: Option<String>,
    /// Why it failed.
    pub error: Option<String>,
    /// The point, as NAME/TIME: the new one, or the one that nothing has changed since.
    pub point: Option<String>,
    /// Its number.
    pub number: Option<Number>,
    /// What was counted.
    pub counts: Option<Counts>,
    /// Bytes that the store grew by.
    pub stored_bytes: Option<u64>,
    /// What a check of what is stored has found.
    pub check: Option<Check>,
    /// What a rehearsal of a restore has found, if one was due.
    pub rehearsal: Option<Check>,
    /// What decided its sample: `dbakfs rehearse POINT --seed` draws the same again.
    pub rehearsal_seed: Option<u64>,
    /// The points that were forgotten by the rules, by number.
    pub forgotten: Vec<Number>,
    /// Bytes that came back by pruning.
    pub freed_bytes: Option<u64>,
    /// What was wrong without being the end of it.
    pub warnings: Vec<String>,
}

/// What a report is about before anything has happened.
#[derive(Clone, Copy, Debug)]
pub struct Told<'a> {
    /// This machine.
    pub host: &'a str,
    /// The store.
    pub store: &'a std::path::Path,
    /// The source.
    pub name: &'a str,
    /// What is backed up.
    pub path: &'a std::path::Path,
    /// What is asked for.
    pub task: Task,
}

impl Report {
    pub(super) fn begin(told: Told<'_>, began: Timestamp) -> Self {
        Self {
            program: concat!("dbakfs ", env!("CARGO_PKG_VERSION")),
            host: told.host.to_owned(),
            store: told.store.to_string_lossy().into_owned(),
            name: told.name.to_owned(),
            path: told.path.to_string_lossy().into_owned(),
            task: told.task,
            result: Outcome::Running,
            began: rfc3339(began),
            seconds: 0.0,
            r#type: None,
            reason: None,
            error: None,
            point: None,
            number: None,
            counts: None,
            stored_bytes: None,
            check: None,
            rehearsal: None,
            rehearsal_seed: None,
            forgotten: Vec::new(),
            freed_bytes: None,
            warnings: Vec::new(),
        }
    }

    /// As one line of JSON.
    #[must_use]
    pub fn to_json(&self) -> String {
        // Plain values under text keys: nothing in it can refuse to be written.
        serde_json::to_string(self).unwrap_or_default()
    }

    /// What a hook finds in its environment. What is not known yet is empty.
    pub(super) fn environment(&self) -> Vec<(&'static str, String)> {
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        vec![
            ("DBAKFS_NAME", self.name.clone()),
            ("DBAKFS_SOURCE", self.path.clone()),
            ("DBAKFS_STORE", self.store.clone()),
            ("DBAKFS_TASK", self.task.to_string()),
            ("DBAKFS_RESULT", self.result.as_str().to_owned()),
            ("DBAKFS_TYPE", self.r#type.map_or(String::new(), |kind| kind_word(kind).to_owned())),
            ("DBAKFS_POINT", text(&self.point)),
            ("DBAKFS_NUMBER", self.number.map_or(String::new(), |number| number.to_string())),
            // An environment takes no NUL.
            ("DBAKFS_ERROR", text(&self.error).replace('\0', "")),
        ]
    }

    /// One line for people.
    #[must_use]
    pub fn headline(&self) -> String {
        let what = if self.task == Task::Verify { "verification" } else { "backup" };
        let Self { name, host, .. } = self;
        match self.result {
            Outcome::Running => format!("{what} of {name} on {host} has begun"),
            Outcome::Made => format!("{what} of {name} on {host} is done"),
            Outcome::Incomplete => format!("{what} of {name} on {host} is done, but some files could not be read"),
            Outcome::Unchanged => format!("{what} of {name} on {host} is done: nothing had changed"),
            Outcome::Verified => format!("{what} of {name} on {host} found no damage"),
            Outcome::Damaged => format!("{what} of {name} on {host} found DAMAGE"),
            Outcome::Failed => format!("{what} of {name} on {host} FAILED"),
        }
    }

    /// The report for people, some lines.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = format!("{}\n\n", self.headline());
        let mut line = |title: &str, value: &str| {
            for (number, part) in value.lines().enumerate() {
                let _ = writeln!(text, "{:<10} {part}", if number == 0 { title } else { "" });
            }
        };
        line("error:", self.error.as_deref().unwrap_or_default());
        line("point:", self.point.as_deref().unwrap_or_default());
        line("type:", self.r#type.map_or("", kind_word));
        line("reason:", self.reason.as_deref().unwrap_or_default());
        line("source:", &self.path);
        line("store:", &self.store);
        line("began:", &self.began);
        line("took:", &format!("{:.1} s", self.seconds));
        if let Some(counts) = &self.counts {
            line("files:", &format!("{}, {} bytes, {} not read", counts.files, counts.bytes, counts.unread));
            line("changes:", &format!("{} new, {} updated, {} deleted", counts.new, counts.updated, counts.deleted));
        }
        line("stored:", &self.stored_bytes.map_or(String::new(), |bytes| format!("{bytes} bytes")));
        let forgotten: Vec<String> = self.forgotten.iter().map(ToString::to_string).collect();
        line("forgot:", &forgotten.join(", "));
        for finding in self.check.iter().chain(&self.rehearsal).flat_map(|check| &check.findings) {
            line("found:", finding);
        }
        for warning in &self.warnings {
            line("warning:", warning);
        }
        text
    }
}

const fn kind_word(kind: BackupType) -> &'static str {
    match kind {
        BackupType::Full => "full",
        BackupType::Differential => "differential",
    }
}
