//! Times as people write them, and the times that name points.
//!
//! Owns the forms. Refuses to know the clock and the local time zone: both are passed in. Its invariant: the form that
//! names a point, `2026-11-20T10-05-00Z`, is a file name, sorts as time does, and reads back as the same second.
//!
//! A time that leaves something out means the *end* of what it names: `2026-11-20` is that day's last moment and
//! `2026-11-20T10:05` that minute's, so that "not after" includes all of it. Without a zone it is local time; an hour
//! that happens twice means its second time.

use jiff::{
    civil::{Date, Time},
    tz::{Offset, TimeZone},
};

use crate::format::Timestamp;

const LAST_NANOSECOND: u32 = 999_999_999;

/// A moment that a person wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct When {
    /// What is meant is not after this.
    pub not_after: Timestamp,
    /// Whether a whole second was written out, so that a point may have just this time.
    pub is_to_the_second: bool,
}

/// Why a text is no time.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{text:?} is not a time: write 2026-11-20, 2026-11-20T10:05, 2026-11-20T10:05:00Z, 2026-11-20T10:05:00+01:00 or @1795169100"
)]
pub struct WhenError {
    text: String,
}

/// Reads a time. These are the forms, with `T` or a space between date and time:
///
/// | written | means |
/// |---|---|
/// | `2026-11-20T10-05-00Z` | that second, as points are named; colons instead of `-` are the same |
/// | `2026-11-20T10:05:00+01:00` | that second there; also `+0100` and `+01` |
/// | `2026-11-20 10:05:00` | that second in `zone` |
/// | `2026-11-20T10:05` | the end of that minute in `zone`, or in the zone that follows |
/// | `2026-11-20` | the end of that day in `zone` |
/// | `@1795169100` | that many seconds after 1970-01-01T00:00:00Z |
///
/// # Errors
/// It has another form, or there is no such day or hour.
pub fn parse(text: &str, zone: &TimeZone) -> Result<When, WhenError> {
    parse_any(text, zone).ok_or_else(|| WhenError { text: text.to_owned() })
}

/// Whether a text begins as a date does, be there such a day or not, or is a year and a month; no tag may.
#[must_use]
pub fn looks_like_time(text: &str) -> bool {
    let begins_like = |pattern: &str| {
        let fits = |(byte, wanted): (u8, u8)| if wanted == b'0' { byte.is_ascii_digit() } else { byte == wanted };
        text.len() >= pattern.len() && text.bytes().zip(pattern.bytes()).all(fits)
    };
    begins_like("0000-00-00") || (text.len() == 7 && begins_like("0000-00"))
}

/// The name of a point: `2026-11-20T10-05-00Z`. A time outside the years 0 to 9999 is `@` and its seconds.
#[must_use]
pub fn format_point_time(time: Timestamp) -> String {
    let moment = jiff::Timestamp::from_second(time.secs).map(|moment| moment.to_zoned(TimeZone::UTC).datetime());
    match moment {
        Ok(moment) if moment.year() >= 0 => moment.strftime("%Y-%m-%dT%H-%M-%SZ").to_string(),
        _ => format!("@{}", time.secs),
    }
}

/// The time of a point of this name; `None` for whatever [`format_point_time`] does not write.
#[must_use]
pub fn parse_point_time(name: &str) -> Option<Timestamp> {
    let time = parse_any(name, &TimeZone::UTC)?.not_after;
    (format_point_time(time) == name).then_some(time)
}

/// The time that names a new point, given the clock and the newest point of the source; and whether it is another than
/// the clock's, because that would not have risen.
#[must_use]
pub fn next_point_time(clock: Timestamp, newest_of_source: Option<Timestamp>) -> (Timestamp, bool) {
    let clock = Timestamp::new(clock.secs, 0);
    let least = newest_of_source.map(|newest| Timestamp::new(newest.secs, 0).plus_secs(1));
    match least {
        Some(least) if least > clock => (least, true),
        _ => (clock, false),
    }
}

fn parse_any(text: &str, zone: &TimeZone) -> Option<When> {
    if let Some(secs) = text.strip_prefix('@') {
        let digits = secs.strip_prefix('-').unwrap_or(secs);
        let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
        let secs = is_number.then(|| secs.parse().ok())??;
        return Some(When { not_after: Timestamp::new(secs, 0), is_to_the_second: true });
    }
    let (date, rest) = take_date(text)?;
    if rest.is_empty() {
        let next = date.tomorrow().ok()?.to_datetime(Time::midnight());
        let end = zone.to_ambiguous_zoned(next).compatible().ok()?.timestamp();
        let end = end.checked_sub(jiff::SignedDuration::from_nanos(1)).ok()?;
        return Some(When { not_after: timestamp(end), is_to_the_second: false });
    }
    let rest = rest.strip_prefix(['T', 't', ' '])?;
    let (hour, rest) = take_two(rest)?;
    let separator = rest.chars().next().filter(|letter| matches!(letter, ':' | '-'))?;
    let (minute, rest) = take_two(rest.strip_prefix(separator)?)?;
    let (second, nanos, rest) = match rest.strip_prefix(separator).and_then(take_two_and_fraction) {
        // What follows a `-` may be seconds, or the hours of a zone to the west where colons separate.
        Some((second, nanos, rest)) => (Some(second), nanos, rest),
        None => (None, 0, rest),
    };
    let nanos = if second.is_none() { LAST_NANOSECOND } else { nanos };
    let time = Time::new(hour, minute, second.unwrap_or(59), i32::try_from(nanos).ok()?).ok()?;
    let local = date.to_datetime(time);
    let moment = match rest {
        "" => zone.to_ambiguous_zoned(local).later().ok()?.timestamp(),
        "Z" | "z" => Offset::UTC.to_timestamp(local).ok()?,
        offset => take_offset(offset)?.to_timestamp(local).ok()?,
    };
    let is_to_the_second = second.is_some() && nanos == 0;
    Some(When { not_after: timestamp(moment), is_to_the_second })
}

fn take_date(text: &str) -> Option<(Date, &str)> {
    let (century, rest) = take_two(text)?;
    let (year, rest) = take_two(rest)?;
    let (month, rest) = take_two(rest.strip_prefix('-')?)?;
    let (day, rest) = take_two(rest.strip_prefix('-')?)?;
    Some((Date::new(i16::from(century) * 100 + i16::from(year), month, day).ok()?, rest))
}

fn take_two(text: &str) -> Option<(i8, &str)> {
    let (digits, rest) = text.split_at_checked(2)?;
    let is_number = digits.bytes().all(|byte| byte.is_ascii_digit());
    Some((is_number.then(|| digits.parse().ok())??, rest))
}

fn take_two_and_fraction(text: &str) -> Option<(i8, u32, &str)> {
    let (second, rest) = take_two(text)?;
    let Some(fraction) = rest.strip_prefix('.') else { return Some((second, 0, rest)) };
    let count = fraction.bytes().take_while(u8::is_ascii_digit).count();
    let (digits, rest) = fraction.split_at(count);
    let nanos = (1..=9).contains(&count).then(|| format!("{digits:0<9}").parse().ok())??;
    Some((second, nanos, rest))
}

fn take_offset(text: &str) -> Option<Offset> {
    let sign = match text.chars().next()? {
        '+' => 1,
        '-' => -1,
        _ => return None,
    };
    let (hours, rest) = take_two(&text[1..])?;
    let minutes = match rest {
        "" => 0,
        rest => {
            let (minutes, rest) = take_two(rest.strip_prefix([':', '-']).unwrap_or(rest))?;
            rest.is_empty().then_some(minutes)?
        }
    };
    let is_offset = hours <= 23 && minutes <= 59;
    is_offset.then(|| Offset::from_seconds(sign * (i32::from(hours) * 3600 + i32::from(minutes) * 60)).ok())?
}

/// Rounds seconds down, as [`Timestamp`] wants it, also before 1970.
fn timestamp(moment: jiff::Timestamp) -> Timestamp {
    let (secs, nanos) = (moment.as_second(), moment.subsec_nanosecond());
    match u32::try_from(nanos) {
        Ok(nanos) => Timestamp::new(secs, nanos),
        Err(_) => Timestamp::new(secs - 1, (1_000_000_000 + nanos).unsigned_abs()),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// 2026-11-20T10:05:00Z.
    const T: i64 = 1_795_169_100;

    fn berlin() -> TimeZone {
        TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap()
    }

    fn read(text: &str) -> When {
        parse(text, &berlin()).unwrap_or_else(|error| panic!("{error}"))
    }

    #[test]
    fn every_form_of_one_second_is_that_second() {
        for text in [
            "2026-11-20T10-05-00Z",
            "2026-11-20T10:05:00Z",
            "2026-11-20 10:05:00Z",
            "2026-11-20t10:05:00z",
            "2026-11-20T11:05:00+01:00",
            "2026-11-20T11:05:00+0100",
            "2026-11-20T11:05:00+01",
            "2026-11-20T11-05-00+01-00",
            "2026-11-20T04:35:00-05:30",
            "2026-11-20T11:05:00",
            "2026-11-20 11:05:00",
            "2026-11-20T11-05-00",
            "2026-11-20T10:05:00.000Z",
            "@1795169100",
        ] {
            assert_eq!(read(text), When { not_after: Timestamp::new(T, 0), is_to_the_second: true }, "{text}");
        }
    }

    #[test]
    fn what_is_left_out_means_its_end() {
        let cases = [
            ("2026-11-20T11:05", T + 59),
            ("2026-11-20T11-05", T + 59),
            ("2026-11-20T10:05Z", T + 59),
            ("2026-11-20T05:05-05:00", T + 59),
            ("2026-11-20", 1_795_215_599),
            // The days on which Berlin sets its clocks have 23 and 25 hours.
            ("2026-03-29", 1_774_821_599),
            ("2026-10-25", 1_792_969_199),
        ];
        for (text, secs) in cases {
            let meant = When { not_after: Timestamp::new(secs, LAST_NANOSECOND), is_to_the_second: false };
            assert_eq!(read(text), meant, "{text}");
        }
    }

    #[test]
    fn hour_that_happens_twice_means_its_second_time() {
        assert_eq!(read("2026-10-25T02:30:00").not_after, read("2026-10-25T02:30:00+01:00").not_after);
    }

    #[test]
    fn fraction_is_no_time_of_a_point_and_counts_before_1970_too() {
        let when = When { not_after: Timestamp::new(T, 500_000_000), is_to_the_second: false };
        assert_eq!(read("2026-11-20T10:05:00.5Z"), when);
        assert_eq!(read("1960-01-01T00:00:00.25Z").not_after, Timestamp::new(-315_619_200, 250_000_000));
        assert_eq!(read("@-5").not_after, Timestamp::new(-5, 0));
    }

    #[test]
    fn other_texts_are_no_times() {
        for text in [
            "",
            "2026",
            "2026-11",
            "2026-13-01",
            "2026-02-30",
            "2026-11-20T",
            "2026-11-20T10",
            "2026-11-20T25:00:00",
            "2026-11-20T10:05:00ZZ",
            "2026-11-20T10:05-00Z",
            "2026-11-20T10:05:00+",
            "2026-11-20T10:05:00+25:00",
            "@",
            "@+5",
            "@1e9",
            "@99999999999999999999",
            "20261120",
            "+026-11-20",
            "2026-11-20T10:05:00 Z",
            "２０２６-11-20",
            "latest",
            "2026-11-20T10:05:00.Z",
            "2026-11-20T10:05:00.1234567890Z",
            "2026-11-20T10:05:00+é",
        ] {
            assert!(parse(text, &berlin()).is_err(), "{text:?} was read");
        }
    }

    #[test]
    fn point_names_have_one_form() {
        assert_eq!(format_point_time(Timestamp::new(T, 7)), "2026-11-20T10-05-00Z");
        assert_eq!(parse_point_time("2026-11-20T10-05-00Z"), Some(Timestamp::new(T, 0)));
        for name in ["2026-11-20T10:05:00Z", "2026-11-20", "@1795169100", "2026-11-20T11-05-00+01", "latest"] {
            assert_eq!(parse_point_time(name), None, "{name}");
        }
    }

    #[test]
    fn point_times_rise_even_if_the_clock_does_not() {
        let at = |secs| Timestamp::new(secs, 0);
        assert_eq!(next_point_time(Timestamp::new(T, 999), None), (at(T), false));
        assert_eq!(next_point_time(at(T), Some(at(T - 1))), (at(T), false));
        assert_eq!(next_point_time(Timestamp::new(T, 999), Some(at(T))), (at(T + 1), true));
        assert_eq!(next_point_time(at(T - 9000), Some(at(T))), (at(T + 1), true));
    }

    proptest! {
        #[test]
        fn point_time_survives_its_name(secs in prop_oneof![any::<i64>(), -100_000_000_000_i64..300_000_000_000, 0_i64..5_000_000_000]) {
            let time = Timestamp::new(secs, 0);
            let name = format_point_time(time);
            prop_assert_eq!(parse_point_time(&name), Some(time));
            prop_assert!(!name.contains([':', '/']));
        }

        #[test]
        fn names_sort_as_times_do(one in 0_i64..200_000_000_000, two in 0_i64..200_000_000_000) {
            let name = |secs| format_point_time(Timestamp::new(secs, 0));
            prop_assert_eq!(name(one).cmp(&name(two)), one.cmp(&two));
        }

        #[test]
        fn no_text_makes_the_reader_panic(text in "\\PC{0,40}|[0-9T:@Z+-]{0,30}|2026-11-20[T ]?[0-9:.Z+é-]{0,20}") {
            let _ = parse(&text, &berlin());
        }
    }
}
