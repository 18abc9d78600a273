//! Tells the kernel that something it remembers has changed; does not know what or why.
//!
//! Invariant: once the session is over the handle holds no descriptor of the device, since one that is left open would let
//! requests to a dead mount wait for ever instead of failing.

use std::ffi::OsStr;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::sync::{Arc, Mutex, PoisonError};

use fuser::INodeNo;

use crate::notice;
use crate::tree::NodeId;

/// A clonable handle to invalidate what the kernel remembers.
///
/// Never call it from within a [`Tree`](crate::Tree), nor while holding a lock that a tree's answers wait for: the kernel may
/// hold the directory for a look-up that waits for just that answer, and the mount would hang.
#[derive(Clone, Debug)]
pub struct Live(Arc<Mutex<Option<Kernel>>>);

#[derive(Clone, Debug)]
struct Kernel {
    notifier: fuser::Notifier,
    device: Arc<OwnedFd>,
}

impl Live {
    pub(crate) fn new(notifier: fuser::Notifier, device: OwnedFd) -> Self {
        Self(Arc::new(Mutex::new(Some(Kernel { notifier, device: Arc::new(device) }))))
    }

    /// Forgets what `name` in directory `parent` means, or that there was no such name. Anything mounted below goes too.
    pub fn invalidate_entry(&self, parent: NodeId, name: &[u8]) -> io::Result<()> {
        self.send(|kernel| kernel.inval_entry(INodeNo(parent.0), OsStr::from_bytes(name)))
    }

    /// Forgets the attributes and ACLs of `node` but keeps its data.
    pub fn invalidate_attr(&self, node: NodeId) -> io::Result<()> {
        self.send(|kernel| kernel.inval_inode(INodeNo(node.0), -1, 0))
    }

    /// Forgets the attributes of `node` and its data: the pages of a file, the listing of a directory.
    pub fn invalidate_node(&self, node: NodeId) -> io::Result<()> {
        self.send(|kernel| kernel.inval_inode(INodeNo(node.0), 0, 0))
    }

    /// Whether the kernel knows `node` at this moment: something leads to it, or somebody uses it or what is below it. Its attributes are forgotten.
    pub fn holds(&self, node: NodeId) -> io::Result<bool> {
        let Some(kernel) = self.kernel() else { return Ok(false) };
        match notice::invalidate_attr(&kernel.device, node) {
            Ok(()) => Ok(true),
            Err(error) if is_unknown(&error) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Lets go of the device.
    pub(crate) fn close(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
    }

    fn send(&self, tell: impl FnOnce(&fuser::Notifier) -> io::Result<()>) -> io::Result<()> {
        match self.kernel().map_or(Ok(()), |kernel| tell(&kernel.notifier)) {
            Err(error) if is_unknown(&error) => Ok(()),
            told => told,
        }
    }

    /// Taken out of the lock before it is told anything: that may wait in the kernel, and `close` must not wait with it.
    fn kernel(&self) -> Option<Kernel> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// A kernel that does not know the node, or the mount any more, has nothing to forget.
fn is_unknown(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ENODEV | libc::ENOTCONN))
}
