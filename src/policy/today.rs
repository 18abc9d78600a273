//! The moment at which something is judged, and where its day begins.

use jiff::tz::TimeZone;

use super::Secs;
use crate::format::Timestamp;

/// When something is decided.
#[derive(Clone, Debug)]
pub struct Today {
    /// The moment.
    pub now: Timestamp,
    /// Where days begin.
    pub zone: TimeZone,
}

impl Today {
    /// The day of a moment; none where the calendar ends before it.
    pub(super) fn date(&self, time: Timestamp) -> Option<jiff::civil::Date> {
        let moment = jiff::Timestamp::from_second(time.secs).ok()?;
        Some(moment.to_zoned(self.zone.clone()).date())
    }

    pub(super) fn age(&self, time: Timestamp) -> Secs {
        Secs(u64::try_from(self.now.secs.saturating_sub(time.secs)).unwrap_or(0))
    }

    /// Whether `time` lies on the day of `now`.
    pub(super) fn is_same_day(&self, time: Timestamp) -> bool {
        self.date(time).is_some_and(|date| Some(date) == self.date(self.now))
    }

    pub(super) fn is_same_month(&self, time: Timestamp) -> bool {
        let month = |time| self.date(time).map(|date| (date.year(), date.month()));
        month(time).is_some_and(|at| Some(at) == month(self.now))
    }
}
