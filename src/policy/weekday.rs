//! A day of the week as people write it: `Sunday`, `sun`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A day of the week.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Weekday(pub jiff::civil::Weekday);

/// Why a text is no day of the week.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no day of the week: write Monday, Tuesday, Wednesday, Thursday, Friday, Saturday or Sunday")]
pub struct WeekdayError(String);

const NAMES: [&str; 7] = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];

impl FromStr for Weekday {
    type Err = WeekdayError;

    fn from_str(text: &str) -> Result<Self, WeekdayError> {
        let is_it = |name: &&str| name.eq_ignore_ascii_case(text) || name[..3].eq_ignore_ascii_case(text);
        let position = (1..).zip(NAMES).find(|(_, name)| is_it(name)).map(|(position, _)| position);
        let day = position.and_then(|position| jiff::civil::Weekday::from_monday_one_offset(position).ok());
        day.map(Self).ok_or_else(|| WeekdayError(text.to_owned()))
    }
}

impl TryFrom<String> for Weekday {
    type Error = WeekdayError;

    fn try_from(text: String) -> Result<Self, WeekdayError> {
        text.parse()
    }
}

impl From<Weekday> for String {
    fn from(day: Weekday) -> Self {
        day.to_string()
    }
}

impl fmt::Display for Weekday {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(NAMES[usize::from(self.0.to_monday_zero_offset().unsigned_abs()) % 7])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_read_in_any_case_whole_or_by_three_letters() {
        for name in NAMES {
            for text in [name.to_owned(), name.to_lowercase(), name[..3].to_uppercase()] {
                assert_eq!(text.parse::<Weekday>().unwrap().to_string(), name);
            }
        }
        for wrong in ["", "Sunda", "7", "Sonntag"] {
            assert!(wrong.parse::<Weekday>().is_err(), "{wrong:?}");
        }
    }
}
