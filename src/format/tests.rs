//! Hostile bytes: whatever a table, a section, a foot or a head claims, a decoder gives an error or something within bounds.

use proptest::prelude::*;

use super::bytes::Bytes;
use super::catalog::{self, DIRECTORY_ROWS, EXTENT_ROWS, PackRef, Run, Section, Sections};
use super::file::{FileKind, Head};
use super::pack::{self, ChunkId, PackId};
use super::record::{MAX_RECORDS, Place};
use super::seal::{Frame, MAX_RAW_BYTES};
use super::table::{self, Adopted, Children, Chunk, Extent, Row};
use super::{FormatError, columns};

const FILE_LEN: u64 = 1 << 20;

fn frame(n: u32) -> Frame {
    Frame {
        offset: 32 + u64::from(n) * 100,
        stored_len: 90,
        raw_len: 200 + n,
        checksum: 0x0123_4567_89ab_cdef ^ u64::from(n),
    }
}

fn section(rows: &[u32]) -> Section {
    let mut section = Section::default();
    for (n, rows) in (0..).zip(rows) {
        section.push(Run { rows: *rows, frame: frame(n) }).unwrap();
    }
    section
}

fn sections() -> Sections {
    Sections {
        records: section(&[512, 512, 3]),
        extents: section(&[1024, 7]),
        directories: section(&[4096, 4096, 9]),
        adopted: section(&[2048, 1]),
        packs: vec![PackRef { id: PackId([7; 32]), file_len: 9000 }, PackRef { id: PackId([8; 32]), file_len: 1 }],
    }
}

fn blocks() -> Vec<Frame> {
    (0..40).map(frame).collect()
}

fn chunks() -> Vec<(ChunkId, Chunk)> {
    (0..40)
        .map(|block| (ChunkId([u8::try_from(block).unwrap(); 16]), Chunk { block, offset: block, len: 100 }))
        .collect()
}

/// Decodes every truncated prefix, which must fail, and every single changed byte, which must not panic.
fn torment<T>(raw: &[u8], decode: impl Fn(&[u8]) -> Result<T, FormatError>, look: impl Fn(T)) {
    assert!(decode(raw).is_ok());
    for len in 0..raw.len() {
        assert!(decode(&raw[..len]).is_err(), "cut to {len} bytes of {}", raw.len());
    }
    assert!(decode(&[raw, &[0]].concat()).is_err(), "a byte more");
    for at in 0..raw.len() {
        for flip in [1, 0x80, 0xff, raw[at].max(1)] {
            let mut wrong = raw.to_vec();
            wrong[at] ^= flip;
            if let Ok(value) = decode(&wrong) {
                look(value);
            }
        }
    }
}

#[test]
fn changed_sections_are_refused_or_in_bounds() {
    let mut raw = Vec::new();
    sections().encode(&mut raw);
    assert_eq!(Sections::decode(&raw, FILE_LEN).unwrap(), sections());
    torment(
        &raw,
        |raw| Sections::decode(raw, FILE_LEN),
        |sections| {
            let bounds = [
                (&sections.records, MAX_RECORDS),
                (&sections.extents, EXTENT_ROWS),
                (&sections.directories, DIRECTORY_ROWS),
            ];
            for (section, most) in bounds {
                for run in section.runs() {
                    assert!(
                        run.rows as usize <= most && run.frame.end() <= FILE_LEN && run.frame.raw_len <= MAX_RAW_BYTES
                    );
                }
                for row in [0, section.rows() / 2, section.rows().saturating_sub(1), section.rows()] {
                    if let Some((run, at)) = section.find(row) {
                        assert_eq!(section.first_row(run) as usize + at, row as usize);
                        assert!(at < section.runs()[run].rows as usize);
                    }
                }
            }
        },
    );
}

#[test]
fn changed_tables_of_a_pack_are_refused_or_in_bounds() {
    let raw = pack::encode_blocks(&blocks());
    assert_eq!(pack::decode_blocks(&raw, FILE_LEN).unwrap(), blocks());
    torment(
        &raw,
        |raw| pack::decode_blocks(raw, FILE_LEN),
        |blocks| {
            assert!(blocks.iter().all(|block| block.end() <= FILE_LEN && block.raw_len <= MAX_RAW_BYTES));
        },
    );
    let raw = pack::encode_chunks(&chunks());
    assert_eq!(pack::decode_chunks(&raw, &blocks()).unwrap(), chunks());
    torment(
        &raw,
        |raw| pack::decode_chunks(raw, &blocks()),
        |chunks| {
            for (_, chunk) in chunks {
                assert!(chunk.offset + chunk.len <= blocks()[chunk.block as usize].raw_len);
            }
        },
    );
}

#[test]
fn every_changed_byte_of_a_foot_is_found() {
    let foot = pack::Foot { blocks: frame(1), chunks: frame(2), family: 5, head_check: 6 };
    let raw = foot.encode();
    assert_eq!((raw.len(), pack::Foot::decode(&raw, FILE_LEN)), (pack::Foot::LEN, Ok(foot)));
    torment(&raw, |raw| pack::Foot::decode(raw, FILE_LEN), |_| panic!("a changed foot was taken"));
    assert!(pack::Foot::decode(&raw, 300).is_err(), "it points past the file");
    let foot = catalog::Foot { sections: frame(1), point: frame(2), hash: [9; 32] };
    let raw = foot.encode();
    assert_eq!((raw.len(), catalog::Foot::decode(&raw, FILE_LEN)), (catalog::Foot::LEN, Ok(foot)));
    torment(&raw, |raw| catalog::Foot::decode(raw, FILE_LEN), |_| panic!("a changed foot was taken"));
    assert!(pack::Foot::decode(&raw, FILE_LEN).is_err(), "a catalog's foot is no pack's");
}

#[test]
fn every_changed_byte_of_a_head_but_its_id_is_found() {
    let raw = Head { id: [3; 16] }.encode(FileKind::Pack);
    torment(&raw, |raw| Head::decode(raw, FileKind::Pack), |head| assert_ne!(head.id, [3; 16]));
    let known = super::file::VERSION;
    let mut newer = raw;
    newer[8..10].copy_from_slice(&(known + 1).to_le_bytes());
    assert_eq!(Head::decode(&newer, FileKind::Pack), Err(FormatError::Version { found: known + 1, known }));
    let mut strange = raw;
    strange[10] = 4;
    assert_eq!(Head::decode(&strange, FileKind::Pack), Err(FormatError::Features(4)));
    assert_eq!(Head::decode(&raw, FileKind::Catalog), Err(FormatError::Magic("catalog")));
}

/// A table that claims `rows` rows of `columns` columns and spends no byte on any.
fn empty_claim(rows: u32, columns: usize) -> Vec<u8> {
    [&rows.to_le_bytes()[..], &vec![0; columns]].concat()
}

#[test]
fn rows_that_take_no_bytes_are_bounded_all_the_same() {
    for rows in [1, 2, 1000, 1 << 20, u32::MAX] {
        let mut raw = Vec::new();
        for _ in 0..4 {
            raw.extend(empty_claim(rows, 5));
        }
        raw.extend([0; 4]);
        assert!(Sections::decode(&raw, 1024).is_err(), "{rows} runs");
        assert!(Sections::decode(&raw, u64::MAX).is_err(), "{rows} runs in an endless file");
        assert!(pack::decode_blocks(&empty_claim(rows, 4), 1024).is_err(), "{rows} blocks");
        assert!(pack::decode_blocks(&empty_claim(rows, 4), u64::MAX).is_err(), "{rows} blocks in an endless file");
        assert!(pack::decode_chunks(&empty_claim(rows, 3), &blocks()).is_err(), "{rows} chunks");
    }
    let limit = DIRECTORY_ROWS as u64;
    let rows: Vec<Children> = table::decode(&mut Bytes(&empty_claim(4096, 2)), limit).unwrap();
    assert_eq!(rows, [Children::default(); 4096], "empty directories do take no bytes");
    assert!(table::decode::<2, Children>(&mut Bytes(&empty_claim(4097, 2)), limit).is_err());
}

#[test]
fn a_run_of_more_rows_than_a_reader_allocates_is_refused() {
    for (which, most) in [(0, 512), (1, 1024), (2, 4096), (3, 2048)] {
        for (rows, is_fine) in [(most, true), (most + 1, false), (u32::MAX - 1, false)] {
            let mut sections = Sections { records: section(&[1]), ..Sections::default() };
            let slot = [&mut sections.records, &mut sections.extents, &mut sections.directories, &mut sections.adopted];
            *slot.into_iter().nth(which).unwrap() = section(&[rows]);
            let mut raw = Vec::new();
            sections.encode(&mut raw);
            assert_eq!(Sections::decode(&raw, FILE_LEN).is_ok(), is_fine, "{rows} rows in section {which}");
        }
    }
}

#[test]
fn only_the_last_run_of_directories_is_short() {
    let mut wrong = sections();
    wrong.directories = section(&[4095, 9]);
    let mut raw = Vec::new();
    wrong.encode(&mut raw);
    assert_eq!(Sections::decode(&raw, FILE_LEN), Err(FormatError::Impossible("number of rows")));
}

fn comes_back<const K: usize, R: Row<K> + PartialEq + std::fmt::Debug + Clone>(rows: &[R]) {
    let mut raw = Vec::new();
    table::encode(rows, &mut raw);
    let mut bytes = Bytes(&raw);
    assert_eq!(table::decode::<K, R>(&mut bytes, rows.len() as u64).unwrap(), rows);
    bytes.end().unwrap();
    if let Some(fewer) = (rows.len() as u64).checked_sub(1) {
        assert!(table::decode::<K, R>(&mut Bytes(&raw), fewer).is_err(), "the limit holds");
    }
}

proptest! {
    #[test]
    fn rows_of_every_table_come_back(numbers in prop::collection::vec(any::<[u32; 5]>(), 0..80)) {
        let extents: Vec<_> = numbers.iter().map(|[at, len, pack, block, offset]| {
            let place = Place { pack: *pack, block: *block, offset: *offset };
            Extent { at: u64::from(*at) << 20, len: (*len).max(1), place }
        }).collect();
        comes_back(&extents);
        comes_back(&numbers.iter().map(|n| Children { first: n[0] / 2, count: n[1] / 2 }).collect::<Vec<_>>());
        comes_back(&numbers.iter().map(|n| Adopted { number: n[0], birth_record: n[1], record: n[2] }).collect::<Vec<_>>());
        comes_back(&numbers.iter().map(|n| Chunk { block: n[0], offset: n[1] / 2, len: (n[2] / 2).max(1) }).collect::<Vec<_>>());
    }

    #[test]
    fn rubbish_decodes_to_nothing_out_of_bounds(raw in prop::collection::vec(prop_oneof![3 => Just(0), 2 => 0..10_u8, 1 => any::<u8>()], 0..300)) {
        let _ = Sections::decode(&raw, FILE_LEN);
        let _ = pack::decode_blocks(&raw, FILE_LEN);
        let _ = pack::decode_chunks(&raw, &blocks());
        let _ = pack::Foot::decode(&raw, FILE_LEN);
        let _ = catalog::Foot::decode(&raw, FILE_LEN);
        let _ = Head::decode(&raw, FileKind::Pack);
        let _ = table::decode::<5, Extent>(&mut Bytes(&raw), 1024);
        let _ = table::decode::<3, Adopted>(&mut Bytes(&raw), 2048);
        let _ = columns::decode(&mut Bytes(&raw), 100, &mut Vec::new());
        let _ = serde_json::from_slice::<super::Point>(&raw);
    }
}
