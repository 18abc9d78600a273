//! The bytes on disk, and the plain types that stand for them.
//!
//! Owns every layout that a store holds (see `docs/format.md`), as pure functions from values to bytes and back.
//! Refuses to know files, threads or any policy. Its invariant: a decoder bounds every length before it
//! allocates, never panics, and accepts only what an encoder could have written.

pub mod bytes;
pub mod catalog;
pub mod columns;
pub mod entry;
pub mod error;
pub mod file;
pub mod layout;
pub mod pack;
pub mod point;
pub mod record;
pub mod seal;
pub mod table;
pub mod time;

pub use entry::{Kind, Meta, Stat};
pub use error::FormatError;
pub use point::{CatalogId, Counts, Number, Origin, Point, PointKind, SourceId};
pub use time::Timestamp;

#[cfg(test)]
mod tests;
