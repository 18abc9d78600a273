//! Reading a large file on a thread of its own, some pieces ahead of whoever uses them.
//!
//! Owns the thread and how far ahead it may be. Its invariant: however the use of the pieces ends, the thread has ended
//! when [`OpenFile::in_pieces`] returns, and no more than [`AHEAD_PIECES`] are in memory besides those that are in use.

use std::io;

use crossbeam_channel::{Receiver, Sender, unbounded};

use super::{FilePieces, Piece, PieceShape, Pieces};
use crate::source::read::OpenFile;

/// A file of so many bytes is read ahead; for a shorter one a thread is not worth its start.
const AHEAD_BYTES: u64 = 16 << 20;
/// So many pieces are read ahead.
const AHEAD_PIECES: usize = 2;

impl OpenFile {
    /// Gives `use_pieces` the data of the file, which is read ahead if there is much of it.
    pub fn in_pieces<R>(&self, shape: PieceShape, use_pieces: impl FnOnce(&mut dyn Pieces) -> R) -> R {
        let mut pieces = FilePieces::new(self, shape);
        if self.stat().meta.size.min(self.stat().allocated_bytes) < AHEAD_BYTES {
            return use_pieces(&mut pieces);
        }
        std::thread::scope(|scope| {
            let (mut ahead, work) = Ahead::new();
            let thread = std::thread::Builder::new().name("read-ahead".to_owned());
            match thread.spawn_scoped(scope, move || work.run(&mut pieces)) {
                Ok(_) => use_pieces(&mut ahead),
                // No thread is to be had: the file is read by this one.
                Err(_) => use_pieces(&mut FilePieces::new(self, shape)),
            }
        })
    }
}

/// A piece and its buffer.
type Filled = (Piece, Vec<u8>);

/// The end of whoever uses the pieces. The thread ends when this is dropped.
struct Ahead {
    filled: Receiver<io::Result<Filled>>,
    spent: Sender<Vec<u8>>,
}

/// The end of the thread.
struct Work {
    filled: Sender<io::Result<Filled>>,
    spent: Receiver<Vec<u8>>,
}

impl Ahead {
    fn new() -> (Self, Work) {
        // Neither channel needs a bound: there is nothing in them but these buffers and what the user has brought.
        let ((filled, take_filled), (spent, take_spent)) = (unbounded(), unbounded());
        for _ in 0..AHEAD_PIECES {
            let _ = spent.send(Vec::new());
        }
        (Self { filled: take_filled, spent }, Work { filled, spent: take_spent })
    }
}

impl Pieces for Ahead {
    fn next(&mut self, buffer: &mut Vec<u8>) -> io::Result<Option<Piece>> {
        // A thread that has read all takes no more buffers.
        let _ = self.spent.send(std::mem::take(buffer));
        let Ok(filled) = self.filled.recv() else { return Ok(None) };
        let (piece, filled) = filled?;
        *buffer = filled;
        Ok(Some(piece))
    }
}

impl Work {
    fn run(self, pieces: &mut dyn Pieces) {
        for mut buffer in self.spent {
            let Some(piece) = pieces.next(&mut buffer).transpose() else { return };
            if self.filled.send(piece.map(|piece| (piece, buffer))).is_err() {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{all, open};
    use super::*;

    const SHAPE: PieceShape = PieceShape { room_bytes: 100, data_bytes: 1 << 16 };

    fn large() -> (tempfile::TempDir, OpenFile) {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("large");
        let mut data = vec![0; usize::try_from(AHEAD_BYTES).unwrap() + 1_234];
        blake3::Hasher::new().finalize_xof().fill(&mut data);
        std::fs::write(&path, data).unwrap();
        (temp, open(&path))
    }

    #[test]
    fn what_is_read_ahead_is_what_is_read() {
        let (_temp, file) = large();
        let plain = all(&mut FilePieces::new(&file, SHAPE), SHAPE);
        let ahead = file.in_pieces(SHAPE, |pieces| all(pieces, SHAPE));
        assert!(plain == ahead, "the same pieces");
        assert_eq!(ahead.iter().map(|piece| piece.1.len() as u64).sum::<u64>(), AHEAD_BYTES + 1_234);
    }

    #[test]
    fn whoever_stops_early_is_not_kept() {
        let (_temp, file) = large();
        let first = file.in_pieces(SHAPE, |pieces| pieces.next(&mut Vec::new()).unwrap().map(|piece| piece.at));
        assert_eq!(first, Some(0));
        assert_eq!(file.in_pieces(SHAPE, |_| 7), 7);
    }

    #[test]
    fn only_so_many_pieces_are_read_ahead() {
        let (_temp, file) = large();
        let (Ahead { filled, spent }, work) = Ahead::new();
        // Nobody takes a piece, and no buffer comes back.
        drop(spent);
        work.run(&mut FilePieces::new(&file, SHAPE));
        assert_eq!(filled.iter().count(), AHEAD_PIECES);
    }
}
