//! A restore writes out exactly what the point holds, over whatever stands there, and nowhere else.

#![allow(clippy::unwrap_used, reason = "a helper that fails is a test that fails")]
#![allow(clippy::print_stderr, reason = "a test explains itself on standard error")]

#[path = "../support/mod.rs"]
mod support;

mod damage;
mod delete;
mod exact;
mod history;
mod hostile;
mod links;
mod replace;
mod shelf;
mod threads;
mod user;
