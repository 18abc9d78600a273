//! What the configuration says of one source.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Deserialize;

use crate::policy::decision::{DecisionRules, IndependentFull};
use crate::policy::rehearsal::Rehearse;
use crate::policy::retention::KeepRules;
use crate::policy::schedule::{Task, When};
use crate::policy::surge::SurgeRules;
use crate::policy::{Secs, Weekday};

/// The settings of one source. The keys are those of the file; [`SourceSettings::decision`] and [`SourceSettings::keep`] are what the policies take.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SourceSettings {
    /// What is backed up: an absolute path.
    pub path: PathBuf,
    /// Patterns of what is left out, as in .gitignore.
    #[serde(default)]
    pub exclude: Vec<String>,
    /// Files of such patterns.
    #[serde(default)]
    pub exclude_from: Vec<PathBuf>,
    /// Leave out what stands in directories that hold a CACHEDIR.TAG.
    #[serde(default)]
    pub exclude_caches: bool,
    /// Do not enter other file systems.
    #[serde(default)]
    pub one_file_system: bool,
    /// What is done when.
    #[serde(default)]
    pub schedule: BTreeMap<Task, When>,
    /// Each scheduled run begins up to this much later than its time, by chance.
    #[serde(default)]
    pub jitter: Secs,

    #[serde(default)]
    full_day: Option<Weekday>,
    #[serde(default)]
    max_full_age: Option<Secs>,
    #[serde(default)]
    max_series_length: Option<u32>,
    #[serde(default)]
    diff_threshold: Option<u32>,
    #[serde(default)]
    independent_full: Option<IndependentFull>,
    #[serde(default)]
    keep_days: Option<u32>,
    #[serde(default)]
    keep_last: Option<u32>,
    #[serde(default)]
    keep_daily: Option<u32>,
    #[serde(default)]
    keep_weekly: Option<u32>,
    #[serde(default)]
    keep_monthly: Option<u32>,
    #[serde(default)]
    keep_yearly: Option<u32>,
    #[serde(default)]
    max_series: Option<u32>,

    /// How long a forgotten point can be brought back.
    #[serde(default = "week")]
    pub grace: Secs,
    /// How what was just written is checked.
    #[serde(default)]
    pub verify: VerifyAfter,
    /// How often a restore is rehearsed.
    #[serde(default)]
    pub rehearse: Rehearse,
    /// The most time that may pass between two successes (recovery point objective).
    #[serde(default)]
    pub rpo: Option<Secs>,
    /// The most time that a full restore may take (recovery time objective).
    #[serde(default)]
    pub rto: Option<Secs>,
    /// When a change is out of the ordinary.
    #[serde(default)]
    pub alarm: SurgeRules,
    /// Compression level of fulls (zstd, 1 to 19).
    #[serde(default)]
    pub full_level: Option<i32>,
    /// Compression level of differentials.
    #[serde(default)]
    pub differential_level: Option<i32>,
    /// Commands that run before and after.
    #[serde(default)]
    pub hooks: Hooks,
}

/// How what was just written is checked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum VerifyAfter {
    /// All that the backup wrote is read back.
    #[default]
    Written,
    /// A sample of it.
    Sample,
    /// The whole store, every byte.
    Full,
    /// Nothing.
    Off,
}

/// Commands that run before and after a backup, each by `/bin/sh -c`, with the report as JSON on standard input.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Hooks {
    /// Before it. Where it fails there is no backup, and the run has failed.
    pub before: Option<String>,
    /// After a backup that ended well.
    pub after: Option<String>,
    /// After one that failed.
    pub failed: Option<String>,
    /// After `after` or `failed`, in any case.
    pub finally: Option<String>,
    /// How long each may take.
    pub timeout: Secs,
}

impl Default for Hooks {
    fn default() -> Self {
        Self { before: None, after: None, failed: None, finally: None, timeout: Secs(3_600) }
    }
}

const fn week() -> Secs {
    Secs::days(7)
}

impl SourceSettings {
    /// The rules for full or differential.
    #[must_use]
    pub fn decision(&self) -> DecisionRules {
        let usual = DecisionRules::default();
        DecisionRules {
            full_day: self.full_day,
            max_full_age: self.max_full_age.unwrap_or(usual.max_full_age),
            max_series_length: self.max_series_length.unwrap_or(usual.max_series_length),
            diff_threshold: self.diff_threshold.unwrap_or(usual.diff_threshold),
            independent_full: self.independent_full.unwrap_or(usual.independent_full),
        }
    }

    /// The rules of what is kept.
    #[must_use]
    pub fn keep(&self) -> KeepRules {
        let usual = KeepRules::default();
        KeepRules {
            keep_days: self.keep_days.unwrap_or(usual.keep_days),
            keep_last: self.keep_last.unwrap_or_default(),
            keep_daily: self.keep_daily.unwrap_or_default(),
            keep_weekly: self.keep_weekly.unwrap_or_default(),
            keep_monthly: self.keep_monthly.unwrap_or_default(),
            keep_yearly: self.keep_yearly.unwrap_or_default(),
            max_series: self.max_series.unwrap_or_default(),
            max_series_length: self.max_series_length.unwrap_or_default(),
        }
    }

    pub(super) fn check(&self) -> Result<(), String> {
        if !self.path.is_absolute() {
            return Err(format!("path: {} is not absolute", self.path.display()));
        }
        for level in [self.full_level, self.differential_level].into_iter().flatten() {
            if !(1..=19).contains(&level) {
                return Err(format!("a compression level is 1 to 19, not {level}"));
            }
        }
        for (task, when) in &self.schedule {
            // A backup that came after a backup would come after itself.
            if matches!(when, When::After(first) if *task != Task::Verify || *first == Task::Verify) {
                return Err(format!("schedule.{task}: only verify comes after something else, and after a backup"));
            }
        }
        Ok(())
    }
}
