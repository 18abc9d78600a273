//! Serves a read-only [`Tree`] through FUSE, and knows nothing of what the tree is made of.
//!
//! [`mount`] puts a tree into the tree of files and gives a [`Mounted`]; [`mountpoint`] looks at, heals and unmounts mount points.

mod adapter;
mod attr;
mod connect;
mod crew;
mod ending;
mod errno;
mod error;
mod fusermount;
mod live;
mod mount_table;
mod mounted;
pub mod mountpoint;
mod push;
mod stats;
pub mod tree;

pub use crew::step_aside;
pub use error::{MountError, Result};
pub use live::Live;
pub use mounted::{MountOptions, Mounted, mount};
pub use mountpoint::{FS_TYPE, Unmounted};
pub use stats::{Counts, Message};
pub use tree::Tree;
