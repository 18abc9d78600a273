//! A moment as file systems keep it: signed seconds and nanoseconds, so that 1960 and 2100 both fit.

use serde::{Deserialize, Serialize};

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
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Realtime);
        Self { secs: now.tv_sec, nanos: u32::try_from(now.tv_nsec).unwrap_or(0) }
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
