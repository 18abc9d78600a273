//! Mounts: by the system call where that is allowed, through the helper where it is not; or nowhere in the tree of files. Does not serve.
//!
//! Invariant: whatever the way, the mount is read-only, without set-uid programs and devices, and the kernel checks permissions.

use std::ffi::CString;
use std::fs::OpenOptions;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;

use rustix::io::Errno;
use rustix::mount::MountFlags;

use crate::error::{MountError, Result};
use crate::mountpoint::FS_TYPE;
use crate::{MountOptions, detached, fusermount};

const DEVICE: &str = "/dev/fuse";
const SUBTYPE: &str = "dbakfs";

/// Mounts at `path`, which [`prepare`](crate::mountpoint::prepare) has checked, and gives the descriptor of the connection.
pub(crate) fn connect(path: &Path, options: &MountOptions) -> Result<OwnedFd> {
    let name = source_name(&options.name);
    let allow_other = if options.allow_other { ",allow_other" } else { "" };
    if let Some(device) = mount_directly(path, &name, allow_other)? {
        return Ok(device);
    }
    let rules = "ro,nosuid,nodev,noatime,default_permissions";
    fusermount::mount(path, &format!("{rules},subtype={SUBTYPE},fsname={name}{allow_other}"))
}

/// Makes a mount that stands nowhere yet; gives it and the descriptor of its connection. `path` is for errors to name.
pub(crate) fn connect_detached(path: &Path, options: &MountOptions) -> Result<(OwnedFd, OwnedFd)> {
    let device = OpenOptions::new().read(true).write(true).open(DEVICE).map_err(MountError::io("open", DEVICE))?;
    let device = OwnedFd::from(device);
    let mount = detached::fuse(&device, SUBTYPE, &source_name(&options.name), options.allow_other)
        .map_err(MountError::io("make a second connection for", path))?;
    Ok((mount, device))
}

/// Nothing where only the helper may mount.
fn mount_directly(path: &Path, name: &str, allow_other: &str) -> Result<Option<OwnedFd>> {
    let (uid, gid) = (rustix::process::geteuid(), rustix::process::getegid().as_raw());
    let device = match OpenOptions::new().read(true).write(true).open(DEVICE) {
        Ok(device) => OwnedFd::from(device),
        Err(error) => {
            return match error.raw_os_error() {
                Some(libc::ENOENT | libc::ENODEV | libc::ENXIO) => Err(MountError::NoDevice),
                // The helper opens the device with rights of its own.
                Some(libc::EACCES | libc::EPERM) if !uid.is_root() => Ok(None),
                Some(libc::EACCES | libc::EPERM) => Err(MountError::DeviceDenied(error)),
                _ => Err(MountError::io("open", DEVICE)(error)),
            };
        }
    };
    let data = format!(
        "fd={},rootmode=40000,user_id={},group_id={gid},default_permissions{allow_other}",
        device.as_raw_fd(),
        uid.as_raw()
    );
    let data = CString::new(data).expect("numbers and words hold no NUL");
    let flags = MountFlags::RDONLY | MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOATIME;
    match rustix::mount::mount(name, path, FS_TYPE, flags, data.as_c_str()) {
        Ok(()) => Ok(Some(device)),
        // The helper has no more rights than root.
        Err(Errno::PERM) if uid.is_root() => Err(MountError::Forbidden(path.to_owned())),
        Err(Errno::PERM) => Ok(None),
        Err(Errno::NODEV) => Err(MountError::NoDevice),
        Err(error) => Err(MountError::io("mount at", path)(io::Error::from(error))),
    }
}

/// A name that the helper cannot take for further options, nor a reader of `/proc/mounts` for further lines.
fn source_name(name: &str) -> String {
    let safe = |letter: char| if matches!(letter, ',' | '\\') || letter.is_control() { '_' } else { letter };
    match name.trim() {
        "" => SUBTYPE.to_owned(),
        name => name.chars().map(safe).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_comma_in_the_name_becomes_no_option() {
        assert_eq!(source_name("/srv/a,suid,b"), "/srv/a_suid_b");
        assert_eq!(source_name("a\\,b\n\0c"), "a__b__c");
    }

    #[test]
    fn an_empty_name_is_that_of_the_program() {
        assert_eq!(source_name("  "), "dbakfs");
        assert_eq!(source_name("my store"), "my store");
    }
}
