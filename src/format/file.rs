//! What packs and catalogs have in common: a head with the kind and version, and a foot that is found from the end.

use super::bytes::Bytes;
use super::error::{FormatError, Result};
use super::seal::checksum;

/// The version of the layout of packs and catalogs that this program writes, and the newest that it reads.
pub const VERSION: u16 = 1;

/// The two kinds of immutable files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileKind {
    /// Blocks of file data.
    Pack,
    /// One point in time.
    Catalog,
}

impl FileKind {
    const fn magics(self) -> ([u8; 8], [u8; 8], &'static str) {
        match self {
            Self::Pack => (*b"dbakpack", *b"kcapkabd", "pack"),
            Self::Catalog => (*b"dbakcatl", *b"ltackabd", "catalog"),
        }
    }
}

/// The first bytes of a pack or catalog.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// The file's random identity.
    pub id: [u8; 16],
}

impl Head {
    /// Bytes of an encoded head: magic (8), version (2), features (2), zeros (4), id (16).
    pub const LEN: usize = 32;

    /// The encoded head of a file of this kind.
    #[must_use]
    pub fn encode(&self, kind: FileKind) -> [u8; Self::LEN] {
        let mut out = [0; Self::LEN];
        out[..8].copy_from_slice(&kind.magics().0);
        out[8..10].copy_from_slice(&VERSION.to_le_bytes());
        out[16..].copy_from_slice(&self.id);
        out
    }

    /// Decodes the head of a file of this kind.
    ///
    /// # Errors
    /// Where it is another kind of file, or of a version or with features that this program does not know.
    pub fn decode(raw: &[u8], kind: FileKind) -> Result<Self> {
        let (magic, _, what) = kind.magics();
        let mut bytes = Bytes(raw);
        if bytes.array::<8>()? != magic {
            return Err(FormatError::Magic(what));
        }
        let (version, features, zeros, id) = (bytes.u16()?, bytes.u16()?, bytes.u32()?, bytes.array()?);
        bytes.end()?;
        if version == 0 || version > VERSION {
            return Err(FormatError::Version { found: version, known: VERSION });
        }
        if features != 0 {
            return Err(FormatError::Features(features));
        }
        if zeros != 0 {
            return Err(FormatError::Impossible("head"));
        }
        Ok(Self { id })
    }
}

/// Bytes that [`close`] adds to a foot: checksum (8), magic (8).
pub const FOOT_OVERHEAD: usize = 16;

/// Completes a foot: appends the checksum of `foot` and the magic that ends this kind of file.
pub fn close(kind: FileKind, foot: &mut Vec<u8>) {
    let check = checksum(foot);
    foot.extend_from_slice(&check.to_le_bytes());
    foot.extend_from_slice(&kind.magics().1);
}

/// The bytes of a foot that [`close`] completed.
///
/// # Errors
/// Where the magic or the checksum is wrong.
pub fn opened(kind: FileKind, foot: &[u8]) -> Result<Bytes<'_>> {
    let (_, magic, what) = kind.magics();
    let (content, tail) = foot.split_at_checked(foot.len().saturating_sub(FOOT_OVERHEAD)).ok_or(FormatError::Short)?;
    let mut tail = Bytes(tail);
    let (check, end) = (tail.u64()?, tail.array::<8>()?);
    if end != magic {
        return Err(FormatError::Magic(what));
    }
    if check != checksum(content) {
        return Err(FormatError::Checksum);
    }
    Ok(Bytes(content))
}
