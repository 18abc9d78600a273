//! Checks of what is stored: after each backup, by rehearsal, and by the runbook.

#![allow(clippy::unwrap_used, reason = "a helper that fails is a test that fails")]
#![allow(clippy::print_stderr, reason = "a test explains itself on standard error")]

mod recovery;
mod rehearse;
mod shelf;
#[path = "../support/mod.rs"]
mod support;
mod written;
