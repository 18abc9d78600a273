//! When a restore is rehearsed again. Pure: the time of the last one goes in, whether the next is due and why comes out.

use std::fmt;

use jiff::civil::Date;
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};

use crate::format::Timestamp;

/// How often a restore is rehearsed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Rehearse {
    /// With the first backup of each day.
    Daily,
    /// Of each week (ISO 8601).
    Weekly,
    /// Of each month.
    #[default]
    Monthly,
    /// Never.
    Off,
}

/// Why a rehearsal is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RehearsalDue {
    /// None was ever made.
    First,
    /// A new day, week or month has begun since the last.
    NewPeriod(Rehearse),
}

impl fmt::Display for RehearsalDue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::First => "no restore was rehearsed yet",
            Self::NewPeriod(Rehearse::Daily) => "a new day has begun since the last rehearsal",
            Self::NewPeriod(Rehearse::Weekly) => "a new week has begun since the last rehearsal",
            Self::NewPeriod(Rehearse::Monthly | Rehearse::Off) => "a new month has begun since the last rehearsal",
        })
    }
}

/// Whether a rehearsal is due now, and why. `last` is when the last one began that came to a verdict; one that could not be made counts for nothing.
/// Days begin in `zone`. A clock that was set back makes none due.
#[must_use]
pub fn due(every: Rehearse, last: Option<Timestamp>, now: Timestamp, zone: &TimeZone) -> Option<RehearsalDue> {
    if every == Rehearse::Off {
        return None;
    }
    let Some(last) = last else { return Some(RehearsalDue::First) };
    let period = |time: Timestamp| {
        let date = date(time, zone)?;
        Some(match every {
            Rehearse::Daily | Rehearse::Off => (date.year(), i32::from(date.day_of_year())),
            Rehearse::Weekly => {
                let week = date.iso_week_date();
                (week.year(), i32::from(week.week()))
            }
            Rehearse::Monthly => (date.year(), i32::from(date.month())),
        })
    };
    // A time that no calendar has is of no period.
    let is_new = period(last).is_none_or(|before| period(now).is_some_and(|now| now > before));
    is_new.then_some(RehearsalDue::NewPeriod(every))
}

fn date(time: Timestamp, zone: &TimeZone) -> Option<Date> {
    let time = jiff::Timestamp::from_second(time.secs).ok()?;
    Some(time.to_zoned(zone.clone()).date())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        let time: jiff::Timestamp = text.parse().unwrap();
        Timestamp::new(time.as_second(), 0)
    }

    #[test]
    fn due_once_in_each_day_week_or_month() {
        let utc = TimeZone::UTC;
        let is_due = |every, last: &str, now: &str| due(every, Some(at(last)), at(now), &utc).is_some();
        for (every, last, now, expected) in [
            (Rehearse::Daily, "2026-11-20T00:00:00Z", "2026-11-20T23:59:59Z", false),
            (Rehearse::Daily, "2026-11-20T23:59:59Z", "2026-11-21T00:00:00Z", true),
            (Rehearse::Daily, "2026-12-31T23:59:59Z", "2027-01-01T00:00:00Z", true),
            // A Sunday, and the Monday after.
            (Rehearse::Weekly, "2026-11-16T00:00:00Z", "2026-11-22T23:59:59Z", false),
            (Rehearse::Weekly, "2026-11-22T23:59:59Z", "2026-11-23T00:00:00Z", true),
            // The ISO week goes over the end of the year.
            (Rehearse::Weekly, "2026-12-28T01:00:00Z", "2027-01-03T01:00:00Z", false),
            (Rehearse::Weekly, "2027-01-03T01:00:00Z", "2027-01-04T01:00:00Z", true),
            (Rehearse::Monthly, "2026-11-01T00:00:00Z", "2026-11-30T23:59:59Z", false),
            (Rehearse::Monthly, "2026-11-30T23:59:59Z", "2026-12-01T00:00:00Z", true),
            (Rehearse::Monthly, "2025-11-30T00:00:00Z", "2026-11-01T00:00:00Z", true),
            // The clock was set back.
            (Rehearse::Daily, "2026-11-21T12:00:00Z", "2026-11-20T12:00:00Z", false),
            (Rehearse::Off, "1999-01-01T00:00:00Z", "2026-11-20T12:00:00Z", false),
        ] {
            assert_eq!(is_due(every, last, now), expected, "{every:?} {last} {now}");
        }
        assert_eq!(due(Rehearse::Off, None, at("2026-11-20T12:00:00Z"), &utc), None);
        assert_eq!(due(Rehearse::Monthly, None, at("2026-11-20T12:00:00Z"), &utc), Some(RehearsalDue::First));
    }

    #[test]
    fn days_begin_in_the_zone_that_is_given() {
        let berlin = TimeZone::get("Europe/Berlin").unwrap();
        let (last, now) = (at("2026-11-20T22:30:00Z"), at("2026-11-20T23:30:00Z"));
        let answer = due(Rehearse::Daily, Some(last), now, &berlin);
        assert_eq!(answer, Some(RehearsalDue::NewPeriod(Rehearse::Daily)), "it is past midnight in Berlin");
        assert_eq!(due(Rehearse::Daily, Some(last), now, &TimeZone::UTC), None);
        assert_eq!(answer.unwrap().to_string(), "a new day has begun since the last rehearsal");
    }
}
