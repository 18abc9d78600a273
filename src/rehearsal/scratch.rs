//! The directory that is restored into for a rehearsal.
//!
//! Owns making it, closed to everybody else, and removing it. Refuses to know what is in it. Its invariant: while a rehearsal lives its directory is locked; one that can be locked is left by
//! a process that was killed, and goes.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Dir, FlockOperation, Mode, OFlags, flock, fstatvfs, mkdir, openat};
use rustix::io::Errno;

use crate::restore::discard;
use crate::source::stat::{FileId, stat_at, stat_of};

const PREFIX: &str = "dbakfs-rehearsal-";
const ATTEMPTS: u32 = 10;
const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC).union(OFlags::NOFOLLOW);

/// A scratch directory; goes with the value.
pub(super) struct Scratch {
    path: PathBuf,
    /// Locked while it is open.
    fd: OwnedFd,
    is_removed: bool,
}

impl Scratch {
    /// Makes one in `parent`, and removes what killed rehearsals have left there.
    pub(super) fn make(parent: &Path) -> io::Result<Self> {
        sweep(parent)?;
        for _ in 0..ATTEMPTS {
            let mut random = [0; 8];
            crate::random::fill(&mut random);
            let path = parent.join(format!("{PREFIX}{:016x}", u64::from_le_bytes(random)));
            match mkdir(&path, Mode::RWXU) {
                Err(Errno::EXIST) => continue,
                answer => answer?,
            }
            // Another rehearsal may have swept it before it was locked.
            if let Some(fd) = lock(CWD, path.as_os_str().as_bytes())? {
                return Ok(Self { path, fd, is_removed: false });
            }
        }
        Err(io::Error::other("every new directory was taken away"))
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Bytes that this user may still write there.
    pub(super) fn free_bytes(&self) -> io::Result<u64> {
        let stat = fstatvfs(&self.fd)?;
        Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
    }

    /// Removes it.
    pub(super) fn remove(mut self) -> io::Result<()> {
        self.is_removed = true;
        discard(&self.path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if !self.is_removed {
            // What cannot be removed now is swept by the next rehearsal.
            let _ = discard(&self.path);
        }
    }
}

/// Opens and locks a directory of ours; nothing where it is locked, gone, or somebody else's.
fn lock(parent: impl AsFd, name: &[u8]) -> io::Result<Option<OwnedFd>> {
    let parent = parent.as_fd();
    let fd = match openat(parent, name, DIRECTORY, Mode::empty()) {
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::ACCESS) => return Ok(None),
        answer => answer?,
    };
    let stat = stat_of(&fd)?;
    if stat.meta.uid != rustix::process::geteuid().as_raw() {
        return Ok(None);
    }
    match flock(&fd, FlockOperation::NonBlockingLockExclusive) {
        Err(Errno::WOULDBLOCK) => return Ok(None),
        answer => answer?,
    }
    let is_current = stat_at(parent, name).is_ok_and(|named| FileId::of(&named) == FileId::of(&stat));
    Ok(is_current.then_some(fd))
}

fn sweep(parent: &Path) -> io::Result<()> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let fd = openat(CWD, parent, flags, Mode::empty())?;
    for entry in Dir::read_from(&fd)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name.starts_with(PREFIX.as_bytes())
            && let Some(_locked) = lock(&fd, name)?
        {
            // One that resists is no reason not to rehearse.
            let _ = discard(&parent.join(OsStr::from_bytes(name)));
        }
    }
    Ok(())
}
