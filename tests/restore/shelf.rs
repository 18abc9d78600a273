//! Points made by hand: a tree of items becomes a full in a store of its own.
//!
//! Owns the writing of catalogs and packs without any backup. Its invariant: what an item says is what the point
//! holds, however odd.

use std::ffi::OsStr;
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{FileExt, FileTypeExt};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use dbakfs::catalog::CatalogWriter;
use dbakfs::format::pack::ChunkId;
use dbakfs::format::point::{Counts, SourceId};
use dbakfs::format::record::{Birth, Content, Flags, NewRecord, Record, Status, encode_xattrs};
use dbakfs::format::table::{Children, Extent};
use dbakfs::format::{CatalogId, Kind, Meta, Number, Point, PointKind, Timestamp};
use dbakfs::pack::{Class, PackOptions, Packer};
use dbakfs::repository::config::Chunking;
use dbakfs::repository::{CacheBytes, Reader, Store};
use dbakfs::restore::{Notice, Options, Progress, Report, RestoreError, restore};
use dbakfs::source::stat::stat_at;
use dbakfs::source::xattr::xattrs_at;
use rustix::fs::{SeekFrom, seek};

const EXTENT_BYTES: usize = 1 << 20;
const INLINE_BYTES: usize = 256;

/// One entry, and all below it.
#[derive(Clone, Debug)]
pub(crate) struct Item {
    pub(crate) name: Vec<u8>,
    pub(crate) meta: Meta,
    pub(crate) status: Status,
    pub(crate) flags: Flags,
    /// Items of one inode number are names of one inode.
    pub(crate) ino: u64,
    pub(crate) xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    /// Runs of data; a link's target is one.
    pub(crate) data: Vec<(u64, Vec<u8>)>,
    pub(crate) children: Vec<Item>,
}

/// An item that this user may restore exactly.
pub(crate) fn item(name: &str, kind: Kind, mode: u32) -> Item {
    static NEXT: Mutex<u64> = Mutex::new(1 << 40);
    let mut next = NEXT.lock().unwrap();
    *next += 1;
    let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    let meta = Meta { kind, mode, uid, gid, nlink: 1, rdev: 0, size: 0, mtime: Timestamp::new(1_400_000_000, 5) };
    Item {
        name: name.as_bytes().to_vec(),
        meta,
        status: Status::New,
        flags: Flags::default(),
        ino: *next,
        xattrs: Vec::new(),
        data: Vec::new(),
        children: Vec::new(),
    }
}

pub(crate) fn file(name: &str, content: &[u8]) -> Item {
    let mut item = item(name, Kind::File, 0o644);
    item.meta.size = content.len() as u64;
    if !content.is_empty() {
        item.data = vec![(0, content.to_vec())];
    }
    item
}

pub(crate) fn link(name: &str, target: &[u8]) -> Item {
    Item { data: vec![(0, target.to_vec())], ..item(name, Kind::Symlink, 0o777) }
}

pub(crate) fn fifo(name: &str) -> Item {
    item(name, Kind::Fifo, 0o600)
}

pub(crate) fn dir(name: &str, children: Vec<Item>) -> Item {
    Item { children, ..item(name, Kind::Directory, 0o755) }
}

impl Item {
    pub(crate) fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }

    /// The tree at `path`, read with plain calls.
    pub(crate) fn of(path: &Path) -> Self {
        let dir = File::open(path).unwrap();
        let mut root = Self::read(&dir, b".");
        root.name.clear();
        root
    }

    fn read(dir: &File, name: &[u8]) -> Self {
        let stat = stat_at(dir.as_fd(), name).unwrap();
        let path = PathBuf::from(format!("/proc/self/fd/{}", dir.as_raw_fd())).join(OsStr::from_bytes(name));
        let mut item = Self {
            name: name.to_vec(),
            meta: stat.meta,
            status: Status::New,
            flags: Flags::default(),
            ino: stat.ino,
            xattrs: xattrs_at(dir.as_fd(), name).unwrap(),
            data: Vec::new(),
            children: Vec::new(),
        };
        match stat.meta.kind {
            Kind::Directory => {
                let below = File::open(path).unwrap();
                let listed = std::fs::read_dir(format!("/proc/self/fd/{}", below.as_raw_fd())).unwrap();
                for entry in listed {
                    item.children.push(Self::read(&below, &entry.unwrap().file_name().into_vec()));
                }
            }
            Kind::Symlink => item.data.push((0, std::fs::read_link(path).unwrap().into_os_string().into_vec())),
            Kind::File => {
                assert!(!std::fs::metadata(&path).unwrap().file_type().is_fifo());
                item.data = runs(&File::open(path).unwrap(), stat.meta.size);
            }
            _ => {}
        }
        item
    }
}

fn runs(file: &File, size: u64) -> Vec<(u64, Vec<u8>)> {
    let mut runs = Vec::new();
    let mut at = 0;
    while at < size {
        let Ok(start) = seek(file, SeekFrom::Data(at)) else { break };
        let end = seek(file, SeekFrom::Hole(start)).unwrap();
        let mut bytes = vec![0; usize::try_from(end - start).unwrap()];
        file.read_exact_at(&mut bytes, start).unwrap();
        runs.push((start, bytes));
        at = end;
    }
    runs
}

/// A store with one point, and what a restore of it says.
pub(crate) struct Shelf {
    _temp: tempfile::TempDir,
    pub(crate) store: PathBuf,
    point: Point,
}

struct Writing {
    catalog: CatalogWriter,
    packer: Packer,
    chunks: u64,
    births: std::collections::HashMap<u64, Birth>,
    number: Number,
}

impl Shelf {
    /// A store elsewhere that holds `root`.
    pub(crate) fn of(root: &Item) -> Self {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("store");
        Self::at(&path, root, temp)
    }

    /// A store at `path` that holds `root`.
    pub(crate) fn at(path: &Path, root: &Item, temp: tempfile::TempDir) -> Self {
        let store = Store::init(path, Chunking::default()).unwrap();
        let (number, id) = (Number(1), CatalogId([7; 16]));
        let packing = PackOptions { family: 0, level: 1, small_block_bytes: 1 << 20, large_block_bytes: 128 << 10 };
        let mut writing = Writing {
            catalog: CatalogWriter::create(store.storage(), number, id, 1).unwrap(),
            packer: Packer::new(store.storage().clone(), packing).unwrap(),
            chunks: 0,
            births: Default::default(),
            number,
        };
        let row = writing.children(root);
        writing.record(root, Some(row));
        let mut packs = writing.packer.finish().unwrap();
        packs.sort_by_key(|pack| pack.ordinal);
        let now = Timestamp::new(1_700_000_000, 0);
        let point = Point {
            origin: dbakfs::format::Origin::Backup,
            number,
            id,
            source: SourceId { name: "test".to_owned(), host: "here".to_owned(), path: b"/source".to_vec() },
            kind: PointKind::Full,
            family: 0,
            time: now,
            clock: now,
            finished: now,
            previous: None,
            counts: Counts::default(),
            has_xattrs: true,
            program: "test".to_owned(),
        };
        writing.catalog.finish(&point, packs.into_iter().map(|pack| pack.pack).collect()).unwrap();
        Self { _temp: temp, store: path.to_owned(), point }
    }

    /// Restores all of it.
    pub(crate) fn restore(&self, dest: &Path, delete: bool) -> (Report, Vec<Notice>) {
        self.try_restore("", dest, &Options { delete, ..Options::default() }).unwrap()
    }

    pub(crate) fn try_restore(
        &self,
        from: &str,
        dest: &Path,
        options: &Options,
    ) -> Result<(Report, Vec<Notice>), RestoreError> {
        let mut notices = Vec::new();
        let report = self.restore_telling(from, dest, options, &mut |notice| notices.push(notice))?;
        Ok((report, notices))
    }

    pub(crate) fn restore_telling(
        &self,
        from: &str,
        dest: &Path,
        options: &Options,
        notify: &mut dyn FnMut(Notice),
    ) -> Result<Report, RestoreError> {
        let reader = Reader::open(Store::open(&self.store).unwrap(), CacheBytes::of_total(32 << 20)).unwrap();
        let tree = reader.tree(&self.point).unwrap();
        let progress = Progress::default();
        let report = restore(&reader, &tree, from.as_bytes(), dest, options, &progress, notify)?;
        assert_eq!(progress.entries(), report.entries, "every entry is counted once");
        Ok(report)
    }

    /// Restores all of it without `delete`, and claims that there was nothing to say.
    pub(crate) fn restore_quietly(&self, dest: &Path) -> Report {
        let (report, notices) = self.restore(dest, false);
        assert!(notices.is_empty() && report.is_exact(), "{notices:?} {report:?}");
        report
    }

    /// Flips bits in the middle of every pack, where the data lies.
    pub(crate) fn damage_packs(&self) {
        for directory in std::fs::read_dir(self.store.join("packs")).unwrap() {
            for pack in std::fs::read_dir(directory.unwrap().path()).unwrap() {
                let path = pack.unwrap().path();
                let mut bytes = std::fs::read(&path).unwrap();
                for byte in &mut bytes[100..140] {
                    *byte ^= 0x5a;
                }
                std::fs::write(path, bytes).unwrap();
            }
        }
    }
}

impl Writing {
    /// Writes what is below a directory and answers its row.
    fn children(&mut self, directory: &Item) -> u32 {
        let mut children: Vec<&Item> = directory.children.iter().collect();
        children.sort_by_key(|item| &item.name);
        let rows: Vec<Option<u32>> =
            children.iter().map(|item| (item.meta.kind == Kind::Directory).then(|| self.children(item))).collect();
        let first = self.catalog.next_record();
        for (item, row) in children.iter().zip(rows) {
            self.record(item, row);
        }
        let count = self.catalog.next_record() - first;
        self.catalog.push_directory(Children { first, count }).unwrap()
    }

    fn record(&mut self, item: &Item, row: Option<u32>) {
        let own = Birth { number: self.number, record: self.catalog.next_record() };
        let birth = if item.meta.nlink > 1 { *self.births.entry(item.ino).or_insert(own) } else { own };
        let data_bytes: usize = item.data.iter().map(|(_, bytes)| bytes.len()).sum();
        let is_inline = item.meta.kind == Kind::Symlink
            || data_bytes as u64 == item.meta.size && (1..=INLINE_BYTES).contains(&data_bytes);
        let content = match row {
            Some(row) => Content::Children(row),
            None if item.data.is_empty() => Content::None,
            None if is_inline => Content::Inline,
            None => self.extents(item),
        };
        let record = Record {
            meta: item.meta,
            status: item.status,
            flags: item.flags,
            ctime: item.meta.mtime,
            ino: item.ino,
            birth,
            base: None,
            data_bytes: if item.meta.kind == Kind::File { data_bytes as u64 } else { 0 },
            content,
        };
        let xattrs = encode_xattrs(item.xattrs.iter().map(|(name, value)| (&**name, &**value)));
        let inline = if content == Content::Inline { &*item.data[0].1 } else { b"" };
        self.catalog.push(&NewRecord { record, name: &item.name, inline, xattrs: &xattrs }).unwrap();
    }

    fn extents(&mut self, item: &Item) -> Content {
        let mut extents = Vec::new();
        for (start, bytes) in &item.data {
            for (slice, part) in bytes.chunks(EXTENT_BYTES).enumerate() {
                self.chunks += 1;
                let mut id = [0; ChunkId::LEN];
                id[..8].copy_from_slice(&self.chunks.to_le_bytes());
                let class = if bytes.len() < EXTENT_BYTES { Class::Small } else { Class::Large };
                let place = self.packer.add(ChunkId(id), part, class).unwrap();
                let at = start + (slice * EXTENT_BYTES) as u64;
                extents.push(Extent { at, len: u32::try_from(part.len()).unwrap(), place });
            }
        }
        if let [only] = &*extents
            && u64::from(only.len) == item.meta.size
        {
            return Content::One(only.place);
        }
        let first = self.catalog.push_extents(&extents).unwrap();
        Content::Many { first, count: u32::try_from(extents.len()).unwrap() }
    }
}
