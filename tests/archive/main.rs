//! Archives: out of a store, into one, and such as nobody should take in.

#![allow(clippy::unwrap_used, reason = "a helper that fails is a test that fails")]
#![allow(clippy::print_stderr, reason = "a test explains itself on standard error")]

#[path = "../support/mod.rs"]
mod support;

mod checked;
mod exported;
mod hostile;
mod imported;
mod levels;
mod promoted;
