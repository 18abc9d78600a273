//! Removing what is in the way, or what the point has not got.
//!
//! Owns removing one entry with all that is below it. Refuses to decide whether it should go. Its invariants: no link is followed, no
//! mount point is crossed and the store is spared; it neither recurses nor keeps more than some dozens of directories open.

use std::ffi::CString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::sync::Arc;

use rustix::fs::{AtFlags, StatxAttributes, StatxFlags, statx, unlinkat};
use rustix::io::Errno;

use super::KeptBecause;
use super::fault::{During, Fault};
use super::names::names_of;
use super::trail::{Trail, open_directory, unlock};
use crate::format::{Kind, Stat};
use crate::source::dir::Place;
use crate::source::stat::{FileId, stat_at, stat_of};

/// What became of something that was to be removed.
#[derive(Debug, Default)]
pub(super) struct Removed {
    /// Entries that are gone.
    pub(super) count: u64,
    /// Entries that had to stay, and so all directories above them.
    pub(super) kept: Vec<(PathBuf, KeptBecause)>,
    /// Entries that the system did not remove.
    pub(super) failed: Vec<(PathBuf, Errno)>,
}

impl Removed {
    /// Whether nothing is left.
    pub(super) const fn is_all(&self) -> bool {
        self.kept.is_empty() && self.failed.is_empty()
    }
}

/// Whether the directory `name` of `dir` must be spared, whatever is to be removed.
pub(super) fn is_spared(
    dir: BorrowedFd<'_>,
    dev: u64,
    name: &[u8],
    stat: &Stat,
    store: Option<FileId>,
) -> Option<KeptBecause> {
    if store == Some(FileId::of(stat)) {
        return Some(KeptBecause::Store);
    }
    (stat.dev != dev || is_mount_point(dir, name)).then_some(KeptBecause::Mounted)
}

/// Whether something is mounted on `name`: a bind mount of the same device too, which no device number shows.
fn is_mount_point(dir: BorrowedFd<'_>, name: &[u8]) -> bool {
    let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT;
    statx(dir, name, flags, StatxFlags::TYPE)
        .is_ok_and(|stat| stat.stx_attributes.contains(StatxAttributes::MOUNT_ROOT))
}

/// Removes the entry `name` of `dir`, which stands at `place` on the device `dev`, and all that is below it.
pub(super) fn remove(
    dir: &Arc<OwnedFd>,
    place: &Arc<Place>,
    dev: u64,
    name: &[u8],
    store: Option<FileId>,
) -> Result<Removed, Fault> {
    let mut removal = Removal { trail: Trail::default(), below: Vec::new(), store, removed: Removed::default() };
    let id = FileId { dev, ino: stat_of(dir).during("look at")?.ino };
    removal.trail.push(Arc::clone(place), id, Arc::clone(dir));
    removal.below.push(Doomed { entered: None, directories: Vec::new(), is_blocked: false });
    let name = CString::new(name).map_err(|_| Fault::System("remove", Errno::INVAL))?;
    removal.entry(name, None)?;
    removal.run()?;
    Ok(removal.removed)
}

struct Removal {
    trail: Trail,
    below: Vec<Doomed>,
    store: Option<FileId>,
    removed: Removed,
}

/// A directory on the way down.
struct Doomed {
    /// Its name in the directory above.
    entered: Option<CString>,
    /// Directories in it that are not empty.
    directories: Vec<CString>,
    /// Whether something in it stays.
    is_blocked: bool,
}

impl Removal {
    fn run(&mut self) -> Result<(), Fault> {
        while let Some(level) = self.below.last_mut() {
            match level.directories.pop() {
                Some(name) => self.descend(name)?,
                None => self.leave()?,
            }
        }
        Ok(())
    }

    /// Removes one entry of the last directory of the trail, or notes it to be entered.
    fn entry(&mut self, name: CString, is_dir: Option<bool>) -> Result<(), Fault> {
        let dir = self.trail.fd().during("open the directory of")?;
        if is_dir != Some(true) {
            match unlinkat(&*dir, &name, AtFlags::empty()) {
                Ok(()) => {
                    self.removed.count += 1;
                    return Ok(());
                }
                Err(Errno::NOENT) => return Ok(()),
                // What unlinking a directory says, here or elsewhere.
                Err(Errno::ISDIR | Errno::PERM) if is_dir.is_none() => {}
                Err(errno) => return self.failed(&name, errno),
            }
        }
        let stat = match stat_at(dir.as_fd(), &name) {
            Ok(stat) => stat,
            Err(Errno::NOENT) => return Ok(()),
            Err(errno) => return self.failed(&name, errno),
        };
        if stat.meta.kind != Kind::Directory {
            return self.failed(&name, Errno::PERM);
        }
        let dev = self.trail.dev().unwrap_or(stat.dev);
        if let Some(why) = is_spared(dir.as_fd(), dev, name.to_bytes(), &stat, self.store) {
            let path = self.path_of(&name);
            self.removed.kept.push((path, why));
            self.block();
            return Ok(());
        }
        match unlinkat(&*dir, &name, AtFlags::REMOVEDIR) {
            Ok(()) => self.removed.count += 1,
            Err(Errno::NOTEMPTY | Errno::EXIST) => {
                if let Some(level) = self.below.last_mut() {
                    level.directories.push(name);
                }
            }
            Err(Errno::NOENT) => {}
            Err(errno) => return self.failed(&name, errno),
        }
        Ok(())
    }

    fn descend(&mut self, name: CString) -> Result<(), Fault> {
        let dir = self.trail.fd().during("open the directory of")?;
        let opened = open_directory(dir.as_fd(), name.to_bytes()).and_then(|fd| {
            unlock(fd.as_fd())?;
            Ok((stat_of(&fd)?, fd))
        });
        let (stat, fd) = match opened {
            Ok(opened) => opened,
            Err(errno) => return self.failed(&name, errno),
        };
        let names = match names_of(fd.as_fd()) {
            Ok(names) => names,
            Err(errno) => return self.failed(&name, errno),
        };
        let above = self.trail.place().map_or_else(|| Place::root("".as_ref()), Arc::clone);
        self.trail.push(Place::below(&above, name.to_bytes()), FileId::of(&stat), Arc::new(fd));
        self.below.push(Doomed { entered: Some(name), directories: Vec::new(), is_blocked: false });
        for (name, is_dir) in names {
            self.entry(name, is_dir)?;
        }
        Ok(())
    }

    /// Goes up, and removes the directory that was left if nothing in it stays.
    fn leave(&mut self) -> Result<(), Fault> {
        let Some(Doomed { entered, is_blocked, .. }) = self.below.pop() else { return Ok(()) };
        let Some(name) = entered else { return Ok(()) };
        self.trail.pop();
        if is_blocked {
            self.block();
            return Ok(());
        }
        let dir = self.trail.fd().during("open the directory of")?;
        match unlinkat(&*dir, &name, AtFlags::REMOVEDIR) {
            Ok(()) => self.removed.count += 1,
            Err(Errno::NOENT) => {}
            Err(errno) => return self.failed(&name, errno),
        }
        Ok(())
    }

    fn failed(&mut self, name: &CString, errno: Errno) -> Result<(), Fault> {
        if !super::fault::spares_others(errno) {
            return Err(Fault::System("remove", errno));
        }
        let path = self.path_of(name);
        self.removed.failed.push((path, errno));
        self.block();
        Ok(())
    }

    fn block(&mut self) {
        if let Some(level) = self.below.last_mut() {
            level.is_blocked = true;
        }
    }

    fn path_of(&self, name: &CString) -> PathBuf {
        use std::os::unix::ffi::OsStrExt;
        let dir = self.trail.place().map_or_else(PathBuf::new, |place| place.path());
        dir.join(std::ffi::OsStr::from_bytes(name.to_bytes()))
    }
}
