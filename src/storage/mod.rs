//! The only code that opens files of a store.
//!
//! Owns how bytes get into and out of the directory that is a store: opening without ever following a symbolic link,
//! durable appearance of files, listing, removal and locks. Refuses to know what any file means, where in the store it
//! belongs and who may write: it takes names such as `packs/91/91c0.pack` and gives bytes.
//!
//! Its invariant: **a file that is seen under its name is whole and on the disk.** Every file appears by
//! write → fsync → rename → fsync of the directory, in one function (in `durable`) that everything uses; what is not
//! finished is a temporary that no listing shows. The system calls that change anything stand in `disk`.
//!
//! [`Storage`] is concrete. All its names are relative and all its answers are plain values or handles of this module,
//! so that a second kind of storage can take its place behind a trait.

mod beneath;
mod disk;
mod durable;
mod error;
mod file;
mod file_system;
mod listing;
mod lock;
mod new_file;
#[cfg(test)]
pub(crate) mod recorder;
mod root;
mod writeback;

pub use durable::Replace;
pub use error::{Act, StorageError};
pub use file::StoredFile;
pub use file_system::FlockReach;
pub use lock::{Lock, LockKind, Wait};
pub use new_file::NewFile;
pub use root::Storage;
