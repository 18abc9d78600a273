//! Notices to the kernel that must be written by hand, since what the kernel answers to them is what is wanted, and fuser hides it.
//!
//! Owns their bytes. Refuses to know when they are sent. Invariant: a notice is one write, and is answered before that returns.

use std::io::{self, IoSlice};
use std::os::fd::OwnedFd;

use crate::tree::NodeId;

/// `FUSE_NOTIFY_INVAL_INODE` and `FUSE_NOTIFY_STORE` of linux/fuse.h.
const INVAL_INODE: i32 = 2;
const STORE: i32 = 4;

/// Bytes of `fuse_out_header` and, of the same length, `fuse_notify_inval_inode_out` or `fuse_notify_store_out`.
const HEAD_LEN: usize = 40;

/// Stores `data` at `offset` of `node`. Fails with ENOENT where the kernel does not know the node.
pub(crate) fn store(device: &OwnedFd, node: NodeId, offset: u64, data: &[u8]) -> io::Result<()> {
    let size = u32::try_from(data.len()).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    let mut body = [0; 24];
    body[0..8].copy_from_slice(&node.0.to_ne_bytes());
    body[8..16].copy_from_slice(&offset.to_ne_bytes());
    body[16..20].copy_from_slice(&size.to_ne_bytes());
    send(device, STORE, body, data)
}

/// Makes the kernel forget the attributes of `node`, and nothing else. Fails with ENOENT where it does not know the node.
pub(crate) fn invalidate_attr(device: &OwnedFd, node: NodeId) -> io::Result<()> {
    let mut body = [0; 24];
    body[0..8].copy_from_slice(&node.0.to_ne_bytes());
    // A negative offset leaves the data alone.
    body[8..16].copy_from_slice(&(-1_i64).to_ne_bytes());
    send(device, INVAL_INODE, body, &[])
}

fn send(device: &OwnedFd, code: i32, body: [u8; 24], data: &[u8]) -> io::Result<()> {
    let len = u32::try_from(HEAD_LEN + data.len()).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    let mut head = [0; HEAD_LEN];
    head[0..4].copy_from_slice(&len.to_ne_bytes());
    head[4..8].copy_from_slice(&code.to_ne_bytes());
    // 8..16: the number of the message that this answers: none.
    head[16..40].copy_from_slice(&body);
    rustix::io::writev(device, &[IoSlice::new(&head), IoSlice::new(data)])?;
    Ok(())
}
