//! Cron expressions, and when they come true in a time zone.
//!
//! An expression that names hours means the clock on the wall: an hour that summer time leaves out comes later by what was left out, and one that comes
//! twice counts once. One whose hours begin with `*` means a rhythm, and goes by the time that passes.

use std::fmt;
use std::str::FromStr;

use cronexpr::{Crontab, MakeTimestamp};
use jiff::civil::DateTime;
use jiff::tz::{Offset, TimeZone};

use crate::format::Timestamp;

/// A cron expression: minute, hour, day of the month, month, day of the week, and, if it is not that of the configuration, a time zone.
#[derive(Clone, Debug)]
pub struct Cron {
    text: String,
    /// What is asked in UTC and answers in whatever zone.
    table: Crontab,
    zone: Option<TimeZone>,
    is_rhythm: bool,
}

/// Why a text is no cron expression.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CronError {
    /// It does not read as one.
    #[error("{text:?} is no cron expression like \"0 2 * * 1-6\": {reason}")]
    Malformed {
        /// The text.
        text: String,
        /// What is wrong.
        reason: String,
    },
    /// It names a time zone that nobody knows.
    #[error("{text:?} names a time zone that is not known: {zone}")]
    Zone {
        /// The text.
        text: String,
        /// The zone.
        zone: String,
    },
    /// Its day never comes.
    #[error("{text:?} names a day that never comes")]
    Never {
        /// The text.
        text: String,
    },
}

/// Short forms, as cron has them.
const NAMED: [(&str, &str); 5] = [
    ("@hourly", "0 * * * *"),
    ("@daily", "0 0 * * *"),
    ("@weekly", "0 0 * * 0"),
    ("@monthly", "0 0 1 * *"),
    ("@yearly", "0 0 1 1 *"),
];

/// Most civil times that are looked at before a moment is given up. Two hours of minutes repeat at the longest.
const MOST_LOOKED_AT: usize = 300;

impl FromStr for Cron {
    type Err = CronError;

    fn from_str(text: &str) -> Result<Self, CronError> {
        let malformed = |reason: &str| CronError::Malformed { text: text.to_owned(), reason: reason.to_owned() };
        let trimmed = text.trim();
        let plain = NAMED.iter().find(|(name, _)| *name == trimmed).map_or(trimmed, |(_, plain)| plain);
        let fields: Vec<&str> = plain.split_whitespace().collect();
        let zone = match fields.len() {
            5 => None,
            6 => Some(
                TimeZone::get(fields[5])
                    .map_err(|_| CronError::Zone { text: text.to_owned(), zone: fields[5].to_owned() })?,
            ),
            _ => return Err(malformed("it has five fields, and may have a time zone as the sixth")),
        };
        let table = cronexpr::parse_crontab(&format!("{} UTC", fields[..5].join(" "))).map_err(|error| {
            // The message ends with what was expected; before it stands the expression with marks below it.
            let message = error.to_string();
            malformed(message.lines().map(str::trim).rfind(|line| !line.is_empty()).unwrap_or("it cannot be read"))
        })?;
        // From here on the next four years have a 29th of February.
        let known_day = MakeTimestamp(jiff::Timestamp::UNIX_EPOCH);
        if table.find_next(known_day).is_err() {
            return Err(CronError::Never { text: text.to_owned() });
        }
        Ok(Self { text: trimmed.to_owned(), table, zone, is_rhythm: fields[1].starts_with('*') })
    }
}

impl fmt::Display for Cron {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl PartialEq for Cron {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Cron {}

impl Cron {
    /// The first moment after `after` at which it comes true. `zone` is that of the configuration. None at the end of time.
    #[must_use]
    pub fn next(&self, after: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        let zone = self.zone.as_ref().unwrap_or(zone);
        let after = jiff::Timestamp::from_second(after.secs).ok()?;
        let next = if self.is_rhythm { self.next_by_time(after, zone) } else { self.next_by_clock(after, zone) }?;
        Some(Timestamp::new(next.as_second(), 0))
    }

    /// By the clock on the wall.
    fn next_by_clock(&self, after: jiff::Timestamp, zone: &TimeZone) -> Option<jiff::Timestamp> {
        let mut civil = zone.to_datetime(after);
        let mut best: Option<jiff::Timestamp> = None;
        for _ in 0..MOST_LOOKED_AT {
            civil = self.next_civil(civil)?;
            // What a moment that was moved later has overtaken may come first.
            if best.is_some_and(|best| zone.to_datetime(best) <= civil) {
                break;
            }
            let moment = zone.to_ambiguous_timestamp(civil).compatible().ok()?;
            if moment > after && best.is_none_or(|best| moment < best) {
                best = Some(moment);
            }
        }
        best
    }

    /// By the time that passes: between two changes of the clock the zone has one offset.
    fn next_by_time(&self, after: jiff::Timestamp, zone: &TimeZone) -> Option<jiff::Timestamp> {
        let mut offset = zone.to_offset(after);
        let mut civil = offset.to_datetime(after);
        let mut changes = zone.following(after);
        loop {
            let moment = offset.to_timestamp(self.next_civil(civil)?).ok()?;
            match changes.next() {
                Some(change) if change.timestamp() <= moment => {
                    offset = change.offset();
                    civil = before(offset, change.timestamp())?;
                }
                _ => return Some(moment),
            }
        }
    }

    /// The first civil time after `civil` that the expression names.
    fn next_civil(&self, civil: DateTime) -> Option<DateTime> {
        let as_if_utc = Offset::UTC.to_timestamp(civil).ok()?;
        let found = self.table.find_next(MakeTimestamp(as_if_utc)).ok()?;
        Some(Offset::UTC.to_datetime(found.timestamp()))
    }
}

/// The civil time just before a moment.
fn before(offset: Offset, moment: jiff::Timestamp) -> Option<DateTime> {
    let just_before = moment.as_second().checked_sub(1)?;
    Some(offset.to_datetime(jiff::Timestamp::from_second(just_before).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The moments that follow `after`, as the zone's clocks show them, with the offset.
    fn times(cron: &str, zone: &str, after: &str, count: usize) -> Vec<String> {
        let (cron, zone) = (cron.parse::<Cron>().unwrap(), TimeZone::get(zone).unwrap());
        let mut at = Timestamp::new(after.parse::<jiff::Timestamp>().unwrap().as_second(), 0);
        let mut found = Vec::new();
        for _ in 0..count {
            at = cron.next(at, &zone).unwrap();
            let shown = jiff::Timestamp::from_second(at.secs).unwrap().to_zoned(zone.clone());
            found.push(shown.strftime("%m-%d %H:%M %:z").to_string());
        }
        found
    }

    #[test]
    fn expressions_mean_the_clock_of_their_zone() {
        assert_eq!(
            times("0 2 * * 1-6", "UTC", "2026-11-20T02:00:00Z", 2),
            ["11-21 02:00 +00:00", "11-23 02:00 +00:00"]
        );
        let berlin = times("0 2 * * *", "Europe/Berlin", "2026-07-01T12:00:00Z", 1);
        assert_eq!(berlin, ["07-02 02:00 +02:00"]);
        let own = times("0 2 * * * America/New_York", "UTC", "2026-07-01T12:00:00Z", 1);
        assert_eq!(own, ["07-02 06:00 +00:00"]);
        assert_eq!(times("@weekly", "UTC", "2026-11-20T02:00:00Z", 1), ["11-22 00:00 +00:00"]);
        // Day of the month or day of the week, as cron has it.
        let either = times("0 0 1 * 0", "UTC", "2026-11-27T00:00:00Z", 3);
        assert_eq!(either, ["11-29 00:00 +00:00", "12-01 00:00 +00:00", "12-06 00:00 +00:00"]);
    }

    #[test]
    fn an_hour_that_does_not_exist_comes_later_and_one_that_comes_twice_counts_once() {
        // 2026-03-29: 02:00 to 03:00 is left out. 2026-10-25: it comes twice.
        let gap = times("30 2 * * *", "Europe/Berlin", "2026-03-28T00:00:00Z", 3);
        assert_eq!(gap, ["03-28 02:30 +01:00", "03-29 03:30 +02:00", "03-30 02:30 +02:00"]);
        let fold = times("30 2 * * *", "Europe/Berlin", "2026-10-24T00:00:00Z", 3);
        assert_eq!(fold, ["10-24 02:30 +02:00", "10-25 02:30 +02:00", "10-26 02:30 +01:00"]);
        // From within the second pass: that day is done.
        assert_eq!(times("30 2 * * *", "Europe/Berlin", "2026-10-25T01:10:00Z", 1), ["10-26 02:30 +01:00"]);
        // What was moved later is overtaken by what was not.
        let both = times("0,30 2,3 * * *", "Europe/Berlin", "2026-03-29T00:30:00Z", 3);
        assert_eq!(both, ["03-29 03:00 +02:00", "03-29 03:30 +02:00", "03-30 02:00 +02:00"]);
    }

    #[test]
    fn a_rhythm_goes_by_the_time_that_passes() {
        let fold = times("*/30 * * * *", "Europe/Berlin", "2026-10-25T00:15:00Z", 5);
        assert_eq!(
            fold,
            [
                "10-25 02:30 +02:00",
                "10-25 02:00 +01:00",
                "10-25 02:30 +01:00",
                "10-25 03:00 +01:00",
                "10-25 03:30 +01:00"
            ]
        );
        let gap = times("*/30 * * * *", "Europe/Berlin", "2026-03-29T00:15:00Z", 3);
        assert_eq!(gap, ["03-29 01:30 +01:00", "03-29 03:00 +02:00", "03-29 03:30 +02:00"]);
    }

    #[test]
    fn what_is_no_expression_is_refused_with_the_reason() {
        for (text, part) in [
            ("", "five fields"),
            ("0 2 * *", "five fields"),
            ("60 2 * * *", "no cron expression"),
            ("0 2 * * * Mars/Olympus", "time zone that is not known: Mars/Olympus"),
            ("0 0 31 2 *", "never comes"),
            ("@reboot", "five fields"),
        ] {
            let error = text.parse::<Cron>().unwrap_err().to_string();
            assert!(error.contains(part), "{text}: {error}");
            assert!(!error.contains('\n'), "{error}");
        }
    }
}
