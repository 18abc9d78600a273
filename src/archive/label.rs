//! What the name of an archive says of it: full or differential, and of when. Pure.

use jiff::civil::{Date, Time};
use jiff::tz::TimeZone;

use crate::format::Timestamp;

/// What an archive is in the eyes of the script that made it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LabelKind {
    /// It holds everything.
    Full,
    /// It holds what was new or changed since a full.
    Differential,
}

/// What a name says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Label {
    /// Full or differential; what does not say is a full.
    pub kind: LabelKind,
    /// The moment; the beginning of the day where no more than that is said.
    pub time: Option<Timestamp>,
}

impl LabelKind {
    /// The kind that a word means.
    #[must_use]
    pub fn of_word(word: &str) -> Option<Self> {
        match word.to_ascii_lowercase().as_str() {
            "full" => Some(Self::Full),
            "diff" | "differential" => Some(Self::Differential),
            _ => None,
        }
    }
}

impl Label {
    /// Reads a file's name; its time is in `zone`, or UTC where a `Z` ends it.
    #[must_use]
    pub fn of_name(name: &[u8], zone: &TimeZone) -> Self {
        let name = String::from_utf8_lossy(name);
        let mut words = name.split(|letter: char| !letter.is_ascii_alphabetic());
        let kind = words.find_map(LabelKind::of_word).unwrap_or(LabelKind::Full);
        Self { kind, time: date(&name, zone) }
    }
}

/// The first date in a text.
pub(super) fn date(text: &str, zone: &TimeZone) -> Option<Timestamp> {
    let bytes = text.as_bytes();
    let is_begin = |at: &usize| bytes[*at].is_ascii_digit() && (*at == 0 || !bytes[at - 1].is_ascii_digit());
    (0..bytes.len()).filter(is_begin).find_map(|at| moment(&bytes[at..], zone))
}

/// The moment that stands at the beginning of `text`.
fn moment(text: &[u8], zone: &TimeZone) -> Option<Timestamp> {
    let (century, rest) = two(text)?;
    let (year, rest) = two(rest)?;
    let (separator, rest) = separator(rest, b"-_.");
    let (month, rest) = two(rest)?;
    let (day, rest) = two(same(rest, separator)?)?;
    let year = i16::from(century) * 100 + i16::from(year);
    let date = Date::new(year, month, day).ok().filter(|_| (1970..=9999).contains(&year))?;
    let (time, rest) = match time(rest) {
        Some(found) => found,
        None if rest.first().is_some_and(u8::is_ascii_digit) => return None,
        None => (Time::midnight(), rest),
    };
    let zone = if rest.first() == Some(&b'Z') { &TimeZone::UTC } else { zone };
    let moment = date.to_datetime(time).to_zoned(zone.clone()).ok()?.timestamp();
    Some(Timestamp::new(moment.as_second(), 0))
}

fn time(rest: &[u8]) -> Option<(Time, &[u8])> {
    let rest = separator(rest, b"_T-. ").1;
    let (hour, rest) = two(rest)?;
    let (between, rest) = separator(rest, b":-_.h");
    let (minute, rest) = two(rest)?;
    let seconds = same(rest, between).and_then(two);
    let (second, rest) = seconds.unwrap_or((0, rest));
    let is_end = !rest.first().is_some_and(u8::is_ascii_digit);
    Time::new(hour, minute, second, 0).ok().filter(|_| is_end).map(|time| (time, rest))
}

fn separator<'a>(text: &'a [u8], of: &[u8]) -> (Option<u8>, &'a [u8]) {
    match text.split_first() {
        Some((first, rest)) if of.contains(first) => (Some(*first), rest),
        _ => (None, text),
    }
}

fn same(text: &[u8], separator: Option<u8>) -> Option<&[u8]> {
    match separator {
        Some(byte) => text.strip_prefix(&[byte]),
        None => Some(text),
    }
}

fn two(text: &[u8]) -> Option<(i8, &[u8])> {
    let (digits, rest) = text.split_at_checked(2)?;
    let is_number = digits.iter().all(u8::is_ascii_digit);
    is_number.then(|| ((digits[0] - b'0').cast_signed() * 10 + (digits[1] - b'0').cast_signed(), rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(name: &str) -> (LabelKind, Option<String>) {
        let zone = TimeZone::fixed(jiff::tz::offset(1));
        let label = Label::of_name(name.as_bytes(), &zone);
        let text = |time: Timestamp| jiff::Timestamp::from_second(time.secs).unwrap().to_string();
        (label.kind, label.time.map(text))
    }

    #[test]
    fn dates_are_taken_as_scripts_write_them() {
        let names = [
            ("full_2026-11-20.tar.gz", "2026-11-19T23:00:00Z"),
            ("full_20261120.tar.gz", "2026-11-19T23:00:00Z"),
            ("home-full-2026_11_20.tgz", "2026-11-19T23:00:00Z"),
            ("full_2026-11-20_020000.tar.gz", "2026-11-20T01:00:00Z"),
            ("full_2026-11-20_02-00-00.tar.gz", "2026-11-20T01:00:00Z"),
            ("full_2026-11-20T02:00:07.tar.gz", "2026-11-20T01:00:07Z"),
            ("full_20261120T020000.tar.gz", "2026-11-20T01:00:00Z"),
            ("full_20261120T020000Z.tar.gz", "2026-11-20T02:00:00Z"),
            ("full_20261120-0200.tar.gz", "2026-11-20T01:00:00Z"),
            ("full_20261120020000.tar.gz", "2026-11-20T01:00:00Z"),
            ("host7_full.2026-11-20.3.tar", "2026-11-19T23:00:00Z"),
        ];
        for (name, time) in names {
            assert_eq!(read(name), (LabelKind::Full, Some(time.to_owned())), "{name}");
        }
    }

    #[test]
    fn what_is_no_date_is_none() {
        for name in
            ["full.tar.gz", "full_2026-13-01.tar", "full_123456789.tar", "full_20261", "v1.2.3.tar", "0000-00-00"]
        {
            assert_eq!(read(name).1, None, "{name}");
        }
    }

    #[test]
    fn kind_is_a_word_of_the_name() {
        let kinds = ["diff_2026-11-20.tar", "2026-11-20-DIFF.tar", "x_differential.tar", "diff20261120.tar"];
        assert!(kinds.iter().all(|name| read(name).0 == LabelKind::Differential));
        assert!(["difficult.tar", "etc.tar", "full.tar"].iter().all(|name| read(name).0 == LabelKind::Full));
    }
}
