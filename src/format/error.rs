//! What a decoder says when bytes are not what an encoder could have written.

/// Why bytes were refused. Says what is wrong; who reads them adds which file and which part.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FormatError {
    /// The checksum over the stored bytes differs.
    #[error("checksum differs")]
    Checksum,
    /// The bytes end before what they announce.
    #[error("cut short")]
    Short,
    /// The bytes do not begin or end as this kind of file does.
    #[error("not a {0}")]
    Magic(&'static str),
    /// Written in a later version of the format.
    #[error("format version {found}, this program knows up to {known}")]
    Version {
        /// The version in the file.
        found: u16,
        /// The newest that this program reads.
        known: u16,
    },
    /// A feature that this program does not know.
    #[error("unknown feature bits {0:#06x}")]
    Features(u16),
    /// The bytes do not unpack to what was recorded.
    #[error("does not unpack to the recorded {0} bytes")]
    Unpack(u32),
    /// A value that no encoder writes.
    #[error("impossible {0}")]
    Impossible(&'static str),
}

/// The result of decoding.
pub type Result<T> = std::result::Result<T, FormatError>;
