//! Reading one entry that is no directory: its content or target, and its attributes.

use super::Result;
use super::content::{ContentError, Fresh};
use super::engine::Engine;
use crate::format::record::encode_xattrs;
use crate::format::{Kind, Meta, Stat, Timestamp};
use crate::source::{EarlyFile, OpenDir, OpenError, open_file, read_link, stat, xattr};

/// How often a file is read that changes while it is read.
const ATTEMPTS: u32 = 3;

/// An entry as it was just read.
pub(super) struct FreshLeaf {
    /// Taken before reading.
    pub(super) stat: Stat,
    pub(super) taken_at: Timestamp,
    pub(super) xattrs: Vec<u8>,
    pub(super) content: Fresh,
    pub(super) is_torn: bool,
}

/// What reading an entry came to.
pub(super) enum Read {
    Fresh(Box<FreshLeaf>),
    /// It was removed meanwhile.
    Gone,
    Failed(std::io::Error),
}

impl FreshLeaf {
    /// What is archived of it.
    pub(super) fn meta(&self) -> Meta {
        let size = if self.stat.meta.kind == Kind::File { self.content.size } else { 0 };
        Meta { size, ..self.stat.meta }
    }
}

impl Engine<'_> {
    /// Reads an entry that is no directory.
    pub(super) fn read_leaf(&mut self, dir: &OpenDir, name: &[u8], stat: Stat) -> Result<Read> {
        if stat.meta.kind == Kind::File {
            return self.read_file(dir, name, stat);
        }
        let taken_at = Timestamp::now();
        let fd = match dir.fd() {
            Ok(fd) => fd,
            Err(errno) => return Ok(Read::Failed(errno.into())),
        };
        let mut content = Fresh::default();
        if stat.meta.kind == Kind::Symlink {
            match read_link(fd, name) {
                Ok(target) => content.inline = target,
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Read::Gone),
                Err(error) => return Ok(Read::Failed(error)),
            }
        }
        let xattrs = match xattr::xattrs_at(fd, name) {
            Ok(found) => encode(&found),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Read::Gone),
            Err(error) => return Ok(Read::Failed(error)),
        };
        Ok(Read::Fresh(Box::new(FreshLeaf { stat, taken_at, xattrs, content, is_torn: false })))
    }

    /// Takes a file that was read ahead. Its `stat`, which was taken no earlier than `taken_at`, is known to have held still.
    pub(super) fn take_early(&mut self, early: EarlyFile<'_>, taken_at: Timestamp, stat: Stat) -> Result<Read> {
        let content = self.content.put_whole(early.content, &mut self.chunks, self.progress)?;
        self.counts.read_bytes += content.data_bytes;
        let xattrs = encode(early.xattrs);
        Ok(Read::Fresh(Box::new(FreshLeaf { stat, taken_at, xattrs, content, is_torn: false })))
    }

    /// Reads a file; once more if it changes meanwhile, and again, before what was read is taken for torn.
    fn read_file(&mut self, dir: &OpenDir, name: &[u8], mut stat: Stat) -> Result<Read> {
        let mut attempt = 0;
        loop {
            attempt += 1;
            let taken_at = Timestamp::now();
            let file = match open_file(dir, name, &stat) {
                Ok(file) => file,
                Err(OpenError::Vanished { .. }) => return Ok(Read::Gone),
                Err(OpenError::Replaced { .. }) => match replaced(dir, name) {
                    Ok(now) if attempt < ATTEMPTS && now.meta.kind == Kind::File => {
                        stat = now;
                        continue;
                    }
                    Ok(_) => return Ok(Read::Failed(std::io::Error::other("it was replaced while it was read"))),
                    Err(read) => return Ok(read),
                },
                Err(OpenError::Refused { source, .. }) => return Ok(Read::Failed(source)),
            };
            let xattrs = match xattr::xattrs_of(&file) {
                Ok(found) => encode(&found),
                Err(error) => return Ok(Read::Failed(error)),
            };
            let before = *file.stat();
            let content = match self.content.read(&file, &mut self.chunks, self.progress) {
                Ok(content) => content,
                Err(ContentError::Source(error)) => return Ok(Read::Failed(error)),
                Err(ContentError::Store(error)) => return Err(error),
            };
            self.counts.read_bytes += content.data_bytes;
            let is_torn = match file.settled(&before) {
                Ok(None) => false,
                Ok(Some(now)) if attempt < ATTEMPTS => {
                    stat = now;
                    continue;
                }
                Ok(Some(_)) => true,
                Err(error) => return Ok(Read::Failed(error)),
            };
            return Ok(Read::Fresh(Box::new(FreshLeaf { stat: before, taken_at, xattrs, content, is_torn })));
        }
    }
}

/// The stat of what has taken an entry's place.
fn replaced(dir: &OpenDir, name: &[u8]) -> std::result::Result<Stat, Read> {
    let now = dir.fd().and_then(|fd| stat::stat_at(fd, name));
    now.map_err(|errno| if errno == rustix::io::Errno::NOENT { Read::Gone } else { Read::Failed(errno.into()) })
}

/// Attributes as a catalog holds them.
pub(super) fn encode(found: &xattr::Xattrs) -> Vec<u8> {
    encode_xattrs(found.iter().map(|(name, value)| (name.as_slice(), value.as_slice())))
}
