//! Which points stay, and why.

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
    /// At most so many series.
    #[serde(skip_serializing_if = "is_zero")]
    pub max_series: u32,
    /// At most so many points in a series, its full among them.
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

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
const fn is_zero(number: &u32) -> bool {
    *number == 0
}
