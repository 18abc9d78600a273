//! dbakfs: differential backups that you can see.
//!
//! The modules in the order in which a byte meets them, from the source to the mount; each uses only what stands below it in
//! `docs/concurrency.md`'s table of layers (a test holds them to it).

pub mod cache;
pub mod catalog;
pub mod format;
pub mod index;
pub mod overlay;
pub mod pack;
mod random;
pub mod repository;
pub mod storage;
