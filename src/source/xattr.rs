//! Extended attributes, ACLs and file capabilities among them.
//!
//! Owns which attributes are part of a backup, reading them all, and setting them again. Refuses to interpret their
//! values. Its invariant: a link's own attributes are read and written, never its target's, and no attribute that a
//! backup keeps is left out silently.
//!
//! An entry that is not open is reached through `/proc/self/fd/N/NAME`: the calls that take a directory exist only
//! since Linux 6.13. Without `/proc` every such call fails, and says so.

use std::ffi::{CStr, CString};
use std::io;
use std::io::Write;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use rustix::fs::{
    XattrFlags, fgetxattr, flistxattr, fremovexattr, fsetxattr, lgetxattr, llistxattr, lremovexattr, lsetxattr,
};
use rustix::io::Errno;

/// Names and values, ascending bytewise by name, each name once.
pub type Xattrs = Vec<(Vec<u8>, Vec<u8>)>;

/// Bytes that the kernel allows a value, and a list of names (`XATTR_SIZE_MAX`, `XATTR_LIST_MAX`).
const MAX_BYTES: usize = 64 << 10;

/// All attributes of one entry together, at most; more are an error (`E2BIG`), as a catalog holds them in one record.
const MAX_TOTAL_BYTES: usize = 4 << 20;

/// Bytes that most lists and values fit into.
const USUAL_BYTES: usize = 1 << 10;

/// How often attributes that change while they are read are read again.
const RETRIES: usize = 8;

/// Whether a backup keeps the attribute `name`.
///
/// Everything in `user.`, `trusted.` and `security.`, and of `system.` the two that hold POSIX ACLs: the others there
/// are views of something else that the file system makes up (NFS and SMB ACLs, DOS attributes). Like `cp -a`, it
/// leaves out `security.evm`, which signs the inode itself and can be true of no copy.
#[must_use]
pub fn is_kept(name: &[u8]) -> bool {
    if name.starts_with(b"system.") {
        return matches!(name, b"system.posix_acl_access" | b"system.posix_acl_default");
    }
    let kept = name.starts_with(b"user.") || name.starts_with(b"trusted.") || name.starts_with(b"security.");
    kept && name != b"security.evm"
}

/// The attributes of the entry `name` of `dir`, whatever its kind; of the link itself if it is one.
///
/// # Errors
/// What the system says, `NotFound` among it if the entry is gone. A file system without attributes is no error.
pub fn xattrs_at(dir: BorrowedFd<'_>, name: &[u8]) -> io::Result<Xattrs> {
    let path = path_of(dir, name)?;
    read_all(|buffer| llistxattr(&*path, buffer), |attr, buffer| lgetxattr(&*path, attr, buffer))
}

/// The attributes of an open file or directory.
///
/// # Errors
/// What the system says. A file system without attributes is no error.
pub fn xattrs_of(open: impl AsFd) -> io::Result<Xattrs> {
    let fd = open.as_fd();
    read_all(|buffer| flistxattr(fd, buffer), |attr, buffer| fgetxattr(fd, attr, buffer))
}

/// Sets the attribute `attr` of the entry `name` of `dir`, whether it has it or not.
///
/// # Errors
/// What `lsetxattr` says.
pub fn set_xattr_at(dir: BorrowedFd<'_>, name: &[u8], attr: &[u8], value: &[u8]) -> io::Result<()> {
    Ok(lsetxattr(&*path_of(dir, name)?, attr, value, XattrFlags::empty())?)
}

/// Sets the attribute `attr` of an open file or directory, whether it has it or not.
///
/// # Errors
/// What `fsetxattr` says.
pub fn set_xattr_of(open: impl AsFd, attr: &[u8], value: &[u8]) -> io::Result<()> {
    Ok(fsetxattr(open, attr, value, XattrFlags::empty())?)
}

/// Removes the attribute `attr` of the entry `name` of `dir`, if it has it.
///
/// # Errors
/// What `lremovexattr` says.
pub fn remove_xattr_at(dir: BorrowedFd<'_>, name: &[u8], attr: &[u8]) -> io::Result<()> {
    absent_is_fine(lremovexattr(&*path_of(dir, name)?, attr))
}

/// Removes the attribute `attr` of an open file or directory, if it has it.
///
/// # Errors
/// What `fremovexattr` says.
pub fn remove_xattr_of(open: impl AsFd, attr: &[u8]) -> io::Result<()> {
    absent_is_fine(fremovexattr(open, attr))
}

fn absent_is_fine(outcome: Result<(), Errno>) -> io::Result<()> {
    match outcome {
        Ok(()) | Err(Errno::NODATA) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

fn path_of(dir: BorrowedFd<'_>, name: &[u8]) -> io::Result<CString> {
    let mut path = Vec::with_capacity(32 + name.len());
    write!(path, "/proc/self/fd/{}/", dir.as_raw_fd())?;
    path.extend_from_slice(name);
    CString::new(path).map_err(|_| io::ErrorKind::InvalidInput.into())
}

fn read_all(
    list: impl Fn(&mut [u8]) -> Result<usize, Errno>,
    get: impl Fn(&CStr, &mut [u8]) -> Result<usize, Errno>,
) -> io::Result<Xattrs> {
    for _ in 0..RETRIES {
        let names = match fetch(&list) {
            Ok(names) => names,
            Err(Errno::NOTSUP | Errno::NOSYS) => return Ok(Xattrs::new()),
            Err(errno) => return Err(errno.into()),
        };
        match values(&names, &get) {
            Ok(xattrs) => return Ok(xattrs),
            // One was removed between the list and its value: what the list said is not true any more.
            Err(Errno::NODATA) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    Err(io::Error::other("its extended attributes change too fast to be read"))
}

fn values(names: &[u8], get: impl Fn(&CStr, &mut [u8]) -> Result<usize, Errno>) -> Result<Xattrs, Errno> {
    let mut xattrs = Xattrs::new();
    let mut total_bytes = 0;
    for name in names.split_inclusive(|byte| *byte == 0) {
        let Ok(name) = CStr::from_bytes_with_nul(name) else { continue };
        if is_kept(name.to_bytes()) {
            let value = fetch(|buffer| get(name, buffer))?;
            total_bytes += name.count_bytes() + value.len();
            if total_bytes > MAX_TOTAL_BYTES {
                return Err(Errno::TOOBIG);
            }
            xattrs.push((name.to_bytes().to_vec(), value));
        }
    }
    xattrs.sort_unstable();
    xattrs.dedup_by(|a, b| a.0 == b.0);
    Ok(xattrs)
}

/// Fetches into a small buffer, and into the largest that the kernel ever fills if that is too small.
fn fetch(call: impl Fn(&mut [u8]) -> Result<usize, Errno>) -> Result<Vec<u8>, Errno> {
    let mut small = [0; USUAL_BYTES];
    match call(&mut small) {
        Ok(len) => return Ok(small[..len].to_vec()),
        Err(Errno::RANGE) => {}
        Err(errno) => return Err(errno),
    }
    let mut large = vec![0; MAX_BYTES];
    let len = call(&mut large)?;
    large.truncate(len);
    large.shrink_to_fit();
    Ok(large)
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::unix::fs::symlink;

    use super::*;

    fn dir() -> (tempfile::TempDir, File) {
        let dir = tempfile::tempdir().unwrap();
        let fd = File::open(dir.path()).unwrap();
        (dir, fd)
    }

    #[test]
    fn attributes_come_back_sorted_with_any_bytes() {
        let (dir, fd) = dir();
        std::fs::write(dir.path().join("f"), b"").unwrap();
        let big = vec![0xff; 3_000];
        for (name, value) in [("user.z", &b"\0\xff"[..]), ("user.a", b""), ("user.m", &big)] {
            set_xattr_at(fd.as_fd(), b"f", name.as_bytes(), value).unwrap();
        }
        let expected: Xattrs =
            vec![(b"user.a".to_vec(), vec![]), (b"user.m".to_vec(), big), (b"user.z".to_vec(), b"\0\xff".to_vec())];
        assert_eq!(xattrs_at(fd.as_fd(), b"f").unwrap(), expected);
        assert_eq!(xattrs_of(File::open(dir.path().join("f")).unwrap()).unwrap(), expected);
        remove_xattr_at(fd.as_fd(), b"f", b"user.m").unwrap();
        remove_xattr_of(File::open(dir.path().join("f")).unwrap(), b"user.m").unwrap();
        assert_eq!(xattrs_at(fd.as_fd(), b"f").unwrap().len(), 2);
    }

    #[test]
    fn directory_can_be_asked_by_descriptor_or_as_dot() {
        let (_dir, fd) = dir();
        set_xattr_of(&fd, b"user.d", b"1").unwrap();
        assert_eq!(xattrs_of(&fd).unwrap(), [(b"user.d".to_vec(), b"1".to_vec())]);
        assert_eq!(xattrs_at(fd.as_fd(), b".").unwrap(), xattrs_of(&fd).unwrap());
    }

    #[test]
    fn link_and_pipe_have_their_own_attributes() {
        let (dir, fd) = dir();
        std::fs::write(dir.path().join("target"), b"").unwrap();
        set_xattr_at(fd.as_fd(), b"target", b"user.t", b"1").unwrap();
        symlink("target", dir.path().join("link")).unwrap();
        assert!(xattrs_at(fd.as_fd(), b"link").unwrap().is_empty(), "the target's are not the link's");
        rustix::fs::mkfifoat(&fd, "pipe", rustix::fs::Mode::RUSR).unwrap();
        assert!(xattrs_at(fd.as_fd(), b"pipe").unwrap().is_empty());
        if !rustix::process::geteuid().is_root() {
            eprintln!("not root: trusted attributes of links are not tested");
            return;
        }
        for name in [&b"link"[..], b"pipe"] {
            set_xattr_at(fd.as_fd(), name, b"trusted.own", b"2").unwrap();
            assert_eq!(xattrs_at(fd.as_fd(), name).unwrap(), [(b"trusted.own".to_vec(), b"2".to_vec())]);
        }
        assert_eq!(xattrs_at(fd.as_fd(), b"target").unwrap().len(), 1);
    }

    #[test]
    fn missing_entry_is_an_error_and_missing_support_is_none() {
        let (_dir, fd) = dir();
        assert_eq!(xattrs_at(fd.as_fd(), b"gone").unwrap_err().kind(), io::ErrorKind::NotFound);
        assert!(xattrs_of(File::open("/proc/self/status").unwrap()).unwrap().is_empty());
    }

    #[test]
    fn attribute_removed_meanwhile_makes_the_list_be_read_again() {
        let lists = std::cell::Cell::new(0);
        let list = |buffer: &mut [u8]| {
            lists.set(lists.get() + 1);
            let names: &[u8] = if lists.get() == 1 { b"user.gone\0user.b\0" } else { b"user.b\0user.a\0" };
            buffer[..names.len()].copy_from_slice(names);
            Ok(names.len())
        };
        let get = |name: &CStr, buffer: &mut [u8]| match name.to_bytes() {
            b"user.gone" => Err(Errno::NODATA),
            b"user.b" if buffer.len() < MAX_BYTES => Err(Errno::RANGE),
            _ => {
                buffer[0] = b'v';
                Ok(1)
            }
        };
        let expected = [(b"user.a".to_vec(), b"v".to_vec()), (b"user.b".to_vec(), b"v".to_vec())];
        assert_eq!(read_all(list, get).unwrap(), expected);
        assert_eq!(lists.get(), 2);
        assert!(read_all(|_: &mut [u8]| Err(Errno::ACCESS), get).is_err());
    }

    #[test]
    fn acls_are_kept_and_made_up_attributes_are_not() {
        for kept in ["user.x", "trusted.overlay.opaque", "security.capability", "security.selinux"] {
            assert!(is_kept(kept.as_bytes()), "{kept}");
        }
        assert!(is_kept(b"system.posix_acl_access") && is_kept(b"system.posix_acl_default"));
        for skipped in ["system.nfs4_acl", "system.cifs_acl", "security.evm", "btrfs.compression", "user"] {
            assert!(!is_kept(skipped.as_bytes()), "{skipped}");
        }
    }
}
