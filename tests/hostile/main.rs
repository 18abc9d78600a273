//! Bytes that no writer of ours wrote: everything that decodes refuses them or takes them for what they are, without harm.

#![allow(clippy::unwrap_used, reason = "a helper that fails is a test that fails")]

// The same functions that the fuzzer runs.
#[allow(unreachable_pub, reason = "a crate of its own there")]
#[path = "../../fuzz/src/lib.rs"]
mod fuzz;
#[path = "../support/mod.rs"]
mod support;

mod fresh;
mod listed;
mod memory;
mod modes;
mod replay;
mod seeds;
