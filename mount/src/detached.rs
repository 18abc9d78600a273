//! Mounts that stand nowhere in the tree of files: made there, and parts of them attached to the tree.
//!
//! Owns the calls of the kernel's newer mount interface. Invariant: until [`attach`], nobody but the holder of a descriptor can see
//! anything of it; when the last descriptor is closed, what was not attached is gone.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;

use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, OpenTreeFlags, fsconfig_create, fsconfig_set_flag,
    fsconfig_set_string, fsmount, fsopen, move_mount, open_tree,
};

/// Whether the kernel and the rights of this process let parts of a detached mount be cloned (from Linux 6.15 on, for root). Tried on
/// an empty file system in memory, of which nothing is left.
pub(crate) fn is_supported() -> bool {
    let tried = || {
        let context = fsopen("tmpfs", FsOpenFlags::FSOPEN_CLOEXEC)?;
        fsconfig_create(context.as_fd())?;
        let mount = fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::MOUNT_ATTR_RDONLY)?;
        clone(&mount, Path::new(""))
    };
    tried()
        .inspect_err(|error: &io::Error| tracing::debug!(%error, "no part of a detached mount can be cloned"))
        .is_ok()
}

/// A detached FUSE mount of the connection `device`: read-only, without set-uid programs and devices, permissions checked by the kernel.
pub(crate) fn fuse(device: &OwnedFd, subtype: &str, source: &str, allow_other: bool) -> io::Result<OwnedFd> {
    let context = fsopen("fuse", FsOpenFlags::FSOPEN_CLOEXEC)?;
    let number = device.as_raw_fd().to_string();
    let (user, group) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    let values = [
        ("source", source),
        ("subtype", subtype),
        ("fd", &number),
        ("rootmode", "40000"),
        ("user_id", &user.to_string()),
        ("group_id", &group.to_string()),
    ];
    for (key, value) in values {
        fsconfig_set_string(context.as_fd(), key, value)?;
    }
    for flag in ["ro", "default_permissions"].into_iter().chain(allow_other.then_some("allow_other")) {
        fsconfig_set_flag(context.as_fd(), flag)?;
    }
    fsconfig_create(context.as_fd())?;
    let rules = MountAttrFlags::MOUNT_ATTR_RDONLY
        | MountAttrFlags::MOUNT_ATTR_NOSUID
        | MountAttrFlags::MOUNT_ATTR_NODEV
        | MountAttrFlags::MOUNT_ATTR_NOATIME;
    Ok(fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, rules)?)
}

/// A detached mount of what stands at `path` in `mount`; asks the server of that mount.
pub(crate) fn clone(mount: &OwnedFd, path: &Path) -> io::Result<OwnedFd> {
    let mut flags =
        OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_SYMLINK_NOFOLLOW;
    if path.as_os_str().is_empty() {
        flags |= OpenTreeFlags::AT_EMPTY_PATH;
    }
    Ok(open_tree(mount, path, flags)?)
}

/// Attaches a detached mount to the directory at `path` below `root`, which must stand in the very mount that `root` is in.
pub(crate) fn attach(mount: &OwnedFd, root: &OwnedFd, path: &Path) -> io::Result<()> {
    let within = ResolveFlags::BENEATH | ResolveFlags::NO_XDEV | ResolveFlags::NO_SYMLINKS;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let place = rustix::fs::openat2(root, path, flags, Mode::empty(), within)?;
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    Ok(move_mount(mount, "", &place, "", flags)?)
}

#[cfg(test)]
mod tests {
    #[test]
    fn trying_leaves_nothing_behind() {
        let count = || {
            let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
            mounts.lines().filter(|line| line.contains(" - tmpfs ")).count()
        };
        let before = count();
        super::is_supported();
        assert_eq!(count(), before);
    }
}
