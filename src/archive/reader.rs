//! Reading an archive, member after member, from bytes that anybody may have written.
//!
//! Owns what a header may say. Invariant: what is held of a member is bounded whatever it says, and its data is handed on, never held.

use std::io::{self, Read};

use super::acl::{self, Named, NotAnAcl};
use super::number::{decimal, field};
use super::pax::Pax;
use super::sparse::Ranges;
use super::{ArchiveError, BLOCK_BYTES, MAX_PATH_BYTES, MAX_PAX_BYTES, Member, Result};
use crate::format::record::encode_xattrs;
use crate::format::{Kind, Meta, Timestamp};

/// The longest target of a symbolic link that Linux has.
const MAX_TARGET_BYTES: usize = 4095;

type Block = [u8; BLOCK_BYTES];

/// Reads the members of an archive that is not compressed, or not any more.
pub struct ArchiveReader<'a, R> {
    input: R,
    number_of: &'a dyn Fn(Named, &[u8]) -> Option<u32>,
    /// Bytes of the member at hand that were not read yet, and what fills up its last block.
    left: u64,
    padding: u64,
    number: u32,
    globals: Pax,
    has_ended: bool,
}

impl<'a, R: Read> ArchiveReader<'a, R> {
    /// A reader at the beginning of an archive. `number_of` knows the numbers of users and groups that ACLs name.
    pub fn new(input: R, number_of: &'a dyn Fn(Named, &[u8]) -> Option<u32>) -> Self {
        let globals = Pax::default();
        Self { input, number_of, left: 0, padding: 0, number: 0, globals, has_ended: false }
    }

    /// The next member; what is left of the one before is passed over. After the last one all that follows the archive is read, too, so that what is
    /// compressed was seen to its end.
    ///
    /// # Errors
    /// Where the archive cannot be read, is cut off, or says what cannot be.
    pub fn next_member(&mut self) -> Result<Option<Member>> {
        if self.has_ended {
            return Ok(None);
        }
        let (mut pax, mut long_path, mut long_link) = (Pax::default(), None, None);
        let mut is_bare = true;
        loop {
            self.skip()?;
            let mut block = [0; BLOCK_BYTES];
            match self.fill(&mut block)? {
                0 => return Err(ArchiveError::Cut("before the two empty blocks that end every archive")),
                BLOCK_BYTES => {}
                // Not one header: nothing says that this ever was one.
                _ if self.number == 0 => return Err(ArchiveError::NotAnArchive),
                _ => return Err(ArchiveError::Cut("in a header")),
            }
            if block == [0; BLOCK_BYTES] {
                if !is_bare {
                    return Err(ArchiveError::Cut("before the member that a header announces"));
                }
                self.has_ended = true;
                io::copy(&mut self.input, &mut io::sink()).map_err(ArchiveError::Read)?;
                return Ok(None);
            }
            is_bare = false;
            self.number = self.number.checked_add(1).ok_or(ArchiveError::TooLarge)?;
            let header = tar::Header::from_byte_slice(&block);
            if !is_sound(&block) {
                return Err(if self.number == 1 {
                    ArchiveError::NotAnArchive
                } else {
                    self.wrong("its checksum differs")
                });
            }
            let stored = self.unsigned(&header.as_old().size)?;
            match header.as_old().linkflag[0] {
                b'x' | b'X' => {
                    let records = self.small(stored, MAX_PAX_BYTES)?;
                    pax.read(&records).map_err(|fault| self.wrong(fault))?;
                }
                b'g' => {
                    let records = self.small(stored, MAX_PAX_BYTES)?;
                    let mut globals = std::mem::take(&mut self.globals);
                    globals.read(&records).map_err(|fault| self.wrong(fault))?;
                    self.globals = globals;
                }
                b'L' => long_path = Some(until_zero(&self.small(stored, MAX_PATH_BYTES as u64 + 1)?).to_vec()),
                b'K' => long_link = Some(until_zero(&self.small(stored, MAX_PATH_BYTES as u64 + 1)?).to_vec()),
                // The label of a volume.
                b'V' => {
                    (self.left, self.padding) = (stored, padding_of(stored));
                    is_bare = true;
                }
                _ => return self.member(&block, stored, pax, long_path, long_link).map(Some),
            }
        }
    }

    fn member(
        &mut self,
        block: &Block,
        stored: u64,
        mut pax: Pax,
        long_path: Option<Vec<u8>>,
        long_link: Option<Vec<u8>>,
    ) -> Result<Member> {
        let header = tar::Header::from_byte_slice(block);
        let fields = header.as_old();
        let path = pax.sparse.name.take().or(pax.path.take()).or(long_path).unwrap_or_else(|| name_of(header));
        let type_flag = fields.linkflag[0];
        let (kind, is_hard_link) = match type_flag {
            // Before there were types, a `/` at the end made a directory.
            0 | b'0' | b'7' if path.ends_with(b"/") => (Kind::Directory, false),
            0 | b'0' | b'7' | b'S' => (Kind::File, false),
            b'1' => (Kind::File, true),
            b'2' => (Kind::Symlink, false),
            b'3' => (Kind::CharDevice, false),
            b'4' => (Kind::BlockDevice, false),
            b'5' | b'D' => (Kind::Directory, false),
            b'6' => (Kind::Fifo, false),
            b'M' => return Err(ArchiveError::member(&path, "it is a part of a file that began in another volume")),
            _ => return Err(ArchiveError::member(&path, "it is of a type that is not known")),
        };
        let refused = |fault| ArchiveError::member(&path, fault);
        if path.len() > MAX_PATH_BYTES || path.contains(&0) {
            return Err(refused("its path is too long, or holds a zero byte"));
        }
        let stored = pax.size.or(self.globals.size).unwrap_or(stored);
        // Whatever else says that it has data, the data is there to be passed over; but links in old archives state the size of their target.
        let stored = if matches!(type_flag, b'1' | b'2' | b'3' | b'4' | b'5' | b'6') { 0 } else { stored };
        (self.left, self.padding) = (stored, padding_of(stored));
        let id = |pax: Option<u32>, global: Option<u32>, bytes: &[u8]| {
            let from_field = || field(bytes).and_then(|id| u32::try_from(id).ok());
            pax.or(global).or_else(from_field).ok_or_else(|| refused("its owner cannot be"))
        };
        let uid = id(pax.uid, self.globals.uid, &fields.uid)?;
        let gid = id(pax.gid, self.globals.gid, &fields.gid)?;
        let from_field = || Some(Timestamp::new(i64::try_from(field(&fields.mtime)?).ok()?, 0));
        let mtime =
            pax.mtime.or(self.globals.mtime).or_else(from_field).ok_or_else(|| refused("its time cannot be"))?;
        let mode = field(&fields.mode).ok_or_else(|| refused("its mode cannot be"))?;
        let mode = u32::try_from(mode & 0o7777).unwrap_or(0);
        let is_device = matches!(kind, Kind::CharDevice | Kind::BlockDevice);
        let rdev = if is_device { device(header).ok_or_else(|| refused("its device number cannot be"))? } else { 0 };
        let mut meta = Meta { kind, mode, uid, gid, nlink: 1, rdev, size: 0, mtime };
        let is_link = is_hard_link || kind == Kind::Symlink;
        let link = pax.link.take().or(long_link).unwrap_or_else(|| until_zero(&fields.linkname).to_vec());
        let link = if is_link { link } else { Vec::new() };
        let most = if is_hard_link { MAX_PATH_BYTES } else { MAX_TARGET_BYTES };
        if is_link && (link.is_empty() || link.len() > most || link.contains(&0)) {
            return Err(refused("its target cannot be"));
        }
        let mut ranges = None;
        if kind == Kind::File && !is_hard_link {
            meta.size = stored;
            let map = self.map(block, &mut pax).map_err(|error| match error {
                ArchiveError::Header { fault, .. } => refused(fault),
                error => error,
            })?;
            if let Some((size, map)) = map {
                ranges = Some(map.finish(size, self.left).map_err(refused)?);
                meta.size = size;
            }
        }
        let has_unknown_names = self.acls(&mut pax, kind).map_err(refused)?;
        let xattrs = encode_xattrs(pax.xattrs.iter().map(|(name, value)| (name.as_slice(), value.as_slice())));
        Ok(Member { path, meta, link, is_hard_link, xattrs, ranges, has_unknown_names })
    }

    /// The size and the ranges of data of a sparse file.
    fn map(&mut self, block: &Block, pax: &mut Pax) -> Result<Option<(u64, Ranges)>> {
        let header = tar::Header::from_byte_slice(block);
        if header.as_old().linkflag[0] == b'S' {
            let gnu =
                header.as_gnu().ok_or_else(|| self.wrong("it is sparse in a way that its header has no room for"))?;
            let mut ranges = Ranges::default();
            self.rows(&mut ranges, &gnu.sparse)?;
            let mut is_extended = gnu.isextended[0] != 0;
            while is_extended {
                // Not of the member's data, and not counted by it.
                let mut extension = tar::GnuExtSparseHeader::new();
                if self.fill(extension.as_mut_bytes())? != BLOCK_BYTES {
                    return Err(ArchiveError::Cut("in a map of holes"));
                }
                self.rows(&mut ranges, &extension.sparse)?;
                is_extended = extension.isextended[0] != 0;
            }
            return Ok(Some((self.unsigned(&gnu.realsize)?, ranges)));
        }
        let Some(size) = pax.sparse.size else { return Ok(None) };
        if !pax.sparse.is_version_1 {
            return Ok(pax.sparse.ranges.take().map(|ranges| (size, ranges)));
        }
        // A number a line, at the head of the data, filled up to whole blocks.
        let mut lines = Lines { left: 0, line: Vec::new() };
        let mut ranges = Ranges::default();
        for _ in 0..lines.next(self)? {
            let (at, len) = (lines.next(self)?, lines.next(self)?);
            ranges.add(at, len).map_err(|fault| self.wrong(fault))?;
        }
        let mut rest = vec![0; lines.left];
        self.read_exact(&mut rest).map_err(cut_or_read)?;
        Ok(Some((size, ranges)))
    }

    fn rows(&self, ranges: &mut Ranges, rows: &[tar::GnuSparseHeader]) -> Result<()> {
        for row in rows.iter().filter(|row| row.offset[0] != 0) {
            let (at, len) = (self.unsigned(&row.offset)?, self.unsigned(&row.numbytes)?);
            ranges.add(at, len).map_err(|fault| self.wrong(fault))?;
        }
        Ok(())
    }

    /// Puts ACLs that are text among the attributes, unless they stand there already; answers whether one names somebody unknown.
    fn acls(&self, pax: &mut Pax, kind: Kind) -> std::result::Result<bool, &'static str> {
        let mut has_unknown = false;
        let texts =
            [(&b"system.posix_acl_access"[..], &pax.acl_access), (b"system.posix_acl_default", &pax.acl_default)];
        for (name, text) in texts {
            let Some(text) = text.as_ref().filter(|_| kind != Kind::Symlink && !pax.xattrs.contains_key(name)) else {
                continue;
            };
            match acl::from_text(text, self.number_of) {
                Ok(Some(raw)) => drop(pax.xattrs.insert(name.to_vec(), raw)),
                Ok(None) => {}
                Err(NotAnAcl::Unknown) => has_unknown = true,
                Err(NotAnAcl::Form) => return Err("its ACL cannot be"),
            }
        }
        Ok(has_unknown)
    }

    /// All bytes of a member that is no more than a header.
    fn small(&mut self, stored: u64, most: u64) -> Result<Vec<u8>> {
        if stored > most {
            return Err(self.wrong("it is a header that is too long"));
        }
        (self.left, self.padding) = (stored, padding_of(stored));
        let mut bytes = Vec::new();
        // It grows with what is there, not with what is said.
        self.read_to_end(&mut bytes).map_err(cut_or_read)?;
        Ok(bytes)
    }

    fn skip(&mut self) -> Result<()> {
        let rest = self.left.checked_add(self.padding).ok_or_else(|| self.wrong("its size cannot be"))?;
        (self.left, self.padding) = (0, 0);
        let skipped = io::copy(&mut (&mut self.input).take(rest), &mut io::sink()).map_err(ArchiveError::Read)?;
        if skipped == rest { Ok(()) } else { Err(ArchiveError::Cut("in the data of a member")) }
    }

    /// Fills `buffer` as far as there is input.
    fn fill(&mut self, buffer: &mut [u8]) -> Result<usize> {
        let mut filled = 0;
        while filled < buffer.len() {
            match self.input.read(&mut buffer[filled..]) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(ArchiveError::Read(error)),
            }
        }
        Ok(filled)
    }

    fn unsigned(&self, bytes: &[u8]) -> Result<u64> {
        field(bytes).and_then(|number| u64::try_from(number).ok()).ok_or_else(|| self.wrong("a number of it cannot be"))
    }

    const fn wrong(&self, fault: &'static str) -> ArchiveError {
        ArchiveError::Header { number: self.number, fault }
    }
}

/// The data of the member at hand.
impl<R: Read> Read for ArchiveReader<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let wanted = usize::try_from(self.left).map_or(buffer.len(), |left| left.min(buffer.len()));
        if wanted == 0 {
            return Ok(0);
        }
        let read = self.input.read(&mut buffer[..wanted])?;
        if read == 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "it is cut off in the data of a member"));
        }
        self.left -= read as u64;
        Ok(read)
    }
}

/// The lines of a map of version 1.0.
struct Lines {
    /// Bytes up to the next whole block.
    left: usize,
    line: Vec<u8>,
}

impl Lines {
    fn next<R: Read>(&mut self, reader: &mut ArchiveReader<'_, R>) -> Result<u64> {
        self.line.clear();
        loop {
            let mut byte = [0];
            reader.read_exact(&mut byte).map_err(cut_or_read)?;
            self.left = if self.left == 0 { BLOCK_BYTES - 1 } else { self.left - 1 };
            match byte[0] {
                b'\n' => break,
                byte if self.line.len() < 20 => self.line.push(byte),
                _ => return Err(reader.wrong("its map of holes is damaged")),
            }
        }
        decimal(&self.line).ok_or_else(|| reader.wrong("its map of holes is damaged"))
    }
}

fn cut_or_read(error: io::Error) -> ArchiveError {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => ArchiveError::Cut("in a header or a map of holes"),
        _ => ArchiveError::Read(error),
    }
}

const fn padding_of(len: u64) -> u64 {
    (BLOCK_BYTES as u64 - len % BLOCK_BYTES as u64) % BLOCK_BYTES as u64
}

fn until_zero(bytes: &[u8]) -> &[u8] {
    bytes.split(|byte| *byte == 0).next().unwrap_or_default()
}

/// The path that a header itself holds.
fn name_of(header: &tar::Header) -> Vec<u8> {
    let name = until_zero(&header.as_old().name);
    match header.as_ustar().map(|ustar| until_zero(&ustar.prefix)).filter(|prefix| !prefix.is_empty()) {
        Some(prefix) => [prefix, b"/", name].concat(),
        None => name.to_vec(),
    }
}

fn device(header: &tar::Header) -> Option<u64> {
    let (major, minor) = match (header.as_ustar(), header.as_gnu()) {
        (Some(ustar), _) => (&ustar.dev_major, &ustar.dev_minor),
        (_, Some(gnu)) => (&gnu.dev_major, &gnu.dev_minor),
        _ => return None,
    };
    let number = |bytes: &[u8]| field(bytes).and_then(|number| u32::try_from(number).ok());
    Some(rustix::fs::makedev(number(major)?, number(minor)?))
}

/// Whether the header's checksum is right: the sum of its bytes with spaces in the place of the sum. Some once took bytes for signed.
fn is_sound(block: &Block) -> bool {
    let bytes = || block.iter().enumerate().map(|(at, byte)| if (148..156).contains(&at) { b' ' } else { *byte });
    let unsigned: i128 = bytes().map(i128::from).sum();
    let signed: i128 = bytes().map(|byte| i128::from(byte.cast_signed())).sum();
    field(&block[148..156]).is_some_and(|sum| sum == unsigned || sum == signed)
}
