//! What a small file may ask for: measured, where memory is taken, for files that ask for as much as they can.

use std::sync::Arc;

use dbakfs::cache::ByteCache;
use dbakfs::catalog::Catalog;
use dbakfs::format::catalog::{self as catalogs, PackRef, Run, Section, Sections};
use dbakfs::format::file::{FileKind, Head};
use dbakfs::format::pack::{Foot, encode_blocks, head_check};
use dbakfs::format::record::{Content, NewRecord, RecordBlockBuilder};
use dbakfs::format::seal::{Frame, MAX_RAW_BYTES, Sealer, checksum};
use dbakfs::format::table::{self, Chunk};
use dbakfs::format::{Kind, layout};
use dbakfs::pack::Pack;
use dbakfs::storage::Storage;

use crate::fuzz::allocation::peak_of;
use crate::fuzz::stage::{FULL, Stage, on_stage, point};
use crate::seeds::record;

const MIB: usize = 1 << 20;
const LONGEST: usize = MAX_RAW_BYTES as usize;

fn seal(raw: &[u8], out: &mut Vec<u8>) -> Frame {
    Sealer::new(19).unwrap().seal(raw, out.len() as u64, out)
}

/// A catalog whose sections and point are these bytes.
fn catalog_of(runs: impl FnOnce(&mut Vec<u8>) -> Vec<u8>, point: &[u8]) -> Vec<u8> {
    let mut out = Head { id: [3; 16] }.encode(FileKind::Catalog).to_vec();
    let sections = runs(&mut out);
    let sections = seal(&sections, &mut out);
    let point = seal(point, &mut out);
    let hash = *blake3::hash(&out).as_bytes();
    out.extend(catalogs::Foot { sections, point, hash }.encode());
    out
}

/// The most memory that opening and checking a catalog takes, and whether it opened.
fn read_catalog(stage: &Stage, bytes: &[u8]) -> (usize, bool) {
    std::fs::write(stage.path().join(layout::catalog(FULL)), bytes).unwrap();
    let storage = Storage::open_root(&stage.path()).unwrap();
    let mut is_open = false;
    let peak = peak_of(|| {
        let cache = Arc::new(ByteCache::new(MIB));
        if let Ok(catalog) = Catalog::open(&storage, FULL, cache) {
            is_open = true;
            let _ = catalog.check();
            let _ = catalog.root();
        }
    });
    (peak, is_open)
}

fn read_pack(stage: &Stage, bytes: &[u8]) -> usize {
    let put: PackRef = stage.put_pack(bytes);
    let storage = Storage::open_root(&stage.path()).unwrap();
    let peak = peak_of(|| {
        if let Ok(pack) = Pack::open(&storage, put) {
            let _ = pack.chunks();
            for (block, _) in (0..).zip(pack.blocks()) {
                let _ = pack.block(block);
            }
        }
    });
    stage.remove_pack(&put);
    peak
}

fn json() -> Vec<u8> {
    serde_json::to_vec(&point(FULL)).unwrap()
}

#[test]
fn small_catalog_takes_no_more_than_what_two_runs_may_hold() {
    on_stage(|stage| {
        let mut bombs: Vec<(&str, Vec<u8>)> = Vec::new();
        bombs.push(("sections of zeros", catalog_of(|_| vec![0; LONGEST], &json())));
        bombs.push(("sections of ones", catalog_of(|_| vec![1; LONGEST], &json())));
        // No runs, and as many packs as fit.
        let packs = (LONGEST - 36) / 40;
        let mut many = vec![0; LONGEST / 40 * 40];
        let tables = 4 * (4 + 5);
        many.truncate(tables + 4 + packs.saturating_sub(1) * 40);
        many[tables..tables + 4].copy_from_slice(&u32::try_from(packs - 1).unwrap().to_le_bytes());
        bombs.push(("packs", catalog_of(|_| many, &json())));
        bombs.push(("a point of blanks", catalog_of(|_| Vec::new(), &[b' '; LONGEST])));
        let mut long = json();
        let at = long.len() - 2;
        long.splice(at..at, std::iter::repeat_n(b'x', LONGEST - 1000));
        bombs.push(("a point with a long text", catalog_of(|_| Vec::new(), &long)));
        // One record with as long a target as a run may hold.
        let one = |out: &mut Vec<u8>| {
            let mut builder = RecordBlockBuilder::default();
            let link = record(Kind::Symlink, FULL, 0, Content::Inline);
            let target = vec![b'x'; 8 << 20];
            builder.push(&NewRecord { record: link, name: b"a", inline: &target, xattrs: &target[..7 << 20] });
            let mut raw = Vec::new();
            builder.encode(FULL, 0, &mut raw);
            let mut records = Section::default();
            records.push(Run { rows: 2, frame: seal(&raw, out) }).unwrap();
            let mut sections = Vec::new();
            Sections { records, ..Sections::default() }.encode(&mut sections);
            sections
        };
        bombs.push(("a record", catalog_of(one, &json())));
        for (what, bytes) in bombs {
            let (peak, is_open) = read_catalog(stage, &bytes);
            println!("{what}: a file of {} bytes took {peak} bytes; it opened: {is_open}", bytes.len());
            assert!(bytes.len() < 3000, "{what}: {} bytes", bytes.len());
            assert!(peak < 64 * MIB, "{what}: {peak} bytes");
        }
    });
}

#[test]
fn catalog_that_claims_more_than_a_run_may_hold_takes_nothing_for_it() {
    on_stage(|stage| {
        for raw_len in [MAX_RAW_BYTES + 1, u32::MAX] {
            let mut out = Head { id: [3; 16] }.encode(FileKind::Catalog).to_vec();
            let stored = [0x28, 0xb5, 0x2f, 0xfd, 0, 0, 0, 0];
            let frame = |offset| Frame { offset, stored_len: 8, raw_len, checksum: checksum(&stored) };
            let (sections, point) = (frame(32), frame(40));
            out.extend([stored, stored].concat());
            let hash = *blake3::hash(&out).as_bytes();
            out.extend(catalogs::Foot { sections, point, hash }.encode());
            let (peak, is_open) = read_catalog(stage, &out);
            assert!(peak < 64 << 10 && !is_open, "{peak} bytes for {raw_len}");
        }
    });
}

#[test]
fn small_pack_takes_no_more_than_a_few_runs_may_hold() {
    on_stage(|stage| {
        let pack = |blocks: &dyn Fn(&mut Vec<u8>) -> Vec<u8>, chunks: &[u8]| {
            let mut out = Head { id: [1; 16] }.encode(FileKind::Pack).to_vec();
            let blocks = blocks(&mut out);
            let blocks = seal(&blocks, &mut out);
            let chunks = seal(chunks, &mut out);
            let head_check = head_check(&out[..Head::LEN]);
            out.extend(Foot { blocks, chunks, family: 0, head_check }.encode());
            out
        };
        let one_block = |out: &mut Vec<u8>| {
            let frame = seal(&vec![0; LONGEST], out);
            encode_blocks(&[frame])
        };
        // As many chunks of one byte as a table may hold, one after another.
        let count = u32::try_from(LONGEST / 19).unwrap();
        let mut chunks = Vec::new();
        table::encode(&(0..count).map(|offset| Chunk { block: 0, offset, len: 1 }).collect::<Vec<_>>(), &mut chunks);
        chunks.resize(chunks.len() + 16 * count as usize, 0);
        for (what, bytes, most) in [
            ("a block", pack(&one_block, &[0; 7]), 40),
            ("blocks of zeros", pack(&|_| vec![0; LONGEST], &[0; 7]), 40),
            ("blocks of ones", pack(&|_| vec![1; LONGEST], &[0; 7]), 40),
            ("chunks of zeros", pack(&one_block, &vec![0; LONGEST]), 40),
            ("chunks", pack(&one_block, &chunks), 100),
        ] {
            let peak = read_pack(stage, &bytes);
            println!("{what}: a file of {} bytes took {peak} bytes", bytes.len());
            assert!(bytes.len() < 10_000, "{what}: {} bytes", bytes.len());
            assert!(peak < most * MIB, "{what}: {peak} bytes");
        }
    });
}
