//! Serves a read-only [`Tree`] through FUSE.

pub mod tree;

pub use tree::Tree;
