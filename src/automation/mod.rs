//! A configured backup from its first hook to its last message, and the schedule that calls for it.
//!
//! Owns the order of what happens around a backup, the commands and messages that go out, and what is noted of it. Refuses to know how anything is backed up
//! or verified, and to print. Invariant: a run that failed, or was never begun, is nowhere noted as a success; and nothing that happens after the commit of a
//! point takes it back.

mod after;
mod child;
pub mod daemon;
mod hooks;
mod mail;
mod record;
mod report;
mod run;
mod source;
mod spool;
mod supervisor;
pub mod timetable;
mod verification;
mod webhook;

pub use after::{beside, deadlines, pending_check};
pub use hooks::HookError;
pub use record::{Entry, Noted, asked_type, failed, is_known, note, run_of, write};
pub use report::{Outcome, Report, Told};
pub use run::{Ended, Order, RunError, Said, Surroundings, is_inside, run, store_id};
pub use source::{LeftOut, options};
pub use spool::{Environment, Spooled, State};
pub use supervisor::Supervisor;
pub use verification::known_sources;

pub use crate::causes::chain;

use crate::format::Timestamp;

/// A moment as reports write it: `2026-11-20T10:05:00Z`.
#[must_use]
pub fn rfc3339(time: Timestamp) -> String {
    jiff::Timestamp::from_second(time.secs).map_or_else(|_| "?".to_owned(), |time| time.to_string())
}
