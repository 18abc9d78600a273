//! The open directories from one directory down to another.
//!
//! Owns their descriptors. Refuses to know what is done in them. Its invariant: however deep the trail, no more than some dozens are
//! open, and a directory that is opened again is the same inode that was open before.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use rustix::fs::{Mode, OFlags, openat};
use rustix::io::Errno;
use rustix::path::Arg;

use crate::source::dir::Place;
use crate::source::stat::{FileId, stat_of};

/// Ancestors that stay open above the last directory, besides the first.
const OPEN_ANCESTORS: usize = 32;

/// The flags that every open of a directory in DEST has.
const DIRECTORY: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC).union(OFlags::NONBLOCK);

/// One directory of a trail.
#[derive(Debug)]
pub(super) struct Step {
    pub(super) place: Arc<Place>,
    id: FileId,
    fd: Option<Arc<OwnedFd>>,
}

/// Directories, each inside the one before.
#[derive(Debug, Default)]
pub(super) struct Trail {
    steps: Vec<Step>,
}

impl Trail {
    /// Goes down into the open directory `fd`.
    pub(super) fn push(&mut self, place: Arc<Place>, id: FileId, fd: Arc<OwnedFd>) {
        self.steps.push(Step { place, id, fd: Some(fd) });
        // The first stays open: it is where the way down begins if the way up is lost.
        if let Some(distant) = self.steps.len().checked_sub(OPEN_ANCESTORS + 2).filter(|distant| *distant > 0) {
            self.steps[distant].fd = None;
        }
    }

    /// Goes up, and opens the directory above again if it had to be closed.
    pub(super) fn pop(&mut self) {
        let left = self.steps.pop().and_then(|step| step.fd);
        if let (Some(left), Some(above)) = (left, self.steps.last_mut())
            && above.fd.is_none()
        {
            // If it fails, the directory was moved meanwhile; the way down is tried when it is needed.
            above.fd = open_known(left.as_fd(), c"..", above.id).ok();
        }
    }

    /// The first directory.
    pub(super) fn first(&self) -> Option<Arc<OwnedFd>> {
        self.steps.first().and_then(|step| step.fd.clone())
    }

    /// The last directory's place.
    pub(super) fn place(&self) -> Option<&Arc<Place>> {
        self.steps.last().map(|step| &step.place)
    }

    /// The device that the last directory lies on.
    pub(super) fn dev(&self) -> Option<u64> {
        self.steps.last().map(|step| step.id.dev)
    }

    /// The last directory, open.
    pub(super) fn fd(&mut self) -> Result<Arc<OwnedFd>, Errno> {
        let nearest = self.steps.iter().rposition(|step| step.fd.is_some()).ok_or(Errno::BADF)?;
        for depth in nearest + 1..self.steps.len() {
            let above = self.steps[depth - 1].fd.clone().ok_or(Errno::BADF)?;
            let step = &mut self.steps[depth];
            step.fd = Some(open_known(above.as_fd(), step.place.name(), step.id)?);
            if depth > nearest + 1 {
                self.steps[depth - 1].fd = None;
            }
        }
        self.steps.last().and_then(|step| step.fd.clone()).ok_or(Errno::BADF)
    }
}

fn open_known(dir: BorrowedFd<'_>, name: impl Arg, id: FileId) -> Result<Arc<OwnedFd>, Errno> {
    let fd = openat(dir, name, DIRECTORY, Mode::empty())?;
    if FileId::of(&stat_of(&fd)?) == id { Ok(Arc::new(fd)) } else { Err(Errno::STALE) }
}

/// Opens the directory `name` in `dir`, whatever its mode says if it is ours. A symbolic link is an error.
pub(super) fn open_directory(dir: BorrowedFd<'_>, name: &[u8]) -> Result<OwnedFd, Errno> {
    match openat(dir, name, DIRECTORY, Mode::empty()) {
        Err(Errno::ACCESS) => {
            let handle = openat(dir, name, DIRECTORY.union(OFlags::PATH), Mode::empty())?;
            let mode = Mode::from_raw_mode(stat_of(&handle)?.meta.mode) | Mode::RWXU;
            chmod_handle(handle.as_fd(), mode).map_err(|_| Errno::ACCESS)?;
            openat(dir, name, DIRECTORY, Mode::empty())
        }
        other => other,
    }
}

/// Lets an ordinary user list and change the open directory `dir`, whatever its mode says, if it is theirs.
pub(super) fn unlock(dir: BorrowedFd<'_>) -> Result<(), Errno> {
    if !rustix::process::geteuid().is_root() {
        let mode = Mode::from_raw_mode(stat_of(dir)?.meta.mode);
        if !mode.contains(Mode::RWXU) {
            // Where it is not theirs, each entry will say so.
            let _ = rustix::fs::fchmod(dir, mode | Mode::RWXU);
        }
    }
    Ok(())
}

/// Opens the directory at `path`, relative to `root`, component by component, only to look names up in it.
pub(super) fn open_below(root: BorrowedFd<'_>, path: &[u8]) -> Result<OwnedFd, Errno> {
    let flags = DIRECTORY.union(OFlags::PATH);
    let mut at = openat(root, c".", flags, Mode::empty())?;
    for name in path.split(|byte| *byte == b'/').filter(|name| !name.is_empty()) {
        at = openat(&at, name, flags, Mode::empty())?;
    }
    Ok(at)
}

/// Sets the mode of what `handle` holds, which may be open as a mere path. Not for symbolic links.
pub(super) fn chmod_handle(handle: BorrowedFd<'_>, mode: Mode) -> Result<(), Errno> {
    use std::os::fd::AsRawFd;
    rustix::fs::chmod(format!("/proc/self/fd/{}", handle.as_raw_fd()), mode)
}
