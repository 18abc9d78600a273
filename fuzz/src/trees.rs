//! Whole catalogs and packs, read as `ls`, `verify` and `restore` read them.
//!
//! What must hold of any tree that is shown: names that a directory can hold, rising, each found again by itself; no way that leads down for ever; and
//! nothing that a restore writes lies outside of DEST.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::sync::Arc;

use dbakfs::cache::ByteCache;
use dbakfs::catalog::{Catalog, CatalogError};
use dbakfs::format::record::{Content, is_name, xattrs};
use dbakfs::overlay::{Node, PointTree};
use dbakfs::pack::Pack;
use dbakfs::repository::Reader;
use dbakfs::restore::{Options, Progress, restore};
use dbakfs::storage::Storage;
use dbakfs::verify::{Depth, verify};

use super::shape::{pack as pack_of, two};
use super::stage::{DIFFERENTIAL, FULL, Stage, on_stage, point};

/// Entries after which a walk has seen enough: directories may be listed many times over.
const MOST_ENTRIES: usize = 2000;
/// Bytes of a file that are read.
const READ_BYTES: usize = 64 << 10;

fn cache() -> Arc<dbakfs::catalog::CatalogCache> {
    Arc::new(ByteCache::new(1 << 20))
}

fn look_at(tree: &PointTree, node: &Node, reader: Option<&Reader>) -> Result<(), CatalogError> {
    let catalog = tree.catalog(node.layer);
    let record = node.entry.record();
    let _ = xattrs(node.entry.xattrs()).count();
    if let Content::Many { first, count } = record.content {
        let mut reached = 0;
        let read = catalog.extents(first, count, 0, |extent| {
            assert!(extent.at >= reached && extent.len > 0, "extents overlap");
            reached = extent.end();
            true
        });
        drop(read);
    }
    if let Some(adopted) = catalog.adopted(record.birth)? {
        let _ = catalog.entry(adopted);
    }
    if let Some(reader) = reader {
        let (mut bytes, mut end) = (Vec::new(), 0);
        let _ = reader.read(catalog, &node.entry, record.meta.size / 2, READ_BYTES, &mut bytes);
        assert!(bytes.len() <= READ_BYTES, "more than was asked for");
        let _ = reader.data_ranges(catalog, &node.entry, 0, |range| {
            assert!(range.start >= end && range.start < range.end && range.end <= record.meta.size, "a range of data");
            end = range.end;
            true
        });
    }
    Ok(())
}

/// What a walk saw.
pub struct Seen {
    /// Entries below the root.
    pub entries: usize,
    /// Whether that was all.
    pub is_all: bool,
}

/// Walks all of a tree, but for what is too much of it.
fn walk(tree: &PointTree, reader: Option<&Reader>) -> Result<Seen, CatalogError> {
    let mut waiting = vec![tree.root()?];
    let mut seen = Seen { entries: 0, is_all: true };
    while let Some(node) = waiting.pop() {
        look_at(tree, &node, reader)?;
        if !node.is_directory() {
            continue;
        }
        // A damaged directory is an answer; its neighbours are read all the same.
        let Ok(directory) = tree.directory(&node) else { continue };
        let mut entries = tree.entries(directory);
        let mut listed: Vec<Node> = Vec::new();
        let is_whole = loop {
            let Ok(next) = entries.next_node() else { break false };
            let Some(child) = next else { break true };
            assert!(is_name(child.entry.name()), "a name that no directory can hold");
            let rises = listed.last().is_none_or(|before| before.entry.name() < child.entry.name());
            assert!(rises, "names do not rise");
            seen.entries += 1;
            if seen.entries > MOST_ENTRIES {
                seen.is_all = false;
                return Ok(seen);
            }
            listed.push(child);
        };
        // In a listing whose names do not rise, which is said where it is listed, a search finds what it may.
        for child in listed.iter().filter(|_| is_whole) {
            let found = tree.find(directory, child.entry.name())?.map(|found| (found.layer, found.entry.number()));
            assert_eq!(found, Some((child.layer, child.entry.number())), "what is listed is found");
        }
        waiting.append(&mut listed);
    }
    Ok(seen)
}

/// Opens the full of a shape and walks it.
///
/// # Errors
/// Where it does not open, or its root cannot be read.
pub fn opened(stage: &Stage, shape: &[u8]) -> Result<Seen, CatalogError> {
    stage.put_catalog(FULL, shape);
    let storage = Storage::open_root(&stage.path())?;
    assert_eq!(Catalog::read_point(&storage, FULL)?, point(FULL));
    let catalog = Arc::new(Catalog::open(&storage, FULL, cache())?);
    let _ = catalog.check();
    let _ = catalog.scan_extents(|_| Ok(()));
    let _ = catalog.scan_adopted(|_| Ok(()));
    for row in 0..catalog.directory_rows().min(64) {
        let _ = catalog.children(row);
    }
    walk(&PointTree::of_full(catalog)?, None)
}

/// A full.
pub fn catalog(shape: &[u8]) {
    on_stage(|stage| drop(opened(stage, shape)));
}

/// Opens a differential over its full and walks it.
///
/// # Errors
/// Where one does not open, or the root cannot be read.
pub fn overlaid(stage: &Stage, data: &[u8]) -> Result<Seen, CatalogError> {
    let (full, differential) = two(data);
    stage.put_catalog(FULL, full);
    stage.put_catalog(DIFFERENTIAL, differential);
    let storage = Storage::open_root(&stage.path())?;
    let full = Arc::new(Catalog::open(&storage, FULL, cache())?);
    let differential = Arc::new(Catalog::open(&storage, DIFFERENTIAL, cache())?);
    walk(&PointTree::of_differential(differential, full)?, None)
}

/// A differential over a full.
pub fn overlay(data: &[u8]) {
    on_stage(|stage| drop(overlaid(stage, data)));
}

/// A differential, a full and the data below, all that `verify --data` looks at.
pub fn verified(data: &[u8]) {
    on_stage(|stage| {
        let (full, differential) = two(data);
        stage.put_catalog(FULL, full);
        stage.put_catalog(DIFFERENTIAL, differential);
        let reader = stage.reader();
        let report = verify(&reader, Depth::Data, &|_| {}, &mut |_| {}).expect("damage is no error");
        if report.is_whole() {
            for number in [FULL, DIFFERENTIAL] {
                let tree = reader.tree(&point(number)).expect("what is whole opens");
                walk(&tree, Some(&reader)).expect("what is whole is read");
            }
        }
    });
}

/// A pack, its chunks and its blocks.
pub fn pack(shape: &[u8]) {
    on_stage(|stage| {
        let put = stage.put_pack(&pack_of(shape));
        let storage = Storage::open_root(&stage.path()).expect("the scratch store");
        if let Ok(pack) = Pack::open(&storage, put) {
            let _ = pack.chunks();
            for (block, frame) in (0..).zip(pack.blocks()) {
                for bytes in [pack.block(block), pack.damaged_block(block)].into_iter().flatten() {
                    assert_eq!(bytes.len(), frame.raw_len as usize);
                }
            }
            pack.scan(|_, _| {});
            let _ = pack.is_filled();
        }
        stage.remove_pack(&put);
    });
}

/// What lies outside of DEST and must stay as it is: names, modes, owners, times and bytes.
fn outside(stage: &Stage) -> Vec<(String, u32, u32, i64, Vec<u8>)> {
    let mut found = Vec::new();
    let mut note = |path: &Path| {
        let stat = fs::symlink_metadata(path).expect("it stays there");
        let bytes = if stat.is_file() { fs::read(path).expect("it can be read") } else { Vec::new() };
        found.push((path.display().to_string(), stat.mode(), stat.uid(), stat.mtime_nsec(), bytes));
    };
    let below = stage.beside().join("outside");
    note(&below);
    for entry in fs::read_dir(&below).expect("it stays a directory") {
        note(&entry.expect("an entry").path());
    }
    // What a path with `..` would add.
    for entry in fs::read_dir(stage.beside()).expect("the scratch directory") {
        let name = entry.expect("an entry").file_name();
        assert!(["store", "outside", "dest"].map(std::ffi::OsString::from).contains(&name), "{name:?} was made");
    }
    found.sort();
    found
}

/// A restore of a differential and of its full over it, into a directory beside one that must not change.
pub fn restored(data: &[u8]) {
    on_stage(|stage| {
        let dest = stage.beside().join("dest");
        let kept = stage.beside().join("outside");
        if !kept.exists() {
            fs::create_dir(&kept).expect("a directory outside");
            fs::write(kept.join("kept"), b"kept").expect("a file outside");
            fs::set_permissions(kept.join("kept"), fs::Permissions::from_mode(0o640)).expect("its mode");
        }
        let (full, differential) = two(data);
        stage.put_catalog(FULL, full);
        stage.put_catalog(DIFFERENTIAL, differential);
        let before = outside(stage);
        let reader = stage.reader();
        for number in [DIFFERENTIAL, FULL] {
            let Ok(tree) = reader.tree(&point(number)) else { continue };
            let options = Options { delete: data.len().is_multiple_of(2), ..Options::default() };
            let most: u64 = [FULL, DIFFERENTIAL]
                .map(|number| reader.catalog(number).map_or(0, |read| read.len().into()))
                .iter()
                .sum();
            let done = restore(&reader, &tree, b"", &dest, &options, &Progress::default(), &mut |_| {});
            assert!(done.is_err() || done.is_ok_and(|done| done.made <= most), "more was made than there are records");
        }
        assert!(outside(stage) == before, "a restore has changed what lies outside of DEST");
        let _ = fs::remove_dir_all(&dest);
    });
}
