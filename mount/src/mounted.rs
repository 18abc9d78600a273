//! Owns one mount from the moment it answers until it is unmounted; knows no more of the tree than that it is one.
//!
//! Invariant: only this very mount is ever unmounted, never another that took its place.

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use fuser::{Session, SessionACL};

use crate::adapter::Adapter;
use crate::connect::connect;
use crate::crew::Crew;
use crate::ending::Ending;
use crate::error::{MountError, Result};
use crate::live::Live;
use crate::mountpoint::{self, Unmounted};
use crate::push::Pusher;
use crate::stats::{Counters, Counts};
use crate::tree::Tree;

/// Read-ahead that root gives the mount; the kernel's own limit of 128 KiB makes eight messages of what one can carry.
const READ_AHEAD_KIB: u32 = 1024;

/// How to mount.
#[derive(Clone, Debug)]
pub struct MountOptions {
    /// Let users other than the mounting one in (the kernel still checks owners, modes and ACLs). An ordinary user may do so
    /// only where `/etc/fuse.conf` says `user_allow_other`.
    pub allow_other: bool,
    /// Threads that answer.
    pub threads: usize,
    /// The source that `/proc/mounts` shows. Commas and backslashes become underscores.
    pub name: String,
}

impl Default for MountOptions {
    fn default() -> Self {
        Self { allow_other: false, threads: 4, name: "dbakfs".to_owned() }
    }
}

/// A mount that is being served. Dropping it unmounts, lazily if it is in use.
#[derive(Debug)]
pub struct Mounted {
    path: PathBuf,
    id: u64,
    device: (u32, u32),
    live: Live,
    counters: Arc<Counters>,
    ending: Arc<Ending>,
}

/// Mounts `tree` at `path`, healing a dead mount there. When this returns, the mount has answered.
pub fn mount<T: Tree>(tree: Arc<T>, path: &Path, options: &MountOptions) -> Result<Mounted> {
    let path = mountpoint::prepare(path)?;
    let device = connect(&path, options)?;
    serve(tree, device, &path, options).inspect_err(|_| {
        // The descriptor is closed by now, so what is left at the path is a dead mount of ours.
        if let Err(error) = mountpoint::heal(&path) {
            tracing::warn!(%error, "a mount that could not be served was left behind");
        }
    })
}

fn serve<T: Tree>(tree: Arc<T>, device: OwnedFd, path: &Path, options: &MountOptions) -> Result<Mounted> {
    let ours = mountpoint::look(path)?.mount.filter(mountpoint::is_ours);
    let ours = ours.ok_or_else(|| MountError::NotMounted(path.to_owned()))?;
    let ending = Arc::new(Ending::of(&device).map_err(MountError::io("watch", path))?);
    let counters = Arc::new(Counters::default());
    let watch = MountError::io("watch", path);
    let may_spin = std::thread::available_parallelism().is_ok_and(|processors| processors.get() > 1);
    let crew = Crew::new(&device, may_spin).map_err(watch)?;
    let start = |error| MountError::io("start the threads of", path)(error);
    let (pusher, pushing) = device.try_clone().and_then(|device| Pusher::start(Arc::clone(&tree), device)).map_err(start)?;
    let mut config = fuser::Config::default();
    config.n_threads = Some(options.threads.max(1));
    // The kernel lets in whom the mount options allow; fuser's second check would only shut out programs that change their user.
    let session = Session::from_fd(Adapter::new(tree, Arc::clone(&counters), crew, pusher), device, SessionACL::All, config)
        .map_err(MountError::io("begin serving", path))?;
    let live = Live::new(session.notifier());
    let mounted =
        Mounted { path: path.to_owned(), id: ours.id, device: ours.device, live: live.clone(), counters, ending };
    let ending = Arc::clone(&mounted.ending);
    std::thread::Builder::new()
        .name("dbakfs-mount".to_owned())
        .spawn(move || {
            if let Err(error) = session.run() {
                tracing::error!(%error, "serving the mount ended with an error");
            }
            live.close();
            // With the adapter its pusher is gone. Only when the thread is, too, is nothing of the mount left in this process.
            if pushing.join().is_err() {
                tracing::error!("the thread that pushes ahead panicked");
            }
            ending.reach();
        })
        .map_err(start)?;
    raise_read_ahead(mounted.device);
    // A real question to the threads. Had they not started, the connection would be closed and this fail.
    mountpoint::ask(path).map_err(MountError::io("read the root of", path))?;
    Ok(mounted)
}

impl Mounted {
    /// Where it was mounted, free of symbolic links.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Major and minor device number, as in `st_dev` of everything inside.
    pub fn device(&self) -> (u32, u32) {
        self.device
    }

    /// A handle to invalidate what the kernel remembers.
    pub fn live(&self) -> Live {
        self.live.clone()
    }

    /// The messages that came so far.
    pub fn messages(&self) -> Counts {
        self.counters.snapshot()
    }

    /// Waits until the mount has ended, whoever unmounted it: unmounted everywhere and closed by its last user.
    pub fn wait(&self) {
        self.ending.wait();
    }

    /// Waits like [`wait`](Self::wait) but no longer than `time`; says whether the mount has ended.
    pub fn wait_timeout(&self, time: Duration) -> bool {
        self.ending.wait_timeout(time)
    }

    /// Unmounts, lazily if the mount is in use: then it is served until its last user closes or this process ends.
    /// A file system that somebody mounted over it is left alone, and so is the mount below ([`MountError::Covered`]).
    pub fn unmount(&self) -> Result<Unmounted> {
        if self.ending.is_over() {
            return Ok(Unmounted::Already);
        }
        mountpoint::unmount_only(self.id, self.device)
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        if let Err(error) = self.unmount() {
            tracing::warn!(%error, "could not unmount");
        }
    }
}

/// Only root may, and nothing depends on it.
fn raise_read_ahead((major, minor): (u32, u32)) {
    let setting = format!("/sys/class/bdi/{major}:{minor}/read_ahead_kb");
    let raised: io::Result<()> = std::fs::write(&setting, READ_AHEAD_KIB.to_string());
    if let Err(error) = raised {
        tracing::debug!(%error, setting, "read-ahead stays as the kernel has it");
    }
}
