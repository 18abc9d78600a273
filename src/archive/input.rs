//! The file of an archive, and what is found out of it while it is read: how far, and its hashes.

use std::cell::RefCell;
use std::fs::OpenOptions;
use std::io::{self, BufReader, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use rustix::fs::OFlags;
use sha2::{Digest, Sha256};

use super::{ArchiveError, Format, Result};

/// An archive that is being read.
pub struct Input<'a> {
    /// The archive itself, decompressed.
    pub archive: Box<dyn Read + 'a>,
    /// How it is compressed.
    pub format: Format,
    hashes: Rc<RefCell<Hashes>>,
}

struct Hashes {
    blake3: blake3::Hasher,
    sha256: Option<Sha256>,
    bytes: u64,
}

/// What a file was found to be when it had been read to its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Its length.
    pub bytes: u64,
    /// Its hash, to see whether it is the same when it is read again.
    pub blake3: [u8; 32],
    /// Its SHA-256 in hexadecimal digits, if that was asked for.
    pub sha256: Option<String>,
}

impl<'a> Input<'a> {
    /// Opens the archive in a file. `read_bytes` counts what is read of it; `cancel` breaks it off.
    ///
    /// # Errors
    /// Where it cannot be read.
    pub fn open(path: &Path, wants_sha256: bool, read_bytes: &'a AtomicU64, cancel: &'a AtomicBool) -> Result<Self> {
        // A pipe that nobody writes to is not waited for.
        let flags = i32::try_from(OFlags::NONBLOCK.bits()).unwrap_or(0);
        let mut file = OpenOptions::new().read(true).custom_flags(flags).open(path).map_err(ArchiveError::Read)?;
        if !file.metadata().map_err(ArchiveError::Read)?.is_file() {
            return Err(ArchiveError::NotAnArchive);
        }
        let mut begin = Vec::new();
        (&mut file).take(4).read_to_end(&mut begin).map_err(ArchiveError::Read)?;
        let format = Format::of_bytes(&begin);
        let sha256 = wants_sha256.then(Sha256::new);
        let hashes = Rc::new(RefCell::new(Hashes { blake3: blake3::Hasher::new(), sha256, bytes: 0 }));
        let input = io::Cursor::new(begin).chain(file);
        let tee = Tee { input, hashes: Rc::clone(&hashes), read_bytes, cancel };
        let archive = format.open(BufReader::with_capacity(1 << 18, tee)).map_err(ArchiveError::Read)?;
        Ok(Self { archive, format, hashes })
    }

    /// What the file is, now that all of it was read.
    ///
    /// # Errors
    /// Where what follows the archive cannot be read.
    pub fn finish(mut self) -> Result<Seen> {
        io::copy(&mut self.archive, &mut io::sink()).map_err(ArchiveError::Read)?;
        let hashes = self.hashes.borrow();
        let sha256 = hashes.sha256.clone().map(|hasher| {
            let hash = hasher.finalize();
            hash.iter().map(|byte| format!("{byte:02x}")).collect()
        });
        Ok(Seen { bytes: hashes.bytes, blake3: *hashes.blake3.finalize().as_bytes(), sha256 })
    }
}

struct Tee<'a, R> {
    input: R,
    hashes: Rc<RefCell<Hashes>>,
    read_bytes: &'a AtomicU64,
    cancel: &'a AtomicBool,
}

impl<R: Read> Read for Tee<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.cancel.load(Ordering::Relaxed) {
            return Err(io::Error::other("stopped"));
        }
        let read = self.input.read(buffer)?;
        let mut hashes = self.hashes.borrow_mut();
        hashes.blake3.update(&buffer[..read]);
        if let Some(sha256) = &mut hashes.sha256 {
            sha256.update(&buffer[..read]);
        }
        hashes.bytes += read as u64;
        self.read_bytes.fetch_add(read as u64, Ordering::Relaxed);
        Ok(read)
    }
}
