//! Owns one mount from the moment it answers until it is unmounted; knows no more of the tree than that it is one.
//!
//! Invariant: only this very mount is ever unmounted, never another that took its place.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::adapter::Answers;
use crate::connect::{connect, connect_detached};
use crate::connection::Connection;
use crate::detached;
use crate::ending::Ending;
use crate::error::{MountError, Result};
use crate::graft::{self, Graft, Grafts, Stem};
use crate::leave::{self, Leaving, Side};
use crate::live::Live;
use crate::mountpoint::{self, Unmounted};
use crate::scaffold::Scaffold;
use crate::stats::{Counters, Counts};
use crate::tree::Tree;
use crate::xattrs::Xattrs;

/// Read-ahead that root gives the mount; the kernel's own limit of 128 KiB makes eight messages of what one can carry.
const READ_AHEAD_KIB: u32 = 1024;

/// Threads that answer on a second connection, at most.
const SECOND_THREADS: usize = 2;

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
    connection: Connection,
    counters: Arc<Counters>,
    xattrs: Arc<Xattrs>,
    scaffold: Arc<Scaffold>,
    /// Where nothing can be attached, the first connection answers for all.
    grafts: Option<Grafts>,
}

/// Mounts `tree` at `path`, healing a dead mount there. When this returns, the mount has answered.
pub fn mount<T: Tree>(tree: Arc<T>, path: &Path, options: &MountOptions) -> Result<Mounted> {
    let (counters, xattrs) = (Arc::default(), Arc::new(Xattrs::answering()));
    begin(Answers { tree, counters, xattrs, scaffold: Arc::default() }, None, path, options)
}

/// Mounts like [`mount`], and spares the kernel its questions for extended attributes as long as `first` shows no node that has any, which
/// `has_xattrs` says of now. Before it shows any it must ask [`Mounted::admits_xattrs`]; where it then may not, they are
/// to be shown by `second`, and attached with [`Mounted::graft`]. What stands at a path in both trees must bear the same names.
///
/// Where the system lets nothing be attached (ordinary users, Linux before 6.15), all questions are answered by `first`.
pub fn mount_grafting<T: Tree, U: Tree>(
    first: Arc<T>,
    second: Arc<U>,
    has_xattrs: bool,
    path: &Path,
    options: &MountOptions,
) -> Result<Mounted> {
    if has_xattrs || !detached::is_supported() {
        return mount(first, path, options);
    }
    let counters = Arc::<Counters>::default();
    let (xattrs, scaffold) = (Arc::new(Xattrs::undecided()), Arc::<Scaffold>::default());
    let answers = Answers { tree: first, counters: Arc::clone(&counters), xattrs, scaffold: Arc::clone(&scaffold) };
    let for_second = Arc::<Scaffold>::default();
    let begin_second = {
        let second_scaffold = Arc::clone(&for_second);
        let (path, options) = (path.to_owned(), options.clone());
        move || {
            let (mount, device) = connect_detached(&path, &options)?;
            let xattrs = Arc::new(Xattrs::answering());
            let (tree, counters) = (Arc::clone(&second), Arc::clone(&counters));
            let answers = Answers { tree, counters, xattrs, scaffold: Arc::clone(&second_scaffold) };
            let connection = Connection::serve(answers, device, options.threads.min(SECOND_THREADS), &path)?;
            raise_read_ahead(
                graft::device_of(&mount).map_err(MountError::io("look at the second connection of", &path))?,
            );
            Ok((mount, connection))
        }
    };
    let grafts = Grafts::new(scaffold, for_second, Box::new(begin_second));
    begin(answers, Some(grafts), path, options)
}

fn begin<T: Tree>(answers: Answers<T>, grafts: Option<Grafts>, path: &Path, options: &MountOptions) -> Result<Mounted> {
    let path = mountpoint::prepare(path)?;
    let device = connect(&path, options)?;
    let (counters, xattrs) = (Arc::clone(&answers.counters), Arc::clone(&answers.xattrs));
    let scaffold = Arc::clone(&answers.scaffold);
    let served = || {
        let ours = mountpoint::look(&path)?.mount.filter(mountpoint::is_ours);
        let ours = ours.ok_or_else(|| MountError::NotMounted(path.clone()))?;
        let connection = Connection::serve(answers, device, options.threads, &path)?;
        let (id, device) = (ours.id, ours.device);
        let mounted = Mounted { path: path.clone(), id, device, connection, counters, xattrs, scaffold, grafts };
        raise_read_ahead(device);
        // A real question to the threads. Had they not started, the connection would be closed and this fail.
        mountpoint::ask(&path).map_err(MountError::io("read the root of", &path))?;
        Ok(mounted)
    };
    served().inspect_err(|_| {
        // The descriptor is closed by now, so what is left at the path is a dead mount of ours.
        if let Err(error) = mountpoint::heal(&path) {
            tracing::warn!(%error, "a mount that could not be served was left behind");
        }
    })
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
        self.connection.live.clone()
    }

    /// Such a handle for one of the connections; none, where there is no second.
    pub fn live_of(&self, side: Side) -> Option<Live> {
        match side {
            Side::First => Some(self.live()),
            Side::Second => self.grafts.as_ref().and_then(Grafts::live),
        }
    }

    /// Makes the kernel drop what nobody uses any more of a directory that the tree of `side` has ceased to show, and on which nothing is attached.
    /// Whether it then still knows the directory, [`Live::holds`] says. Only this very thread finds the directory meanwhile.
    ///
    /// Asks the mount itself, so never call it from within a [`Tree`], nor while holding a lock that a tree's answers wait for.
    pub fn shake_off(&self, side: Side, leaving: &Leaving) -> Result<()> {
        let wrong = MountError::io("drop", self.path.join(&leaving.path));
        match side {
            Side::First => {
                // The descriptor in `place` keeps the mount busy: not for long.
                let Some(place) = mountpoint::find(self.id, self.device)? else { return Ok(()) };
                leave::shake_off(&self.connection.live, &self.scaffold, &place.reference, leaving).map_err(wrong)
            }
            Side::Second => self.grafts.as_ref().map_or(Ok(()), |grafts| grafts.shake_off(leaving)).map_err(wrong),
        }
    }

    /// The messages that came so far, on both connections.
    pub fn messages(&self) -> Counts {
        self.counters.snapshot()
    }

    /// Nodes with extended attributes wait to be shown: whether the first tree may show them, from now on and for ever. If not, they are
    /// to be [grafted](Self::graft).
    pub fn admits_xattrs(&self) -> bool {
        self.xattrs.admits()
    }

    /// Attaches a part of the second tree, which must show it already, to the first, where nobody sees it yet. `show` makes the first
    /// tree show the stubs, and what refers to them, to everybody; it is called when they are covered, and until then nobody finds
    /// them but this very thread. `false` says that the mount has left the tree of files, or is about to.
    ///
    /// Asks the mount itself, so never call it from within a [`Tree`], nor while holding a lock that a tree's answers wait for.
    pub fn graft(&self, graft: &Graft, show: impl FnOnce()) -> Result<bool> {
        self.grafts.as_ref().map_or(Ok(false), |grafts| grafts.add(self.stem(), graft, show))
    }

    /// The paths of those grafts that somebody has taken away since the last call. The first tree must cease to show their stubs.
    pub fn lost_grafts(&self) -> Result<Vec<PathBuf>> {
        self.grafts.as_ref().map_or(Ok(Vec::new()), |grafts| grafts.lost(self.stem()))
    }

    /// Takes a graft away; the first tree must have ceased to show its stub.
    pub fn remove_graft(&self, graft: &Graft) -> Result<()> {
        self.grafts.as_ref().map_or(Ok(()), |grafts| grafts.remove(self.stem(), graft))
    }

    /// Waits until the mount has ended, whoever unmounted it: unmounted everywhere and closed by its last user.
    pub fn wait(&self) {
        self.connection.ending.wait();
        if let Some(second) = self.close_grafts() {
            second.wait();
        }
    }

    /// Waits like [`wait`](Self::wait) but no longer than `time`; says whether the mount has ended.
    pub fn wait_timeout(&self, time: Duration) -> bool {
        let end = Instant::now() + time;
        let left = || end.saturating_duration_since(Instant::now());
        self.connection.ending.wait_timeout(left())
            && self.close_grafts().is_none_or(|second| second.wait_timeout(left()))
    }

    /// Unmounts, lazily if the mount is in use: then it is served until its last user closes or this process ends.
    /// A file system that somebody mounted over it is left alone, and so is the mount below ([`MountError::Covered`]).
    pub fn unmount(&self) -> Result<Unmounted> {
        if self.connection.ending.is_over() {
            return Ok(Unmounted::Already);
        }
        let set_ending = |is_ending| _ = self.grafts.as_ref().map(|grafts| grafts.set_ending(is_ending));
        set_ending(true);
        mountpoint::unmount_only(self.id, self.device).inspect_err(|_| set_ending(false))
    }

    /// Once the first connection is over: nothing can be attached any more.
    fn close_grafts(&self) -> Option<Arc<Ending>> {
        self.grafts.as_ref().and_then(Grafts::close)
    }

    fn stem(&self) -> Stem<'_> {
        Stem { path: &self.path, id: self.id, device: self.device, live: &self.connection.live }
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
