//! What should be done, and why: full or differential, which points stay, when the next backup is due, whether a change is out of the ordinary.
//!
//! Owns the rules. Refuses to read a clock, a file or a store: times, points and settings come in, verdicts with reasons go out. Invariant: the same
//! values in give the same verdict out, so that a dry run says what the run will do.

pub mod cron;
pub mod decision;
pub mod duration;
pub mod growth;
pub mod rehearsal;
pub mod retention;
pub mod schedule;
pub mod surge;
mod today;
pub mod weekday;

pub use duration::Secs;
pub use today::Today;
pub use weekday::Weekday;
