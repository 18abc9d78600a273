//! The mount as a person and their tools see it: the real program, a real kernel, and the tools that everybody has.

#![allow(clippy::unwrap_used, reason = "a helper that fails is a test that fails")]
#![allow(clippy::print_stderr, reason = "a test explains itself on standard error")]

#[path = "../support/mod.rs"]
mod support;

mod ahead;
mod attributes;
mod content;
mod counts;
mod end;
mod gone;
mod inodes;
mod large;
mod live;
mod shown;
mod start;
mod users;
