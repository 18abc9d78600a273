//! Everything about an entry but its content: owner, attributes, mode, times.
//!
//! Owns the order in which they are set, for each undoes some other: a new owner takes set-id bits and capabilities away,
//! an ACL changes the mode, a mode may forbid setting attributes. Refuses to know where the entry stands. Its invariant: set-id bits
//! are never given to a file whose owner, or group, is not the archived one.

use std::io;
use std::os::fd::BorrowedFd;

use rustix::fs::{
    AtFlags, Gid, Mode, OFlags, Timespec, Timestamps, Uid, chownat, fchmod, fchown, futimens, openat, utimensat,
};
use rustix::io::Errno;

use super::fault::{During, Fault, is_refusal};
use super::trail::chmod_handle;
use crate::format::record::xattrs;
use crate::format::{Kind, Meta, Stat, Timestamp};
use crate::source::xattr::{
    Xattrs, is_kept, remove_xattr_at, remove_xattr_of, set_xattr_at, set_xattr_of, xattrs_at, xattrs_of,
};

/// An entry in DEST.
#[derive(Clone, Copy)]
pub(super) enum Handle<'a> {
    /// A file or directory that is open.
    Open(BorrowedFd<'a>),
    /// Anything else, by its name in an open directory.
    Named(BorrowedFd<'a>, &'a [u8]),
}

/// What an entry is to have.
#[derive(Clone, Copy)]
pub(super) struct Wanted<'a> {
    pub(super) meta: &'a Meta,
    /// As a record encodes them.
    pub(super) xattrs: &'a [u8],
}

/// What an entry has.
#[derive(Clone, Copy)]
pub(super) struct Present {
    owner: (u32, u32),
    mode: Option<u32>,
    mtime: Option<Timestamp>,
    has_xattrs: bool,
}

impl Present {
    /// Of an entry that was there before.
    pub(super) const fn of(stat: &Stat) -> Self {
        let Meta { uid, gid, mode, mtime, .. } = stat.meta;
        Self { owner: (uid, gid), mode: Some(mode), mtime: Some(mtime), has_xattrs: true }
    }

    /// Of an entry that was made just now, of that mode if it is known; it has attributes only where its directory has a default ACL.
    pub(super) const fn fresh(owner: (u32, u32), mode: Option<u32>, has_default_acl: bool) -> Self {
        Self { owner, mode, mtime: None, has_xattrs: has_default_acl }
    }
}

/// What could not be set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Missing {
    pub(super) owner: bool,
    pub(super) attributes: bool,
    pub(super) mode: bool,
    pub(super) times: bool,
}

/// Gives an entry what it is to have, and touches nothing that it has already.
pub(super) fn put_right(handle: Handle<'_>, wanted: Wanted<'_>, present: Present) -> Result<Missing, Fault> {
    let mut missing = Missing::default();
    let Meta { kind, mode, uid, gid, mtime, .. } = *wanted.meta;
    let mut owner = present.owner;
    let mut mode_is_lost = false;
    if owner != (uid, gid) {
        owner = handle.give_to(owner, (uid, gid))?;
        missing.owner = owner != (uid, gid);
        mode_is_lost = owner != present.owner;
    }
    if present.has_xattrs || !wanted.xattrs.is_empty() {
        mode_is_lost |= set_attributes(handle, wanted.xattrs, present.has_xattrs, &mut missing)?;
    }
    if kind != Kind::Symlink {
        let mut allowed = mode;
        if kind != Kind::Directory {
            allowed &= if owner.0 == uid { !0 } else { !0o4000 };
            allowed &= if owner.1 == gid { !0 } else { !0o2000 };
        }
        missing.mode = allowed != mode;
        if mode_is_lost || present.mode != Some(allowed) {
            missing.mode |= !granted(handle.chmod(allowed), "set the mode of")?;
        }
    }
    if present.mtime != Some(mtime) {
        missing.times = !granted(handle.set_times(mtime), "set the times of")?;
    }
    Ok(missing)
}

/// Whether an entry that was there before has everything that it is to have.
pub(super) fn is_right(handle: Handle<'_>, wanted: Wanted<'_>, stat: &Stat) -> Result<bool, Fault> {
    let Meta { kind, mode, uid, gid, mtime, .. } = *wanted.meta;
    let now = &stat.meta;
    let is_same_mode = kind == Kind::Symlink || now.mode == mode;
    if !is_same_mode || (now.uid, now.gid, now.mtime) != (uid, gid, mtime) {
        return Ok(false);
    }
    let present = handle.attributes().map_err(|error| fault("read the attributes of", &error))?;
    let present = present.iter().filter(|(name, _)| !is_given_by_the_system(name));
    Ok(present
        .map(|(name, value)| (&**name, &**value))
        .eq(xattrs(wanted.xattrs).filter(|(name, _)| !is_given_by_the_system(name))))
}

/// Labels that security modules put on every file by themselves.
fn is_given_by_the_system(name: &[u8]) -> bool {
    name == b"security.selinux" || name.starts_with(b"security.SMACK64")
}

/// Sets what is wanted and differs, removes what is not wanted. Answers whether the mode may have changed by it.
fn set_attributes(handle: Handle<'_>, wanted: &[u8], has_some: bool, missing: &mut Missing) -> Result<bool, Fault> {
    let present: Xattrs = if has_some {
        handle.attributes().map_err(|error| fault("read the attributes of", &error))?
    } else {
        Xattrs::new()
    };
    let mut mode_is_lost = false;
    for (name, _) in &present {
        if !xattrs(wanted).any(|(kept, _)| kept == name) && !is_given_by_the_system(name) {
            mode_is_lost |= name == b"system.posix_acl_access";
            missing.attributes |= handle.remove_attribute(name).is_err();
        }
    }
    for (name, value) in xattrs(wanted) {
        if present.iter().any(|(known, has)| known == name && has == value) {
            continue;
        }
        mode_is_lost |= name == b"system.posix_acl_access";
        // What no backup keeps is not set either, whoever wrote the catalog.
        missing.attributes |= !is_kept(name) || handle.set_attribute(name, value).is_err();
    }
    Ok(mode_is_lost)
}

fn fault(act: &'static str, error: &io::Error) -> Fault {
    Fault::System(act, Errno::from_io_error(error).unwrap_or(Errno::IO))
}

/// Whether something was done, or refused for good.
fn granted(outcome: Result<(), Errno>, act: &'static str) -> Result<bool, Fault> {
    match outcome {
        Ok(()) => Ok(true),
        Err(errno) if is_refusal(errno) => Ok(false),
        Err(errno) => Err(Fault::System(act, errno)),
    }
}

impl Handle<'_> {
    /// Tries to change the owner and the group from `now` to `wanted`, or the group alone. Answers what they are then.
    fn give_to(self, now: (u32, u32), wanted: (u32, u32)) -> Result<(u32, u32), Fault> {
        const ACT: &str = "set the owner of";
        // The highest number means "as it is" to the system.
        let uid = (wanted.0 != now.0 && wanted.0 != u32::MAX).then(|| Uid::from_raw(wanted.0));
        let gid = (wanted.1 != now.1 && wanted.1 != u32::MAX).then(|| Gid::from_raw(wanted.1));
        let after =
            |uid: Option<Uid>, gid: Option<Gid>| (uid.map_or(now.0, Uid::as_raw), gid.map_or(now.1, Gid::as_raw));
        if granted(self.chown(uid, gid), ACT)? {
            return Ok(after(uid, gid));
        }
        let group_alone = uid.is_some() && gid.is_some() && granted(self.chown(None, gid), ACT)?;
        Ok(if group_alone { after(None, gid) } else { now })
    }

    fn chown(self, uid: Option<Uid>, gid: Option<Gid>) -> Result<(), Errno> {
        match self {
            Self::Open(fd) => fchown(fd, uid, gid),
            Self::Named(dir, name) => chownat(dir, name, uid, gid, AtFlags::SYMLINK_NOFOLLOW),
        }
    }

    fn chmod(self, mode: u32) -> Result<(), Errno> {
        let mode = Mode::from_raw_mode(mode);
        match self {
            Self::Open(fd) => fchmod(fd, mode),
            Self::Named(dir, name) => {
                // A call that takes a name would follow a link that has just taken the entry's place.
                let handle = openat(dir, name, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?;
                chmod_handle(std::os::fd::AsFd::as_fd(&handle), mode)
            }
        }
    }

    /// Sets the time of the last change, and that of the last access to the same.
    fn set_times(self, mtime: Timestamp) -> Result<(), Errno> {
        let time = Timespec { tv_sec: mtime.secs, tv_nsec: mtime.nanos.into() };
        let times = Timestamps { last_access: time, last_modification: time };
        match self {
            Self::Open(fd) => futimens(fd, &times),
            Self::Named(dir, name) => utimensat(dir, name, &times, AtFlags::SYMLINK_NOFOLLOW),
        }
    }

    fn attributes(self) -> io::Result<Xattrs> {
        match self {
            Self::Open(fd) => xattrs_of(fd),
            Self::Named(dir, name) => xattrs_at(dir, name),
        }
    }

    fn set_attribute(self, attr: &[u8], value: &[u8]) -> io::Result<()> {
        match self {
            Self::Open(fd) => set_xattr_of(fd, attr, value),
            Self::Named(dir, name) => set_xattr_at(dir, name, attr, value),
        }
    }

    fn remove_attribute(self, attr: &[u8]) -> io::Result<()> {
        match self {
            Self::Open(fd) => remove_xattr_of(fd, attr),
            Self::Named(dir, name) => remove_xattr_at(dir, name, attr),
        }
    }
}

/// The owner, group and kind of what was made just now under `name`.
pub(super) fn look_at(dir: BorrowedFd<'_>, name: &[u8]) -> Result<Stat, Fault> {
    crate::source::stat::stat_at(dir, name).during("look at")
}
