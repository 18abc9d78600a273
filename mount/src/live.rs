//! Tells the kernel that something it remembers has changed; does not know what or why.
//!
//! Invariant: once the session is over the handle holds no descriptor of the device, since one that is left open would let
//! requests to a dead mount wait for ever instead of failing.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::sync::{Arc, Mutex, PoisonError};

use fuser::INodeNo;

use crate::tree::NodeId;

/// A clonable handle to invalidate what the kernel remembers.
///
/// Never call it from within a [`Tree`](crate::Tree), nor while holding a lock that a tree's answers wait for: the kernel may
/// hold the directory for a look-up that waits for just that answer, and the mount would hang.
#[derive(Clone, Debug)]
pub struct Live(Arc<Mutex<Option<fuser::Notifier>>>);

impl Live {
    pub(crate) fn new(notifier: fuser::Notifier) -> Self {
        Self(Arc::new(Mutex::new(Some(notifier))))
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

    /// Lets go of the device.
    pub(crate) fn close(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
    }

    /// A kernel that does not know the node, or the mount any more, has nothing to forget.
    fn send(&self, tell: impl FnOnce(&fuser::Notifier) -> io::Result<()>) -> io::Result<()> {
        // Out of the lock before the call: it may wait in the kernel, and `close` must not wait with it.
        let notifier = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        match notifier.map_or(Ok(()), |notifier| tell(&notifier)) {
            Err(error) if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ENODEV | libc::ENOTCONN)) => Ok(()),
            told => told,
        }
    }
}
