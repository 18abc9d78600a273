//! Trees in memory behind real mounts.

mod content;
mod damage;
mod kernel_cache;
mod lifecycle;
mod memory;
mod permissions;
mod rig;
mod user;
