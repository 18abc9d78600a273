//! Whether what a backup found changed is far beyond the habit of its source: ransomware, a wrong mount, an emptied disk.
//!
//! Owns the bounds. Refuses to know what is done about it. Invariant: a tree that only grows raises no alarm before there is a habit, one that was emptied always does.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Points whose changes make the habit.
pub const HABIT: usize = 10;

/// Fewer are no habit yet. A median of one or two is whatever the last change was: the first deploy after a quiet night would be beyond it, and a large one
/// would hide whatever came next.
pub const HABIT_LEAST: usize = 3;

/// Percent of the tree that must be gone for an alarm where there is no habit: what is new or rewritten says nothing then, since that is how a source begins.
pub const GONE_PERCENT: u32 = 50;

/// Percent of the tree above which it is emptied, where hardly more has come than it leaves.
pub const EMPTIED_PERCENT: u32 = 90;

/// When a change is out of the ordinary: changed plus deleted bytes are above both bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SurgeRules {
    /// Percent of the bytes of the tree before it.
    pub percent: u32,
    /// Times the median of the last ten points.
    pub times: u32,
}

impl SurgeRules {
    /// No change is out of the ordinary.
    pub const NEVER: Self = Self { percent: u32::MAX, times: u32::MAX };
}

impl Default for SurgeRules {
    fn default() -> Self {
        Self { percent: 20, times: 5 }
    }
}

/// What one backup found changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Change {
    /// Bytes that are new or rewritten.
    pub changed_bytes: u64,
    /// Bytes of files that are gone.
    pub gone_bytes: u64,
    /// Bytes of the tree before it.
    pub tree_bytes: u64,
}

impl Change {
    /// Changed plus deleted bytes.
    #[must_use]
    pub const fn bytes(&self) -> u64 {
        self.changed_bytes.saturating_add(self.gone_bytes)
    }

    fn is_above(&self, bytes: u64, percent: u32) -> bool {
        u128::from(bytes) * 100 > u128::from(self.tree_bytes) * u128::from(percent)
    }

    fn percent(&self, bytes: u64) -> u128 {
        u128::from(bytes) * 100 / u128::from(self.tree_bytes.max(1))
    }
}

/// A change that is far beyond the habit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Surge {
    /// It is above both bounds.
    BeyondHabit {
        /// The change.
        change: Change,
        /// What the last points changed, in the median.
        median_bytes: u64,
    },
    /// Most of the tree is gone, and there is no habit yet; or nearly all is, and nothing has come for it.
    MostlyGone {
        /// The change.
        change: Change,
    },
}

impl fmt::Display for Surge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BeyondHabit { change, median_bytes } => write!(
                f,
                "{} bytes changed and {} bytes are gone, {} % of the tree's {}; the median of the last points is {median_bytes}",
                change.changed_bytes,
                change.gone_bytes,
                change.percent(change.bytes()),
                change.tree_bytes,
            ),
            Self::MostlyGone { change } => write!(
                f,
                "{} bytes are gone, {} % of the tree's {}",
                change.gone_bytes,
                change.percent(change.gone_bytes),
                change.tree_bytes
            ),
        }
    }
}

/// Judges a change; `habit` is what the points before it changed, at most the last [`HABIT`] of them count, newest first.
#[must_use]
pub fn judge(rules: &SurgeRules, change: Change, habit: &[u64]) -> Option<Surge> {
    // Where there was nothing, nothing can have been lost.
    if change.tree_bytes == 0 {
        return None;
    }
    let habit = &habit[..habit.len().min(HABIT)];
    // Whatever the habit: a source that is filled anew each day loses as much, but not without new data in its place.
    let is_emptied = rules.percent <= EMPTIED_PERCENT
        && change.is_above(change.gone_bytes, EMPTIED_PERCENT)
        && !change.is_above(change.changed_bytes, 100 - EMPTIED_PERCENT);
    if is_emptied {
        return Some(Surge::MostlyGone { change });
    }
    if habit.len() < HABIT_LEAST {
        let percent = rules.percent.max(GONE_PERCENT);
        return change.is_above(change.gone_bytes, percent).then_some(Surge::MostlyGone { change });
    }
    let median_bytes = median(habit);
    let is_beyond = u128::from(change.bytes()) > u128::from(median_bytes) * u128::from(rules.times);
    (is_beyond && change.is_above(change.bytes(), rules.percent)).then_some(Surge::BeyondHabit { change, median_bytes })
}

/// The middle one; of an even number the mean of the two in the middle.
fn median(of: &[u64]) -> u64 {
    let mut sorted = of.to_vec();
    sorted.sort_unstable();
    let (low, high) = (sorted[(sorted.len() - 1) / 2], sorted[sorted.len() / 2]);
    low + (high - low) / 2
}

#[cfg(test)]
mod tests {
    use super::*;

    const TREE: u64 = 1_000_000;

    fn alarms(changed_bytes: u64, gone_bytes: u64, habit: &[u64]) -> bool {
        judge(&SurgeRules::default(), Change { changed_bytes, gone_bytes, tree_bytes: TREE }, habit).is_some()
    }

    #[test]
    fn an_emptied_source_alarms_whatever_its_habit_and_one_that_is_filled_anew_does_not() {
        let rules = SurgeRules::default();
        let gone = |gone_bytes, changed_bytes| Change { gone_bytes, changed_bytes, tree_bytes: TREE };
        let busy = [2 * TREE; 10];
        assert!(matches!(judge(&rules, gone(TREE, 0), &busy), Some(Surge::MostlyGone { .. })));
        assert!(judge(&rules, gone(TREE * 95 / 100, TREE / 100), &busy).is_some());
        assert_eq!(judge(&rules, gone(TREE, TREE), &busy), None);
        assert_eq!(judge(&rules, gone(TREE / 2, 0), &busy), None);
        assert_eq!(judge(&SurgeRules::NEVER, gone(TREE, 0), &busy), None);
    }

    #[test]
    fn a_change_must_be_above_both_bounds() {
        let habit = [10_000; 10];
        assert!(!alarms(200_000, 0, &habit), "20 % is not above 20 %");
        assert!(alarms(200_001, 0, &habit));
        assert!(alarms(100_001, 100_000, &habit), "changed and gone count together");
        // Above the tree's bound, and not above five times the median.
        let busy = [60_000; 10];
        assert!(!alarms(300_000, 0, &busy));
        assert!(alarms(300_001, 0, &busy));
    }

    #[test]
    fn an_encrypted_tree_alarms_and_a_large_deploy_does_not() {
        let habit = [5_000, 12_000, 0, 8_000, 30_000, 4_000, 9_000];
        assert!(alarms(TREE, TREE, &habit), "each file under a new name");
        assert!(alarms(TREE, 0, &habit), "each file in its place");
        assert!(!alarms(150_000, 0, &habit), "15 % of the tree");
        assert!(alarms(0, TREE, &habit), "an emptied mount");
    }

    #[test]
    fn without_a_habit_only_what_is_gone_alarms() {
        for habit in [&[][..], &[0], &[0, 0]] {
            assert!(alarms(0, TREE, habit), "an emptied mount");
            assert!(alarms(TREE, TREE, habit), "each file under a new name");
            assert!(!alarms(20 * TREE, 0, habit), "a source that begins to fill");
            assert!(!alarms(TREE, TREE / 2, habit));
            assert!(alarms(0, TREE / 2 + 1, habit));
        }
        assert!(alarms(200_001, 0, &[0; 3]), "three are a habit");
    }

    #[test]
    fn the_median_is_of_the_last_ten_and_no_single_day_moves_it() {
        assert_eq!((median(&[7]), median(&[9, 1]), median(&[1, 100, 3])), (7, 5, 3));
        assert_eq!(median(&[u64::MAX, u64::MAX]), u64::MAX);
        let mut habit = vec![1_000; 9];
        habit.insert(0, TREE);
        assert!(alarms(300_000, 0, &habit));
        // Newest first: ten large ones make the small ones before them old habit.
        let mut habit = vec![TREE; 10];
        habit.extend([0; 20]);
        assert!(!alarms(TREE, TREE, &habit));
    }

    #[test]
    fn nothing_can_be_lost_of_an_empty_tree_and_no_number_overflows() {
        let rules = SurgeRules::default();
        assert_eq!(judge(&rules, Change { changed_bytes: 5, ..Change::default() }, &[0; 5]), None);
        let all = Change { changed_bytes: u64::MAX, gone_bytes: u64::MAX, tree_bytes: u64::MAX };
        assert!(judge(&rules, all, &[0; 5]).is_some());
        assert_eq!(judge(&SurgeRules::NEVER, all, &[1; 5]), None);
    }

    #[test]
    fn the_reason_has_the_figures() {
        let rules = SurgeRules::default();
        let change = Change { changed_bytes: 900, gone_bytes: 800, tree_bytes: 1_000 };
        let text = judge(&rules, change, &[1, 2, 3]).unwrap().to_string();
        assert_eq!(
            text,
            "900 bytes changed and 800 bytes are gone, 170 % of the tree's 1000; the median of the last points is 2"
        );
        assert_eq!(judge(&rules, change, &[]).unwrap().to_string(), "800 bytes are gone, 80 % of the tree's 1000");
    }
}
