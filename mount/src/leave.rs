//! Makes the kernel let go of a directory that its tree has ceased to show.
//!
//! Told that the name is gone, the kernel drops it and what nobody uses below. What somebody does use stays, and when they have left, some of
//! it may lie in the kernel's cache until memory is short: nothing leads there any more that one could tell the kernel to drop. So the name is
//! given back for a moment, to the one thread that drops it again: then all goes that is unused by now. Whoever still is inside is not
//! disturbed, for what is in use is never dropped. Invariant: nobody but that thread finds the name.

use std::io;
use std::os::fd::AsFd;
use std::path::PathBuf;

use rustix::fs::{Mode, OFlags, ResolveFlags};

use crate::live::Live;
use crate::scaffold::{Scaffold, Stub};

/// Which of the two connections of a mount.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The one that people walk.
    First,
    /// The one that shows what is attached.
    Second,
}

/// A directory that its tree shows no more.
#[derive(Clone, Debug)]
pub struct Leaving {
    /// Where it stood, from the root of its tree.
    pub path: PathBuf,
    /// Those directories on the way that the tree shows no more, with what they were. The last is the directory itself; the others hold nothing
    /// that is shown.
    pub hidden: Vec<Stub>,
}

/// Drops what nobody uses any more of a directory below `root`.
pub(crate) fn shake_off(live: &Live, scaffold: &Scaffold, root: impl AsFd, leaving: &Leaving) -> io::Result<()> {
    // The kernel may remember that the name is not there.
    for stub in &leaving.hidden {
        live.invalidate_entry(stub.parent, &stub.name)?;
    }
    let up = scaffold.raise_alone(&leaving.hidden);
    let within = ResolveFlags::BENEATH | ResolveFlags::NO_XDEV | ResolveFlags::NO_SYMLINKS;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    // Closed at once: what is in use is not dropped.
    let found = rustix::fs::openat2(root, &leaving.path, flags, Mode::empty(), within).map(drop);
    drop(up);
    for stub in leaving.hidden.iter().rev() {
        live.invalidate_entry(stub.parent, &stub.name)?;
    }
    Ok(found?)
}
