//! The source as it is now, for files that have not changed since the point.
//!
//! Owns finding such a file and comparing its bytes. Refuses to change anything, access times too where the kernel allows it. Its invariant: a file counts as unchanged only if its `stat` is that of its record
//! before it is read and after.

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::io::Errno;

use crate::format::record::{Flags, Record, Status};
use crate::format::{Point, Stat};
use crate::source::stat::stat_of;

const SLICE_BYTES: usize = 1 << 20;
const DIRECTORY: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC).union(OFlags::NOFOLLOW);

/// What comparing with the source gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Compared {
    Same,
    /// From this byte on.
    Differs(u64),
    /// It has changed, is gone, or cannot be read.
    Not,
}

/// The root of the source, if it can be reached.
pub(super) struct Live {
    root: Option<OwnedFd>,
}

impl Live {
    pub(super) fn of(point: &Point, host: &str) -> Self {
        let path = Path::new(std::ffi::OsStr::from_bytes(&point.source.path));
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let is_here = point.source.host == host && path.is_absolute();
        Self { root: if is_here { openat(CWD, path, flags, Mode::empty()).ok() } else { None } }
    }

    /// Compares `restored` with the file at `path` of the source, if that still is what `record` says.
    pub(super) fn compare(&self, path: &[u8], record: &Record, restored: &File) -> Compared {
        let is_settled = !record.flags.has(Flags::RECHECK) && record.status != Status::Unread;
        let Some(root) = self.root.as_ref().filter(|_| is_settled) else { return Compared::Not };
        let Ok(live) = open(root, path) else { return Compared::Not };
        let is_unchanged = || stat_of(&live).is_ok_and(|stat| is_same(&stat, record));
        if !is_unchanged() {
            return Compared::Not;
        }
        match first_difference(&live, restored, record.meta.size) {
            _ if !is_unchanged() => Compared::Not,
            Ok(None) => Compared::Same,
            Ok(Some(at)) => Compared::Differs(at),
            Err(_) => Compared::Not,
        }
    }
}

fn is_same(stat: &Stat, record: &Record) -> bool {
    stat.ino == record.ino && stat.ctime == record.ctime && stat.meta.is_same(&record.meta)
}

fn open(root: &OwnedFd, path: &[u8]) -> Result<File, Errno> {
    let mut names: Vec<&[u8]> = path.split(|byte| *byte == b'/').collect();
    let last = names.pop().unwrap_or_default();
    let mut at: Option<OwnedFd> = None;
    for name in names {
        let above = at.as_ref().unwrap_or(root).as_fd();
        at = Some(openat(above, name, DIRECTORY, Mode::empty())?);
    }
    let above = at.as_ref().unwrap_or(root).as_fd();
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    match openat(above, last, flags | OFlags::NOATIME, Mode::empty()) {
        Err(Errno::PERM) => openat(above, last, flags, Mode::empty()),
        answer => answer,
    }
    .map(File::from)
}

/// The first byte, of `size`, in which two files differ.
pub(super) fn first_difference(one: &File, other: &File, size: u64) -> std::io::Result<Option<u64>> {
    let (mut left, mut right) = (vec![0; SLICE_BYTES], vec![0; SLICE_BYTES]);
    let mut at = 0;
    while at < size {
        let len = usize::try_from(size - at).unwrap_or(SLICE_BYTES).min(SLICE_BYTES);
        one.read_exact_at(&mut left[..len], at)?;
        other.read_exact_at(&mut right[..len], at)?;
        if let Some(place) = left[..len].iter().zip(&right[..len]).position(|(one, other)| one != other) {
            return Ok(Some(at + place as u64));
        }
        at += len as u64;
    }
    Ok(None)
}
