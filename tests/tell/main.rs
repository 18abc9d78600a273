//! What is told of the backups: metrics, alerts, the dashboard, `status` and `report`.

#![allow(clippy::unwrap_used, reason = "a helper that fails is a test that fails")]
#![allow(clippy::print_stderr, reason = "a test that is left out says so")]

#[path = "../support/mod.rs"]
mod support;

mod alerts;
mod metrics;
mod page;
mod serve;
mod shelf;
mod status;
