//! `store.toml`: what a store is, decided when it is made.
//!
//! Owns the format's version, the features, the chunking and the secrets, as text and as values. Refuses to know where
//! the text comes from. Its invariant: a [`Config`] holds only values that this program can obey; whatever a hostile
//! or newer `store.toml` says otherwise is refused by name.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::checked_text;

/// The format that this program writes, and the newest that it reads.
pub const FORMAT_VERSION: u32 = 1;

/// The most bytes that a `store.toml` may have.
pub const CONFIG_LIMIT_BYTES: u64 = 64 << 10;

/// Features that this program knows, of the kind that must be known to read.
const KNOWN_INCOMPATIBLE: &[&str] = &[];
/// Features that this program knows, of the kind that must be known to write.
const KNOWN_READ_ONLY_COMPATIBLE: &[&str] = &[];

/// A store's description.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Config {
    /// The format's version, from 1 to [`FORMAT_VERSION`].
    pub format: u32,
    /// The store's random identity.
    #[serde(with = "hex_bytes")]
    pub id: [u8; 16],
    /// What the store uses beyond its version.
    #[serde(default)]
    pub features: Features,
    /// How data is cut and grouped.
    pub chunking: Chunking,
    /// What must never change, or nothing new would be recognised in what is stored.
    pub secrets: Secrets,
}

/// What a store uses beyond its format version, by name, so that programs of other versions know what they may do.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Features {
    /// A program that does not know one of these may read and write.
    pub compatible: Vec<String>,
    /// A program that does not know one of these may read, and must not write.
    pub read_only_compatible: Vec<String>,
    /// A program that does not know one of these must not even read.
    pub incompatible: Vec<String>,
}

/// How data is cut into chunks and grouped into blocks. Lengths in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chunking {
    /// The shortest chunk of a large file, but for its last.
    pub chunk_min_bytes: u32,
    /// The usual chunk of a large file.
    pub chunk_average_bytes: u32,
    /// The longest chunk of a large file.
    pub chunk_max_bytes: u32,
    /// A file of up to this length is one chunk.
    pub whole_file_bytes: u32,
    /// A block of small files is closed when it has this length, uncompressed.
    pub small_block_bytes: u32,
    /// A block within a large file is closed when it has this length, uncompressed.
    pub large_block_bytes: u32,
    /// A file of up to this length lies inside the catalog.
    pub inline_bytes: u32,
    /// The level for zstd.
    pub zstd_level: i32,
}

impl Default for Chunking {
    fn default() -> Self {
        Self {
            chunk_min_bytes: 8 << 10,
            chunk_average_bytes: 32 << 10,
            chunk_max_bytes: 128 << 10,
            whole_file_bytes: 64 << 10,
            small_block_bytes: 1 << 20,
            large_block_bytes: 512 << 10,
            inline_bytes: 256,
            zstd_level: 3,
        }
    }
}

impl Chunking {
    /// A file of up to this length is never cut.
    #[must_use]
    pub fn most_whole_bytes(&self) -> u64 {
        self.whole_file_bytes.max(self.inline_bytes).into()
    }

    /// Refuses what would cost a reader memory without bound, or what the chunker cannot do.
    fn check(&self) -> Result<(), ConfigError> {
        let within = |name: &'static str, value: i64, least: i64, most: i64| {
            if (least..=most).contains(&value) {
                Ok(())
            } else {
                Err(ConfigError::OutOfBounds { name, value, least, most })
            }
        };
        let (min, average, max) = (self.chunk_min_bytes, self.chunk_average_bytes, self.chunk_max_bytes);
        within("chunk_min_bytes", min.into(), 64, 1 << 20)?;
        within("chunk_average_bytes", average.into(), 256, 4 << 20)?;
        within("chunk_max_bytes", max.into(), 1 << 10, 16 << 20)?;
        within("chunk_average_bytes", average.into(), i64::from(min) + 1, i64::from(max) - 1)?;
        within("whole_file_bytes", self.whole_file_bytes.into(), 0, 16 << 20)?;
        within("small_block_bytes", self.small_block_bytes.into(), 4 << 10, 16 << 20)?;
        within("large_block_bytes", self.large_block_bytes.into(), 4 << 10, 16 << 20)?;
        within("inline_bytes", self.inline_bytes.into(), 0, 4 << 10)?;
        within("zstd_level", self.zstd_level.into(), 1, 19)
    }
}

/// What makes the chunks of one store unlike those of every other.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Secrets {
    /// The key of the hash that names a chunk.
    #[serde(with = "hex_bytes")]
    pub chunk_key: [u8; 32],
    /// What seeds the places where large files are cut, big-endian.
    #[serde(with = "hex_bytes")]
    chunker_seed: [u8; 8],
}

impl Secrets {
    /// What seeds the places where large files are cut.
    #[must_use]
    pub const fn chunker_seed(&self) -> u64 {
        u64::from_be_bytes(self.chunker_seed)
    }
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secrets(not shown)")
    }
}

/// What is wrong with a `store.toml`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// A later program made the store.
    #[error("written by a newer dbakfs: format {found}, this program knows {FORMAT_VERSION}")]
    NewerVersion {
        /// The version that the store has.
        found: u32,
    },
    /// The store has a feature without which it cannot be read.
    #[error("it uses the feature {0:?}, which this program does not know")]
    UnknownFeature(String),
    /// A value is one that no program writes.
    #[error("store.toml is damaged: {name} is {value}, not from {least} to {most}")]
    OutOfBounds {
        /// Its name.
        name: &'static str,
        /// What stands there.
        value: i64,
        /// The least that is allowed.
        least: i64,
        /// The most that is allowed.
        most: i64,
    },
    /// The text is not what it should be.
    #[error("store.toml is damaged: {0}")]
    Malformed(String),
}

/// The part that every version can read.
#[derive(Deserialize)]
struct Preamble {
    format: u32,
    #[serde(default)]
    features: Features,
}

impl Config {
    /// A new store's description, with secrets made of 56 random bytes.
    #[must_use]
    pub fn new(chunking: Chunking, random: &[u8; 56]) -> Self {
        let (mut id, mut chunk_key, mut chunker_seed) = ([0; 16], [0; 32], [0; 8]);
        id.copy_from_slice(&random[..16]);
        chunk_key.copy_from_slice(&random[16..48]);
        chunker_seed.copy_from_slice(&random[48..]);
        Self {
            format: FORMAT_VERSION,
            id,
            features: Features::default(),
            chunking,
            secrets: Secrets { chunk_key, chunker_seed },
        }
    }

    /// Reads a `store.toml`.
    ///
    /// # Errors
    /// It is newer, uses an unknown incompatible feature, or is damaged.
    pub fn parse(text: &[u8]) -> Result<Self, ConfigError> {
        let malformed = |error: toml::de::Error| ConfigError::Malformed(error.message().to_owned());
        let text = checked_text::open(text).map_err(|reason| ConfigError::Malformed(reason.to_owned()))?;
        // A newer store may look different everywhere but here.
        let preamble: Preamble = toml::from_str(text).map_err(malformed)?;
        if preamble.format > FORMAT_VERSION {
            return Err(ConfigError::NewerVersion { found: preamble.format });
        }
        if preamble.format == 0 {
            return Err(ConfigError::OutOfBounds { name: "format", value: 0, least: 1, most: FORMAT_VERSION.into() });
        }
        if let Some(unknown) = first_unknown(&preamble.features.incompatible, KNOWN_INCOMPATIBLE) {
            return Err(ConfigError::UnknownFeature(unknown.to_owned()));
        }
        let config: Self = toml::from_str(text).map_err(malformed)?;
        config.chunking.check()?;
        Ok(config)
    }

    /// The text of the `store.toml`.
    ///
    /// # Errors
    /// None that a value of this type can cause; the serializer's word is passed on.
    pub fn to_toml(&self) -> Result<String, ConfigError> {
        let text = toml::to_string(self).map_err(|error| ConfigError::Malformed(error.to_string()))?;
        Ok(checked_text::seal(&text))
    }

    /// A feature that forbids this program to write, if there is one.
    #[must_use]
    pub fn unknown_to_writers(&self) -> Option<&str> {
        first_unknown(&self.features.read_only_compatible, KNOWN_READ_ONLY_COMPATIBLE)
    }
}

fn first_unknown<'a>(features: &'a [String], known: &[&str]) -> Option<&'a str> {
    features.iter().map(String::as_str).find(|feature| !known.contains(feature))
}

mod hex_bytes {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(super) fn serialize<const N: usize, S: Serializer>(bytes: &[u8; N], serializer: S) -> Result<S::Ok, S::Error> {
        let text: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        serializer.serialize_str(&text)
    }

    pub(super) fn deserialize<'de, const N: usize, D: Deserializer<'de>>(deserializer: D) -> Result<[u8; N], D::Error> {
        let text = String::deserialize(deserializer)?;
        let wrong = || D::Error::custom(format!("not {} hexadecimal digits", 2 * N));
        if text.len() != 2 * N || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(wrong());
        }
        let mut bytes = [0; N];
        for (byte, digits) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
            let digits = str::from_utf8(digits).map_err(|_| wrong())?;
            *byte = u8::from_str_radix(digits, 16).map_err(|_| wrong())?;
        }
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn random() -> [u8; 56] {
        std::array::from_fn(|at| u8::try_from(at).unwrap())
    }

    fn text() -> String {
        // Without its check, to be changed.
        Config::new(Chunking::default(), &random()).to_toml().unwrap().split_once('\n').unwrap().1.to_owned()
    }

    fn with(from: &str, to: &str) -> Result<Config, ConfigError> {
        let text = text();
        assert!(text.contains(from), "{from} is not in {text}");
        Config::parse(text.replace(from, to).as_bytes())
    }

    #[test]
    fn description_survives_its_text() {
        let config = Config::new(Chunking::default(), &random());
        assert_eq!(Config::parse(text().as_bytes()).unwrap(), config);
        assert_eq!(config.secrets.chunker_seed(), 0x3031_3233_3435_3637);
        assert!(text().contains("chunker_seed = \"3031323334353637\""), "{}", text());
        assert!(!format!("{config:?}").contains("1011"), "secrets are not for logs");
    }

    #[test]
    fn newer_store_is_refused_even_if_all_else_is_different() {
        let error = Config::parse(b"format = 2\nchunking = 'by the moon'\n").unwrap_err();
        assert_eq!(error.to_string(), "written by a newer dbakfs: format 2, this program knows 1");
    }

    #[test]
    fn unknown_incompatible_feature_is_refused_by_name() {
        let error = with("incompatible = []", "incompatible = ['sealed']").unwrap_err();
        // Both lists were replaced; the one that forbids reading speaks first.
        assert_eq!(error, ConfigError::UnknownFeature("sealed".to_owned()));
    }

    #[test]
    fn other_unknown_features_and_fields_do_not_forbid_reading() {
        let config = with("\ncompatible = []", "\nnovelty = 1\ncompatible = ['scent']").unwrap();
        assert_eq!(config.unknown_to_writers(), None);
        let config = with("read_only_compatible = []", "read_only_compatible = ['colour']").unwrap();
        assert_eq!(config.unknown_to_writers(), Some("colour"));
    }

    #[test]
    fn hostile_values_are_refused() {
        for (from, to) in [
            ("chunk_max_bytes = 131072", "chunk_max_bytes = 1099511627776"),
            ("chunk_max_bytes = 131072", "chunk_max_bytes = 4294967295"),
            ("chunk_max_bytes = 131072", "chunk_max_bytes = 4096"),
            ("chunk_min_bytes = 8192", "chunk_min_bytes = 262144"),
            ("chunk_min_bytes = 8192", "chunk_min_bytes = 0"),
            ("chunk_min_bytes = 8192", "chunk_min_bytes = -1"),
            ("small_block_bytes = 1048576", "small_block_bytes = 1073741824"),
            ("large_block_bytes = 524288", "large_block_bytes = 0"),
            ("inline_bytes = 256", "inline_bytes = 65536"),
            ("whole_file_bytes = 65536", "whole_file_bytes = 1073741824"),
            ("zstd_level = 3", "zstd_level = 22"),
            ("format = 1", "format = 0"),
            ("chunker_seed = \"30", "chunker_seed = \"+0"),
            ("chunker_seed = \"30", "chunker_seed = \""),
            ("[secrets]", "[other]"),
        ] {
            assert!(with(from, to).is_err(), "{to} was taken");
        }
        for text in [&b""[..], b"\xff", b"format", b"format = -1", b"format = '1'"] {
            assert!(Config::parse(text).is_err());
        }
    }
}
