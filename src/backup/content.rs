//! Reading the content of one file and putting it into the store: whole if small, cut where its content says if large.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::chunks::ChunkStore;
use super::{BackupError, Progress};
use crate::chunker::Chunker;
use crate::format::pack::ChunkId;
use crate::format::record::Place;
use crate::format::table::Extent;
use crate::pack::Class;
use crate::repository::config::Chunking;
use crate::source::OpenFile;

/// Bytes that are read from a large file at once.
const READ_BYTES: usize = 1 << 20;

/// The content of a regular file, as it was just read.
#[derive(Debug, Default)]
pub(super) struct Fresh {
    /// Bytes of the file, holes included.
    pub(super) size: u64,
    /// Bytes that are not holes.
    pub(super) data_bytes: u64,
    /// All bytes, if the file is tiny.
    pub(super) inline: Vec<u8>,
    /// Where the bytes lie, if it is not; neighbours in a block are one extent.
    pub(super) extents: Vec<Extent>,
    /// Each chunk: where it begins in the file, its length, its id.
    pub(super) chunks: Vec<(u64, u32, ChunkId)>,
}

/// Why content could not be put into the store.
pub(super) enum ContentError {
    /// The source could not be read: that file's misfortune.
    Source(io::Error),
    /// The store could not be written: the end of the backup.
    Store(BackupError),
}

impl From<BackupError> for ContentError {
    fn from(error: BackupError) -> Self {
        Self::Store(error)
    }
}

/// Reads files, one after another, through one buffer.
pub(super) struct ContentReader {
    chunker: Chunker,
    limits: Chunking,
    buffer: Vec<u8>,
    /// Whoever is told to stop does not finish a large file first.
    cancel: Arc<AtomicBool>,
}

impl ContentReader {
    pub(super) const fn new(chunker: Chunker, limits: Chunking, cancel: Arc<AtomicBool>) -> Self {
        Self { chunker, limits, buffer: Vec::new(), cancel }
    }

    /// Reads `file` and puts its data into `store`.
    pub(super) fn read(
        &mut self,
        file: &OpenFile,
        store: &mut ChunkStore<'_>,
        progress: &Progress,
    ) -> Result<Fresh, ContentError> {
        let stat = file.stat();
        let size = stat.meta.size;
        let is_dense = stat.allocated_bytes >= size;
        if is_dense && size <= self.limits.most_whole_bytes() {
            self.buffer.clear();
            file.read_whole(&mut self.buffer).map_err(ContentError::Source)?;
            // A file that shrank is as long as what was read of it; that it changed is found out by the caller.
            return Ok(self.put_whole(&self.buffer, store, progress)?);
        }
        let mut fresh = Fresh { size, ..Fresh::default() };
        for range in file.extents() {
            let range = range.map_err(ContentError::Source)?;
            let mut read = |buffer: &mut [u8], at| file.read_at(buffer, at);
            let reached = self.cut(&mut read, range.clone(), store, &mut fresh, progress)?;
            if reached < range.end {
                fresh.size = reached;
                break;
            }
        }
        Ok(fresh)
    }

    /// Takes a small file that was read whole, and puts it into `store` unless it is tiny.
    pub(super) fn put_whole(
        &self,
        bytes: &[u8],
        store: &mut ChunkStore<'_>,
        progress: &Progress,
    ) -> Result<Fresh, BackupError> {
        let size = bytes.len() as u64;
        let mut fresh = Fresh { size, data_bytes: size, ..Fresh::default() };
        progress.read(size);
        if bytes.len() <= self.limits.inline_bytes as usize {
            bytes.clone_into(&mut fresh.inline);
        } else {
            let (id, place) = store.put(bytes, Class::Small)?;
            fresh.push(0, bytes.len(), id, place);
        }
        Ok(fresh)
    }

    /// Reads `input` to its end and puts its data into `store`.
    pub(super) fn read_stream(
        &mut self,
        input: &mut dyn io::Read,
        store: &mut ChunkStore<'_>,
        progress: &Progress,
    ) -> Result<Fresh, ContentError> {
        let mut begin = Vec::new();
        let small = self.limits.most_whole_bytes();
        let mut head = io::Read::take(&mut *input, small + 1);
        io::Read::read_to_end(&mut head, &mut begin).map_err(ContentError::Source)?;
        if begin.len() as u64 <= small {
            return Ok(self.put_whole(&begin, store, progress)?);
        }
        let mut fresh = Fresh::default();
        let mut input = io::Read::chain(begin.as_slice(), input);
        let mut read = |buffer: &mut [u8], _| read_full(&mut input, buffer);
        fresh.size = self.cut(&mut read, 0..u64::MAX, store, &mut fresh, progress)?;
        Ok(fresh)
    }

    /// How the chunks of a file of this size travel, 0 if nobody knows it: one that fits into a block of small files is not worth smaller blocks, which
    /// are for random reads and take more bytes.
    fn class(&self, size: u64) -> Class {
        if (1..=u64::from(self.limits.small_block_bytes)).contains(&size) { Class::Small } else { Class::Large }
    }

    /// Cuts a run of data and puts its chunks into `store`; answers where it ended, which is earlier than asked if the data did. `read` fills a buffer
    /// with what stands at an offset, less only where the data ends.
    fn cut(
        &mut self,
        read: &mut dyn FnMut(&mut [u8], u64) -> io::Result<usize>,
        range: std::ops::Range<u64>,
        store: &mut ChunkStore<'_>,
        fresh: &mut Fresh,
        progress: &Progress,
    ) -> Result<u64, ContentError> {
        let class = self.class(fresh.size);
        let window = self.chunker.window();
        self.buffer.resize(READ_BYTES.max(window) + window, 0);
        // The bytes at hand are `buffer[taken..filled]`; they begin at `at`.
        let (mut at, mut taken, mut filled) = (range.start, 0, 0);
        let mut is_at_end = false;
        loop {
            if self.cancel.load(Ordering::Relaxed) {
                return Err(BackupError::Cancelled.into());
            }
            if filled - taken < window && !is_at_end {
                self.buffer.copy_within(taken..filled, 0);
                (taken, filled) = (0, filled - taken);
                let left = range.end - at - filled as u64;
                let room = usize::try_from(left).unwrap_or(usize::MAX).min(self.buffer.len() - filled);
                let wanted = &mut self.buffer[filled..filled + room];
                let got = read(wanted, at + filled as u64).map_err(ContentError::Source)?;
                filled += got;
                is_at_end = got < room || got as u64 == left;
                progress.read(got as u64);
            }
            if taken == filled {
                return Ok(at);
            }
            let run = &self.buffer[taken..filled.min(taken + window)];
            let len = self.chunker.cut(run);
            let (id, place) = store.put(&run[..len], class)?;
            fresh.push(at, len, id, place);
            fresh.data_bytes += len as u64;
            taken += len;
            at += len as u64;
        }
    }
}

/// Fills `buffer`, but for the end of the input.
fn read_full(input: &mut dyn io::Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match input.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

impl Fresh {
    fn push(&mut self, at: u64, len: usize, id: ChunkId, place: Place) {
        let len = u32::try_from(len).expect("a chunk is bounded");
        self.chunks.push((at, len, id));
        if let Some(last) = self.extents.last_mut() {
            let continued = Place { offset: last.place.offset.wrapping_add(last.len), ..last.place };
            if continued == place && last.end() == at && last.len.checked_add(len).is_some() {
                last.len += len;
                return;
            }
        }
        self.extents.push(Extent { at, len, place });
    }
}
