//! Serves a read-only [`Tree`] through FUSE, and knows nothing of what the tree is made of.
//!
//! [`mount`] puts a tree into the tree of files and gives a [`Mounted`]; [`mount_grafting`] spares the kernel its questions for extended
//! attributes until there are any; [`mountpoint`] looks at, heals and unmounts mount points.

mod adapter;
mod attr;
mod connect;
mod connection;
mod crew;
mod detached;
mod ending;
mod errno;
mod error;
mod fusermount;
mod graft;
mod halting;
mod leave;
mod live;
mod mount_table;
mod mounted;
pub mod mountpoint;
mod notice;
mod push;
mod scaffold;
mod stats;
mod store;
pub mod tree;
mod xattrs;

pub use crew::step_aside;
pub use error::{MountError, Result};
pub use graft::Graft;
pub use leave::{Leaving, Side};
pub use live::Live;
pub use mounted::{MountOptions, Mounted, mount, mount_grafting};
pub use mountpoint::{FS_TYPE, Unmounted};
pub use scaffold::Stub;
pub use stats::{Counts, Message};
pub use tree::Tree;
