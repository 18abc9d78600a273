//! dbakfs: differential backups that you can see.
//!
//! A byte on its way in: [`source`] walks and reads, [`backup`] compares and decides, [`chunker`] cuts, [`pack`] groups and compresses,
//! [`catalog`] lists. On its way out: [`overlay`] lays a differential over its full, [`view`] shows it, [`restore`] writes it,
//! [`compare`] sets two of it side by side, [`verify`] reads all of it, [`prune`] takes away what nobody needs any more.
//! [`export`] packs it into an archive; [`archive`] is what those are, and what an import reads.
//! [`report`] says how all of it stands, and [`metrics`] says it to Prometheus.
//! [`repository`] is the store as a whole; [`storage`] opens its files; [`format`] knows their bytes; [`index`] is what can be lost.
//! [`policy`] judges what should be done, [`settings`] is what a person wrote about it, [`automation`] does it at its time.
//! `docs/concurrency.md` draws which of them may use which.

pub mod archive;
pub mod automation;
pub mod backup;
mod bits;
pub mod cache;
pub mod catalog;
pub mod causes;
pub mod chunker;
pub mod compaction;
pub mod compare;
pub mod export;
pub mod format;
pub mod index;
pub mod metrics;
pub mod overlay;
pub mod pack;
pub mod policy;
#[cfg(test)]
mod power;
mod progress;
pub mod prune;
mod random;
pub mod rehearsal;
pub mod repair;
pub mod report;
pub mod repository;
pub mod restore;
pub mod settings;
pub mod source;
pub mod storage;
pub mod verify;
pub mod view;
