//! Walks and reads the tree that is backed up.
//!
//! Owns every look at the source: its directories in catalog order, what is left out of them, the content of files
//! with their holes, link targets and extended attributes. Refuses to know stores, catalogs, packs, or what a backup
//! decides to do with what it is told. Its invariant: the source is never modified (no access time is touched where
//! the kernel allows it), no symbolic link below the root is followed, and everything is looked up relative to an open
//! directory, so that neither the depth of the tree nor somebody who renames things meanwhile leads outside of it.

mod ahead;
pub mod dir;
pub mod exclude;
mod mounts;
mod names;
mod open;
mod open_files;
pub mod pieces;
pub mod read;
mod settled;
pub mod stat;
pub mod walk;
pub mod xattr;

pub use ahead::{EarlyFile, ReadAhead};
pub use dir::{OpenDir, Place};
pub use exclude::{Exclude, ExcludeBuilder, ExcludeError};
pub use open_files::raise_open_files_limit;
pub use pieces::{Piece, PieceShape, Pieces, RangePieces, StreamPieces, Then};
pub use read::{Extents, OpenError, OpenFile, open_file, read_link};
pub use settled::{Margin, is_settled};
pub use stat::FileId;
pub use walk::{Descend, Found, Listing, Options, Root, StartError, Walk};
