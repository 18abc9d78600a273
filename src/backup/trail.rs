//! The cuts of an earlier version of a file, followed where the file is as it was.
//!
//! Looking for cuts costs more than hashing. Where the chunker cuts depends on the bytes of the chunk and on the one after it: a chunk that begins where one began
//! before, and has its bytes, has no end before that one's, and one look tells whether it ends there too. So one hash proves the cut and names the chunk.
//! Invariant: the cuts are those that the chunker makes by itself.

use super::chunk_ids::Former;
use crate::chunker::Chunker;
use crate::format::pack::ChunkId;

/// The chunks of an earlier version, met in the order of the file.
pub(super) struct Trail<'a> {
    formers: Box<dyn Iterator<Item = Former> + 'a>,
    next: Option<Former>,
}

impl<'a> Trail<'a> {
    /// A trail along chunks that rise in the file.
    pub(super) fn along(formers: impl Iterator<Item = Former> + 'a) -> Self {
        Self { formers: Box::new(formers), next: None }
    }

    /// No trail: there is no earlier version to go by.
    pub(super) fn none() -> Self {
        Self::along(std::iter::empty())
    }

    /// The first chunk of `run`, which stands at `at` in the file and is as long as [`Chunker::cut`] asks for: its length and its id, which `id_of` gives. `is_all` says
    /// that the run of data ends with `run`. Offsets rise from call to call.
    pub(super) fn cut(
        &mut self,
        run: &[u8],
        at: u64,
        is_all: bool,
        chunker: &Chunker,
        id_of: impl Fn(&[u8]) -> ChunkId,
    ) -> (usize, ChunkId) {
        let former = self.former(at).and_then(|former| Some((former, run.get(..former.len as usize)?)));
        // A chunk that the end of its run has cut off ends there only if the run does so again.
        let former = former.filter(|(former, bytes)| !former.ends_run || is_all && bytes.len() == run.len());
        let Some((former, bytes)) = former.filter(|(_, bytes)| !bytes.is_empty()) else {
            let len = chunker.cut(run);
            return (len, id_of(&run[..len]));
        };
        let id = id_of(bytes);
        if id == former.id && chunker.ends_at(run, bytes.len()) {
            return (bytes.len(), id);
        }
        let len = chunker.cut(run);
        // Other bytes, but as a rule the cut is where it was: most changes are not where it is decided.
        if len == bytes.len() { (len, id) } else { (len, id_of(&run[..len])) }
    }

    /// The chunk that began at `at`.
    fn former(&mut self, at: u64) -> Option<Former> {
        while self.next.is_none_or(|next| next.at < at) {
            self.next = Some(self.formers.next()?);
        }
        self.next.filter(|next| next.at == at)
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::ops::Range;

    use proptest::prelude::*;

    use super::*;
    use crate::chunker::ChunkLengths;

    const LENGTHS: ChunkLengths = ChunkLengths { min: 64, average: 256, max: 1024 };

    /// A file without holes, of 10,000 bytes.
    const WHOLE: Range<usize> = 0..10_000;

    fn chunker() -> Chunker {
        Chunker::new(LENGTHS, 7)
    }

    fn id_of(bytes: &[u8]) -> ChunkId {
        ChunkId::of(&[7; 32], bytes)
    }

    /// Cuts the runs of a file along a trail; answers its chunks, and how many bytes were hashed.
    fn cut(file: &[u8], runs: &[Range<usize>], mut trail: Trail<'_>) -> (Vec<Former>, usize) {
        let (chunker, hashed) = (chunker(), Cell::new(0));
        let mut chunks = Vec::new();
        for run in runs {
            let mut at = run.start;
            while at < run.end {
                let end = run.end.min(at + chunker.window());
                let (len, id) = trail.cut(&file[at..end], at as u64, end == run.end, &chunker, |bytes| {
                    hashed.set(hashed.get() + bytes.len());
                    id_of(bytes)
                });
                let ends_run = at + len == run.end && runs.iter().all(|next| next.start != run.end);
                chunks.push(Former { at: at as u64, len: u32::try_from(len).unwrap(), id, ends_run });
                at += len;
            }
        }
        (chunks, hashed.get())
    }

    fn alone(file: &[u8], runs: &[Range<usize>]) -> Vec<Former> {
        cut(file, runs, Trail::none()).0
    }

    fn noise(seed: u64, len: usize) -> Vec<u8> {
        let mut noise = vec![0; len];
        blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut noise);
        noise
    }

    #[test]
    fn an_unchanged_file_is_hashed_once_and_cut_where_it_was() {
        let file = noise(1, 50_000);
        let runs = [0..20_000, 24_000..50_000];
        let before = alone(&file, &runs);
        let (after, hashed) = cut(&file, &runs, Trail::along(before.iter().copied()));
        assert_eq!((after, hashed), (before, 46_000));
    }

    #[test]
    fn the_trail_is_what_is_gone_by_where_the_bytes_are_as_before() {
        // A cut is left out, which this chunker would never do.
        let file = noise(1, 10_000);
        let mut formers = alone(&file, &[WHOLE]);
        let left_out = formers.remove(2);
        let longer = &mut formers[1];
        longer.len += left_out.len;
        let (at, len) = (usize::try_from(longer.at).unwrap(), longer.len as usize);
        assert!(len <= chunker().window());
        longer.id = id_of(&file[at..at + len]);
        assert_eq!(cut(&file, &[WHOLE], Trail::along(formers.iter().copied())).0, formers);
    }

    #[test]
    fn chunks_that_cannot_be_are_not_followed() {
        let file = noise(1, 10_000);
        let before = alone(&file, &[WHOLE]);
        let lie = |at: u64, len: u32| Former { at, len, id: id_of(b""), ends_run: false };
        let lies = [
            lie(0, 0),
            lie(0, u32::MAX),
            lie(u64::MAX, 1),
            lie(5, 0),
            lie(before[1].at, 0),
            lie(before[2].at, u32::MAX),
        ];
        assert_eq!(cut(&file, &[WHOLE], Trail::along(lies.into_iter())).0, before);
    }

    /// What happens to a file between two backups.
    #[derive(Clone, Debug)]
    enum Edit {
        Write(usize, Vec<u8>),
        Insert(usize, Vec<u8>),
        Remove(usize, usize),
        Truncate(usize),
        Append(Vec<u8>),
        Zero(usize, usize),
    }

    fn bytes() -> impl Strategy<Value = Vec<u8>> {
        // Noise, and bytes without much in them, which are cut at the longest length or again and again alike.
        prop_oneof![
            (any::<u64>(), 1..3_000usize).prop_map(|(seed, len)| noise(seed, len)),
            (0..3u8, 1..4_000usize).prop_map(|(byte, len)| vec![byte; len]),
        ]
    }

    fn edit() -> impl Strategy<Value = Edit> {
        let at = 0..20_000usize;
        prop_oneof![
            (at.clone(), bytes()).prop_map(|(at, bytes)| Edit::Write(at, bytes)),
            (at.clone(), bytes()).prop_map(|(at, bytes)| Edit::Insert(at, bytes)),
            (at.clone(), 1..2_000usize).prop_map(|(at, len)| Edit::Remove(at, len)),
            at.clone().prop_map(Edit::Truncate),
            bytes().prop_map(Edit::Append),
            (at, 1..5_000usize).prop_map(|(at, len)| Edit::Zero(at, len)),
        ]
    }

    fn apply(file: &mut Vec<u8>, edit: Edit) {
        let within = |at: usize, len: usize| at.min(file.len())..(at + len).min(file.len()).max(at.min(file.len()));
        match edit {
            Edit::Write(at, bytes) => {
                let range = within(at, bytes.len());
                let len = range.len();
                file[range].copy_from_slice(&bytes[..len]);
            }
            Edit::Insert(at, bytes) => {
                let at = at.min(file.len());
                file.splice(at..at, bytes);
            }
            Edit::Remove(at, len) => drop(file.drain(within(at, len))),
            Edit::Truncate(len) => file.truncate(len),
            Edit::Append(bytes) => file.extend(bytes),
            Edit::Zero(at, len) => {
                let range = within(at, len);
                file[range].fill(0);
            }
        }
    }

    /// Data and holes, from some places in the file.
    fn runs(len: usize, places: &[usize]) -> Vec<Range<usize>> {
        let mut places: Vec<usize> = places.iter().copied().filter(|place| *place < len).collect();
        places.sort_unstable();
        places.dedup();
        let mut runs = Vec::new();
        let mut begin = Some(0);
        for place in places {
            match begin.take() {
                Some(begin) => runs.push(begin..place),
                None => begin = Some(place),
            }
        }
        runs.extend(begin.map(|begin| begin..len));
        runs.retain(|run| !run.is_empty());
        runs
    }

    proptest! {
        #[test]
        fn cuts_along_a_trail_are_those_that_the_chunker_makes_alone(
            parts in proptest::collection::vec(bytes(), 1..12),
            edits in proptest::collection::vec(edit(), 0..4),
            holes_before in proptest::collection::vec(1..20_000usize, 0..4),
            holes_after in proptest::option::of(proptest::collection::vec(1..20_000usize, 0..4)),
        ) {
            let before = parts.concat();
            let trail = alone(&before, &runs(before.len(), &holes_before));
            let mut after = before;
            edits.into_iter().for_each(|edit| apply(&mut after, edit));
            let runs = runs(after.len(), holes_after.as_ref().unwrap_or(&holes_before));
            let expected = alone(&after, &runs);
            prop_assert_eq!(&cut(&after, &runs, Trail::along(trail.iter().copied())).0, &expected);
            // As far as the trail is known, whatever part of it is not.
            let known = trail.iter().copied().enumerate().filter(|(number, _)| number % 3 != 1);
            prop_assert_eq!(&cut(&after, &runs, Trail::along(known.map(|(_, former)| former))).0, &expected);
        }
    }
}
