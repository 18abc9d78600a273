//! What several integration tests need: awkward trees, and the comparison of trees.
//!
//! Refuses to use the library under test: what it says must not share its mistakes.

#![allow(dead_code, reason = "each test program uses its part of it")]
#![allow(clippy::unwrap_used, reason = "a helper that fails is a test that fails")]
#![allow(clippy::print_stderr, reason = "a test explains itself on standard error")]

pub(crate) mod awkward;
pub(crate) mod cli;
pub(crate) mod points;
pub(crate) mod process;
pub(crate) mod tree;
