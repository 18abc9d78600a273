//! The data of a large file, piece by piece, in the order of the file.
//!
//! Owns what a piece is, and the plain ways to read them: from a file with its holes, from a stream, and from a stream whose holes are known. Refuses to
//! know where pieces are cut. Its invariant: pieces of one run of data follow each other without a gap, and the last of
//! each run says that it is.

mod ahead;

use std::io;
use std::ops::Range;

use super::read::{Extents, OpenFile};

/// How pieces are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PieceShape {
    /// Bytes kept free before the data, for what is left over of the piece before.
    pub room_bytes: usize,
    /// The most bytes of data in a piece; at least 1.
    pub data_bytes: usize,
}

/// What follows on a piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    /// More of the same run of data.
    More,
    /// A hole, or the end of a file that is as long as it was said to be.
    Hole,
    /// Nothing: the input ends here, wherever it was said to end.
    End,
}

/// Some bytes of a run of data, in a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Where the data begins in the file.
    pub at: u64,
    /// Where the data ends in the buffer; it begins after the room.
    pub filled: usize,
    /// What follows.
    pub then: Then,
}

/// Gives piece after piece.
pub trait Pieces {
    /// The next piece, and none after the last. `buffer` is made as long as need be, or exchanged for one that is filled
    /// already; what it held is needed no more.
    ///
    /// # Errors
    /// Where the input cannot be read; there is no piece after that.
    fn next(&mut self, buffer: &mut Vec<u8>) -> io::Result<Option<Piece>>;
}

/// The data of a file, read when it is asked for.
pub(super) struct FilePieces<'a> {
    file: &'a OpenFile,
    extents: Extents<'a>,
    shape: PieceShape,
    /// What is left of the run that is being read.
    left: Range<u64>,
    has_ended: bool,
}

impl<'a> FilePieces<'a> {
    pub(super) const fn new(file: &'a OpenFile, shape: PieceShape) -> Self {
        Self { file, extents: file.extents(), shape, left: 0..0, has_ended: false }
    }

    fn read(&mut self, buffer: &mut Vec<u8>) -> io::Result<Option<Piece>> {
        if self.left.is_empty() {
            let Some(range) = self.extents.next() else { return Ok(None) };
            self.left = range?;
        }
        let (at, end) = (self.left.start, self.left.end);
        let wanted = usize::try_from(end - at).map_or(self.shape.data_bytes, |left| left.min(self.shape.data_bytes));
        let got = self.file.read_at(self.shape.data(buffer, wanted), at)?;
        self.left.start = at + got as u64;
        self.has_ended = got < wanted;
        let then = match (self.has_ended, self.left.is_empty()) {
            (true, _) => Then::End,
            (false, true) => Then::Hole,
            (false, false) => Then::More,
        };
        Ok(Some(Piece { at, filled: self.shape.room_bytes + got, then }))
    }
}

impl Pieces for FilePieces<'_> {
    fn next(&mut self, buffer: &mut Vec<u8>) -> io::Result<Option<Piece>> {
        if self.has_ended {
            return Ok(None);
        }
        let piece = self.read(buffer);
        self.has_ended |= piece.is_err();
        piece
    }
}

/// The bytes of a stream, read when they are asked for.
pub struct StreamPieces<R> {
    input: R,
    shape: PieceShape,
    at: u64,
    has_ended: bool,
}

impl<R: io::Read> StreamPieces<R> {
    /// The pieces of `input`, to its end.
    pub const fn new(input: R, shape: PieceShape) -> Self {
        Self { input, shape, at: 0, has_ended: false }
    }
}

impl<R: io::Read> Pieces for StreamPieces<R> {
    fn next(&mut self, buffer: &mut Vec<u8>) -> io::Result<Option<Piece>> {
        if self.has_ended {
            return Ok(None);
        }
        let data = self.shape.data(buffer, self.shape.data_bytes);
        let got = read_full(&mut self.input, data).inspect_err(|_| self.has_ended = true)?;
        let at = self.at;
        self.at += got as u64;
        self.has_ended = got < self.shape.data_bytes;
        let then = if self.has_ended { Then::End } else { Then::More };
        Ok(Some(Piece { at, filled: self.shape.room_bytes + got, then }))
    }
}

/// The data of a file whose holes are known, from a stream that holds nothing else.
pub struct RangePieces<'a, R> {
    input: R,
    ranges: std::slice::Iter<'a, Range<u64>>,
    shape: PieceShape,
    /// What is left of the run that is being read.
    left: Range<u64>,
}

impl<'a, R: io::Read> RangePieces<'a, R> {
    /// The pieces of `ranges`, which rise and do not overlap.
    pub fn new(input: R, ranges: &'a [Range<u64>], shape: PieceShape) -> Self {
        Self { input, ranges: ranges.iter(), shape, left: 0..0 }
    }
}

impl<R: io::Read> Pieces for RangePieces<'_, R> {
    fn next(&mut self, buffer: &mut Vec<u8>) -> io::Result<Option<Piece>> {
        while self.left.is_empty() {
            let Some(range) = self.ranges.next() else { return Ok(None) };
            self.left = range.clone();
            // Ranges that touch are one run.
            while let Some(next) = self.ranges.as_slice().first().filter(|next| next.start == self.left.end) {
                self.left.end = next.end;
                self.ranges.next();
            }
        }
        let Range { start: at, end } = self.left;
        let wanted = usize::try_from(end - at).map_or(self.shape.data_bytes, |left| left.min(self.shape.data_bytes));
        self.input.read_exact(self.shape.data(buffer, wanted))?;
        self.left.start = at + wanted as u64;
        let then = if self.left.is_empty() { Then::Hole } else { Then::More };
        Ok(Some(Piece { at, filled: self.shape.room_bytes + wanted, then }))
    }
}

impl PieceShape {
    /// Where `wanted` bytes of data belong in a buffer.
    fn data(self, buffer: &mut Vec<u8>, wanted: usize) -> &mut [u8] {
        let end = self.room_bytes + wanted;
        if buffer.len() < end {
            buffer.resize(end, 0);
        }
        &mut buffer[self.room_bytes..end]
    }
}

/// Fills `buffer`, but for the end of the input.
fn read_full(input: &mut impl io::Read, buffer: &mut [u8]) -> io::Result<usize> {
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

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::unix::fs::FileExt;
    use std::path::Path;

    use super::*;
    use crate::source::dir::{OpenDir, Place};
    use crate::source::read::open_file;
    use crate::source::settled::Margin;
    use crate::source::stat::stat_at;

    pub(super) const SHAPE: PieceShape = PieceShape { room_bytes: 10, data_bytes: 1_000 };

    pub(super) fn open(path: &Path) -> OpenFile {
        let (parent, name) = (path.parent().unwrap(), path.file_name().unwrap());
        let dir = OpenDir::new(Place::root(parent), File::open(parent).unwrap().into(), Margin::FINE);
        let stat = stat_at(dir.fd().unwrap(), name).unwrap();
        open_file(&dir, name.as_encoded_bytes(), &stat).unwrap()
    }

    /// All pieces: where each begins, its data, what follows.
    pub(super) fn all(pieces: &mut dyn Pieces, shape: PieceShape) -> Vec<(u64, Vec<u8>, Then)> {
        let (mut seen, mut buffer) = (Vec::new(), Vec::new());
        while let Some(Piece { at, filled, then }) = pieces.next(&mut buffer).unwrap() {
            seen.push((at, buffer[shape.room_bytes..filled].to_vec(), then));
            // Whoever uses a piece may write all over it.
            buffer.fill(0xee);
        }
        seen
    }

    #[test]
    fn pieces_of_a_file_are_its_runs_and_the_last_of_a_run_says_so() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("f");
        let file = File::create(&path).unwrap();
        file.set_len(3 << 20).unwrap();
        let data: Vec<u8> = (0..100_000u32).map(|n| n.to_le_bytes()[0] | 1).collect();
        file.write_all_at(&data, 1 << 20).unwrap();
        file.write_all_at(&data[..65_536], (3 << 20) - 65_536).unwrap();
        let file = open(&path);
        let seen = all(&mut FilePieces::new(&file, SHAPE), SHAPE);
        let mut content = vec![0; 3 << 20];
        for (at, bytes, then) in &seen {
            content[usize::try_from(*at).unwrap()..][..bytes.len()].copy_from_slice(bytes);
            assert!(bytes.len() == 1_000 || *then != Then::More);
        }
        assert!(content[1 << 20..].starts_with(&data) && content.ends_with(&data[..65_536]));
        let ends: Vec<u64> =
            seen.iter().filter(|piece| piece.2 == Then::Hole).map(|piece| piece.0 + piece.1.len() as u64).collect();
        let extents: Vec<u64> = file.extents().map(|range| range.unwrap().end).collect();
        assert_eq!(ends, extents);
        assert!(seen.iter().all(|piece| piece.2 != Then::End), "the file is as long as it was");
    }

    #[test]
    fn a_file_that_shrank_ends_where_it_ends() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("f");
        std::fs::write(&path, [7; 10_000]).unwrap();
        let file = open(&path);
        for (len, last) in [(2_500, 500), (2_000, 0), (0, 0)] {
            File::options().write(true).open(&path).unwrap().set_len(len).unwrap();
            let seen = all(&mut FilePieces::new(&file, SHAPE), SHAPE);
            let end = seen.last().map(|piece| (piece.0 + piece.1.len() as u64, piece.1.len(), piece.2)).unwrap();
            assert_eq!(end, (len, last, Then::End));
        }
    }

    #[test]
    fn a_stream_comes_in_full_pieces_however_it_trickles() {
        struct Trickle<'a>(&'a [u8]);
        impl io::Read for Trickle<'_> {
            fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
                let some = buffer.len().min(7);
                io::Read::read(&mut self.0, &mut buffer[..some])
            }
        }
        for len in [0, 1, 999, 1_000, 2_500] {
            let data: Vec<u8> = (0..len).map(|n: u32| n.to_le_bytes()[0]).collect();
            let seen = all(&mut StreamPieces::new(Trickle(&data), SHAPE), SHAPE);
            assert_eq!(seen.iter().flat_map(|piece| piece.1.clone()).collect::<Vec<u8>>(), data);
            assert_eq!(seen.last().map(|piece| piece.2), Some(Then::End));
            assert!(seen.iter().rev().skip(1).all(|piece| piece.1.len() == 1_000 && piece.2 == Then::More));
        }
    }

    #[test]
    fn nothing_comes_after_an_error() {
        struct Broken;
        impl io::Read for Broken {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(io::Error::other("broken"))
            }
        }
        let mut pieces = StreamPieces::new(Broken, SHAPE);
        assert!(pieces.next(&mut Vec::new()).is_err());
        assert!(pieces.next(&mut Vec::new()).unwrap().is_none());
    }
}
