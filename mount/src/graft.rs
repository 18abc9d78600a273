//! The second connection: what has extended attributes is attached from it where the first one, which refuses to be asked for any,
//! shows nothing but empty stubs.
//!
//! Whoever stands in what the first connection shows is not disturbed: nothing there changes its device or its number, which
//! programs compare while they copy. One connection serves all grafts, each a clone of a part of its one mount, and that mount stands nowhere
//! in the tree of files. Invariant: everybody sees a graft or nothing, never the stub below it, for as long as nobody takes the graft away by hand.

use std::collections::BTreeSet;
use std::fmt;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::fs::{AtFlags, StatxFlags};

use crate::connection::Connection;
use crate::detached;
use crate::ending::Ending;
use crate::error::{MountError, Result};
use crate::leave::{self, Leaving};
use crate::live::Live;
use crate::mount_table::{self, Entry, Watch};
use crate::mountpoint;
use crate::scaffold::{Scaffold, Stub};

/// The kernel may still remember that a name is not there, told just before the scaffold went up.
const ATTEMPTS: usize = 8;

/// A part of the second tree that is to be seen in the first.
#[derive(Clone, Debug)]
pub struct Graft {
    /// Where it stands, in both trees, from the root.
    pub path: PathBuf,
    /// Those directories on the way that nobody sees yet in the first tree. The last is the stub that is covered.
    pub hidden: Vec<Stub>,
}

/// Begins the second connection; gives its mount and what serves it.
type Begin = Box<dyn Fn() -> Result<(OwnedFd, Connection)> + Send + Sync>;

/// What one mount has attached to itself.
pub(crate) struct Grafts {
    begin: Begin,
    scaffold: Arc<Scaffold>,
    /// The second connection's.
    second_scaffold: Arc<Scaffold>,
    /// Somebody is ending the mount: what were attached now would keep it busy.
    is_ending: AtomicBool,
    stock: Mutex<Stock>,
}

/// The second connection, if it was ever needed.
#[derive(Debug, Default)]
struct Stock {
    second: Option<Second>,
    /// Its end, also when the second itself was given up.
    ending: Option<Arc<Ending>>,
    is_closed: bool,
}

#[derive(Debug)]
struct Second {
    /// The mount that all grafts are clones of; without it and them the kernel ends the connection.
    mount: OwnedFd,
    device: (u32, u32),
    live: Live,
    /// Paths of what is attached.
    attached: BTreeSet<PathBuf>,
    watch: Watch,
}

/// The mount that is grafted on.
#[derive(Clone, Copy)]
pub(crate) struct Stem<'a> {
    /// Where it was mounted, for errors.
    pub(crate) path: &'a Path,
    pub(crate) id: u64,
    pub(crate) device: (u32, u32),
    pub(crate) live: &'a Live,
}

impl Grafts {
    /// None yet; `begin` is called when the first is made.
    pub(crate) fn new(scaffold: Arc<Scaffold>, second_scaffold: Arc<Scaffold>, begin: Begin) -> Self {
        Self { begin, scaffold, second_scaffold, is_ending: AtomicBool::new(false), stock: Mutex::default() }
    }

    /// Attaches `graft` to `stem`; see [`Mounted::graft`](crate::Mounted::graft).
    pub(crate) fn add(&self, stem: Stem<'_>, graft: &Graft, show: impl FnOnce()) -> Result<bool> {
        let mut stock = self.lock();
        if stock.is_closed {
            return Ok(false);
        }
        let second = self.second(&mut stock, stem.path)?;
        let named = || stem.path.join(&graft.path);
        let clone = detached::clone(&second.mount, &graft.path).map_err(MountError::io("clone", named()))?;
        let mut attempt = 1;
        loop {
            // The descriptor in `place` keeps the mount busy: no longer than one attempt.
            let Some(place) = mountpoint::find(stem.id, stem.device)? else { return Ok(false) };
            for stub in &graft.hidden {
                stem.live.invalidate_entry(stub.parent, &stub.name).map_err(MountError::io("prepare", named()))?;
            }
            let scaffold = self.scaffold.raise(&graft.hidden);
            if self.is_ending.load(Ordering::SeqCst) {
                return Ok(false);
            }
            match detached::attach(&clone, &place.reference, &graft.path) {
                Ok(()) => {
                    scaffold.reveal(show);
                    second.attached.insert(graft.path.clone());
                    return Ok(true);
                }
                Err(error) if attempt == ATTEMPTS => return Err(MountError::io("attach", named())(error)),
                Err(error) => tracing::debug!(%error, attempt, path = %graft.path.display(), "attaching again"),
            }
            attempt += 1;
        }
    }

    /// The grafts that somebody has taken away since the last call.
    pub(crate) fn lost(&self, stem: Stem<'_>) -> Result<Vec<PathBuf>> {
        let mut stock = self.lock();
        let Some(second) = stock.second.as_mut().filter(|second| second.watch.has_changed()) else {
            return Ok(Vec::new());
        };
        let table = mount_table::read().map_err(MountError::io("read", "/proc/self/mountinfo"))?;
        let stands = |entry: &&Entry| entry.device == second.device && entry.parent == stem.id;
        let standing: BTreeSet<&Path> =
            table.iter().filter(stands).filter_map(|entry| entry.root.strip_prefix("/").ok()).collect();
        let lost: Vec<PathBuf> =
            second.attached.iter().filter(|path| !standing.contains(path.as_path())).cloned().collect();
        second.attached.retain(|path| !lost.contains(path));
        Ok(lost)
    }

    /// Takes `graft` away. The tree must have ceased to show it.
    pub(crate) fn remove(&self, stem: Stem<'_>, graft: &Graft) -> Result<()> {
        if let Some(second) = &mut self.lock().second {
            second.attached.remove(&graft.path);
        }
        // What is mounted on a name goes with the name: those on the way there may lead to other grafts by now.
        graft.hidden.last().map_or(Ok(()), |stub| {
            let dropped = stem.live.invalidate_entry(stub.parent, &stub.name);
            dropped.map_err(MountError::io("take away", stem.path.join(&graft.path)))
        })
    }

    /// A handle to the second connection, if there is one.
    pub(crate) fn live(&self) -> Option<Live> {
        self.lock().second.as_ref().map(|second| second.live.clone())
    }

    /// Drops what nobody uses any more of a directory that the second tree has ceased to show.
    pub(crate) fn shake_off(&self, leaving: &Leaving) -> std::io::Result<()> {
        let stock = self.lock();
        let Some(second) = &stock.second else { return Ok(()) };
        leave::shake_off(&second.live, &self.second_scaffold, &second.mount, leaving)
    }

    /// Whether the mount is being ended, so that nothing is attached any more.
    pub(crate) fn set_ending(&self, is_ending: bool) {
        self.is_ending.store(is_ending, Ordering::SeqCst);
    }

    /// Lets go of the second connection for good; gives its end, if it was ever begun. It comes when nobody is inside any more.
    pub(crate) fn close(&self) -> Option<Arc<Ending>> {
        let mut stock = self.lock();
        stock.is_closed = true;
        stock.second = None;
        stock.ending.clone()
    }

    /// The second connection, begun if need be.
    fn second<'a>(&self, stock: &'a mut Stock, path: &Path) -> Result<&'a mut Second> {
        // A connection that the administrator has ended is replaced.
        if stock.ending.as_ref().is_some_and(|ending| ending.is_over()) {
            stock.second = None;
        }
        let second = match stock.second.take() {
            Some(second) => second,
            None => {
                let watch = Watch::begin().map_err(MountError::io("read", "/proc/self/mountinfo"))?;
                let (mount, connection) = (self.begin)()?;
                let device = device_of(&mount).map_err(MountError::io("look at the second connection of", path))?;
                stock.ending = Some(connection.ending);
                Second { mount, device, live: connection.live, attached: BTreeSet::new(), watch }
            }
        };
        Ok(stock.second.insert(second))
    }

    fn lock(&self) -> MutexGuard<'_, Stock> {
        self.stock.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Major and minor number of a mount; its server answers.
pub(crate) fn device_of(mount: &OwnedFd) -> std::io::Result<(u32, u32)> {
    let root = rustix::fs::statx(mount, "", AtFlags::EMPTY_PATH, StatxFlags::BASIC_STATS)?;
    Ok((root.stx_dev_major, root.stx_dev_minor))
}

impl fmt::Debug for Grafts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Grafts").field("stock", &self.stock).finish_non_exhaustive()
    }
}
