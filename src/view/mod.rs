//! A store as a tree that can be mounted: `NAME/TIME/…`, `NAME/latest`, `NAME/tags/TAG`.
//!
//! Owns the numbers of nodes and what stands in the directories above the points. Refuses to know FUSE (that is the mount crate's) and the
//! bytes on disk. Invariant: a node number means the same file for ever, across points, mounts and prunes; only the few directories above the points change.

mod ahead;
mod attr;
mod departed;
mod node;
mod points;
mod refresh;
mod shown;
mod tree;

pub use node::Node;
pub use refresh::Refresher;
pub use shown::Views;
pub use tree::View;
