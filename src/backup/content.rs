//! Reading the content of one file and putting it into the store: whole if small, cut where its content says if large.

use std::io::{self, Read as _};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::chunk_ids::{ChunkIds, extents_of};
use super::chunks::ChunkStore;
use super::trail::Trail;
use super::{BackupError, Progress};
use crate::chunker::Chunker;
use crate::format::pack::ChunkId;
use crate::format::record::{Flags, Place};
use crate::format::table::Extent;
use crate::overlay::{Node, PointTree};
use crate::pack::{BlockReader, Class};
use crate::repository::config::Chunking;
use crate::source::{OpenFile, Piece, PieceShape, Pieces, RangePieces, StreamPieces, Then};

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

/// Reads files, one after another, through the same buffers.
pub(super) struct ContentReader {
    chunker: Chunker,
    limits: Chunking,
    whole: Vec<u8>,
    pieces: [Vec<u8>; 2],
    /// Whoever is told to stop does not finish a large file first.
    cancel: Arc<AtomicBool>,
}

impl ContentReader {
    pub(super) const fn new(chunker: Chunker, limits: Chunking, cancel: Arc<AtomicBool>) -> Self {
        Self { chunker, limits, whole: Vec::new(), pieces: [Vec::new(), Vec::new()], cancel }
    }

    /// The cuts of `former`, a file of `previous`, if they were made by the chunker. What cannot be read of them is no reason to fail: they are only a help.
    pub(super) fn trail<'a>(
        &self,
        previous: Option<&'a PointTree>,
        former: Option<&Node>,
        chunk_ids: &'a ChunkIds,
        blocks: &'a BlockReader,
    ) -> Trail<'a> {
        let (Some(previous), Some(former)) = (previous, former) else { return Trail::none() };
        let record = former.entry.record();
        // Where a file changed while it was read, its runs of data need not have ended where they seem to.
        if record.meta.size <= self.limits.most_whole_bytes() || record.flags.has(Flags::TORN) {
            return Trail::none();
        }
        let catalog = previous.catalog(former.layer);
        match extents_of(catalog, record) {
            Ok(Some(extents)) => Trail::along(chunk_ids.of(extents, catalog.packs(), blocks).flatten()),
            Ok(None) | Err(_) => Trail::none(),
        }
    }

    /// Reads `file` and puts its data into `store`. `trail` is an earlier version of it.
    pub(super) fn read(
        &mut self,
        file: &OpenFile,
        trail: Trail<'_>,
        store: &mut ChunkStore<'_>,
        progress: &Progress,
    ) -> Result<Fresh, ContentError> {
        let stat = file.stat();
        let size = stat.meta.size;
        let is_dense = stat.allocated_bytes >= size;
        if is_dense && size <= self.limits.most_whole_bytes() {
            self.whole.clear();
            file.read_whole(&mut self.whole).map_err(ContentError::Source)?;
            // A file that shrank is as long as what was read of it; that it changed is found out by the caller.
            return Ok(self.put_whole(&self.whole, store, progress)?);
        }
        file.in_pieces(self.shape(), |pieces| self.cut(pieces, size, trail, store, progress))
    }

    /// Reads `input` to its end and puts its data into `store`. `trail` is an earlier version of it.
    pub(super) fn read_stream(
        &mut self,
        input: &mut dyn io::Read,
        trail: Trail<'_>,
        store: &mut ChunkStore<'_>,
        progress: &Progress,
    ) -> Result<Fresh, ContentError> {
        let mut begin = Vec::new();
        let mut head = io::Read::take(&mut *input, self.limits.most_whole_bytes() + 1);
        io::Read::read_to_end(&mut head, &mut begin).map_err(ContentError::Source)?;
        if begin.len() as u64 <= self.limits.most_whole_bytes() {
            return Ok(self.put_whole(&begin, store, progress)?);
        }
        let input = io::Read::chain(begin.as_slice(), input);
        self.cut(&mut StreamPieces::new(input, self.shape()), 0, trail, store, progress)
    }

    /// Reads a file of an archive and puts its data into `store`: `size` bytes, of which those in `ranges`, or all, follow each other in `input`.
    pub(super) fn read_member(
        &mut self,
        input: &mut dyn io::Read,
        size: u64,
        ranges: Option<&[Range<u64>]>,
        trail: Trail<'_>,
        store: &mut ChunkStore<'_>,
        progress: &Progress,
    ) -> Result<Fresh, ContentError> {
        if ranges.is_none() && size <= self.limits.most_whole_bytes() {
            let mut whole = std::mem::take(&mut self.whole);
            whole.clear();
            let read = io::Read::take(input, size).read_to_end(&mut whole).map_err(ContentError::Source);
            let fresh = read.and_then(|_| Ok(self.put_whole(&whole, store, progress)?));
            self.whole = whole;
            return fresh;
        }
        let whole = 0..size;
        let ranges = ranges.unwrap_or(std::slice::from_ref(&whole));
        self.cut(&mut RangePieces::new(input, ranges, self.shape()), size, trail, store, progress)
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

    /// How the chunks of a file of this size travel, 0 if nobody knows it: one that fits into a block of small files is not worth smaller blocks, which
    /// are for random reads and take more bytes.
    fn class(&self, size: u64) -> Class {
        if (1..=u64::from(self.limits.small_block_bytes)).contains(&size) { Class::Small } else { Class::Large }
    }

    fn shape(&self) -> PieceShape {
        let window = self.chunker.window();
        PieceShape { room_bytes: window, data_bytes: READ_BYTES.max(window) }
    }

    /// Cuts a file of `size` bytes and puts its chunks into `store`.
    fn cut(
        &mut self,
        pieces: &mut dyn Pieces,
        size: u64,
        mut trail: Trail<'_>,
        store: &mut ChunkStore<'_>,
        progress: &Progress,
    ) -> Result<Fresh, ContentError> {
        let mut fresh = Fresh { size, ..Fresh::default() };
        let class = self.class(size);
        let (window, room) = (self.chunker.window(), self.shape().room_bytes);
        let [mut next, mut held] = std::mem::take(&mut self.pieces);
        // What is left in `held` of the piece before: less than a window.
        let mut rest = 0..0;
        while let Some(Piece { at, filled, then }) = pieces.next(&mut next).map_err(ContentError::Source)? {
            progress.read((filled - room) as u64);
            let (mut taken, mut at) = (room - rest.len(), at - rest.len() as u64);
            next[taken..room].copy_from_slice(&held[rest]);
            std::mem::swap(&mut held, &mut next);
            while taken < filled && (filled - taken >= window || then != Then::More) {
                if self.cancel.load(Ordering::Relaxed) {
                    return Err(BackupError::Cancelled.into());
                }
                let run = &held[taken..filled.min(taken + window)];
                let is_all = then != Then::More && taken + run.len() == filled;
                let (len, id) = trail.cut(run, at, is_all, &self.chunker, |bytes| store.id(bytes));
                let place = store.put_as(id, &run[..len], class)?;
                fresh.push(at, len, id, place);
                fresh.data_bytes += len as u64;
                taken += len;
                at += len as u64;
            }
            rest = taken..filled;
            if then == Then::End {
                fresh.size = at;
            }
        }
        self.pieces = [next, held];
        Ok(fresh)
    }
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
