//! The records of a pax header: `LENGTH KEY=VALUE\n`, again and again.

use std::collections::BTreeMap;

use super::number::{decimal, time};
use super::sparse::Ranges;
use crate::format::Timestamp;

/// Bytes that Linux allows an attribute's name, its value, and that a catalog holds of all of one entry.
const MAX_NAME_BYTES: usize = 255;
const MAX_VALUE_BYTES: usize = 64 << 10;
const MAX_TOTAL_BYTES: usize = 4 << 20;

/// What pax headers say of one member, or of all that follow.
#[derive(Debug, Default)]
pub(super) struct Pax {
    pub(super) path: Option<Vec<u8>>,
    pub(super) link: Option<Vec<u8>>,
    pub(super) size: Option<u64>,
    pub(super) uid: Option<u32>,
    pub(super) gid: Option<u32>,
    pub(super) mtime: Option<Timestamp>,
    pub(super) xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
    pub(super) acl_access: Option<Vec<u8>>,
    pub(super) acl_default: Option<Vec<u8>>,
    pub(super) sparse: Sparse,
}

/// What they say of holes.
#[derive(Debug, Default)]
pub(super) struct Sparse {
    pub(super) is_version_1: bool,
    pub(super) name: Option<Vec<u8>>,
    pub(super) size: Option<u64>,
    pub(super) ranges: Option<Ranges>,
    /// An offset that waits for its length.
    offset: Option<u64>,
}

impl Sparse {
    fn row(&mut self, at: u64, len: u64) -> Result<(), &'static str> {
        self.ranges.get_or_insert_default().add(at, len)
    }
}

/// Appends a record.
pub(super) fn push(out: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    // The length counts its own digits.
    let rest = key.len() + value.len() + 3;
    let mut len = rest + rest.to_string().len();
    if rest + len.to_string().len() != len {
        len += 1;
    }
    out.extend_from_slice(len.to_string().as_bytes());
    out.push(b' ');
    out.extend_from_slice(key);
    out.push(b'=');
    out.extend_from_slice(value);
    out.push(b'\n');
}

/// The name of an attribute as a key may hold it.
pub(super) fn encode_name(name: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(name.len());
    for byte in name {
        match byte {
            b'=' => out.extend_from_slice(b"%3D"),
            b'%' => out.extend_from_slice(b"%25"),
            other => out.push(*other),
        }
    }
    out
}

fn decode_name(key: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(key.len());
    let mut rest = key;
    while let Some((first, after)) = rest.split_first() {
        (out, rest) = match rest.get(..3) {
            Some(b"%3D") => ([&out[..], b"="].concat(), &rest[3..]),
            Some(b"%25") => ([&out[..], b"%"].concat(), &rest[3..]),
            _ => {
                out.push(*first);
                (out, after)
            }
        };
    }
    out
}

/// The first record of `bytes`, and what follows it.
fn record(bytes: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let space = bytes.iter().take(20).position(|byte| *byte == b' ')?;
    let len: usize = decimal(&bytes[..space])?;
    let text = bytes.get(space + 1..len)?.strip_suffix(b"\n")?;
    let equals = text.iter().position(|byte| *byte == b'=')?;
    Some((&text[..equals], &text[equals + 1..], &bytes[len..]))
}

impl Pax {
    /// Takes over all records of a header.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn read(&mut self, mut bytes: &[u8]) -> Result<(), &'static str> {
        // Some fill up with zeros.
        while !bytes.is_empty() && bytes.iter().any(|byte| *byte != 0) {
            let (key, value, rest) = record(bytes).ok_or("its extended header is damaged")?;
            self.take(key, value)?;
            bytes = rest;
        }
        let total: usize = self.xattrs.iter().map(|(name, value)| name.len() + value.len()).sum();
        if total > MAX_TOTAL_BYTES { Err("its attributes are too long") } else { Ok(()) }
    }

    fn take(&mut self, key: &[u8], value: &[u8]) -> Result<(), &'static str> {
        fn number<T: std::str::FromStr>(value: &[u8]) -> Result<Option<T>, &'static str> {
            if value.is_empty() {
                Ok(None)
            } else {
                decimal(value).map(Some).ok_or("a number of its extended header cannot be")
            }
        }
        let text = || (!value.is_empty()).then(|| value.to_vec());
        match key {
            b"path" => self.path = text(),
            b"linkpath" => self.link = text(),
            b"size" => self.size = number(value)?,
            b"uid" => self.uid = number(value)?,
            b"gid" => self.gid = number(value)?,
            b"mtime" if value.is_empty() => self.mtime = None,
            b"mtime" => self.mtime = Some(time(value).ok_or("its time cannot be")?),
            b"SCHILY.acl.access" => self.acl_access = text(),
            b"SCHILY.acl.default" => self.acl_default = text(),
            b"GNU.sparse.major" => self.sparse.is_version_1 = number::<u32>(value)? == Some(1),
            b"GNU.sparse.name" => self.sparse.name = text(),
            b"GNU.sparse.size" | b"GNU.sparse.realsize" => self.sparse.size = number(value)?,
            b"GNU.sparse.numblocks" => drop(self.sparse.ranges.get_or_insert_default()),
            b"GNU.sparse.offset" => self.sparse.offset = number(value)?,
            b"GNU.sparse.numbytes" => {
                let at = self.sparse.offset.take().ok_or("its map of holes is damaged")?;
                self.sparse.row(at, number(value)?.ok_or("its map of holes is damaged")?)?;
            }
            b"GNU.sparse.map" => {
                self.sparse.ranges = Some(Ranges::default());
                let mut numbers = value.split(|byte| *byte == b',').filter(|text| !text.is_empty()).map(decimal);
                while let Some(at) = numbers.next() {
                    let len = numbers.next().flatten().ok_or("its map of holes is damaged")?;
                    self.sparse.row(at.ok_or("its map of holes is damaged")?, len)?;
                }
            }
            _ => {
                if let Some(name) = key.strip_prefix(b"SCHILY.xattr.") {
                    let name = decode_name(name);
                    if name.is_empty()
                        || name.len() > MAX_NAME_BYTES
                        || name.contains(&0)
                        || value.len() > MAX_VALUE_BYTES
                    {
                        return Err("it has an attribute that no file can have");
                    }
                    self.xattrs.insert(name, value.to_vec());
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_state_their_own_length_at_every_length() {
        for len in (0..120).chain(980..1_020).chain(9_970..10_020) {
            let mut bytes = Vec::new();
            push(&mut bytes, b"path", &vec![b'a'; len]);
            push(&mut bytes, b"uid", b"7");
            let mut pax = Pax::default();
            pax.read(&bytes).unwrap();
            assert_eq!((pax.path.map_or(0, |path| path.len()), pax.uid), (len, Some(7)));
        }
    }

    #[test]
    fn attributes_of_any_name_survive_and_impossible_ones_do_not() {
        for name in [&b"user.a"[..], b"user.50%=half", b"user.%3D", b"user.\xff"] {
            let mut bytes = Vec::new();
            push(&mut bytes, &[b"SCHILY.xattr.", &encode_name(name)[..]].concat(), b"a\n\0=");
            let mut pax = Pax::default();
            pax.read(&bytes).unwrap();
            assert_eq!(pax.xattrs.get(name).map(Vec::as_slice), Some(&b"a\n\0="[..]));
        }
        for (key, value) in [(vec![b'n'; 300], 1), (b"user.a".to_vec(), (64 << 10) + 1), (Vec::new(), 1)] {
            let mut bytes = Vec::new();
            push(&mut bytes, &[b"SCHILY.xattr.", &key[..]].concat(), &vec![0; value]);
            assert!(Pax::default().read(&bytes).is_err());
        }
    }

    #[test]
    fn damaged_headers_are_refused() {
        let wrong = [
            "7 path",
            "5 a=b\n",
            "99 path=a\n",
            "x path=a\n",
            "-1 path=a\n",
            "9 patha\n\n",
            "13 mtime=1.x\n",
            "10 uid=-1\n",
        ];
        for wrong in wrong {
            assert!(Pax::default().read(wrong.as_bytes()).is_err(), "{wrong:?}");
        }
    }
}
