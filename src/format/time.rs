//! A moment as file systems keep it: signed seconds and nanoseconds, so that 1960 and 2100 both fit.

use serde::{Deserialize, Serialize};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A moment: seconds since 1970-01-01T00:00:00Z (negative before it) and nanoseconds after that second (0 to 999,999,999).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Timestamp {
    /// Whole seconds since the epoch, rounded down.
    pub secs: i64,
    /// Nanoseconds after `secs`, always below 1,000,000,000.
    pub nanos: u32,
}

impl Timestamp {
    /// The moment `secs` seconds and `nanos` nanoseconds after the epoch.
    #[must_use]
    pub const fn new(secs: i64, nanos: u32) -> Self {
        Self { secs, nanos }
    }

    /// The system's clock, now.
    #[must_use]
    pub fn now() -> Self {
        // By the C library, so that whoever tries another clock on a program reaches this one, too.
        let secs = |time: Duration| i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
        match SystemTime::now().duration_since(UNIX_EPOCH) {
            Ok(after) => Self { secs: secs(after), nanos: after.subsec_nanos() },
            Err(before) => Self { secs: -secs(before.duration()), nanos: 0 },
        }
    }

    /// This moment, `secs` seconds later; stays at the end of time instead of overflowing.
    #[must_use]
    pub const fn plus_secs(self, secs: i64) -> Self {
        Self { secs: self.secs.saturating_add(secs), nanos: self.nanos }
    }

    /// The next moment.
    #[must_use]
    pub const fn plus_nano(self) -> Self {
        if self.nanos < 999_999_999 {
            Self { secs: self.secs, nanos: self.nanos + 1 }
        } else {
            Self { secs: self.secs.saturating_add(1), nanos: 0 }
        }
    }
}
