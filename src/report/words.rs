//! Numbers as people read them.

use std::fmt::Write as _;

use crate::format::Timestamp;
use crate::policy::Secs;

/// `1.4 GiB`.
#[must_use]
pub fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 7] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    let unit = usize::try_from(bytes.max(1).ilog2() / 10).unwrap_or(0).min(UNITS.len() - 1);
    if unit == 0 {
        return format!("{bytes} B");
    }
    #[expect(clippy::cast_precision_loss, reason = "it is rounded for people")]
    let scaled = bytes as f64 / (1_u64 << (10 * unit)) as f64;
    format!("{scaled:.*} {}", if scaled < 10.0 { 1 } else { 0 }, UNITS[unit])
}

/// A span of time by its two largest units: `3d4h`, `2m5s`, `0.4s`.
#[must_use]
pub fn span(secs: f64) -> String {
    if !secs.is_finite() || secs < 0.0 {
        return "?".to_owned();
    }
    if secs < 10.0 {
        return format!("{secs:.1}s");
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a conversion of a float stays within bounds"
    )]
    let secs = secs.round() as u64;
    let rounded = match secs {
        0..3_600 => secs,
        3_600..86_400 => secs / 60 * 60,
        _ => secs / 3_600 * 3_600,
    };
    Secs(rounded).to_string()
}

/// A day and a time of day in UTC: `2026-11-20 10:05`.
#[must_use]
pub fn moment(time: Timestamp) -> String {
    strftime(time, "%Y-%m-%d %H:%M")
}

/// The same, with its zone: `2026-11-20 10:05 UTC`.
#[must_use]
pub fn moment_utc(time: Timestamp) -> String {
    format!("{} UTC", moment(time))
}

/// A day in UTC: `2026-11-20`.
#[must_use]
pub fn day(time: Timestamp) -> String {
    strftime(time, "%Y-%m-%d")
}

fn strftime(time: Timestamp, format: &str) -> String {
    match jiff::Timestamp::from_second(time.secs) {
        Ok(moment) => moment.strftime(format).to_string(),
        Err(_) => format!("@{}", time.secs),
    }
}

/// Text for HTML and SVG, in elements and in quoted attributes. Control characters and such as turn the direction of writing are shown by their number.
#[must_use]
pub fn escape(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {
                let _ = write!(safe, "\\u{{{:x}}}", u32::from(letter));
            }
            letter if letter.is_control() && letter != '\n' => {
                let _ = write!(safe, "\\x{:02x}", u32::from(letter));
            }
            letter => safe.push(letter),
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_and_spans_are_short() {
        for (number, text) in
            [(0, "0 B"), (1_023, "1023 B"), (1_024, "1.0 KiB"), (1_536, "1.5 KiB"), (20 << 30, "20 GiB")]
        {
            assert_eq!(bytes(number), text);
        }
        assert_eq!(bytes(u64::MAX), "16 EiB");
        for (secs, text) in [(0.42, "0.4s"), (125.0, "2m5s"), (7_300.0, "2h1m"), (273_600.0, "3d4h"), (f64::NAN, "?")] {
            assert_eq!(span(secs), text);
        }
    }

    #[test]
    fn nothing_in_a_text_is_markup_or_turns_it_round() {
        let hostile = "<script>alert('x')</script>\" onload=\"a&b\u{202e}\u{7}";
        let safe = escape(hostile);
        assert!(!safe.contains(['<', '>', '"', '\'', '\u{202e}', '\u{7}']), "{safe}");
        assert!(safe.ends_with("a&amp;b\\u{202e}\\x07"), "{safe}");
    }
}
