//! The `.meta` beside an archive: what its script wrote down of it, for checking.
//!
//! Lines `KEY=VALUE` (`#` begins a remark, quotes around a value are of no account), or one object of JSON. Keys:
//!
//! | key | means |
//! |---|---|
//! | `sha256` | the hash of the file, 64 hexadecimal digits |
//! | `size` | its length in bytes |
//! | `type` | `full`, or `diff` |
//! | `date` | its moment, written as in names of archives |
//! | `base` | of a differential: the name of the full's file |
//!
//! Others are passed over.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use jiff::tz::TimeZone;

use super::label::{LabelKind, date};
use super::{Format, Seen};
use crate::format::Timestamp;

/// The most bytes of such a file.
const LIMIT_BYTES: u64 = 64 << 10;
const SUFFIX: &[u8] = b".meta";

/// What is written down of an archive.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sidecar {
    /// Where it stands.
    pub path: PathBuf,
    /// The hash, in lower-case digits.
    pub sha256: Option<String>,
    /// Bytes of the archive's file.
    pub size: Option<u64>,
    /// Full or differential.
    pub kind: Option<LabelKind>,
    /// Its moment.
    pub time: Option<Timestamp>,
    /// The name of the full's file.
    pub base: Option<String>,
}

/// Why an archive is not what was written down of it.
#[derive(Debug, thiserror::Error)]
pub enum SidecarError {
    /// It cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It cannot be understood.
    #[error("{} is damaged: {what}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What of it.
        what: &'static str,
    },
    /// The archive is another.
    #[error("{} says another {what}: the archive is not the one that it was written for", path.display())]
    Differs {
        /// The file.
        path: PathBuf,
        /// What differs.
        what: &'static str,
    },
}

impl Sidecar {
    /// Reads what stands beside the archive at `path`: under its name with `.meta`, or with that in the place of its suffix.
    ///
    /// # Errors
    /// Where there is one that cannot be read or understood.
    pub fn beside(path: &Path, zone: &TimeZone) -> Result<Option<Self>, SidecarError> {
        let name = path.file_name().unwrap_or_default().as_bytes();
        for stem in [name, Format::stem(name)] {
            let path = path.with_file_name(std::ffi::OsString::from_vec([stem, SUFFIX].concat()));
            let mut bytes = Vec::new();
            match File::open(&path).and_then(|file| file.take(LIMIT_BYTES + 1).read_to_end(&mut bytes)) {
                Ok(_) => return Self::read(path, &bytes, zone).map(Some),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(source) => return Err(SidecarError::Read { path, source }),
            }
        }
        Ok(None)
    }

    fn read(path: PathBuf, bytes: &[u8], zone: &TimeZone) -> Result<Self, SidecarError> {
        let damaged = |what| SidecarError::Damaged { path: path.clone(), what };
        if bytes.len() as u64 > LIMIT_BYTES {
            return Err(damaged("it is too long"));
        }
        let text = str::from_utf8(bytes).map_err(|_| damaged("it is no text"))?;
        let mut found = Self { path: path.clone(), ..Self::default() };
        for (key, value) in pairs(text).ok_or_else(|| damaged("it is neither lines KEY=VALUE nor an object of JSON"))? {
            match key.to_ascii_lowercase().as_str() {
                "sha256" => {
                    let is_hash = value.len() == 64 && value.bytes().all(|byte| byte.is_ascii_hexdigit());
                    found.sha256 =
                        Some(is_hash.then(|| value.to_ascii_lowercase()).ok_or_else(|| damaged("its sha256"))?);
                }
                "size" => found.size = Some(value.parse().map_err(|_| damaged("its size"))?),
                "type" => found.kind = Some(LabelKind::of_word(&value).ok_or_else(|| damaged("its type"))?),
                "date" => found.time = Some(date(&value, zone).ok_or_else(|| damaged("its date"))?),
                "base" if !value.is_empty() => found.base = value.rsplit('/').next().map(str::to_owned),
                _ => {}
            }
        }
        Ok(found)
    }

    /// Holds the archive's file against it.
    ///
    /// # Errors
    /// Where size or hash differ.
    pub fn check(&self, seen: &Seen) -> Result<(), SidecarError> {
        let differs = |what| Err(SidecarError::Differs { path: self.path.clone(), what });
        if self.size.is_some_and(|size| size != seen.bytes) {
            return differs("size");
        }
        if self.sha256.is_some() && self.sha256 != seen.sha256 { differs("sha256") } else { Ok(()) }
    }
}

fn pairs(text: &str) -> Option<Vec<(String, String)>> {
    if text.trim_start().starts_with('{') {
        let object: serde_json::Map<String, serde_json::Value> = serde_json::from_str(text).ok()?;
        let plain = |value: serde_json::Value| match value {
            serde_json::Value::String(text) => text,
            other => other.to_string(),
        };
        return Some(object.into_iter().map(|(key, value)| (key, plain(value))).collect());
    }
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines
        .map(|line| {
            let (key, value) = line.split_once('=')?;
            Some((key.trim().to_owned(), value.trim().trim_matches(['"', '\'']).to_owned()))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Sidecar, String> {
        Sidecar::read("a.meta".into(), text.as_bytes(), &TimeZone::UTC).map_err(|error| error.to_string())
    }

    #[test]
    fn lines_and_json_say_the_same() {
        let hash = "Ab".repeat(32);
        let lines = format!(
            "# made by a script\nSHA256=\"{hash}\"\nsize = 12\ntype=diff\nbase=/b/full.tar.gz\nmood=good\ndate=2026-11-20\n"
        );
        let json =
            format!(r#"{{"sha256":"{hash}","size":12,"type":"differential","base":"full.tar.gz","date":"20261120"}}"#);
        let found = read(&lines).unwrap();
        assert_eq!(read(&json).as_ref(), Ok(&found));
        assert_eq!(
            (found.size, found.kind, found.base.as_deref()),
            (Some(12), Some(LabelKind::Differential), Some("full.tar.gz"))
        );
        assert_eq!(found.time, Some(Timestamp::new(1_795_132_800, 0)));
        let seen = |bytes, sha256: &str| Seen { bytes, blake3: [0; 32], sha256: Some(sha256.to_owned()) };
        assert!(found.check(&seen(12, &"ab".repeat(32))).is_ok());
        assert!(found.check(&seen(13, &"ab".repeat(32))).is_err());
        assert!(found.check(&seen(12, &"ac".repeat(32))).is_err());
    }

    #[test]
    fn what_cannot_be_understood_is_refused() {
        for wrong in
            ["sha256=abc", "size=many", "type=daily", "date=yesterday", "just words", "{\"size\":", "\0\u{fffd}"]
        {
            assert!(read(wrong).is_err_and(|error| error.starts_with("a.meta is damaged")), "{wrong}");
        }
    }
}
