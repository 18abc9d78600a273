//! `dbakfs backup`, the real binary on real trees: what it makes, what it must not make, and what it says.

#![allow(clippy::unwrap_used, reason = "a helper that fails is a test that fails")]
#![allow(clippy::print_stderr, reason = "a test that is left out says so")]

#[path = "../support/mod.rs"]
mod support;

mod changes;
mod crashes;
mod decide;
mod independent;
mod large;
mod links;
mod modes;
mod moving;
mod names;
mod replaced;
mod selection;
mod several;
mod shapes;
mod streams;
mod tags;
mod unreadable;
mod writers;
