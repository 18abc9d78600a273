//! Files of a store made of bytes that the fuzzer chooses, with every checksum, length and offset around them right.
//!
//! Owns the *shape*: a run of parts, each a tag (u8), a length (u16) and so many bytes. Owns the way back too, from a real file to a shape, for seeds.
//! Refuses to judge what is in a part. Its invariant: every string of bytes is some shape, so that no mutation is lost.

use std::cell::RefCell;

use dbakfs::format::catalog::{self, PackRef, Run, Section, Sections};
use dbakfs::format::file::{FileKind, Head};
use dbakfs::format::pack::{self, encode_blocks};
use dbakfs::format::seal::{self, Frame, Sealer, checksum};
use dbakfs::format::{Point, table};

/// The low bits of a tag: which part it is.
pub const RECORDS: u8 = 0;
/// Extents of a catalog.
pub const EXTENTS: u8 = 1;
/// Directories of a catalog.
pub const DIRECTORIES: u8 = 2;
/// Adopted births of a catalog.
pub const ADOPTED: u8 = 3;
/// A block of a pack.
pub const BLOCK: u8 = 4;
/// The table of chunks of a pack.
pub const CHUNKS: u8 = 5;
const KIND: u8 = 7;
/// The table of runs says one row more than there is.
const ONE_MORE: u8 = 1 << 5;
/// The run stands where the one before it stands, if it is as long.
const AGAIN: u8 = 1 << 6;
/// Many zeros follow, and the run is compressed: little in the file, much in memory.
const BOMB: u8 = 1 << 7;
const BOMB_BYTES: usize = 1 << 18;
/// Rows that any run may have: of directories.
const MOST_ROWS: u32 = 4096;

/// The parts of a shape.
pub fn parts(mut shape: &[u8]) -> impl Iterator<Item = (u8, &[u8])> {
    std::iter::from_fn(move || {
        let ([tag, low, high], rest) = shape.split_first_chunk::<3>()?;
        let len = rest.len().min(u16::from_le_bytes([*low, *high]).into());
        let (part, rest) = rest.split_at(len);
        shape = rest;
        Some((*tag, part))
    })
}

/// Appends a part to a shape.
///
/// # Panics
/// Where it is too long for one.
pub fn push_part(shape: &mut Vec<u8>, tag: u8, part: &[u8]) {
    shape.push(tag);
    shape.extend_from_slice(&u16::try_from(part.len()).expect("a seed is small").to_le_bytes());
    shape.extend_from_slice(part);
}

fn sealed(raw: &[u8], out: &mut Vec<u8>) -> Frame {
    let len = u32::try_from(raw.len()).expect("an input is short");
    let frame = Frame { offset: out.len() as u64, stored_len: len, raw_len: len, checksum: checksum(raw) };
    out.extend_from_slice(raw);
    frame
}

fn sealed_part(tag: u8, part: &[u8], before: Option<Frame>, out: &mut Vec<u8>) -> Frame {
    thread_local! {
        static SEALER: RefCell<Sealer> = RefCell::new(Sealer::new(1).expect("zstd"));
    }
    if tag & BOMB != 0 {
        let mut raw = part.to_vec();
        raw.resize(part.len() + BOMB_BYTES, 0);
        return SEALER.with_borrow_mut(|sealer| sealer.seal(&raw, out.len() as u64, out));
    }
    match before {
        Some(before) if tag & AGAIN != 0 => before,
        _ => sealed(part, out),
    }
}

/// The catalog of a shape: its file.
pub fn catalog(shape: &[u8], point: &Point, packs: &[PackRef]) -> Vec<u8> {
    let mut out = Head { id: point.id.0 }.encode(FileKind::Catalog).to_vec();
    let mut sections: [Section; 4] = Default::default();
    let mut before = None;
    for (tag, part) in parts(shape) {
        let Some(section) = sections.get_mut(usize::from(tag & KIND)) else { continue };
        // Records and tables alike begin with their number of rows.
        let rows = part.first_chunk().map_or(1, |rows| u32::from_le_bytes(*rows));
        let rows = rows.clamp(1, MOST_ROWS) + u32::from(tag & ONE_MORE != 0);
        let frame = sealed_part(tag, part, before, &mut out);
        before = Some(frame);
        if section.push(Run { rows, frame }).is_err() {
            break;
        }
    }
    let [records, extents, directories, adopted] = sections;
    let mut raw = Vec::new();
    Sections { records, extents, directories, adopted, packs: packs.to_vec() }.encode(&mut raw);
    let sections = sealed(&raw, &mut out);
    let point = sealed(&serde_json::to_vec(point).expect("a point is JSON"), &mut out);
    let hash = *blake3::hash(&out).as_bytes();
    out.extend(catalog::Foot { sections, point, hash }.encode());
    out
}

/// The pack of a shape: its file.
pub fn pack(shape: &[u8]) -> Vec<u8> {
    let mut out = Head { id: [1; 16] }.encode(FileKind::Pack).to_vec();
    let (mut blocks, mut chunks, mut before) = (Vec::new(), &[][..], None);
    for (tag, part) in parts(shape) {
        if tag & KIND == CHUNKS {
            chunks = part;
            continue;
        }
        let frame = sealed_part(tag, part, before, &mut out);
        before = Some(frame);
        blocks.push(frame);
    }
    let blocks = sealed(&encode_blocks(&blocks), &mut out);
    let mut empty = Vec::new();
    table::encode::<3, table::Chunk>(&[], &mut empty);
    let chunks = sealed(if chunks.is_empty() { &empty } else { chunks }, &mut out);
    let head_check = pack::head_check(&out[..Head::LEN]);
    out.extend(pack::Foot { blocks, chunks, family: 0, head_check }.encode());
    out
}

/// The opened bytes of a run of a file.
///
/// # Panics
/// Where they cannot be opened: seeds are made of whole files.
pub fn opened(file: &[u8], frame: &Frame) -> Vec<u8> {
    let at = usize::try_from(frame.offset).expect("a file in memory");
    let mut raw = Vec::new();
    seal::open(frame, &file[at..at + frame.stored_len as usize], &mut raw).expect("a whole file");
    raw
}

/// The shape of a whole catalog.
///
/// # Panics
/// Where it is not whole.
pub fn of_catalog(file: &[u8]) -> Vec<u8> {
    let foot = catalog::Foot::decode(&file[file.len() - catalog::Foot::LEN..], file.len() as u64).expect("a foot");
    let sections = Sections::decode(&opened(file, &foot.sections), file.len() as u64).expect("sections");
    let mut shape = Vec::new();
    for (tag, section) in [
        (RECORDS, &sections.records),
        (EXTENTS, &sections.extents),
        (DIRECTORIES, &sections.directories),
        (ADOPTED, &sections.adopted),
    ] {
        for run in section.runs() {
            push_part(&mut shape, tag, &opened(file, &run.frame));
        }
    }
    shape
}

/// The shape of a whole pack.
///
/// # Panics
/// Where it is not whole.
pub fn of_pack(file: &[u8]) -> Vec<u8> {
    let foot = pack::Foot::decode(&file[file.len() - pack::Foot::LEN..], file.len() as u64).expect("a foot");
    let blocks = pack::decode_blocks(&opened(file, &foot.blocks), file.len() as u64).expect("blocks");
    let mut shape = Vec::new();
    for block in &blocks {
        push_part(&mut shape, BLOCK, &opened(file, block));
    }
    push_part(&mut shape, CHUNKS, &opened(file, &foot.chunks));
    shape
}

/// The shape of a differential over the shape of its full.
///
/// # Panics
/// Where the full's is too long.
pub fn of_two(full: &[u8], differential: &[u8]) -> Vec<u8> {
    let mut out = u16::try_from(full.len()).expect("a seed is small").to_le_bytes().to_vec();
    out.extend_from_slice(full);
    out.extend_from_slice(differential);
    out
}

/// The two shapes that [`of_two`] joined.
pub fn two(data: &[u8]) -> (&[u8], &[u8]) {
    let Some((len, rest)) = data.split_first_chunk::<2>() else { return (data, data) };
    rest.split_at(rest.len().min(u16::from_le_bytes(*len).into()))
}
