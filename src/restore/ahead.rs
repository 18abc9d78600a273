//! Opening blocks before they are needed.
//!
//! Owns a thread that opens the blocks behind the one that is being written out, into the cache that they will be read from. Refuses to
//! know files. Its invariant: it changes nothing but when a block is opened: what it cannot read is not its to report, and it is at
//! most [`DISTANCE`] blocks ahead.

use crossbeam_channel::{Sender, bounded};

use crate::format::catalog::PackRef;
use crate::format::record::Place;
use crate::repository::Reader;

/// Blocks that are opened behind the one in use: some megabytes at most, which even a small cache holds.
const DISTANCE: u32 = 3;

/// Blocks of one pack, in the order in which they were written.
struct Run {
    pack: PackRef,
    first: u32,
    end: u32,
}

/// The reader's way through the packs, as far as it is known.
pub(super) struct Ahead {
    requests: Option<Sender<Run>>,
    last: Option<(PackRef, u32)>,
    /// The block after the last that was asked for, in the pack of `last`.
    asked: u32,
}

impl Ahead {
    /// Runs `body` beside a thread that opens blocks for it. Without a second thread it runs all the same.
    pub(super) fn beside<R>(reader: &Reader, body: impl FnOnce(Self) -> R) -> R {
        std::thread::scope(|scope| {
            let (requests, waiting) = bounded::<Run>(1);
            let open = move || {
                for Run { pack, first, end } in waiting {
                    for block in first..end {
                        // Whoever needs it will find the same damage, and can say which file it is in.
                        if reader.blocks().block(pack, block).is_err() {
                            break;
                        }
                    }
                }
            };
            let thread = std::thread::Builder::new().name("read-ahead".to_owned()).spawn_scoped(scope, open);
            body(Self { requests: thread.is_ok().then_some(requests), last: None, asked: 0 })
        })
    }

    /// Tells that the bytes at `place`, in the pack `pack`, are needed now.
    pub(super) fn at(&mut self, pack: PackRef, place: Place) {
        let block = place.block;
        let before = self.last.replace((pack, block));
        let Some(requests) = &self.requests else { return };
        match before {
            Some((known, last)) if known == pack && last == block => return,
            // Only who reads in order will want what comes next.
            Some((known, last)) if known == pack && (last..=last.saturating_add(DISTANCE)).contains(&block) => {}
            _ => {
                self.asked = 0;
                return;
            }
        }
        let first = self.asked.max(block.saturating_add(1));
        let end = block.saturating_add(1 + DISTANCE);
        if first < end && requests.try_send(Run { pack, first, end }).is_ok() {
            self.asked = end;
        }
    }
}
