//! Full or differential, and why. Pure: the points of a source go in, a choice with its reason comes out.

use std::fmt;

use crate::format::{Number, Point};

/// What kind of backup was asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// A full where there is none to build on, else a differential.
    #[default]
    Auto,
    /// A full.
    Full {
        /// Share no data with anything older.
        independent: bool,
    },
    /// A differential; a full where there is none to build on.
    Differential,
}

/// What kind of backup is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice {
    /// A full.
    Full {
        /// It begins a family of packs of its own.
        independent: bool,
    },
    /// A differential on this full.
    Differential {
        /// The base.
        base: Number,
    },
}

/// Why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// It was asked for.
    Asked,
    /// There is no full to build on.
    NoFull,
    /// There is a full to build on.
    HasFull,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Asked => "as asked",
            Self::NoFull => "there is no full to build on",
            Self::HasFull => "there is a full to build on",
        })
    }
}

/// A choice and its reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision {
    /// What is made.
    pub choice: Choice,
    /// Why.
    pub reason: Reason,
}

/// Decides, given the newest full of the source that can be built on.
#[must_use]
pub fn decide(mode: Mode, newest_full: Option<&Point>) -> Decision {
    match (mode, newest_full) {
        (Mode::Full { independent }, _) => Decision { choice: Choice::Full { independent }, reason: Reason::Asked },
        (_, None) => Decision { choice: Choice::Full { independent: false }, reason: Reason::NoFull },
        (mode, Some(full)) => Decision {
            choice: Choice::Differential { base: full.number },
            reason: if mode == Mode::Auto { Reason::HasFull } else { Reason::Asked },
        },
    }
}
