//! Why a mount point could not be mounted or unmounted, and what to do about it.
//!
//! Invariant: every variant that a user can remedy says how.

use std::io;
use std::path::PathBuf;

/// Why mounting or unmounting failed.
#[derive(Debug, thiserror::Error)]
pub enum MountError {
    /// The mount point is not there.
    #[error("mount point {0} does not exist; create it with mkdir")]
    Missing(PathBuf),
    /// The mount point is no directory.
    #[error("mount point {0} is not a directory")]
    NotDirectory(PathBuf),
    /// Mounting here would hide files.
    #[error("mount point {0} is not empty; choose an empty directory")]
    NotEmpty(PathBuf),
    /// Something is mounted here and alive.
    #[error("{path} is already a mount point ({fs_type}); unmount it first, or choose another directory")]
    AlreadyMounted {
        /// The mount point.
        path: PathBuf,
        /// What is mounted there.
        fs_type: String,
    },
    /// A mount of ours is here whose server lives but does not answer.
    #[error("the dbakfs mounted at {0} does not answer; end the process that serves it, then try again")]
    NotAnswering(PathBuf),
    /// The kernel has no FUSE.
    #[error("/dev/fuse is missing; load the kernel module with `modprobe fuse`, or pass the device into the container")]
    NoDevice,
    /// The device may not be opened.
    #[error("no permission to open /dev/fuse; allow it with `chmod 666 /dev/fuse`, or give the container the device")]
    DeviceDenied(#[source] io::Error),
    /// Even root may not mount here.
    #[error("the system does not let root mount at {0}; a container needs the capability SYS_ADMIN")]
    Forbidden(PathBuf),
    /// An ordinary user needs the set-uid helper.
    #[error(
        "fusermount3 is needed to mount and unmount as an ordinary user and is not installed; install the package fuse3"
    )]
    NoFusermount,
    /// The administrator has not allowed it.
    #[error(
        "allow_other is refused to ordinary users; the administrator can add the line user_allow_other to /etc/fuse.conf"
    )]
    AllowOtherRefused,
    /// The helper refused for a reason of its own.
    #[error("fusermount3 refused {path}: {message}")]
    Refused {
        /// The mount point.
        path: PathBuf,
        /// The helper's own words.
        message: String,
    },
    /// What is mounted here is not ours to unmount.
    #[error("{path} is no dbakfs mount but {fs_type}; nothing was unmounted")]
    NotOurs {
        /// The mount point.
        path: PathBuf,
        /// What is mounted there.
        fs_type: String,
    },
    /// The server has attached this to its own mount.
    #[error("{path} is a part of the dbakfs mounted at {of}; unmount that")]
    Part {
        /// What was to be unmounted.
        path: PathBuf,
        /// The whole.
        of: PathBuf,
    },
    /// Nothing is mounted here.
    #[error("nothing is mounted at {0}")]
    NotMounted(PathBuf),
    /// Another file system was mounted over ours.
    #[error("another file system ({fs_type}) is mounted over {path}; unmount that first")]
    Covered {
        /// The mount point.
        path: PathBuf,
        /// What covers it.
        fs_type: String,
    },
    /// The operating system refused.
    #[error("cannot {act} {path}")]
    Io {
        /// What was tried.
        act: &'static str,
        /// With what.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
}

impl MountError {
    /// For `map_err`: the act, the path, and the system's reason.
    pub(crate) fn io(act: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { act, path, source }
    }
}

/// The result of mounting or unmounting.
pub type Result<T> = std::result::Result<T, MountError>;
