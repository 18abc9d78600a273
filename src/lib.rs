//! dbakfs: differential backups that you can see.

pub mod format;
