//! Which points stay, and why.
//!
//! Owns the rules and the judgement. Refuses to know where points are kept, and to forget anything. Invariant: whatever the rules, no base of a point that
//! stays goes, no pin and no tag, and never the newest point of a source.

mod judge;
#[cfg(test)]
mod tests;
mod verdict;

pub use judge::judge;
pub use verdict::{Candidate, Forget, Hold, Judged, Judgement, Keep, Period, Verdict, Warning};

use serde::{Deserialize, Serialize};

/// How many days points are kept if nobody says otherwise.
pub const KEEP_DAYS: u32 = 30;

/// The rules of a source. A rule that is absent or 0 keeps, or bounds, nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct KeepRules {
    /// Points younger than this many days.
    pub keep_days: u32,
    /// The newest points.
    #[serde(skip_serializing_if = "is_zero")]
    pub keep_last: u32,
    /// The newest point of each of so many days that have one.
    #[serde(skip_serializing_if = "is_zero")]
    pub keep_daily: u32,
    /// The same by weeks (ISO 8601).
    #[serde(skip_serializing_if = "is_zero")]
    pub keep_weekly: u32,
    /// The same by months.
    #[serde(skip_serializing_if = "is_zero")]
    pub keep_monthly: u32,
    /// The same by years.
    #[serde(skip_serializing_if = "is_zero")]
    pub keep_yearly: u32,
    /// What no rule above keeps stays while there are at most so many series.
    #[serde(skip_serializing_if = "is_zero")]
    pub max_series: u32,
    /// At most so many points in a series, its full among them; with `max_series` it bounds the points of the source.
    #[serde(skip_serializing_if = "is_zero")]
    pub max_series_length: u32,
}

impl Default for KeepRules {
    fn default() -> Self {
        Self {
            keep_days: KEEP_DAYS,
            keep_last: 0,
            keep_daily: 0,
            keep_weekly: 0,
            keep_monthly: 0,
            keep_yearly: 0,
            max_series: 0,
            max_series_length: 0,
        }
    }
}

impl KeepRules {
    /// The most points that a source may have; none where that is not bounded.
    #[must_use]
    pub const fn max_points(&self) -> Option<u64> {
        match (self.max_series, self.max_series_length) {
            (0, _) | (_, 0) => None,
            (series, length) => Some(series as u64 * length as u64),
        }
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
const fn is_zero(number: &u32) -> bool {
    *number == 0
}
