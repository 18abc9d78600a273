//! The rules by which a full or a differential is made, as they are given on the command line.

use dbakfs::policy::decision::{DecisionRules, IndependentFull};
use dbakfs::policy::{Secs, Weekday};

/// The rules of `--auto`, where they are not those of the configuration.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Rules of --auto")]
pub(crate) struct Rules {
    /// Make a full on this day of the week, one each such day
    #[arg(long, value_name = "DAY")]
    full_day: Option<Weekday>,
    /// Make a full where the last one is this old [default: 7d]
    #[arg(long, value_name = "TIME")]
    max_full_age: Option<Secs>,
    /// Make a full where the series has so many points, its full among them [default: any number]
    #[arg(long, value_name = "N")]
    max_series_length: Option<u32>,
    /// Make a full where a differential would be above so many percent of the full [default: 50]
    #[arg(long, value_name = "PERCENT")]
    diff_threshold: Option<u32>,
    /// Which fulls share no data with anything older: never, every, or monthly [default: never]
    #[arg(long, value_name = "WHICH")]
    independent_full: Option<IndependentFull>,
}

impl Rules {
    /// These, and where they say nothing, `rules`.
    pub(crate) fn over(&self, rules: &DecisionRules) -> DecisionRules {
        DecisionRules {
            full_day: self.full_day.or(rules.full_day),
            max_full_age: self.max_full_age.unwrap_or(rules.max_full_age),
            max_series_length: self.max_series_length.unwrap_or(rules.max_series_length),
            diff_threshold: self.diff_threshold.unwrap_or(rules.diff_threshold),
            independent_full: self.independent_full.unwrap_or(rules.independent_full),
        }
    }
}
