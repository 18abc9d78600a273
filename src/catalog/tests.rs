//! Catalogs that no writer of ours would write: they are refused where they are read, and nothing is allocated for what they claim.

use std::sync::Arc;

use super::*;
use crate::cache::ByteCache;
use crate::format::record::{Birth, Content, Flags, NewRecord, Record, Status};
use crate::format::table::Children;
use crate::format::{CatalogId, Counts, Kind, Meta, Origin, Point, PointKind, SourceId, Timestamp};
use crate::overlay::PointTree;
use crate::storage::Storage;

const NUMBER: Number = Number(3);
const ID: CatalogId = CatalogId([5; 16]);

fn record(kind: Kind, content: Content) -> Record {
    let time = Timestamp::new(1, 2);
    let meta = Meta { kind, mode: 0o644, uid: 0, gid: 0, nlink: 1, rdev: 0, size: 0, mtime: time };
    Record {
        meta,
        status: Status::New,
        flags: Flags::default(),
        ctime: time,
        ino: 1,
        birth: Birth { number: NUMBER, record: 0 },
        base: None,
        data_bytes: 0,
        content,
    }
}

fn point() -> Point {
    let time = Timestamp::new(5, 0);
    Point {
        number: NUMBER,
        id: ID,
        source: SourceId { name: "s".to_owned(), host: "h".to_owned(), path: b"/\xff".to_vec() },
        origin: Origin::Backup,
        kind: PointKind::Full,
        family: 0,
        time,
        clock: time,
        finished: time,
        previous: None,
        counts: Counts::default(),
        has_xattrs: false,
        program: "test".to_owned(),
    }
}

/// A catalog of files with these names in one directory, whose children are said to be `children`.
fn catalog(names: &[&[u8]], children: Children, point: &Point) -> (tempfile::TempDir, Result<Arc<Catalog>>) {
    let dir = tempfile::tempdir().unwrap();
    let storage = Storage::create_root(dir.path()).unwrap();
    storage.create_dir("catalogs").unwrap();
    let mut writer = CatalogWriter::create(&storage, NUMBER, ID, 3).unwrap();
    for name in names {
        writer.push(&NewRecord { record: record(Kind::File, Content::None), name, inline: b"", xattrs: b"" }).unwrap();
    }
    let row = writer.push_directory(children).unwrap();
    let root = record(Kind::Directory, Content::Children(row));
    writer.push(&NewRecord { record: root, name: b"", inline: b"", xattrs: b"" }).unwrap();
    let opened = writer
        .finish(point, Vec::new())
        .and_then(|_| Catalog::open(&storage, NUMBER, Arc::new(ByteCache::new(1 << 20))))
        .map(Arc::new);
    (dir, opened)
}

/// Walks the root; what goes wrong is the answer.
fn walk(catalog: &Arc<Catalog>) -> Result<usize> {
    let tree = PointTree::of_full(Arc::clone(catalog))?;
    let mut entries = tree.entries(tree.directory(&tree.root()?)?);
    let mut count = 0;
    while entries.next_node()?.is_some() {
        count += 1;
    }
    Ok(count)
}

#[test]
fn names_that_do_not_rise_are_refused() {
    let all = |names: &[&[u8]]| {
        let children = Children { first: 0, count: u32::try_from(names.len()).unwrap() };
        let (_dir, catalog) = catalog(names, children, &point());
        walk(&catalog.unwrap())
    };
    assert_eq!(all(&[b"a", b"a\n", b"b", b"\xff"]).unwrap(), 4);
    for names in [&[&b"b"[..], b"a"][..], &[b"a", b"a"], &[b"a", b"b", b"a"]] {
        let error = all(names).unwrap_err().to_string();
        assert!(error.contains("impossible order of names"), "{error}");
    }
}

#[test]
fn names_that_do_not_rise_from_one_block_to_the_next_are_refused() {
    let names: Vec<Vec<u8>> = (0..600).map(|at| format!("{at:03}").into_bytes()).collect();
    let all = |names: &[Vec<u8>]| {
        let children = Children { first: 0, count: u32::try_from(names.len()).unwrap() };
        let (_dir, catalog) = catalog(&names.iter().map(Vec::as_slice).collect::<Vec<_>>(), children, &point());
        walk(&catalog.unwrap())
    };
    assert_eq!(all(&names).unwrap(), 600);
    // A block holds 512: the last two of one, the two around its end, the first two of the next.
    for second in [511, 512, 513] {
        let mut wrong = names.clone();
        wrong.swap(second - 1, second);
        assert!(all(&wrong).unwrap_err().to_string().contains("impossible order of names"), "{second}");
    }
}

#[test]
fn what_no_reader_would_take_is_not_written() {
    let long = [b'x'; 256];
    for name in [&b""[..], b".", b"..", b"a/b", b"a\0", &long] {
        let (dir, catalog) = catalog(&[name], Children { first: 0, count: 1 }, &point());
        assert!(matches!(catalog, Err(CatalogError::Unwritable { .. })), "{name:?}");
        assert_eq!(std::fs::read_dir(dir.path().join("catalogs")).unwrap().count(), 0, "nothing is committed");
    }
}

#[test]
fn children_that_do_not_stand_before_their_directory_are_refused() {
    for (first, count) in [(0, 3), (1, 2), (2, 1), (3, 1), (0, u32::MAX), (u32::MAX, 0)] {
        let (_dir, catalog) = catalog(&[b"a", b"b"], Children { first, count }, &point());
        assert!(walk(&catalog.unwrap()).is_err(), "{count} from {first}");
    }
    let (_dir, catalog) = catalog(&[b"a", b"b"], Children { first: 0, count: 2 }, &point());
    assert_eq!(walk(&catalog.unwrap()).unwrap(), 2);
}

#[test]
fn a_point_that_no_writer_makes_is_refused() {
    let based = |base: u32| PointKind::Differential { base: Number(base), base_id: ID };
    let late = Timestamp::new(0, 1_000_000_000);
    for wrong in [
        Point { kind: based(3), ..point() },
        Point { kind: based(4), ..point() },
        Point { kind: based(0), ..point() },
        Point { previous: Some(NUMBER), ..point() },
        Point { time: late, ..point() },
        Point { finished: late, ..point() },
    ] {
        let (_dir, catalog) = catalog(&[], Children::default(), &wrong);
        assert!(matches!(catalog, Err(CatalogError::Damaged { part, .. }) if part == "point"), "{wrong:?}");
    }
    let (_dir, fine) =
        catalog(&[], Children::default(), &Point { kind: based(2), previous: Some(Number(1)), ..point() });
    assert_eq!(fine.unwrap().point().source.path, b"/\xff");
}

#[test]
fn a_catalog_under_another_number_is_refused() {
    let (dir, _) = catalog(&[], Children::default(), &point());
    let name = |number: u32| dir.path().join(format!("catalogs/{number:08}.catalog"));
    std::fs::rename(name(3), name(4)).unwrap();
    let storage = Storage::open_root(dir.path()).unwrap();
    let error = Catalog::read_point(&storage, Number(4)).unwrap_err();
    assert_eq!(error.to_string(), "catalog 4 is not the one that was meant: it says another number");
}

#[test]
fn rubbish_of_any_length_is_no_catalog() {
    let (dir, _) = catalog(&[b"a"], Children { first: 0, count: 1 }, &point());
    let storage = Storage::open_root(dir.path()).unwrap();
    let path = dir.path().join("catalogs/00000003.catalog");
    let bytes = std::fs::read(&path).unwrap();
    for len in 0..bytes.len() {
        std::fs::write(&path, &bytes[..len]).unwrap();
        assert!(Catalog::read_point(&storage, NUMBER).is_err(), "cut to {len} bytes");
    }
    for fill in [0, 0xff] {
        std::fs::write(&path, vec![fill; 5000]).unwrap();
        assert!(Catalog::open(&storage, NUMBER, Arc::new(ByteCache::new(1))).is_err());
    }
}
