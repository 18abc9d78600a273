//! Turns a tree's attributes into the kernel's; refuses what would mislead programs (inode 0, no names, unknown types).
//!
//! Invariant: every time and every device number comes out of `stat` exactly as it went in.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fuser::{FileAttr, FileType, INodeNo};

use crate::tree::{Attr, Lifetime, NodeId, Time, TreeError};

/// Longer than any machine runs, and far from where the kernel's arithmetic on jiffies could overflow.
const FOREVER: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

/// What `stat` names as the best size of a read.
const BLOCK_BYTES: u32 = 4096;

/// How long the kernel may remember something.
pub(crate) fn ttl(lifetime: Lifetime) -> Duration {
    match lifetime {
        Lifetime::Forever => FOREVER,
        Lifetime::For(time) => time.min(FOREVER),
    }
}

/// The kernel's form of `attr`, or [`TreeError::Damaged`] where the tree gave a node that cannot be shown.
pub(crate) fn to_kernel(attr: &Attr) -> Result<FileAttr, TreeError> {
    let kind = file_type(attr.mode).filter(|_| attr.node != NodeId(0)).ok_or_else(|| {
        tracing::error!(node = attr.node.0, mode = attr.mode, "the tree gave a node without a number or a type");
        TreeError::Damaged
    })?;
    let mtime = system_time(attr.mtime);
    Ok(FileAttr {
        ino: INodeNo(attr.node.0),
        size: attr.size,
        blocks: attr.blocks,
        atime: mtime,
        mtime,
        ctime: system_time(attr.ctime),
        crtime: UNIX_EPOCH,
        kind,
        perm: u16::try_from(attr.mode & 0o7777).expect("twelve bits fit"),
        nlink: attr.nlink.max(1),
        uid: attr.uid,
        gid: attr.gid,
        rdev: kernel_device(attr.rdev),
        blksize: BLOCK_BYTES,
        flags: 0,
    })
}

/// What a look-up that found nothing answers with: node 0 tells the kernel to remember the absence.
pub(crate) fn absent() -> FileAttr {
    FileAttr {
        ino: INodeNo(0),
        size: 0,
        blocks: 0,
        atime: UNIX_EPOCH,
        mtime: UNIX_EPOCH,
        ctime: UNIX_EPOCH,
        crtime: UNIX_EPOCH,
        kind: FileType::RegularFile,
        perm: 0,
        nlink: 1,
        uid: 0,
        gid: 0,
        rdev: 0,
        blksize: BLOCK_BYTES,
        flags: 0,
    }
}

fn file_type(mode: u32) -> Option<FileType> {
    Some(match mode & libc::S_IFMT {
        libc::S_IFREG => FileType::RegularFile,
        libc::S_IFDIR => FileType::Directory,
        libc::S_IFLNK => FileType::Symlink,
        libc::S_IFCHR => FileType::CharDevice,
        libc::S_IFBLK => FileType::BlockDevice,
        libc::S_IFIFO => FileType::NamedPipe,
        libc::S_IFSOCK => FileType::Socket,
        _ => return None,
    })
}

/// fuser takes only a `SystemTime`; a time outside what that can hold is shown as the epoch.
fn system_time(time: Time) -> SystemTime {
    let seconds = Duration::from_secs(time.secs.unsigned_abs());
    let whole = if time.secs < 0 { UNIX_EPOCH.checked_sub(seconds) } else { UNIX_EPOCH.checked_add(seconds) };
    whole.and_then(|whole| whole.checked_add(Duration::from_nanos(u64::from(time.nanos)))).unwrap_or(UNIX_EPOCH)
}

/// The protocol carries 12 bits of major and 20 of minor number, which is all that Linux has.
fn kernel_device(device: u64) -> u32 {
    let (major, minor) = (libc::major(device), libc::minor(device));
    (minor & 0xff) | ((major & 0xfff) << 8) | ((minor & 0xf_ff00) << 12)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_before_the_epoch_keep_their_nanoseconds() {
        let time = system_time(Time { secs: -2, nanos: 800_000_000 });
        assert_eq!(UNIX_EPOCH.duration_since(time).unwrap(), Duration::new(1, 200_000_000));
    }

    #[test]
    fn the_ends_of_time_do_not_panic() {
        for secs in [i64::MIN, i64::MIN + 1, i64::MAX] {
            system_time(Time { secs, nanos: 999_999_999 });
        }
    }

    #[test]
    fn device_numbers_survive_the_protocol() {
        for (major, minor) in [(1, 3), (8, 1), (259, 70_000), (0xfff, 0xf_ffff)] {
            let sent = kernel_device(libc::makedev(major, minor));
            // As the kernel's new_decode_dev reads it.
            assert_eq!(((sent & 0xf_ff00) >> 8, (sent & 0xff) | ((sent >> 12) & 0xf_ff00)), (major, minor));
        }
    }

    #[test]
    fn a_node_without_number_or_type_is_damage() {
        let time = Time { secs: 0, nanos: 0 };
        let attr = |node, mode| Attr {
            node: NodeId(node),
            mode,
            uid: 0,
            gid: 0,
            nlink: 0,
            rdev: 0,
            size: 0,
            blocks: 0,
            mtime: time,
            ctime: time,
            lifetime: Lifetime::Forever,
        };
        assert_eq!(to_kernel(&attr(0, libc::S_IFREG)), Err(TreeError::Damaged));
        assert_eq!(to_kernel(&attr(5, 0)), Err(TreeError::Damaged));
        assert_eq!(to_kernel(&attr(5, libc::S_IFREG)).map(|shown| shown.nlink), Ok(1));
    }
}
