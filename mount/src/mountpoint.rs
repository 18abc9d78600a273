//! Looks at a mount point before mounting, heals one whose server died, and unmounts; knows nothing of serving.
//!
//! Invariant: nothing here waits without bound for a mounted file system, and only a dbakfs mount is ever unmounted.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::Duration;

use rustix::fs::{AtFlags, FileType, StatxFlags};
use rustix::io::Errno;
use rustix::mount::UnmountFlags;

use crate::error::{MountError, Result};
use crate::fusermount;
use crate::mount_table::{self, Entry, Place, at};

/// The type of a dbakfs mount, as `/proc/mounts` shows it.
pub const FS_TYPE: &str = "fuse.dbakfs";

/// A server that has not answered within this time counts as hung.
const PATIENCE: Duration = Duration::from_secs(2);

/// Dead mounts that may lie on one another.
const MAX_STACKED: usize = 64;

/// How an unmount ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unmounted {
    /// Nobody used the mount; it is gone.
    Clean,
    /// Somebody uses it still: it has left the tree of files, and ends when the last user closes.
    Detached,
    /// It had been unmounted before.
    Already,
}

/// Whether a dbakfs mount, alive or dead, has its root at `path`. Asks nothing of what is mounted there.
pub fn is_dbakfs_mount(path: &Path) -> io::Result<bool> {
    Ok(at(path)?.mount.is_some_and(|mount| is_ours(&mount)))
}

/// Whether the file system with this major and minor number (of `st_dev`) is a dbakfs mount. For whoever walks a tree and meets
/// another device: it needs no path, and asks nothing of what is mounted.
pub fn is_dbakfs_device(device: (u32, u32)) -> io::Result<bool> {
    Ok(mount_table::read()?.iter().any(|mount| mount.device == device && is_ours(mount)))
}

/// Unmounts dbakfs mounts at `path` whose server is gone ("transport endpoint is not connected"); says whether there were any.
/// Leaves alone whatever lives, and whatever is not ours.
pub fn heal(path: &Path) -> Result<bool> {
    for healed in 0..MAX_STACKED {
        let place = look(path)?;
        if !place.mount.as_ref().is_some_and(is_ours) || pulse(&place.path) != Pulse::Dead {
            return Ok(healed > 0);
        }
        let path = release(place);
        detach(&path)?;
        tracing::info!(path = %path.display(), "unmounted a dbakfs mount whose server had died");
    }
    Err(MountError::NotAnswering(path.to_owned()))
}

/// Unmounts the dbakfs mount at `path`, alive or dead, lazily if it is in use.
pub fn unmount(path: &Path) -> Result<Unmounted> {
    let place = look(path)?;
    match &place.mount {
        None => Err(MountError::NotMounted(place.path)),
        Some(mount) if !is_ours(mount) => Err(MountError::NotOurs { fs_type: mount.fs_type.clone(), path: place.path }),
        Some(mount) => {
            let table = mount_table::read().map_err(MountError::io("read", "/proc/self/mountinfo"))?;
            if let Some(stem) = table.iter().find(|stem| is_graft(mount, stem)) {
                return Err(MountError::Part { of: stem.point.clone(), path: place.path });
            }
            prune(&table, mount);
            leave(&release(place))
        }
    }
}

/// Heals `path` and checks that it can be mounted on; gives the path free of symbolic links.
pub(crate) fn prepare(path: &Path) -> Result<PathBuf> {
    heal(path)?;
    let place = look(path)?;
    if let Some(mount) = place.mount {
        return Err(match is_ours(&mount) && pulse(&place.path) == Pulse::Silent {
            true => MountError::NotAnswering(place.path),
            false => MountError::AlreadyMounted { path: place.path, fs_type: mount.fs_type },
        });
    }
    let stat = rustix::fs::fstat(&place.reference).map_err(io::Error::from);
    let stat = stat.map_err(MountError::io("look at mount point", &place.path))?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
        return Err(MountError::NotDirectory(place.path));
    }
    let mut names = std::fs::read_dir(&place.path).map_err(MountError::io("list mount point", &place.path))?;
    match names.next() {
        None => Ok(place.path),
        Some(_) => Err(MountError::NotEmpty(place.path)),
    }
}

/// Unmounts exactly the mount `id` of `device`, wherever it was moved to.
pub(crate) fn unmount_only(id: u64, device: (u32, u32)) -> Result<Unmounted> {
    let Some(place) = find(id, device)? else { return Ok(Unmounted::Already) };
    if let Some(mount) = &place.mount {
        prune(&mount_table::read().map_err(MountError::io("read", "/proc/self/mountinfo"))?, mount);
    }
    leave(&release(place))
}

/// Where exactly the mount `id` of `device` is now, if it is anywhere: an error, where another covers it.
pub(crate) fn find(id: u64, device: (u32, u32)) -> Result<Option<Place>> {
    let table = mount_table::read().map_err(MountError::io("read", "/proc/self/mountinfo"))?;
    let Some(ours) = table.into_iter().find(|entry| entry.id == id && entry.device == device) else {
        return Ok(None);
    };
    let place = look(&ours.point)?;
    match &place.mount {
        Some(top) if top.id == id && top.device == device => Ok(Some(place)),
        Some(top) => Err(MountError::Covered { fs_type: top.fs_type.clone(), path: place.path }),
        None => Err(MountError::Covered { fs_type: "a mount further up".to_owned(), path: place.path }),
    }
}

/// What is at `path`, with the error for a mount point that is not there.
pub(crate) fn look(path: &Path) -> Result<Place> {
    at(path).map_err(|source| match source.raw_os_error() {
        Some(libc::ENOENT) => MountError::Missing(path.to_owned()),
        Some(libc::ENOTDIR) => MountError::NotDirectory(path.to_owned()),
        _ => MountError::io("look at mount point", path)(source),
    })
}

/// Whether a mount is one of ours.
pub(crate) fn is_ours(mount: &Entry) -> bool {
    mount.fs_type == FS_TYPE
}

/// Whether the server of `stem` has attached `mount` to it: a part of its second connection, which bears the same name.
fn is_graft(mount: &Entry, stem: &Entry) -> bool {
    let is_part = mount.parent == stem.id && mount.root != Path::new("/");
    is_part && is_ours(mount) && is_ours(stem) && mount.source == stem.source && mount.device != stem.device
}

/// Takes away what the server of `stem` has attached to it, but for what is in use. The way there leads through that server: should it
/// not answer, all is left to the lazy way out.
fn prune(table: &[Entry], stem: &Entry) {
    let grafts: Vec<PathBuf> =
        table.iter().filter(|mount| is_graft(mount, stem)).map(|graft| graft.point.clone()).collect();
    if grafts.is_empty() {
        return;
    }
    let pruned = within(PATIENCE, move || {
        for graft in &grafts {
            if let Err(error) = rustix::mount::unmount(graft, UnmountFlags::NOFOLLOW) {
                tracing::debug!(%error, path = %graft.display(), "left to the lazy way out");
            }
        }
    });
    if pruned.is_none() {
        tracing::debug!(path = %stem.point.display(), "the server does not answer");
    }
}

/// Lets go of a place, so that it is not busy for our sake.
fn release(place: Place) -> PathBuf {
    place.path
}

/// The normal way out, and the lazy one where somebody uses the mount.
fn leave(path: &Path) -> Result<Unmounted> {
    match rustix::mount::unmount(path, UnmountFlags::NOFOLLOW) {
        Ok(()) => Ok(Unmounted::Clean),
        Err(Errno::BUSY) => detach(path).map(|()| Unmounted::Detached),
        Err(Errno::PERM) => match fusermount::unmount(path, false)? {
            true => Ok(Unmounted::Clean),
            false => detach(path).map(|()| Unmounted::Detached),
        },
        Err(Errno::INVAL | Errno::NOENT) => Ok(Unmounted::Already),
        Err(error) => Err(MountError::io("unmount", path)(error.into())),
    }
}

/// Takes the mount out of the tree of files at once; it ends with its last user.
pub(crate) fn detach(path: &Path) -> Result<()> {
    match rustix::mount::unmount(path, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW) {
        Ok(()) | Err(Errno::INVAL | Errno::NOENT) => Ok(()),
        Err(Errno::PERM) => fusermount::unmount(path, true).map(drop),
        Err(error) => Err(MountError::io("unmount", path)(error.into())),
    }
}

/// Asks the server of the mount at `path` for the attributes of its root. The kernel may hold these for ever, and would then
/// answer even for a server that is dead, hence the force.
pub(crate) fn ask(path: &Path) -> io::Result<()> {
    let flags = AtFlags::STATX_FORCE_SYNC | AtFlags::SYMLINK_NOFOLLOW;
    rustix::fs::statx(rustix::fs::CWD, path, flags, StatxFlags::BASIC_STATS)?;
    Ok(())
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Pulse {
    Alive,
    Dead,
    Silent,
}

/// Asks a mount of ours for a sign of life.
fn pulse(path: &Path) -> Pulse {
    let asked = path.to_owned();
    match within(PATIENCE, move || ask(&asked)) {
        Some(Err(error))
            if matches!(error.raw_os_error(), Some(libc::ENOTCONN | libc::ECONNABORTED | libc::ECONNREFUSED)) =>
        {
            Pulse::Dead
        }
        Some(_) => Pulse::Alive,
        None => Pulse::Silent,
    }
}

/// Does what asks a server, in a thread of its own that is left behind should the server hang.
fn within<T: Send + 'static>(patience: Duration, act: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    let (sender, receiver) = mpsc::channel();
    let begun = std::thread::Builder::new().name("pulse".to_owned()).spawn(move || {
        // Nobody listens any more when the answer came too late.
        let _ = sender.send(act());
    });
    begun.ok().and_then(|_| receiver.recv_timeout(patience).ok())
}
