//! Whether a source entry is the version that a catalog holds. Pure.

use crate::format::record::{Flags, Record, Status};
use crate::format::{Stat, Timestamp};
use crate::index::Fingerprint;

/// Whether `stat` proves that nothing changed since `record` was made: size, mtime, ctime, inode and all archived metadata are the same, and
/// the record's own times were old enough to be trusted.
#[must_use]
pub fn is_unchanged(stat: &Stat, record: &Record) -> bool {
    may_be_trusted(record) && has_same_stat(stat, record)
}

/// Whether the record's stat is one to go by: its content was read, and its times were old enough by then.
#[must_use]
pub fn may_be_trusted(record: &Record) -> bool {
    !record.flags.has(Flags::RECHECK) && !record.flags.has(Flags::NO_CONTENT) && record.status != Status::Unread
}

fn has_same_stat(stat: &Stat, record: &Record) -> bool {
    stat.ino == record.ino && stat.ctime == record.ctime && stat.meta.is_same(&record.meta)
}

/// What a `stat` says about change, in short: equal fingerprints mean that size, mtime, ctime and inode are equal.
#[must_use]
pub fn fingerprint(stat: &Stat) -> Fingerprint {
    let mut hasher = blake3::Hasher::new();
    let Timestamp { secs, nanos } = stat.meta.mtime;
    for number in
        [stat.ino, stat.dev, stat.meta.size, secs.cast_unsigned(), nanos.into(), stat.ctime.secs.cast_unsigned()]
    {
        hasher.update(&number.to_le_bytes());
    }
    hasher.update(&stat.ctime.nanos.to_le_bytes());
    let mut short = [0; 16];
    short.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
    short
}
