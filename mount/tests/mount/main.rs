//! Trees in memory behind real mounts.

#![expect(clippy::unwrap_used, reason = "the helpers of tests are tests too")]

mod content;
mod damage;
mod graft;
mod kernel_cache;
mod leave;
mod lifecycle;
mod memory;
mod pace;
mod permissions;
mod rig;
mod user;
