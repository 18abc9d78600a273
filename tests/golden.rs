//! The format's bytes, pinned: what the encoders write today, and what a store of each version holds.
//!
//! Two promises. *The encoders have not moved*: unsealed bytes, made here from fixed values, equal `tests/data/format-N/raw/`. They are
//! pinned before compression, for another version of zstd may pack the same bytes otherwise, and may. *Old stores stay readable*:
//! `tests/data/format-N/store/` was sealed once, by whatever zstd there was, and must open and read back for ever.
//!
//! `DBAKFS_WRITE_GOLDEN=1 cargo test --test golden` writes both for the present version. Do that when a new version is made, never to make a
//! failing test pass.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use dbakfs::cache::ByteCache;
use dbakfs::catalog::{Catalog, CatalogWriter};
use dbakfs::compare::{ChangeKind, compare};
use dbakfs::format::catalog::{self, PackRef, Run, Section, Sections};
use dbakfs::format::file::{FileKind, Head};
use dbakfs::format::pack::{self, ChunkId, PackId};
use dbakfs::format::record::{
    Birth, Content, Flags, NewRecord, Place, Record, RecordBlockBuilder, Status, encode_xattrs, xattrs,
};
use dbakfs::format::seal::{Frame, Sealer};
use dbakfs::format::table::{self, Adopted, Children, Chunk, Extent};
use dbakfs::format::{
    CatalogId, Counts, Kind, Meta, Number, Origin, Point, PointKind, SourceId, Timestamp, file, layout,
};
use dbakfs::overlay::PointTree;
use dbakfs::repository::config::{Chunking, Config, FORMAT_VERSION};
use dbakfs::repository::{CacheBytes, Reader, Store};
use dbakfs::storage::{Replace, Storage};
use dbakfs::verify::{Depth, verify};

/// Every version that there has been.
const VERSIONS: [u32; 1] = [1];

const FULL: Number = Number(3);
const DIFFERENTIAL: Number = Number(5);

fn data(version: u32) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/data/format-{version}"))
}

fn is_writing() -> bool {
    std::env::var_os("DBAKFS_WRITE_GOLDEN").is_some_and(|value| value == "1")
}

fn config() -> Config {
    Config::new(Chunking::default(), &std::array::from_fn(|at| u8::try_from(at * 3 % 251).unwrap()))
}

/// Bytes of the file that lies in one place, and of the one that lies in three, with a hole.
fn contents() -> [Vec<u8>; 2] {
    let one = b"a file in one run\n".repeat(20);
    let two: Vec<u8> = (0..5000_u32).flat_map(|n| (n * n).to_le_bytes()).collect();
    [one, two]
}

fn chunks() -> Vec<(ChunkId, Chunk, Vec<u8>)> {
    let [one, two] = contents();
    let key = config().secrets.chunk_key;
    let parts = [(0, 0, &one[..]), (0, 360, &two[..8000]), (1, 0, &two[8000..14_000]), (1, 6000, &two[14_000..])];
    parts
        .into_iter()
        .map(|(block, offset, bytes)| {
            let id = ChunkId::of(&key, bytes);
            (id, Chunk { block, offset, len: u32::try_from(bytes.len()).unwrap() }, bytes.to_vec())
        })
        .collect()
}

/// The pack, sealed: its bytes and its name.
fn pack_file() -> (Vec<u8>, PackRef) {
    let mut out = Head { id: [0xa1; 16] }.encode(FileKind::Pack).to_vec();
    let mut sealer = Sealer::new(3).unwrap();
    let mut blocks = Vec::new();
    for block in 0..2 {
        let raw: Vec<u8> =
            chunks().iter().filter(|chunk| chunk.1.block == block).flat_map(|chunk| chunk.2.clone()).collect();
        blocks.push(seal(&mut sealer, &raw, &mut out));
    }
    let rows: Vec<_> = chunks().iter().map(|(id, chunk, _)| (*id, *chunk)).collect();
    let blocks = seal(&mut sealer, &pack::encode_blocks(&blocks), &mut out);
    let chunks = seal(&mut sealer, &pack::encode_chunks(&rows), &mut out);
    let foot = pack::Foot { blocks, chunks, family: 3, head_check: pack::head_check(&out[..Head::LEN]) };
    out.extend(foot.encode());
    let id = foot.name();
    let file_len = out.len() as u64;
    (out, PackRef { id, file_len })
}

fn seal(sealer: &mut Sealer, raw: &[u8], out: &mut Vec<u8>) -> Frame {
    sealer.seal(raw, out.len() as u64, out)
}

fn meta(kind: Kind) -> Meta {
    let mtime = Timestamp::new(-315_619_200, 999_999_999);
    Meta { kind, mode: 0o4755, uid: 1000, gid: 4_000_000_000, nlink: 1, rdev: 0, size: 0, mtime }
}

fn record(kind: Kind, number: Number, own: u32) -> Record {
    Record {
        meta: meta(kind),
        status: Status::New,
        flags: Flags::default(),
        ctime: Timestamp::new(4_102_444_800, 1),
        ino: 1 << 40,
        birth: Birth { number, record: own },
        base: None,
        data_bytes: 0,
        content: Content::None,
    }
}

/// The attributes of `dir`.
fn attributes() -> Vec<u8> {
    encode_xattrs([(&b"security.capability"[..], &b"\x01\0"[..]), (b"user.\xff", b"")])
}

type Entry = (Record, &'static [u8], &'static [u8], Vec<u8>);

fn extents() -> Vec<Extent> {
    let at = |at, len, block, offset| Extent { at, len, place: Place { pack: 0, block, offset } };
    vec![at(0, 8000, 0, 360), at(8000, 6000, 1, 0), at(1 << 20, 6000, 1, 6000)]
}

/// Every kind of record that a full can hold.
fn full_records() -> Vec<Entry> {
    let bare = |kind, own| record(kind, FULL, own);
    let place = Place { pack: 0, block: 0, offset: 0 };
    let sparse = (1 << 20) + 6000;
    vec![
        (
            Record {
                meta: Meta { size: 3, ..meta(Kind::File) },
                data_bytes: 3,
                content: Content::Inline,
                ..bare(Kind::File, 0)
            },
            b"inside",
            b"abc",
            Vec::new(),
        ),
        (Record { content: Content::Inline, ..bare(Kind::Symlink, 1) }, b"\xff\n", b"../anywhere", Vec::new()),
        (
            Record { meta: Meta { rdev: 0x0103, ..meta(Kind::BlockDevice) }, ..bare(Kind::BlockDevice, 2) },
            b"block",
            b"",
            Vec::new(),
        ),
        (
            Record { meta: Meta { rdev: 5 << 20, ..meta(Kind::CharDevice) }, ..bare(Kind::CharDevice, 3) },
            b"char",
            b"",
            Vec::new(),
        ),
        (Record { content: Content::Children(0), ..bare(Kind::Directory, 4) }, b"dir", b"", attributes()),
        (bare(Kind::File, 5), b"empty", b"", Vec::new()),
        (bare(Kind::Fifo, 6), b"fifo", b"", Vec::new()),
        (
            Record {
                meta: Meta { size: sparse, ..meta(Kind::File) },
                data_bytes: 20_000,
                content: Content::Many { first: 0, count: 3 },
                flags: Flags::RECHECK.with(Flags::TORN),
                ..bare(Kind::File, 7)
            },
            b"many",
            b"",
            Vec::new(),
        ),
        (
            Record {
                meta: Meta { size: 360, nlink: 2, ..meta(Kind::File) },
                data_bytes: 360,
                content: Content::One(place),
                birth: Birth { number: Number(2), record: 77 },
                ..bare(Kind::File, 8)
            },
            b"one",
            b"",
            Vec::new(),
        ),
        (bare(Kind::Socket, 9), b"socket", b"", Vec::new()),
        (
            Record { status: Status::Unread, flags: Flags::NO_CONTENT.with(Flags::RECHECK), ..bare(Kind::File, 10) },
            b"unread",
            b"",
            Vec::new(),
        ),
        (
            Record { content: Content::Children(1), flags: Flags::LEFT_OUT, ..bare(Kind::Directory, 11) },
            b"",
            b"",
            Vec::new(),
        ),
    ]
}

/// Every status that a differential can hold.
fn differential_records() -> Vec<Entry> {
    let bare = |kind, own| record(kind, DIFFERENTIAL, own);
    let inline = |bytes: usize, own| Record {
        meta: Meta { size: bytes as u64, ..meta(Kind::File) },
        data_bytes: bytes as u64,
        content: Content::Inline,
        ..bare(Kind::File, own)
    };
    vec![
        (inline(3, 0), b"added", b"new", Vec::new()),
        (Record { status: Status::Updated, base: Some(0), ..inline(4, 1) }, b"inside", b"abcd", Vec::new()),
        (
            Record {
                status: Status::Unchanged,
                base: Some(4),
                content: Content::Children(0),
                ..bare(Kind::Directory, 2)
            },
            b"dir",
            b"",
            attributes(),
        ),
        (Record { status: Status::Deleted, base: Some(6), ..bare(Kind::Fifo, 3) }, b"fifo", b"", Vec::new()),
        (
            Record {
                status: Status::Unread,
                base: Some(5),
                birth: Birth { number: FULL, record: 5 },
                ..bare(Kind::File, 4)
            },
            b"empty",
            b"",
            Vec::new(),
        ),
        (
            Record {
                status: Status::Updated,
                base: Some(11),
                content: Content::Children(1),
                ..bare(Kind::Directory, 5)
            },
            b"",
            b"",
            Vec::new(),
        ),
    ]
}

fn point(number: Number, id: CatalogId, kind: PointKind) -> Point {
    let time = Timestamp::new(1_795_169_100, 0);
    Point {
        origin: Origin::Backup,
        number,
        id,
        source: SourceId { name: "www".to_owned(), host: "golden".to_owned(), path: b"/srv/\xff\\www".to_vec() },
        kind,
        family: 3,
        time: time.plus_secs(i64::from(number.0)),
        clock: Timestamp::new(1_795_169_100, 5),
        finished: Timestamp::new(1_795_169_101, 999_999_999),
        previous: (number == DIFFERENTIAL).then_some(FULL),
        counts: Counts {
            files: 5,
            directories: 2,
            others: 5,
            bytes: 1_054_939,
            new: 12,
            stored_bytes: 1,
            size_bytes: 5,
            changed_bytes: 3,
            gone_bytes: 2,
            ..Counts::default()
        },
        has_xattrs: true,
        program: "dbakfs golden".to_owned(),
    }
}

fn full_point() -> Point {
    point(FULL, CatalogId([0xf3; 16]), PointKind::Full)
}

fn differential_point() -> Point {
    let kind = PointKind::Differential { base: FULL, base_id: CatalogId([0xf3; 16]) };
    point(DIFFERENTIAL, CatalogId([0xd5; 16]), kind)
}

/// Writes a catalog whose directory `dir` is empty in the full and lists `added` in the differential.
fn write_catalog(storage: &Storage, point: &Point, entries: &[Entry], inside: u32, packs: Vec<PackRef>) {
    let mut writer = CatalogWriter::create(storage, point.number, point.id, 3).unwrap();
    if point.is_full() {
        assert_eq!(writer.push_extents(&extents()).unwrap(), 0);
    }
    for (at, (record, name, inline, xattrs)) in (0..).zip(entries) {
        if at == inside {
            writer.push_directory(Children { first: 0, count: inside }).unwrap();
        }
        if name.is_empty() {
            writer.push_directory(Children { first: inside, count: at - inside }).unwrap();
        }
        writer.push(&NewRecord { record: *record, name, inline, xattrs }).unwrap();
    }
    writer.finish(point, packs).unwrap();
}

/// Sorts the records from `inside` on, but for the root, by name; answers them numbered.
fn sorted(mut entries: Vec<Entry>, number: Number, inside: usize) -> Vec<Entry> {
    let root = entries.len() - 1;
    entries[inside..root].sort_by_key(|entry| entry.1);
    for (own, entry) in (0..).zip(&mut entries) {
        if entry.0.birth.number == number {
            entry.0.birth.record = own;
        }
    }
    entries
}

/// Each catalog: its point, its records, and how many of them lie in `dir`.
fn catalogs() -> [(Point, Vec<Entry>, u32); 2] {
    let full = sorted(full_records(), FULL, 0);
    let number_of = |name: &[u8]| (0..).zip(&full).find(|(_, entry)| entry.1 == name).map(|(number, _)| number);
    let mut differential = sorted(differential_records(), DIFFERENTIAL, 1);
    for entry in &mut differential {
        entry.0.base = number_of(entry.1);
        if entry.1 == b"empty" {
            entry.0.birth.record = number_of(entry.1).unwrap();
        }
    }
    [(full_point(), full, 0), (differential_point(), differential, 1)]
}

fn write_store(path: &Path) {
    let storage = Storage::create_root(path).unwrap();
    let (bytes, pack) = pack_file();
    storage.put(&layout::pack(&pack.id), &bytes, Replace::Never).unwrap();
    for (point, entries, inside) in catalogs() {
        let packs = if point.is_full() { vec![pack] } else { Vec::new() };
        write_catalog(&storage, &point, &entries, inside, packs);
    }
    for (name, text) in [
        ("marks.toml", "highest = 5\ngeneration = 2\n"),
        ("points/00000003.toml", "tags = [\"deploy-42\"]\npinned = true\ndamaged = []\n"),
        (
            "sources/www.toml",
            "last_point = 5\n\n[source]\nname = \"www\"\nhost = \"golden\"\npath = '/srv/\\xff\\x5cwww'\n",
        ),
        ("store.toml", &config().to_toml().unwrap()),
    ] {
        storage.put(name, text.as_bytes(), Replace::Never).unwrap();
    }
}

/// What each encoder writes, before it is sealed.
fn raw() -> Vec<(&'static str, Vec<u8>)> {
    fn rows<const K: usize, R: table::Row<K>>(rows: &[R]) -> Vec<u8> {
        let mut out = Vec::new();
        table::encode(rows, &mut out);
        out
    }
    let frame = |n: u32| Frame {
        offset: u64::from(n) << 33,
        stored_len: 10 + n,
        raw_len: 1000 * n + 10,
        checksum: 0x0123_4567_89ab_cdef,
    };
    let section = |all: &[u32]| {
        let mut section = Section::default();
        for (n, rows) in (1..).zip(all) {
            section.push(Run { rows: *rows, frame: frame(n) }).unwrap();
        }
        section
    };
    let pack = PackRef { id: PackId([0x91; 32]), file_len: 1 << 35 };
    let mut sections = Vec::new();
    Sections {
        records: section(&[512, 9]),
        extents: section(&[3]),
        directories: section(&[4096, 2]),
        adopted: section(&[]),
        packs: vec![pack],
    }
    .encode(&mut sections);
    let blocks = |(point, entries, _): &(Point, Vec<Entry>, u32)| {
        let (mut builder, mut out) = (RecordBlockBuilder::default(), Vec::new());
        for (record, name, inline, xattrs) in entries {
            builder.push(&NewRecord { record: *record, name, inline, xattrs });
        }
        builder.encode(point.number, 0, &mut out);
        out
    };
    let [full, differential] = catalogs();
    let frames: Vec<Frame> = (1..4).map(frame).collect();
    let chunk_rows: Vec<_> = chunks().iter().map(|(id, chunk, _)| (*id, *chunk)).collect();
    let json = |point: &Point| serde_json::to_vec(point).unwrap();
    vec![
        ("head-of-pack", Head { id: [1; 16] }.encode(FileKind::Pack).to_vec()),
        ("head-of-catalog", Head { id: [2; 16] }.encode(FileKind::Catalog).to_vec()),
        ("foot-of-pack", pack::Foot { blocks: frame(1), chunks: frame(2), family: 7, head_check: 8 }.encode()),
        ("foot-of-catalog", catalog::Foot { sections: frame(1), point: frame(2), hash: [9; 32] }.encode()),
        ("blocks", pack::encode_blocks(&frames)),
        ("chunks", pack::encode_chunks(&chunk_rows)),
        ("records-of-full", blocks(&full)),
        ("records-of-differential", blocks(&differential)),
        ("extents", rows(&extents())),
        (
            "directories",
            rows(&[
                Children { first: 0, count: 3 },
                Children { first: 3, count: 0 },
                Children { first: 3, count: 70_000 },
            ]),
        ),
        (
            "adopted",
            rows(&[
                Adopted { number: 2, birth_record: 77, record: 8 },
                Adopted { number: 2, birth_record: 80, record: 1 },
            ]),
        ),
        ("sections", sections),
        ("point-of-full.json", json(&full.0)),
        ("point-of-differential.json", json(&differential.0)),
        ("store.toml", config().to_toml().unwrap().into_bytes()),
    ]
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let (from, to) = (entry.as_ref().unwrap().path(), to.join(entry.unwrap().file_name()));
        if from.is_dir() { copy(&from, &to) } else { assert!(fs::copy(&from, &to).is_ok()) }
    }
}

#[test]
fn every_version_has_its_fixture() {
    assert!(VERSIONS.into_iter().eq(1..=FORMAT_VERSION), "a new version needs a fixture, and its line here; none goes");
    assert_eq!(FORMAT_VERSION, u32::from(file::VERSION), "files and store.toml speak of one version");
    let document = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/format.md")).unwrap();
    let (_, table) = document.split_once("\n## Versions\n").unwrap();
    let (table, _) = table.split_once("\n## ").unwrap();
    let rows: Vec<_> = table.lines().filter(|line| line.ends_with("` |")).collect();
    assert_eq!(rows.len(), VERSIONS.len(), "docs/format.md lists every version and no other: {rows:?}");
    for (version, row) in VERSIONS.into_iter().zip(rows) {
        assert!(
            row.starts_with(&format!("| {version} | ")) && row.ends_with(&format!("`tests/data/format-{version}` |"))
        );
    }
    if is_writing() {
        return;
    }
    let mut fixtures: Vec<_> = fs::read_dir(data(1).parent().unwrap())
        .unwrap()
        .filter_map(|entry| entry.unwrap().file_name().to_str()?.strip_prefix("format-")?.parse::<u32>().ok())
        .collect();
    fixtures.sort_unstable();
    assert_eq!(fixtures, VERSIONS, "a fixture that no version names is tested by nobody");
    for version in VERSIONS {
        assert!(data(version).join("store/store.toml").is_file(), "version {version}");
        assert!(data(version).join("raw").is_dir(), "version {version}");
    }
}

#[test]
fn encoders_write_the_pinned_bytes() {
    let directory = data(FORMAT_VERSION).join("raw");
    if is_writing() {
        fs::create_dir_all(&directory).unwrap();
    }
    for (name, bytes) in raw() {
        let path = directory.join(name);
        if is_writing() {
            fs::write(&path, &bytes).unwrap();
        }
        assert_eq!(fs::read(&path).unwrap(), bytes, "{name} is written otherwise than before");
    }
}

/// What a tree shows: a line for each entry.
fn lines(reader: &Reader, tree: &PointTree) -> Vec<String> {
    let mut lines = Vec::new();
    let mut waiting = vec![(String::new(), tree.root().unwrap())];
    while let Some((path, node)) = waiting.pop() {
        let record = node.entry.record();
        let mut bytes = Vec::new();
        if record.meta.kind == Kind::File && !record.flags.has(Flags::NO_CONTENT) {
            reader.read(tree.catalog(node.layer), &node.entry, 0, usize::MAX, &mut bytes).unwrap();
            assert_eq!(bytes.len() as u64, record.meta.size);
        }
        let hash = &blake3::hash(&bytes).to_hex()[..8];
        let attributes: Vec<_> =
            xattrs(node.entry.xattrs()).map(|(name, value)| (name.escape_ascii().to_string(), value.len())).collect();
        let link = node.entry.inline().escape_ascii();
        lines.push(format!("/{path} {record:?} {hash} {link} {attributes:?}"));
        if node.is_directory() {
            let mut entries = tree.entries(tree.directory(&node).unwrap());
            while let Some(child) = entries.next_node().unwrap() {
                waiting.push((format!("{path}/{}", child.entry.name().escape_ascii()), child));
            }
        }
    }
    lines.sort();
    lines
}

#[test]
fn stores_of_every_version_open_and_read_back() {
    if is_writing() {
        let directory = data(FORMAT_VERSION).join("store");
        let _ = fs::remove_dir_all(&directory);
        write_store(&directory);
    }
    for version in VERSIONS {
        let dir = tempfile::tempdir().unwrap();
        // A copy: a reader takes a lease, and git keeps no empty directories.
        copy(&data(version).join("store"), dir.path());
        let store = Store::open(dir.path()).unwrap();
        assert_eq!(*store.config(), config());
        let reader = Reader::open(store, CacheBytes::of_total(1 << 20)).unwrap();
        let points = reader.points().unwrap();
        assert!(points.problems.is_empty(), "{:?}", points.problems);
        assert_eq!(points.points, [full_point(), differential_point()]);
        assert!(points.notes_of(FULL).pinned);
        let report = verify(&reader, Depth::Data, &|_| {}, &mut |event| panic!("{event:?}")).unwrap();
        assert!(report.is_whole() && report.packs == 1 && report.blocks == 2 && report.chunks == 4);
        for point in &points.points {
            let shown = lines(&reader, &reader.tree(point).unwrap()).join("\n") + "\n";
            let path = data(version).join(format!("shows-{}.txt", point.number));
            if is_writing() {
                fs::write(&path, &shown).unwrap();
            }
            assert_eq!(shown, fs::read_to_string(&path).unwrap(), "point {} of version {version}", point.number);
        }
    }
}

/// What point `number` of the store at `path` shows, against what it showed when it was frozen.
#[track_caller]
fn shows_as_ever(version: u32, path: &Path, points: &[Number]) {
    let reader = Reader::open(Store::open(path).unwrap(), CacheBytes::of_total(1 << 20)).unwrap();
    let listed = reader.points().unwrap();
    assert!(listed.problems.is_empty(), "{:?}", listed.problems);
    assert!(listed.points.iter().map(|point| point.number).eq(points.iter().copied()), "{:?}", listed.points);
    for point in &listed.points {
        let shown = lines(&reader, &reader.tree(point).unwrap()).join("\n") + "\n";
        let frozen = fs::read_to_string(data(version).join(format!("shows-{}.txt", point.number))).unwrap();
        assert_eq!(shown, frozen, "point {} of version {version}", point.number);
    }
    let report = verify(&reader, Depth::Data, &|_| {}, &mut |event| panic!("{event:?}")).unwrap();
    assert!(report.is_whole() && report.chunks == 4);
}

fn run(store: &Path, args: &[&str]) {
    let program = env!("CARGO_BIN_EXE_dbakfs");
    let ran = std::process::Command::new(program).arg("--store").arg(store).args(args).output().unwrap();
    assert!(ran.status.success(), "{args:?}: {}", String::from_utf8_lossy(&ran.stderr));
}

#[test]
fn old_stores_lose_what_is_forgotten_and_nothing_else() {
    for version in VERSIONS {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("store");
        copy(&data(version).join("store"), &path);
        run(&path, &["prune"]);
        shows_as_ever(version, &path, &[FULL, DIFFERENTIAL]);
        run(&path, &["forget", "5"]);
        shows_as_ever(version, &path, &[FULL]);
        run(&path, &["unforget", "5"]);
        shows_as_ever(version, &path, &[FULL, DIFFERENTIAL]);
        run(&path, &["forget", "5"]);
        run(&path, &["prune", "--grace", "0s"]);
        shows_as_ever(version, &path, &[FULL]);
        assert!(!path.join(layout::catalog(DIFFERENTIAL)).exists(), "it was pruned");
    }
}

#[test]
fn catalog_that_was_pruned_and_not_yet_removed_is_no_point_of_an_old_store() {
    for version in VERSIONS {
        let dir = tempfile::tempdir().unwrap();
        copy(&data(version).join("store"), dir.path());
        let [from, to] = [layout::catalog(DIFFERENTIAL), layout::removed_catalog(DIFFERENTIAL)];
        fs::rename(dir.path().join(from), dir.path().join(&to)).unwrap();
        shows_as_ever(version, dir.path(), &[FULL]);
        let storage = Storage::open_root(dir.path()).unwrap();
        let removed = Catalog::open_removed(&storage, DIFFERENTIAL, Arc::new(ByteCache::new(1 << 20))).unwrap();
        assert_eq!(*removed.point(), differential_point(), "who has seen it listed still reads it");
        run(dir.path(), &["prune"]);
        assert!(!dir.path().join(to).exists());
        shows_as_ever(version, dir.path(), &[FULL]);
    }
}

#[test]
fn what_is_written_today_opens_like_the_frozen_store() {
    let dir = tempfile::tempdir().unwrap();
    write_store(&dir.path().join("store"));
    let open = |path: &Path| {
        let storage = Storage::open_root(path).unwrap();
        [FULL, DIFFERENTIAL].map(|number| {
            let catalog = Catalog::open(&storage, number, Arc::new(ByteCache::new(1 << 20))).unwrap();
            catalog.check().unwrap();
            let entries = (0..catalog.len()).map(|record| catalog.entry(record).unwrap());
            let all: Vec<_> = entries
                .map(|entry| (*entry.record(), entry.name().to_vec(), entry.inline().to_vec(), entry.xattrs().to_vec()))
                .collect();
            (catalog.point().clone(), all)
        })
    };
    assert_eq!(open(&dir.path().join("store")), open(&data(FORMAT_VERSION).join("store")));
    let born = Birth { number: Number(2), record: 77 };
    let storage = Storage::open_root(&dir.path().join("store")).unwrap();
    let full = Catalog::open(&storage, FULL, Arc::new(ByteCache::new(1 << 20))).unwrap();
    let adopted = full.adopted(born).unwrap().unwrap();
    assert_eq!(full.entry(adopted).unwrap().name(), b"one");
}

#[test]
fn what_was_never_read_is_no_change_and_no_sameness() {
    let dir = tempfile::tempdir().unwrap();
    copy(&data(FORMAT_VERSION).join("store"), dir.path());
    let reader = Reader::open(Store::open(dir.path()).unwrap(), CacheBytes::of_total(1 << 20)).unwrap();
    let [before, after] = [full_point(), differential_point()].map(|point| reader.tree(&point).unwrap());
    let mut changes = Vec::new();
    compare(&reader, &before, &after, &mut |change| changes.push((change.path, change.kind))).unwrap();
    let wanted: [(&[u8], ChangeKind); 5] = [
        (b"dir/added", ChangeKind::New),
        (b"empty", ChangeKind::Unread),
        (b"fifo", ChangeKind::Deleted),
        (b"inside", ChangeKind::Updated { data: true, metadata: false }),
        (b"unread", ChangeKind::Unread),
    ];
    assert!(changes.iter().map(|(path, kind)| (&path[..], *kind)).eq(wanted), "{changes:?}");
}
