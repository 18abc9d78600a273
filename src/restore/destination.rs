//! The directory that a restore writes into.
//!
//! Owns making and opening DEST. Refuses to know what goes into it. Its invariant: a DEST inside the store is refused before anything is
//! made.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::io::Errno;

use super::RestoreError;
use crate::source::stat::{FileId, stat_of};

const FOLLOWED: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

/// DEST, open.
pub(super) struct Destination {
    pub(super) fd: OwnedFd,
    pub(super) id: FileId,
    /// Whether it was made just now.
    pub(super) is_fresh: bool,
    /// The store's directory.
    pub(super) store: Option<FileId>,
    /// The path, as the user wrote it.
    pub(super) path: std::path::PathBuf,
}

impl Destination {
    /// Opens DEST, and makes it, and the directories above it, if it is absent.
    pub(super) fn open(path: &Path, store: &Path) -> Result<Self, RestoreError> {
        let failed = |act| move |source: io::Error| RestoreError::Destination { act, path: path.to_owned(), source };
        let store = openat(CWD, store, FOLLOWED.union(OFlags::PATH), Mode::empty()).ok();
        let store = store.and_then(|fd| stat_of(fd).ok()).map(|stat| FileId::of(&stat));
        let (fd, is_fresh) = match openat(CWD, path, FOLLOWED, Mode::empty()) {
            Ok(fd) => (fd, false),
            Err(Errno::NOENT) => {
                refuse_inside(path, nearest_existing(path), store)?;
                std::fs::create_dir_all(path).map_err(failed("make"))?;
                (openat(CWD, path, FOLLOWED, Mode::empty()).map_err(|errno| failed("open")(errno.into()))?, true)
            }
            Err(Errno::NOTDIR) => return Err(RestoreError::NotADirectory { path: path.to_owned() }),
            Err(errno) => return Err(failed("open")(errno.into())),
        };
        refuse_inside(path, Some(&fd), store)?;
        let stat = stat_of(&fd).map_err(|errno| failed("look at")(errno.into()))?;
        Ok(Self { fd, id: FileId::of(&stat), is_fresh, store, path: path.to_owned() })
    }
}

fn nearest_existing(path: &Path) -> Option<OwnedFd> {
    let open = |path: &Path| {
        let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        openat(CWD, path, FOLLOWED.union(OFlags::PATH), Mode::empty()).ok()
    };
    path.ancestors().find_map(open)
}

/// Refuses where `dir` or a directory above it is the store.
fn refuse_inside(path: &Path, dir: Option<impl AsFd>, store: Option<FileId>) -> Result<(), RestoreError> {
    let (Some(dir), Some(store)) = (dir, store) else { return Ok(()) };
    let flags = FOLLOWED.union(OFlags::PATH);
    let mut at = openat(&dir, c".", flags, Mode::empty());
    let mut below = None;
    while let Ok(fd) = at {
        let Ok(stat) = stat_of(&fd) else { break };
        let id = FileId::of(&stat);
        if id == store {
            return Err(RestoreError::InsideStore { path: path.to_owned() });
        }
        if below.replace(id) == Some(id) {
            break;
        }
        at = openat(&fd, c"..", flags, Mode::empty());
    }
    Ok(())
}
