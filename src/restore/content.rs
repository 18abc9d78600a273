//! The bytes of files: writing them, and comparing them with what is there.
//!
//! Owns the slices in which a file is read from the store, and its holes. Refuses to know names and metadata. Its invariant: a file
//! that was written has exactly the archived size, data and holes, or the write failed.

use std::collections::VecDeque;
use std::ops::Range;
use std::os::fd::BorrowedFd;

use rustix::fs::{SeekFrom, seek};
use rustix::io::{Errno, pread, pwrite, retry_on_intr};

use super::fault::{During, Fault};
use super::hand::{Run, damaged};
use crate::catalog::{Catalog, Entry};
use crate::repository::ReadError;

/// Bytes that are read from the store at once.
const SLICE_BYTES: usize = 1 << 20;
/// Ranges of data that are asked for at once.
const RANGES: usize = 256;
/// Bytes by which an equal file may be larger on the disk than the archived one before its holes count as lost.
const HOLE_SLACK_BYTES: u64 = 128 << 10;

/// One file of the store.
#[derive(Clone, Copy)]
pub(super) struct Stored<'a> {
    pub(super) run: &'a Run<'a>,
    pub(super) catalog: &'a Catalog,
    pub(super) entry: &'a Entry,
}

impl Stored<'_> {
    fn size(&self) -> u64 {
        self.entry.record().meta.size
    }

    /// Replaces `buffer` by the bytes of `range`, which is not longer than a slice.
    pub(super) fn read(&self, range: Range<u64>, buffer: &mut Vec<u8>) -> Result<(), Fault> {
        self.run.check()?;
        buffer.clear();
        let len = usize::try_from(range.end - range.start).unwrap_or(usize::MAX);
        self.run.reader.read(self.catalog, self.entry, range.start, len, buffer)?;
        if buffer.len() == len { Ok(()) } else { Err(self.damaged("length of the content")) }
    }

    fn damaged(&self, what: &'static str) -> Fault {
        damaged(self.catalog.point().number, self.entry, what).into()
    }

    fn ranges(&self) -> Ranges<'_> {
        Ranges { stored: *self, known: VecDeque::new(), at: 0 }
    }
}

/// The ranges of a file that hold data, ascending, never empty, never overlapping.
struct Ranges<'a> {
    stored: Stored<'a>,
    known: VecDeque<Range<u64>>,
    at: u64,
}

impl Ranges<'_> {
    fn advance(&mut self) -> Result<Option<Range<u64>>, Fault> {
        if self.known.is_empty() {
            let Stored { run, catalog, entry } = self.stored;
            let known = &mut self.known;
            run.reader
                .data_ranges(catalog, entry, self.at, |range| {
                    known.push_back(range);
                    known.len() < RANGES
                })
                .map_err(ReadError::from)?;
        }
        let Some(range) = self.known.pop_front() else { return Ok(None) };
        let start = range.start.max(self.at);
        if range.end <= start || range.end > self.stored.size() {
            return Err(self.stored.damaged("extents"));
        }
        self.at = range.end;
        Ok(Some(start..range.end))
    }
}

/// Splits a range into slices.
fn slices(range: Range<u64>) -> impl Iterator<Item = Range<u64>> {
    let mut at = range.start;
    std::iter::from_fn(move || {
        let begin = at;
        at = range.end.min(begin.saturating_add(SLICE_BYTES as u64));
        (begin < at).then_some(begin..at)
    })
}

/// Writes all of `bytes` at `offset`.
pub(super) fn write_at(file: BorrowedFd<'_>, bytes: &[u8], offset: u64) -> Result<(), Fault> {
    let mut done = 0;
    while done < bytes.len() {
        match retry_on_intr(|| pwrite(file, &bytes[done..], offset + done as u64)).during("write to")? {
            0 => return Err(Fault::System("write to", Errno::IO)),
            wrote => done += wrote,
        }
    }
    Ok(())
}

/// Whether `file`, of the archived size and `allocated_bytes` on the disk, has the archived bytes, and holes where it should.
pub(super) fn is_equal(
    stored: Stored<'_>,
    file: BorrowedFd<'_>,
    allocated_bytes: u64,
    buffer: &mut Vec<u8>,
) -> Result<bool, Fault> {
    let size = stored.size();
    let record = stored.entry.record();
    if record.data_bytes < size && allocated_bytes > record.data_bytes + HOLE_SLACK_BYTES {
        return Ok(false);
    }
    let mut present = vec![0; SLICE_BYTES.min(usize::try_from(size).unwrap_or(SLICE_BYTES))];
    let mut ranges = stored.ranges();
    let mut at = 0;
    loop {
        let range = ranges.advance()?;
        let hole = at..range.as_ref().map_or(size, |range| range.start);
        if !is_zero(file, hole, &mut present)? {
            return Ok(false);
        }
        let Some(range) = range else { return Ok(true) };
        at = range.end;
        for slice in slices(range) {
            let begin = slice.start;
            stored.read(slice, buffer)?;
            let present = &mut present[..buffer.len()];
            if !read_at(file, present, begin)? || *present != **buffer {
                return Ok(false);
            }
        }
    }
}

/// Whether `file` has only holes and zeros in `range`.
fn is_zero(file: BorrowedFd<'_>, range: Range<u64>, buffer: &mut [u8]) -> Result<bool, Fault> {
    let mut at = range.start;
    while at < range.end {
        match seek(file, SeekFrom::Data(at)) {
            Ok(data) if data >= range.end => return Ok(true),
            Ok(data) => at = data.max(at),
            // No data up to the end.
            Err(Errno::NXIO) => return Ok(true),
            // A file system that knows no holes.
            Err(_) => {}
        }
        let len = buffer.len().min(usize::try_from(range.end - at).unwrap_or(usize::MAX));
        let slice = &mut buffer[..len];
        if !read_at(file, slice, at)? || slice.iter().any(|byte| *byte != 0) {
            return Ok(false);
        }
        at += len as u64;
    }
    Ok(true)
}

/// Fills `buffer`; `false` where the file ends before.
fn read_at(file: BorrowedFd<'_>, buffer: &mut [u8], offset: u64) -> Result<bool, Fault> {
    let mut done = 0;
    while done < buffer.len() {
        match retry_on_intr(|| pread(file, &mut buffer[done..], offset + done as u64)).during("read")? {
            0 => return Ok(false),
            read => done += read,
        }
    }
    Ok(true)
}
