//! The decoders of `format` and `index` that take bytes as they are.
//!
//! Where a checksum stands before the decoder, it is made right first, or nothing would ever get past it. What a decoder accepts is encoded and
//! decoded again, and must be the same: a decoder accepts only what an encoder writes.

use dbakfs::format::bytes::Bytes;
use dbakfs::format::catalog::{self, ADOPTED_ROWS, DIRECTORY_ROWS, EXTENT_ROWS, Sections};
use dbakfs::format::file::{self, FileKind, Head};
use dbakfs::format::pack::{decode_blocks, decode_chunks, encode_blocks, encode_chunks};
use dbakfs::format::record::{Content, Limits, NewRecord, RecordBlock, RecordBlockBuilder, encode_xattrs, is_name};
use dbakfs::format::seal::{self, Frame, MAX_RAW_BYTES, checksum};
use dbakfs::format::table::{self, Adopted, Children, Chunk, Extent, Row};
use dbakfs::format::{self, Number, Point};
use dbakfs::index::{IndexedPack, SettledBlock};

const KINDS: [FileKind; 2] = [FileKind::Pack, FileKind::Catalog];

/// A length of a file that the first eight bytes give, and the rest.
fn with_length(data: &[u8]) -> (u64, &[u8]) {
    data.split_first_chunk::<8>().map_or((1 << 40, data), |(len, rest)| (u64::from_le_bytes(*len), rest))
}

/// Heads of packs and catalogs.
pub fn head(data: &[u8]) {
    for kind in KINDS {
        if let Ok(head) = Head::decode(data, kind) {
            assert_eq!(head.encode(kind), data);
        }
    }
}

/// Feet of packs and catalogs, as they are and with checksum and magic made right.
pub fn feet(data: &[u8]) {
    let (file_len, data) = with_length(data);
    for kind in KINDS {
        let mut closed = data.to_vec();
        file::close(kind, &mut closed);
        for raw in [data, &closed] {
            let _ = file::opened(kind, raw);
            if let Ok(foot) = format::pack::Foot::decode(raw, file_len) {
                assert_eq!(foot.encode(), raw);
            }
            if let Ok(foot) = catalog::Foot::decode(raw, file_len) {
                assert_eq!(foot.encode(), raw);
            }
        }
    }
}

/// The description of a point, as JSON.
pub fn point(data: &[u8]) {
    if let Ok(point) = serde_json::from_slice::<Point>(data) {
        let again = serde_json::to_vec(&point).expect("a point is JSON");
        assert_eq!(serde_json::from_slice::<Point>(&again).expect("what was written is read"), point);
        let _ = (point.is_possible(), point.series(), point.is_complete());
    }
}

/// Where the parts of a catalog are.
pub fn sections(data: &[u8]) {
    let (file_len, data) = with_length(data);
    let Ok(sections) = Sections::decode(data, file_len) else { return };
    let mut again = Vec::new();
    sections.encode(&mut again);
    assert_eq!(Sections::decode(&again, file_len).expect("what was written is read"), sections);
    for section in [&sections.records, &sections.extents, &sections.directories, &sections.adopted] {
        for (number, run) in section.runs().iter().enumerate() {
            let first = section.first_row(number);
            assert_eq!(section.find(first), Some((number, 0)));
            assert!(run.frame.end() <= file_len);
        }
        assert_eq!(section.find(section.rows()), None);
    }
}

/// A block of records. The first eight bytes say what catalog it is in.
pub fn records(data: &[u8]) {
    let Some(([number, first, last, directories, extents, packs, based, _], raw)) = data.split_first_chunk::<8>()
    else {
        return;
    };
    let first = u32::from(*first) * 600;
    let limits = Limits {
        number: Number(u32::from(*number) + 1),
        records: first + u32::from(*last),
        directories: u32::from(*directories),
        extents: u32::from(*extents),
        packs: u32::from(*packs),
        based: based % 2 == 1,
    };
    let Ok(block) = RecordBlock::decode(raw, first, &limits) else { return };
    let mut builder = RecordBlockBuilder::default();
    for (row, own) in (0..block.len()).zip(first..) {
        let record = *block.record(row);
        let (name, inline, xattrs) = (block.name(row), block.inline(row), block.xattrs(row));
        assert!(if own + 1 == limits.records { name.is_empty() } else { is_name(name) });
        assert!(record.data_bytes <= record.meta.size && record.birth.number <= limits.number);
        if let Content::One(place) = record.content {
            assert!(record.meta.size <= MAX_RAW_BYTES.into() && place.pack < limits.packs);
        }
        let _ = format::record::xattrs(xattrs).count();
        builder.push(&NewRecord { record, name, inline, xattrs });
    }
    let mut again = Vec::new();
    builder.encode(limits.number, first, &mut again);
    assert_eq!(RecordBlock::decode(&again, first, &limits).expect("what was written is read"), block);
}

fn rows_of<const K: usize, R: Row<K> + PartialEq + std::fmt::Debug>(data: &[u8], limit: usize) {
    let Ok(rows) = table::decode::<K, R>(&mut Bytes(data), limit as u64) else { return };
    assert!(rows.len() <= limit);
    let mut again = Vec::new();
    table::encode(&rows, &mut again);
    assert_eq!(table::decode::<K, R>(&mut Bytes(&again), limit as u64).expect("what was written is read"), rows);
}

/// Tables of every kind of row.
pub fn tables(data: &[u8]) {
    rows_of::<5, Extent>(data, EXTENT_ROWS);
    rows_of::<2, Children>(data, DIRECTORY_ROWS);
    rows_of::<3, Adopted>(data, ADOPTED_ROWS);
    rows_of::<3, Chunk>(data, 1024);
    rows_of::<4, Frame>(data, 1024);
}

/// A column. The first two bytes are the number of rows.
pub fn columns(data: &[u8]) {
    let Some((rows, data)) = data.split_first_chunk::<2>() else { return };
    let rows = usize::from(u16::from_le_bytes(*rows));
    let (mut values, mut again, mut back) = (Vec::new(), Vec::new(), Vec::new());
    if format::columns::decode(&mut Bytes(data), rows, &mut values).is_ok() {
        assert_eq!(values.len(), rows);
        format::columns::encode(values.iter().copied(), &mut Vec::new(), &mut again);
        format::columns::decode(&mut Bytes(&again), rows, &mut back).expect("what was written is read");
        assert_eq!(values, back);
    }
}

/// A sealed run: a frame, and what it describes, as it is and with the lengths and the checksum made right.
pub fn seal(data: &[u8]) {
    let mut bytes = Bytes(data);
    let Ok(frame) = Frame::decode(&mut bytes) else { return };
    let stored = bytes.0;
    let right = Frame {
        stored_len: u32::try_from(stored.len()).expect("an input is short"),
        checksum: checksum(stored),
        ..frame
    };
    for frame in [frame, right] {
        let mut out = b"before".to_vec();
        match seal::open(&frame, stored, &mut out) {
            Ok(()) => assert_eq!(out.len(), frame.raw_len as usize),
            Err(_) => assert!(out.is_empty(), "a byte came out of a run that is wrong"),
        }
        assert!(out.capacity() <= MAX_RAW_BYTES as usize + 6);
    }
}

/// The tables of a pack: the first bytes are the blocks', as long as the next two say.
pub fn pack_tables(data: &[u8]) {
    let (file_len, data) = with_length(data);
    let Some((len, data)) = data.split_first_chunk::<2>() else { return };
    let (of_blocks, of_chunks) = data.split_at(data.len().min(u16::from_le_bytes(*len).into()));
    let Ok(blocks) = decode_blocks(of_blocks, file_len) else { return };
    assert!(blocks.iter().all(|block| block.end() <= file_len && block.raw_len <= MAX_RAW_BYTES));
    assert_eq!(decode_blocks(&encode_blocks(&blocks), file_len).expect("what was written is read"), blocks);
    let Ok(chunks) = decode_chunks(of_chunks, &blocks) else { return };
    for (_, chunk) in &chunks {
        assert!(u64::from(chunk.offset) + u64::from(chunk.len) <= blocks[chunk.block as usize].raw_len.into());
    }
    assert_eq!(decode_chunks(&encode_chunks(&chunks), &blocks).expect("what was written is read"), chunks);
}

/// Entries of the index: of a pack, as it is and with its checksum made right, and of settled records.
pub fn index(data: &[u8]) {
    let (key, value) = data.split_at(data.len().min(32));
    let _ = IndexedPack::decode(key, value);
    let facts = &value[..value.len().min(16)];
    let right = [facts, &checksum(&[key, facts].concat()).to_le_bytes()].concat();
    assert_eq!(IndexedPack::decode(key, &right).is_ok(), key.len() == 32 && facts.len() == 16);
    let settled = SettledBlock::decode(Number(1), 0, data);
    for record in 0..8 {
        let _ = settled.get(record);
    }
}

/// Extended attributes.
pub fn xattrs(data: &[u8]) {
    let found: Vec<_> = format::record::xattrs(data).collect();
    let again = encode_xattrs(found.iter().copied());
    assert!(data.starts_with(&again), "what comes out is what went in, up to where it ends");
}
