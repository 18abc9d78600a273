//! What is judged, and what comes of it, in plain words.

use std::fmt;

use crate::format::{Number, Origin, Timestamp};

/// A living point, as far as retention cares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Its number.
    pub number: Number,
    /// Its time.
    pub time: Timestamp,
    /// The full that it stands on; none where it is one.
    pub base: Option<Number>,
    /// How it came to be.
    pub origin: Origin,
    /// What keeps it whatever the rules say.
    pub hold: Option<Hold>,
}

impl Candidate {
    /// The full of its series: itself, or its base.
    #[must_use]
    pub fn series(&self) -> Number {
        self.base.unwrap_or(self.number)
    }
}

/// What keeps a point whatever the rules say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hold {
    /// It is pinned.
    Pinned,
    /// It has a tag.
    Tagged,
    /// What is noted of it cannot be read: it may be pinned.
    NotesUnreadable,
    /// That backup cannot be read, and may stand on it.
    MayBeBaseOf(Number),
}

/// A stretch of the calendar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Period {
    /// A day.
    Day,
    /// A week (ISO 8601).
    Week,
    /// A month.
    Month,
    /// A year.
    Year,
}

impl Period {
    pub(super) const ALL: [Self; 4] = [Self::Day, Self::Week, Self::Month, Self::Year];

    const fn word(self) -> &'static str {
        match self {
            Self::Day => "day",
            Self::Week => "week",
            Self::Month => "month",
            Self::Year => "year",
        }
    }
}

/// Why a point stays: the first rule that keeps it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// Something that stands above the rules.
    Held(Hold),
    /// It was promoted, and stands outside the rotation.
    Promoted,
    /// A differential that stays stands on it: this one, the newest of them.
    BaseOf(Number),
    /// It is among the newest.
    Last(u32),
    /// It is the newest of its day, week, month or year, and that is among the newest so many which have a point.
    Newest(Period, u32),
    /// It is younger than so many days.
    Days(u32),
    /// It is the newest of the source, which never goes.
    NewestOfAll,
    /// No other rule keeps it, and `max_series` has room for it.
    Room(u32),
}

/// Why a point goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Forget {
    /// No rule keeps it.
    NoRule,
    /// Its series is beyond `max_series`.
    Series(u32),
    /// The collection is full: there are more points than `max_series` × `max_series_length`.
    Points(u64),
}

/// Whether a point stays, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It stays.
    Keep(Keep),
    /// It goes.
    Forget(Forget),
}

impl Verdict {
    /// Whether the point stays.
    #[must_use]
    pub const fn keeps(self) -> bool {
        matches!(self, Self::Keep(_))
    }

    /// The key of the rule, as the configuration has it, or the word for what stands above the rules.
    #[must_use]
    pub const fn rule(self) -> &'static str {
        match self {
            Self::Keep(Keep::Held(Hold::Pinned)) => "pinned",
            Self::Keep(Keep::Held(Hold::Tagged)) => "tagged",
            Self::Keep(Keep::Held(Hold::NotesUnreadable | Hold::MayBeBaseOf(_))) => "unreadable",
            Self::Keep(Keep::Promoted) => "promoted",
            Self::Keep(Keep::BaseOf(_)) => "base",
            Self::Keep(Keep::Last(_)) => "keep_last",
            Self::Keep(Keep::Newest(Period::Day, _)) => "keep_daily",
            Self::Keep(Keep::Newest(Period::Week, _)) => "keep_weekly",
            Self::Keep(Keep::Newest(Period::Month, _)) => "keep_monthly",
            Self::Keep(Keep::Newest(Period::Year, _)) => "keep_yearly",
            Self::Keep(Keep::Days(_)) => "keep_days",
            Self::Keep(Keep::NewestOfAll) => "newest",
            Self::Keep(Keep::Room(_)) | Self::Forget(Forget::Series(_)) => "max_series",
            Self::Forget(Forget::Points(_)) => "max_series_length",
            Self::Forget(Forget::NoRule) => "none",
        }
    }
}

impl fmt::Display for Hold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pinned => f.write_str("it is pinned"),
            Self::Tagged => f.write_str("it has a tag"),
            Self::NotesUnreadable => f.write_str("what is noted of it cannot be read, it may be pinned"),
            Self::MayBeBaseOf(number) => write!(f, "backup {number}, which cannot be read, may stand on it"),
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Keep(Keep::Held(hold)) => hold.fmt(f),
            Self::Keep(Keep::Promoted) => f.write_str("it was promoted, and stands outside the rotation"),
            Self::Keep(Keep::BaseOf(number)) => write!(f, "differential {number}, which stays, stands on it"),
            Self::Keep(Keep::Last(1)) => f.write_str("it is the last one (keep_last)"),
            Self::Keep(Keep::Last(most)) => write!(f, "it is among the last {most} (keep_last)"),
            Self::Keep(keep @ Keep::Newest(period, most)) => {
                let (word, key) = (period.word(), Self::Keep(*keep).rule());
                write!(f, "it is the newest of its {word}, one of the last {most} that have one ({key})")
            }
            Self::Keep(Keep::Days(days)) => write!(f, "it is younger than {days} days (keep_days)"),
            Self::Keep(Keep::NewestOfAll) => f.write_str("it is the newest of the source, which never goes"),
            Self::Keep(Keep::Room(most)) => write!(f, "there is room for it in {most} series (max_series)"),
            Self::Forget(Forget::NoRule) => f.write_str("no rule keeps it"),
            Self::Forget(Forget::Series(most)) => write!(f, "its series is beyond the {most} of max_series"),
            Self::Forget(Forget::Points(most)) => {
                write!(f, "the collection is full: {most} points (max_series × max_series_length)")
            }
        }
    }
}

/// A point and what was judged of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Judged {
    /// The point.
    pub point: Candidate,
    /// What was judged.
    pub verdict: Verdict,
    /// Whether it went by the rules that its series began with, and these are others than the present ones.
    pub is_by_old_rules: bool,
}

/// What stays above a bound because other rules keep it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Warning {
    /// More series than `max_series`.
    Series {
        /// So many stay.
        stay: u64,
        /// The rule.
        most: u32,
    },
    /// More points than `max_series` × `max_series_length`.
    Points {
        /// So many stay.
        stay: u64,
        /// The rule.
        most: u64,
    },
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Series { stay, most } => {
                write!(f, "{stay} series stay, max_series is {most}: what other rules keep does not go for it")
            }
            Self::Points { stay, most } => write!(
                f,
                "{stay} points stay, max_series × max_series_length is {most}: what other rules keep does not go for it"
            ),
        }
    }
}

/// What was judged of the points of a source.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Judgement {
    /// Each point, by number.
    pub judged: Vec<Judged>,
    /// Bounds that could not be kept.
    pub warnings: Vec<Warning>,
}

impl Judgement {
    /// The points that go, in the order in which that is written: differentials before fulls, each by number.
    #[must_use]
    pub fn forgotten(&self) -> Vec<Number> {
        let going = || self.judged.iter().filter(|judged| !judged.verdict.keeps()).map(|judged| judged.point);
        let differentials = going().filter(|point| point.base.is_some());
        differentials.chain(going().filter(|point| point.base.is_none())).map(|point| point.number).collect()
    }
}
