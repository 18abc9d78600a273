//! Where the corpora begin: pieces of the frozen store, and trees made by hand that a store should not hold.
//!
//! `DBAKFS_WRITE_SEEDS=1 cargo test --test hostile seeds` writes them. Whatever the fuzzer finds is added beside them.

use std::fs;
use std::path::Path;

use dbakfs::archive::{ArchiveWriter, Link, NewMember, SparseShape};
use dbakfs::format::record::{
    Birth, Content, Flags, NewRecord, Place, Record, RecordBlockBuilder, Status, encode_xattrs,
};
use dbakfs::format::table::{self, Children, Chunk, Extent};
use dbakfs::format::{Kind, Meta, Number, Timestamp};

use crate::fuzz::stage::{DIFFERENTIAL, FULL};
use crate::fuzz::{TARGETS, run, shape};
use crate::replay::corpora;

fn frozen(name: &str) -> Vec<u8> {
    fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/format-1").join(name)).unwrap()
}

pub(crate) fn record(kind: Kind, number: Number, own: u32, content: Content) -> Record {
    let time = Timestamp::new(1_600_000_000, 1);
    Record {
        meta: Meta { kind, mode: 0o4755, uid: 0, gid: 0, nlink: 1, rdev: 0, size: 0, mtime: time },
        status: Status::New,
        flags: Flags::default(),
        ctime: time,
        ino: u64::from(own),
        birth: Birth { number, record: own },
        base: None,
        data_bytes: 0,
        content,
    }
}

/// A tree by hand: records in order, and the rows of its directories.
#[derive(Default)]
struct Hand {
    builder: RecordBlockBuilder,
    directories: Vec<Children>,
    extents: Vec<Extent>,
    next: u32,
}

impl Hand {
    fn push(&mut self, number: Number, kind: Kind, name: &[u8], content: Content, change: impl FnOnce(&mut Record)) {
        let mut new = record(kind, number, self.next, content);
        change(&mut new);
        let inline: &[u8] = if content == Content::Inline { b"../outside/kept" } else { b"" };
        if kind == Kind::File && content == Content::Inline {
            (new.meta.size, new.data_bytes) = (inline.len() as u64, inline.len() as u64);
        }
        let attributes = encode_xattrs([(&b"user.a"[..], &b"b"[..])]);
        let xattrs = if kind == Kind::File && new.status == Status::New { &attributes[..] } else { b"" };
        self.builder.push(&NewRecord { record: new, name, inline, xattrs });
        self.next += 1;
    }

    fn directory(&mut self, first: u32, count: u32) -> Content {
        self.directories.push(Children { first, count });
        Content::Children(u32::try_from(self.directories.len() - 1).unwrap())
    }

    fn shape(mut self, number: Number) -> Vec<u8> {
        let (mut shape, mut raw) = (Vec::new(), Vec::new());
        self.builder.encode(number, 0, &mut raw);
        shape::push_part(&mut shape, shape::RECORDS, &raw);
        raw.clear();
        if !self.extents.is_empty() {
            table::encode(&self.extents, &mut raw);
            shape::push_part(&mut shape, shape::EXTENTS, &raw);
            raw.clear();
        }
        table::encode(&self.directories, &mut raw);
        shape::push_part(&mut shape, shape::DIRECTORIES, &raw);
        shape
    }
}

/// The runs of the file `e`.
fn runs() -> [Extent; 2] {
    let run = |at, len, offset| Extent { at, len, place: Place { pack: 0, block: 1, offset } };
    [run(0, 100, 7), run(5000, 20_000, 0)]
}

/// A full with a link out of the tree, a file, a directory, two names of one inode, a file of several runs.
pub(crate) fn full() -> Vec<u8> {
    full_with(&runs())
}

/// That full, whose file `e` of 30,000 bytes lies in these extents.
pub(crate) fn full_with(extents: &[Extent]) -> Vec<u8> {
    let mut hand = Hand::default();
    hand.push(FULL, Kind::File, b"kept", Content::Inline, |_| {});
    let below = hand.directory(0, 1);
    hand.push(FULL, Kind::Symlink, b"a", Content::Inline, |_| {});
    hand.push(FULL, Kind::Directory, b"b", below, |_| {});
    hand.push(FULL, Kind::File, b"c\n", Content::One(Place { pack: 0, block: 0, offset: 0 }), |record| {
        (record.meta.size, record.data_bytes, record.meta.nlink) = (900, 900, 2);
    });
    hand.push(FULL, Kind::File, b"d", Content::One(Place { pack: 0, block: 0, offset: 0 }), |record| {
        (record.meta.size, record.data_bytes, record.meta.nlink) = (900, 900, 2);
        record.birth.record = 3;
    });
    hand.extents = extents.to_vec();
    hand.push(FULL, Kind::File, b"e", Content::Many { first: 0, count: 2 }, |record| {
        (record.meta.size, record.data_bytes) = (30_000, 20_100);
    });
    hand.push(FULL, Kind::Fifo, b"f", Content::None, |_| {});
    let root = hand.directory(1, 6);
    hand.push(FULL, Kind::Directory, b"", root, |_| {});
    hand.shape(FULL)
}

/// Over it: a directory where the link was, a link where the directory was, a whiteout.
pub(crate) fn differential() -> Vec<u8> {
    let mut hand = Hand::default();
    hand.push(DIFFERENTIAL, Kind::File, b"kept", Content::Inline, |_| {});
    let below = hand.directory(0, 1);
    hand.push(DIFFERENTIAL, Kind::Directory, b"a", below, |_| {});
    hand.push(DIFFERENTIAL, Kind::Symlink, b"b", Content::Inline, |_| {});
    hand.push(DIFFERENTIAL, Kind::File, b"c\n", Content::None, |record| {
        (record.status, record.base) = (Status::Deleted, Some(3));
    });
    let root = hand.directory(1, 3);
    hand.push(DIFFERENTIAL, Kind::Directory, b"", root, |record| {
        (record.status, record.base) = (Status::Updated, Some(7));
    });
    hand.shape(DIFFERENTIAL)
}

/// Directories of which each holds the one before it twice: 2^40 entries in a few hundred bytes.
pub(crate) fn doubling() -> Vec<u8> {
    let mut hand = Hand::default();
    for level in 0..40 {
        for name in [b"a", b"b"] {
            let below = hand.directory(2 * level.max(1) - 2, if level == 0 { 0 } else { 2 });
            hand.push(FULL, Kind::Directory, name, below, |_| {});
        }
    }
    let root = hand.directory(78, 2);
    hand.push(FULL, Kind::Directory, b"", root, |_| {});
    hand.shape(FULL)
}

/// Over it: a link where the first directory was.
pub(crate) fn cut_short() -> Vec<u8> {
    let mut hand = Hand::default();
    hand.push(DIFFERENTIAL, Kind::Symlink, b"a", Content::Inline, |_| {});
    let root = hand.directory(0, 1);
    hand.push(DIFFERENTIAL, Kind::Directory, b"", root, |record| {
        (record.status, record.base) = (Status::Updated, Some(80));
    });
    hand.shape(DIFFERENTIAL)
}

/// A directory that holds itself, and names that do not rise.
pub(crate) fn circle(names: [&[u8]; 2]) -> Vec<u8> {
    let mut hand = Hand::default();
    let itself = hand.directory(0, 2);
    hand.push(FULL, Kind::Directory, names[0], itself, |_| {});
    hand.push(FULL, Kind::Symlink, names[1], Content::Inline, |_| {});
    let root = hand.directory(0, 2);
    hand.push(FULL, Kind::Directory, b"", root, |_| {});
    hand.shape(FULL)
}

fn with_length(len: u64, bytes: &[u8]) -> Vec<u8> {
    [&len.to_le_bytes()[..], bytes].concat()
}

fn seeds() -> Vec<(&'static str, Vec<Vec<u8>>)> {
    let raw = |name: &str| frozen(&format!("raw/{name}"));
    let frozen_catalog = |number: u32| shape::of_catalog(&frozen(&format!("store/catalogs/0000000{number}.catalog")));
    let only = |directory: &Path| fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).next().unwrap();
    let packs = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/format-1/store/packs");
    let pack = fs::read(only(&only(&packs))).unwrap();
    let (_, of_data) = shape::parts(&shape::of_pack(&pack)).next().map(|(tag, part)| (tag, part.to_vec())).unwrap();
    let mut sealed = Vec::new();
    let mut frame = Vec::new();
    let mut sealer = dbakfs::format::seal::Sealer::new(3).unwrap();
    sealer.seal(&of_data, 32, &mut sealed).encode(&mut frame);
    let mut one_chunk = Vec::new();
    table::encode(&[Chunk { block: 0, offset: 0, len: 360 }], &mut one_chunk);
    one_chunk.extend([9; 16]);
    let blocks = raw("blocks");
    let block_len = u16::try_from(blocks.len()).unwrap().to_le_bytes();
    let tables = [&block_len[..], &blocks, &one_chunk].concat();
    let two = shape::of_two(&full(), &differential());
    let frozen_two = shape::of_two(&frozen_catalog(3), &frozen_catalog(5));
    let text = |texts: &[&str]| texts.iter().map(|text| text.as_bytes().to_vec()).collect::<Vec<_>>();
    vec![
        (
            "address",
            text(&[
                "www/latest:etc/passwd",
                "www/deploy-42",
                "42:a/../b",
                "www/2026-11-20T10-05-00Z",
                "2026-11-20T10:05:00+01:00",
                "2026-11-20",
                "@1795169100",
                "/srv/www\n",
            ]),
        ),
        ("archive", vec![packed()]),
        ("catalog", vec![full(), frozen_catalog(3), doubling(), circle([b"a", b"b"]), circle([b"b", b"b"])]),
        ("columns", vec![[&[3, 0][..], &[2, 1, 2, 3, 0, 0, 1]].concat(), vec![4, 0, 0]]),
        ("exclude", text(&["a/b.o\n*.o\n!b.o\n/a/**/c[0-9]\\ \n", "x\n{a,b}\n"])),
        ("feet", ["foot-of-pack", "foot-of-catalog"].iter().map(|name| with_length(1 << 40, &raw(name))).collect()),
        ("head", vec![raw("head-of-pack"), raw("head-of-catalog")]),
        ("index", vec![[[7; 32].as_slice(), &[1; 16]].concat(), (0..60).collect()]),
        (
            "layout",
            text(&[
                "00000042.catalog",
                "67108863.toml",
                "00000001.removed",
                &format!("91/{}.pack", "91".repeat(32)),
                "/srv/\\xff\\x5cwww",
            ]),
        ),
        ("lease", text(&["00000000000000000007", "99999999999999999999", "7"])),
        (
            "notes",
            text(&[
                "highest = 5\ngeneration = 2\n",
                "tags = [\"deploy-42\"]\npinned = true\ndamaged = []\n[forgotten]\nsecs = 5\nnanos = 6\n",
                "last_point = 5\nlater = nan\n[source]\nname = \"www\"\nhost = \"golden\"\npath = '/srv/\\xff\\x5cwww'\n",
            ]),
        ),
        ("overlay", vec![two.clone(), frozen_two.clone()]),
        (
            "pack",
            vec![shape::of_pack(&pack)[..2000].to_vec(), {
                let mut small = Vec::new();
                shape::push_part(&mut small, shape::BLOCK, &[5; 400]);
                shape::push_part(&mut small, shape::BLOCK | 1 << 7, &[6; 40]);
                shape::push_part(&mut small, shape::BLOCK | 1 << 6, &[]);
                shape::push_part(&mut small, shape::CHUNKS, &one_chunk);
                small
            }],
        ),
        ("pack_tables", vec![with_length(1 << 40, &tables)]),
        ("point", vec![raw("point-of-full.json"), raw("point-of-differential.json")]),
        (
            "records",
            vec![
                [&[2, 0, 20, 20, 20, 20, 0, 0][..], &raw("records-of-full")].concat(),
                [&[4, 0, 20, 20, 20, 20, 1, 0][..], &raw("records-of-differential")].concat(),
                [&[2, 0, 8, 2, 2, 2, 0, 0][..], shape::parts(&full()).next().unwrap().1].concat(),
            ],
        ),
        ("restore", vec![two.clone(), shape::of_two(&doubling(), &[]), shape::of_two(&circle([b"a", b"b"]), &[])]),
        ("seal", vec![[frame, sealed].concat()]),
        ("sections", vec![with_length(1 << 40, &raw("sections"))]),
        ("store_toml", vec![raw("store.toml"), b"format = 2\n".to_vec()]),
        ("tables", ["extents", "directories", "adopted", "chunks", "blocks"].iter().map(|name| raw(name)).collect()),
        ("verify", vec![two.clone(), frozen_two.clone()]),
        ("view", vec![two, frozen_two, shape::of_two(&doubling(), &[])]),
        ("xattrs", vec![encode_xattrs([(&b"security.capability"[..], &b"\x01\0"[..]), (b"user.\xff", b"")])]),
    ]
}

fn bare<'a>(path: &'a [u8], meta: &'a Meta, link: Link<'a>) -> NewMember<'a> {
    NewMember { path, meta, link, xattrs: b"", sparse: None }
}

/// An archive of a directory, a sparse file with attributes, another name of it, and a link.
fn packed() -> Vec<u8> {
    let meta = |kind, size| Meta {
        kind,
        mode: 0o644,
        uid: 3_000_000,
        gid: 0,
        nlink: 1,
        rdev: 0,
        size,
        mtime: Timestamp::new(-5, 7),
    };
    let xattrs = encode_xattrs([(&b"user.a"[..], &b"value"[..])]);
    let mut shape = SparseShape::default();
    let ranges = [10..13, 100_000..100_002, 200_000..200_000];
    ranges.iter().for_each(|range| shape.add(range));
    let mut writer = ArchiveWriter::new(Vec::new());
    let (directory, symlink) = (meta(Kind::Directory, 0), meta(Kind::Symlink, 0));
    writer.begin(&bare(b"./d/", &directory, Link::None)).unwrap();
    let file = meta(Kind::File, 200_000);
    writer
        .begin(&NewMember { path: b"./d/f", meta: &file, link: Link::None, xattrs: &xattrs, sparse: Some(shape) })
        .unwrap();
    writer.map(&shape, |row| ranges.iter().try_for_each(row)).unwrap();
    writer.data(b"abcde").unwrap();
    writer.begin(&bare(b"./g", &file, Link::Hard(b"./d/f"))).unwrap();
    let target = [b't'; 200];
    writer.begin(&bare(b"./l", &symlink, Link::Symbolic(&target))).unwrap();
    writer.finish().unwrap()
}

#[test]
fn seeds_do_no_harm_and_every_target_has_one() {
    let seeds = seeds();
    if std::env::var_os("DBAKFS_WRITE_SEEDS").is_some() {
        for (target, seeds) in &seeds {
            let directory = corpora().join(target);
            fs::create_dir_all(&directory).unwrap();
            for (number, seed) in seeds.iter().enumerate() {
                fs::write(directory.join(format!("seed-{number}")), seed).unwrap();
            }
        }
    }
    assert!(TARGETS.iter().map(|target| target.name).eq(seeds.iter().map(|(name, _)| *name)));
    for (target, seeds) in seeds {
        seeds.iter().for_each(|seed| run(target, seed));
    }
}
