//! Spans of time as people write them: `7d`, `26h`, `1d12h`. A day has 24 hours, a week seven days.

use std::fmt;
use std::str::FromStr;

use jiff::{Span, SpanRelativeTo, Unit};
use serde::{Deserialize, Serialize};

/// A span of time in whole seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Secs(pub u64);

/// Why a text is no span of time.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no span of time: write it like 90s, 30m, 12h, 7d, 2w or 1d12h")]
pub struct SecsError(String);

impl Secs {
    /// This many days of 24 hours.
    #[must_use]
    pub const fn days(days: u64) -> Self {
        Self(days.saturating_mul(86_400))
    }

    /// As what is added to the seconds of a moment; stays at the end of time instead of overflowing.
    #[must_use]
    pub fn signed(self) -> i64 {
        i64::try_from(self.0).unwrap_or(i64::MAX)
    }
}

impl FromStr for Secs {
    type Err = SecsError;

    fn from_str(text: &str) -> Result<Self, SecsError> {
        let wrong = || SecsError(text.to_owned());
        if text.trim() == "0" {
            return Ok(Self(0));
        }
        let span: Span = text.parse().map_err(|_| wrong())?;
        if span.get_months() != 0 || span.get_years() != 0 {
            return Err(wrong());
        }
        let secs = span.total((Unit::Second, SpanRelativeTo::days_are_24_hours())).map_err(|_| wrong())?;
        // A hundred thousand years is more than any schedule, and exact as a number.
        if !(0.0..3.2e12).contains(&secs) {
            return Err(wrong());
        }
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it was just bounded")]
        Ok(Self(secs as u64))
    }
}

impl TryFrom<String> for Secs {
    type Error = SecsError;

    fn try_from(text: String) -> Result<Self, SecsError> {
        text.parse()
    }
}

impl From<Secs> for String {
    fn from(secs: Secs) -> Self {
        secs.to_string()
    }
}

impl fmt::Display for Secs {
    /// As it can be read back, in days, hours, minutes and seconds: `1d12h`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut left = self.0;
        if left == 0 {
            return f.write_str("0s");
        }
        for (unit, secs) in [("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1)] {
            if left >= secs {
                write!(f, "{}{unit}", left / secs)?;
                left %= secs;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_read_and_written_with_days_of_24_hours() {
        for (text, secs, shown) in [
            ("0", 0, "0s"),
            ("0d", 0, "0s"),
            ("12h", 43_200, "12h"),
            ("7d", 604_800, "7d"),
            ("2w", 1_209_600, "14d"),
            ("1d12h", 129_600, "1d12h"),
            ("90s", 90, "1m30s"),
        ] {
            let read: Secs = text.parse().unwrap();
            assert_eq!((read.0, read.to_string().as_str()), (secs, shown));
            assert_eq!(shown.parse(), Ok(read));
        }
        for wrong in ["", "7", "-1d", "week", "1 month", "1y", "999999999999w"] {
            let error = wrong.parse::<Secs>().unwrap_err();
            assert!(error.to_string().contains("write it like"), "{error}");
        }
    }
}
