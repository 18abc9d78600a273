//! Packs: immutable files of compressed blocks, and the table of the chunks in them.
//!
//! Owns how chunks are grouped, compressed and written ([`Packer`]) and how a run of bytes is found again ([`BlockReader`]).
//! Refuses to know what a chunk means or who refers to it. Invariant: a pack has its name only when it is whole and durable.

mod compress;
mod open_pack;
mod packer;
mod reader;
mod whole;

pub use packer::{Class, PackOptions, Packed, Packer};
pub use reader::{BlockReader, Pack};

use crate::format::catalog::PackRef;
use crate::format::pack::PackId;
use crate::format::{FormatError, layout};
use crate::storage::{Storage, StorageError};

/// Why a pack could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum PackError {
    /// The file could not be read or written.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// The pack is damaged.
    #[error("pack {pack} is damaged: {part}: {source}")]
    Damaged {
        /// The pack.
        pack: PackId,
        /// What part of it: a block, a table, the foot.
        part: String,
        /// What is wrong with it.
        source: FormatError,
    },
    /// Two blocks of a pack take the same bytes of its file.
    #[error("pack {pack} is damaged: block {block} overlaps another")]
    Overlap {
        /// The pack.
        pack: PackId,
        /// The block.
        block: u32,
    },
    /// The pack has not the length that the catalog or the index says.
    #[error("pack {pack} has {found} bytes instead of {expected}")]
    Length {
        /// The pack.
        pack: PackId,
        /// Bytes that it has.
        found: u64,
        /// Bytes that it should have.
        expected: u64,
    },
    /// The file is another pack than its name says.
    #[error("pack {pack} holds the bytes of pack {found}")]
    OtherPack {
        /// Its name.
        pack: PackId,
        /// What it holds.
        found: PackId,
    },
    /// A reference points outside the pack.
    #[error("pack {pack} has no such place: block {block}, {len} bytes from {offset}")]
    NoSuchPlace {
        /// The pack.
        pack: PackId,
        /// The block.
        block: u32,
        /// First byte in the block.
        offset: u32,
        /// Bytes.
        len: u32,
    },
    /// A chunk's bytes are not those that its id names.
    #[error("pack {pack} is damaged: the chunk at {offset} of block {block} is not the one that was stored")]
    WrongChunk {
        /// The pack.
        pack: PackId,
        /// The block.
        block: u32,
        /// The chunk's first byte in the block.
        offset: u32,
    },
    /// zstd could not be set up.
    #[error("cannot set up compression")]
    Compression(#[source] std::io::Error),
    /// A thread could not be started.
    #[error("cannot start a thread")]
    Thread(#[source] std::io::Error),
    /// A thread of the packer ended before its time; its panic stands in the log.
    #[error("a packing thread died")]
    ThreadDied,
}

impl PackError {
    /// Whether it is the pack that is wrong, and not this process or machine.
    #[must_use]
    pub fn is_damage(&self) -> bool {
        match self {
            Self::Storage(error) => error.is_not_found() || error.is_unreadable(),
            Self::Damaged { .. }
            | Self::Overlap { .. }
            | Self::Length { .. }
            | Self::OtherPack { .. }
            | Self::NoSuchPlace { .. }
            | Self::WrongChunk { .. } => true,
            Self::Compression(_) | Self::Thread(_) | Self::ThreadDied => false,
        }
    }
}

/// The result of reading or writing packs.
pub type Result<T> = std::result::Result<T, PackError>;

/// The packs that lie in a store, by name.
///
/// # Errors
/// Where a directory of packs cannot be listed.
pub fn list(storage: &Storage) -> std::result::Result<Vec<PackRef>, StorageError> {
    let mut packs = Vec::new();
    for directory in storage.list_dirs(layout::PACKS)? {
        for (name, file_len) in storage.list(&format!("{}/{directory}", layout::PACKS))? {
            packs.extend(layout::pack_id(&directory, &name).map(|id| PackRef { id, file_len }));
        }
    }
    packs.sort_unstable_by_key(|pack| pack.id);
    Ok(packs)
}
