//! Asks the kernel about one entry.
//!
//! Owns the translation of `statx` into [`Stat`]. Refuses to know names and trees. Its invariant: a link is never
//! followed, nothing is mounted by looking, and fields that mean nothing for a kind of entry (the size of a directory,
//! the device number of a file, the link count of a directory) are the neutral ones that [`Meta`] promises.

use std::os::fd::{AsFd, BorrowedFd};

use rustix::fs::{AtFlags, Statx, StatxFlags, StatxTimestamp, makedev, statx};
use rustix::io::Errno;
use rustix::path::Arg;

use crate::format::{Kind, Meta, Stat, Timestamp};

/// What tells one inode from another while the tree is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FileId {
    /// Device (`st_dev`).
    pub dev: u64,
    /// Inode number on that device.
    pub ino: u64,
}

impl FileId {
    /// The inode that `stat` is of.
    #[must_use]
    pub const fn of(stat: &Stat) -> Self {
        Self { dev: stat.dev, ino: stat.ino }
    }
}

/// The `Stat` of `name` in `dir`; of the link itself if it is one.
///
/// # Errors
/// What `statx` says; `ENOTSUP` for an inode that is none of Linux's seven kinds.
pub fn stat_at(dir: BorrowedFd<'_>, name: impl Arg) -> Result<Stat, Errno> {
    ask(dir, name, AtFlags::empty())
}

/// Like [`stat_at`], but content with what the kernel remembers: a server that does not answer is not asked.
///
/// # Errors
/// Those of [`stat_at`].
pub fn remembered_stat_at(dir: BorrowedFd<'_>, name: impl Arg) -> Result<Stat, Errno> {
    ask(dir, name, AtFlags::STATX_DONT_SYNC)
}

/// The `Stat` of an open file or directory.
///
/// # Errors
/// Those of [`stat_at`].
pub fn stat_of(open: impl AsFd) -> Result<Stat, Errno> {
    ask(open.as_fd(), c"", AtFlags::EMPTY_PATH)
}

fn ask(dir: BorrowedFd<'_>, name: impl Arg, flags: AtFlags) -> Result<Stat, Errno> {
    let flags = flags | AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT;
    translate(&statx(dir, name, flags, StatxFlags::BASIC_STATS)?)
}

fn translate(raw: &Statx) -> Result<Stat, Errno> {
    let mode = u32::from(raw.stx_mode);
    let kind = Kind::from_mode(mode).ok_or(Errno::NOTSUP)?;
    let is_device = matches!(kind, Kind::CharDevice | Kind::BlockDevice);
    let meta = Meta {
        kind,
        mode: mode & 0o7777,
        uid: raw.stx_uid,
        gid: raw.stx_gid,
        nlink: if kind == Kind::Directory { 1 } else { raw.stx_nlink },
        rdev: if is_device { makedev(raw.stx_rdev_major, raw.stx_rdev_minor) } else { 0 },
        size: if kind == Kind::File { raw.stx_size } else { 0 },
        mtime: timestamp(&raw.stx_mtime),
    };
    Ok(Stat {
        meta,
        ctime: timestamp(&raw.stx_ctime),
        ino: raw.stx_ino,
        dev: makedev(raw.stx_dev_major, raw.stx_dev_minor),
        allocated_bytes: raw.stx_blocks.saturating_mul(512),
    })
}

const fn timestamp(raw: &StatxTimestamp) -> Timestamp {
    // Some network servers hand out nanoseconds that no clock has; the format has no room for them.
    let nanos = if raw.tv_nsec < 1_000_000_000 { raw.tv_nsec } else { 999_999_999 };
    Timestamp::new(raw.tv_sec, nanos)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt, PermissionsExt};

    use super::*;

    #[test]
    fn stat_agrees_with_the_standard_library() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        std::fs::write(&path, b"content").unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o4751)).unwrap();
        let fd = std::fs::File::open(dir.path()).unwrap();
        let stat = stat_at(fd.as_fd(), "file").unwrap();
        let known = std::fs::metadata(&path).unwrap();
        assert_eq!((stat.dev, stat.ino), (known.dev(), known.ino()));
        assert_eq!((stat.meta.mode, stat.meta.size, stat.meta.nlink), (0o4751, 7, 1));
        let nanos = u32::try_from(known.mtime_nsec()).unwrap();
        assert_eq!(stat.meta.mtime, Timestamp::new(known.mtime(), nanos));
        assert_eq!(stat_of(std::fs::File::open(&path).unwrap()).unwrap(), stat);
        assert_eq!(remembered_stat_at(fd.as_fd(), "file").unwrap(), stat);
    }

    #[test]
    fn directory_has_no_size_and_one_link() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("sub")).unwrap();
        let stat = stat_of(std::fs::File::open(dir.path()).unwrap()).unwrap();
        assert_eq!((stat.meta.kind, stat.meta.size, stat.meta.nlink), (Kind::Directory, 0, 1));
    }

    #[test]
    fn device_number_is_kept_and_links_are_not_followed() {
        let null = stat_at(rustix::fs::CWD, "/dev/null").unwrap();
        assert_eq!((null.meta.kind, null.meta.rdev), (Kind::CharDevice, libc::makedev(1, 3)));
        let dir = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink("/nowhere", dir.path().join("link")).unwrap();
        let fd = std::fs::File::open(dir.path()).unwrap();
        let link = stat_at(fd.as_fd(), "link").unwrap();
        assert_eq!((link.meta.kind, link.meta.size), (Kind::Symlink, 0));
        assert_eq!(stat_at(fd.as_fd(), "missing").unwrap_err(), Errno::NOENT);
    }
}
