//! How the backups of each source stand, for people and for whoever watches: status, a page with charts, and what metrics are made of.
//!
//! Owns gathering what the store says of a source, judging it against what is wanted, and drawing it. Refuses to change anything, to read a pack and to
//! read a clock: the moment is passed in. Invariant: a source that cannot be read well never looks better for it.

pub mod chart;
pub mod file;
pub mod html;
pub mod state;
pub mod status;
pub mod words;

pub use state::{Beside, Noted, SourceState, State, StoredPoint, Unrecorded, Wanted};
pub use status::{Objective, SourceStatus};
