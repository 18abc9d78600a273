//! The stages that a byte passes, one by one, each on a small generated input. `cargo bench --bench stages -- NAME` runs some of them.
//!
//! They tell whether a stage has become slower, and decide no test.

#![allow(missing_docs, reason = "criterion's macros make undocumented functions")]
#![allow(clippy::unwrap_used, reason = "a benchmark that cannot run has nothing to measure")]

mod tree;

use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use dbakfs::backup::{Options, Outcome, Progress, Session, Subject};
use dbakfs::chunker::{ChunkLengths, Chunker};
use dbakfs::format::pack::ChunkId;
use dbakfs::format::record::{
    Birth, Content, Flags, Limits, NewRecord, Place, Record, RecordBlock, RecordBlockBuilder, Status,
};
use dbakfs::format::{Kind, Meta, Number, Point, Timestamp};
use dbakfs::overlay::{Node, PointTree};
use dbakfs::pack::{Class, PackOptions, Packer};
use dbakfs::repository::config::Chunking;
use dbakfs::repository::{CacheBytes, Reader, SourceName, Store};
use dbakfs::source::{self, Walk};
use dbakfs::storage::{Storage, Wait};
use tempfile::TempDir;
use tree::{Numbers, Shape, Text};

const SEED: u64 = 20_261_120;
/// The tree that is walked, backed up and looked at.
const SHAPE: Shape = Shape { directories: 80, files_in_each: 50, file_bytes: 4_000 };
/// Every so manieth file differs in the differential.
const CHANGED_STEP: usize = 100;
const RECORDS: u32 = 512;
const CACHE: CacheBytes = CacheBytes { catalogs: 24 << 20, blocks: 48 << 20 };

/// A source and a store that holds a full and a differential of it.
struct Shelf {
    dir: TempDir,
    full: Point,
    differential: Point,
}

impl Shelf {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let source = dir.path().join("source");
        let files = tree::make(&source, SHAPE, SEED);
        let store = Store::init(&dir.path().join("store"), Chunking::default()).unwrap();
        let full = back_up(&store, &source);
        tree::change(&files, CHANGED_STEP, SEED + 1);
        let differential = back_up(&store, &source);
        assert!(full.is_full() && !differential.is_full());
        Self { dir, full, differential }
    }

    fn reader(&self) -> Reader {
        Reader::open(Store::open(&self.dir.path().join("store")).unwrap(), CACHE).unwrap()
    }
}

fn back_up(store: &Store, source: &Path) -> Point {
    let session = Session::begin(store, Wait::Never).unwrap();
    let name = SourceName::new("bench").unwrap();
    let subject = Subject::Tree { path: source.to_owned(), walk: source::Options::default() };
    let cancel = Arc::new(AtomicBool::new(false));
    let options = Options { host: "bench".to_owned(), ..Options::default() };
    let done = session.back_up(&name, subject, &options, &Progress::default(), &|_| (), &cancel).unwrap();
    let Outcome::Made(made) = done.outcome else { panic!("a point is made") };
    made.point
}

fn walk(c: &mut Criterion) {
    let dir = tempfile::tempdir().unwrap();
    tree::make(dir.path(), Shape { file_bytes: 64, ..SHAPE }, SEED);
    let mut group = c.benchmark_group("walk");
    group.throughput(Throughput::Elements(SHAPE.files() as u64));
    group.bench_function("names and stats", |b| {
        b.iter(|| {
            let walk = Walk::start(dir.path(), source::Options::default()).unwrap();
            walk.map(|listing| listing.entries.len()).sum::<usize>()
        });
    });
    group.finish();
}

fn chunker(c: &mut Criterion) {
    let text = Text::seeded(SEED).bytes(16 << 20);
    let chunking = Chunking::default();
    let lengths = ChunkLengths {
        min: chunking.chunk_min_bytes,
        average: chunking.chunk_average_bytes,
        max: chunking.chunk_max_bytes,
    };
    let chunker = Chunker::new(lengths, SEED);
    let mut group = c.benchmark_group("chunker");
    group.throughput(Throughput::Bytes(text.len() as u64));
    group.bench_function("cut text", |b| {
        b.iter(|| {
            let (mut at, mut cuts) = (0, 0);
            while at < text.len() {
                at += chunker.cut(&text[at..text.len().min(at + chunker.window())]);
                cuts += 1;
            }
            cuts
        });
    });
    group.finish();
}

/// Records as those of a directory of source code.
fn records() -> Vec<(Record, Vec<u8>)> {
    let mut numbers = Numbers::seeded(SEED);
    let mut offset = 0;
    let record = |row: u32| {
        let size = numbers.below(20_000) as u64 + 300;
        let time = Timestamp::new(1_700_000_000 + numbers.below(1_000_000) as i64, 123_456_789);
        let meta = Meta { kind: Kind::File, mode: 0o644, uid: 0, gid: 0, nlink: 1, rdev: 0, size, mtime: time };
        let place = Place { pack: 0, block: 7, offset };
        offset += u32::try_from(size).unwrap();
        let record = Record {
            meta,
            status: Status::New,
            flags: Flags::default(),
            ctime: time,
            ino: 1_000_000 + u64::from(row),
            birth: Birth { number: Number(1), record: row },
            base: None,
            data_bytes: size,
            content: Content::One(place),
        };
        (record, format!("file-{row:03}.txt").into_bytes())
    };
    (0..RECORDS).map(record).collect()
}

fn record_block(c: &mut Criterion) {
    let records = records();
    let encode = |out: &mut Vec<u8>| {
        let mut builder = RecordBlockBuilder::default();
        for (record, name) in &records {
            builder.push(&NewRecord { record: *record, name, inline: b"", xattrs: b"" });
        }
        builder.encode(Number(1), 0, out);
    };
    let mut raw = Vec::new();
    encode(&mut raw);
    let limits = Limits { number: Number(1), records: RECORDS + 1, directories: 1, extents: 0, packs: 1, based: false };
    let mut group = c.benchmark_group("record block");
    group.throughput(Throughput::Elements(RECORDS.into()));
    group.bench_function("encode", |b| {
        b.iter_batched_ref(Vec::new, |out| encode(out), BatchSize::SmallInput);
    });
    group.bench_function("decode", |b| b.iter(|| RecordBlock::decode(black_box(&raw), 0, &limits).unwrap()));
    group.finish();
}

/// Streams the entries of every directory of a point; how many there are.
fn stream(tree: &PointTree) -> usize {
    let mut seen = 0;
    let mut waiting = vec![tree.root().unwrap()];
    while let Some(directory) = waiting.pop() {
        let mut entries = tree.entries(tree.directory(&directory).unwrap());
        while let Some(node) = entries.next_node().unwrap() {
            seen += 1;
            if node.is_directory() {
                waiting.push(node);
            }
        }
    }
    seen
}

fn catalog_and_overlay(c: &mut Criterion) {
    let shelf = Shelf::new();
    let reader = shelf.reader();
    let full = reader.tree(&shelf.full).unwrap();
    let entries = stream(&full);
    let mut group = c.benchmark_group("catalog");
    group.throughput(Throughput::Elements(entries as u64));
    group.bench_function("entries streamed, cold", |b| {
        // A reader of its own has nothing in its cache yet.
        b.iter_batched_ref(
            || shelf.reader(),
            |reader| stream(&reader.tree(&shelf.full).unwrap()),
            BatchSize::PerIteration,
        );
    });
    group.bench_function("entries streamed, cached", |b| b.iter(|| stream(&full)));
    group.finish();

    let both = reader.tree(&shelf.differential).unwrap();
    let parent = both.resolve(b"part-05/dir-0037").unwrap().unwrap();
    let mut group = c.benchmark_group("overlay");
    group.bench_function("listing of every directory", |b| b.iter(|| stream(&both)));
    let look_up = |name: &[u8]| -> Option<Node> { both.find(both.directory(&parent).unwrap(), name).unwrap() };
    assert!(look_up(b"file-017.txt").is_some() && look_up(b"nothing").is_none());
    group.bench_function("look-up, found", |b| b.iter(|| look_up(black_box(b"file-017.txt"))));
    group.bench_function("look-up, absent", |b| b.iter(|| look_up(black_box(b"nothing"))));
    group.bench_function("path resolved", |b| {
        b.iter(|| both.resolve(black_box(b"part-05/dir-0037/file-017.txt")).unwrap());
    });
    group.finish();

    let file = full.resolve(b"part-05/dir-0037/file-017.txt").unwrap().unwrap();
    let catalog = full.catalog(file.layer);
    let mut bytes = Vec::new();
    reader.read(catalog, &file.entry, 0, 4096, &mut bytes).unwrap();
    assert!(!bytes.is_empty());
    let mut group = c.benchmark_group("block cache");
    group.throughput(Throughput::Bytes(bytes.len() as u64));
    group.bench_function("read that hits", |b| {
        b.iter(|| {
            bytes.clear();
            reader.read(catalog, &file.entry, 0, 4096, &mut bytes).unwrap();
        });
    });
    group.finish();
}

fn packer(c: &mut Criterion) {
    let dir = tempfile::tempdir().unwrap();
    let storage = Storage::create_root(&dir.path().join("packs")).unwrap();
    let text = Text::seeded(SEED).bytes(16 << 20);
    let chunking = Chunking::default();
    let options = PackOptions {
        family: 0,
        level: chunking.zstd_level,
        small_block_bytes: chunking.small_block_bytes,
        large_block_bytes: chunking.large_block_bytes,
    };
    let mut group = c.benchmark_group("pack");
    group.sample_size(10);
    group.throughput(Throughput::Bytes(text.len() as u64));
    group.bench_function("hash, compress, write, fsync", |b| {
        b.iter(|| {
            let mut packer = Packer::new(storage.clone(), options).unwrap();
            for chunk in text.chunks(16 << 10) {
                packer.add(ChunkId::of(&[7; 32], chunk), chunk, Class::Small).unwrap();
            }
            for packed in packer.finish().unwrap() {
                storage.remove(&dbakfs::format::layout::pack(&packed.pack.id)).unwrap();
            }
        });
    });
    group.finish();
}

criterion_group! {
    name = stages;
    config = Criterion::default()
        .without_plots()
        .warm_up_time(std::time::Duration::from_secs(1))
        .measurement_time(std::time::Duration::from_secs(3));
    targets = walk, chunker, record_block, catalog_and_overlay, packer
}
criterion_main!(stages);
