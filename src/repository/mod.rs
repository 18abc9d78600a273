//! A store as a whole: what it is, where everything in it lies, who may write, who reads, and what can change.
//!
//! Owns `store.toml`, the writer lock, the leases of readers, the durable marks, the small files about points and
//! sources, how a person names a point, and the reading side: points as trees, files as bytes. Refuses to decide what is backed up
//! or restored. Its invariant: nothing here changes a store without the writer lock, but for leases, of which each
//! belongs to one reader.

pub mod address;
pub mod alarms;
mod by_source;
mod checked_text;
pub mod config;
mod error;
mod file_chunks;
pub mod forgetting;
pub mod keeping;
pub mod lease;
pub mod marks;
pub mod notes;
mod open_catalogs;
mod points;
mod reader;
pub mod readers;
pub mod runs;
mod source_name;
pub mod sources;
mod store;
mod tag;
pub mod tags;
pub mod when;
mod writer;

pub use alarms::Alarms;
pub use config::Config;
pub use error::RepositoryError;
pub use file_chunks::{FileChunk, FileChunks};
pub use lease::Lease;
pub use notes::PointNotes;
pub use points::{Points, Problem};
pub use reader::{CacheBytes, ReadError, Reader};
pub use readers::ReaderWait;
pub use runs::RunNotes;
pub use source_name::{SourceName, SourceNameError};
pub use sources::{Alarm, SourceNotes};
pub use store::{Store, default_path};
pub use tag::{Tag, TagNameError};
pub use writer::{Holder, WriterLock};
