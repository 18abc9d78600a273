//! The facts of one point in time that never change: they stand in the head of its catalog.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::time::Timestamp;

/// The number of a backup: from 1, rising, never used twice in the life of a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Number(pub u32);

impl Number {
    /// The highest number that node ids have room for (26 bits, see [`crate::view`]).
    pub const MAX: Self = Self((1 << 26) - 1);
}

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The random identity of a catalog, so that a base is never mistaken for another file of the same number.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct CatalogId(pub [u8; 16]);

impl fmt::Display for CatalogId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for CatalogId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl From<CatalogId> for String {
    fn from(id: CatalogId) -> Self {
        id.to_string()
    }
}

impl TryFrom<String> for CatalogId {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        const WRONG: &str = "a catalog id is 32 hexadecimal digits";
        if text.len() != 32 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(WRONG);
        }
        u128::from_str_radix(&text, 16).map(|id| Self(id.to_be_bytes())).map_err(|_| WRONG)
    }
}

/// What was backed up: a name that a person chose, the machine, and the canonical path there.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct SourceId {
    /// The name, one plain path component of valid UTF-8.
    pub name: String,
    /// The machine's host name.
    pub host: String,
    /// The canonical path, any bytes; for a backup of standard input, `-`.
    #[serde(with = "bytes_as_text")]
    pub path: Vec<u8>,
}

/// Whether a point stands alone or on a base.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", tag = "type")]
pub enum PointKind {
    /// Lists everything.
    Full,
    /// Lists what differs from its base, which is always a full.
    Differential {
        /// The number of the base.
        base: Number,
        /// The identity of the base's catalog.
        base_id: CatalogId,
    },
}

impl PointKind {
    /// The number of the base of a differential.
    #[must_use]
    pub const fn base(&self) -> Option<Number> {
        match self {
            Self::Full => None,
            Self::Differential { base, .. } => Some(*base),
        }
    }
}

/// What one backup counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Regular files at this point in time (names, so a file with two hard links counts twice).
    pub files: u64,
    /// Directories at this point in time, the root included.
    pub directories: u64,
    /// Everything else at this point in time: links, pipes, sockets, devices.
    pub others: u64,
    /// Bytes of all regular files at this point in time, holes included.
    pub bytes: u64,
    /// Entries that the base does not have (for a full: all).
    pub new: u64,
    /// Entries that differ from the base's.
    pub updated: u64,
    /// Names of the base that are gone; what lay below a deleted directory is not counted apart.
    pub deleted: u64,
    /// Entries that could not be read.
    pub unread: u64,
    /// Files that would not hold still while they were read.
    pub torn: u64,
    /// Bytes of file data that were read.
    pub read_bytes: u64,
    /// Bytes that the backup added to the store: its new packs (the catalog comes on top, as the size of its file).
    pub stored_bytes: u64,
    /// The size of the backup: for a full, the data bytes of all files; for a differential those of its new and updated files that the base's version
    /// of the same file does not hold. Counted in chunks, each inode once, before deduplication and compression.
    #[serde(default)]
    pub size_bytes: u64,
    /// The same, held against the previous backup: what is new since then. 0 where there was none to compare with.
    #[serde(default)]
    pub changed_bytes: u64,
    /// Data bytes of the files of the previous backup that are gone.
    #[serde(default)]
    pub gone_bytes: u64,
}

impl Counts {
    /// The size of a full; of one that an older program made, the bytes of its files.
    #[must_use]
    pub const fn full_bytes(&self) -> u64 {
        if self.size_bytes > 0 { self.size_bytes } else { self.bytes }
    }
}

/// How a point came to be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Origin {
    /// A backup of its source.
    #[default]
    Backup,
    /// An archive that was imported.
    Import,
    /// A differential that was made a full of its own.
    Promotion,
}

/// The facts of one point in time, as its catalog holds them. They never change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Point {
    /// The backup's number.
    pub number: Number,
    /// The random identity of its catalog.
    pub id: CatalogId,
    /// What was backed up.
    pub source: SourceId,
    /// How it came to be.
    #[serde(default)]
    pub origin: Origin,
    /// Full, or differential and on what.
    #[serde(flatten)]
    pub kind: PointKind,
    /// The family of packs that it refers to: 0, or the number of the independent full that began the family.
    pub family: u32,
    /// The time that names the point: whole seconds, unique and rising within its source.
    pub time: Timestamp,
    /// What the clock said when the backup began.
    pub clock: Timestamp,
    /// What the clock said when the catalog was closed.
    pub finished: Timestamp,
    /// The backup that this one was compared with, to see what need not be read again.
    pub previous: Option<Number>,
    /// What was counted.
    pub counts: Counts,
    /// Whether any visible entry has extended attributes or ACLs.
    pub has_xattrs: bool,
    /// The program that wrote it, for people.
    pub program: String,
}

impl Point {
    /// Whether this is a full.
    #[must_use]
    pub const fn is_full(&self) -> bool {
        matches!(self.kind, PointKind::Full)
    }

    /// The full that this point stands on: itself, or its base.
    #[must_use]
    pub const fn series(&self) -> Number {
        match self.kind.base() {
            None => self.number,
            Some(base) => base,
        }
    }

    /// Whether a writer could have said this: numbers in range, a base and a previous backup that are older, times that are times.
    #[must_use]
    pub fn is_possible(&self) -> bool {
        let older = |number: Number| number.0 > 0 && number < self.number;
        let base = self.kind.base();
        (Number(1)..=Number::MAX).contains(&self.number)
            && base.is_none_or(older)
            && self.previous.is_none_or(older)
            && [self.time, self.clock, self.finished].iter().all(|time| time.nanos < 1_000_000_000)
    }

    /// Whether everything could be read.
    #[must_use]
    pub const fn is_complete(&self) -> bool {
        self.counts.unread == 0
    }
}

/// Byte strings in JSON and TOML: UTF-8 stays readable; `\` and every byte that is not UTF-8 becomes `\xNN`.
pub mod bytes_as_text {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    /// The text for `bytes`.
    #[must_use]
    pub fn encode(bytes: &[u8]) -> String {
        let mut text = String::with_capacity(bytes.len());
        for part in bytes.utf8_chunks() {
            for letter in part.valid().chars() {
                if letter == '\\' { text.push_str("\\x5c") } else { text.push(letter) }
            }
            for byte in part.invalid() {
                text.push_str(&format!("\\x{byte:02x}"));
            }
        }
        text
    }

    /// The bytes that [`encode`] made `text` from; `None` where no bytes did.
    #[must_use]
    pub fn decode(text: &str) -> Option<Vec<u8>> {
        let mut parts = text.split('\\');
        let mut bytes = parts.next()?.as_bytes().to_vec();
        for part in parts {
            let digits = part.strip_prefix('x')?.get(..2)?;
            bytes.push(u8::from_str_radix(digits, 16).ok()?);
            bytes.extend_from_slice(part.get(3..)?.as_bytes());
        }
        Some(bytes)
    }

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&encode(bytes))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        let text = String::deserialize(deserializer)?;
        decode(&text).ok_or_else(|| D::Error::custom("a byte string has a wrong escape"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn byte_strings_survive_text() {
        for bytes in [&b"/srv/www"[..], b"\\", b"a\\x5cb", b"\xff\xfe\x80", "h\u{e9}\n".as_bytes(), b""] {
            assert_eq!(bytes_as_text::decode(&bytes_as_text::encode(bytes)).as_deref(), Some(bytes));
        }
        assert_eq!(bytes_as_text::decode("\\q"), None);
        assert_eq!(bytes_as_text::decode("\\x5"), None);
    }
}
