//! A plain model of a tree, and a small writer that stores it: the reference that tests hold the overlay against.
//!
//! Owns the shortest honest way from a tree in memory to packs and catalogs. Refuses to know the source or the backup. Its invariant: what it
//! writes obeys `docs/format.md`, so that whatever reads it wrongly is at fault.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::PointTree;
use crate::cache::ByteCache;
use crate::catalog::{Catalog, CatalogWriter};
use crate::format::catalog::PackRef;
use crate::format::pack::ChunkId;
use crate::format::record::{self, Birth, Content, Flags, NewRecord, Place, Record, Status};
use crate::format::table::{Children, Extent};
use crate::format::{CatalogId, Counts, Kind, Meta, Number, Origin, Point, PointKind, SourceId, Timestamp};
use crate::pack::{Class, PackOptions, Packer};
use crate::repository::config::Chunking;
use crate::repository::{CacheBytes, Reader, Store};

pub(crate) mod random;

pub(crate) type Names = BTreeMap<Vec<u8>, Item>;

/// One entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Item {
    pub(crate) mode: u32,
    pub(crate) mtime: i64,
    pub(crate) xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
    pub(crate) what: What,
}

/// What an entry is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum What {
    /// A directory; `is_recreated` has the differential list it as new, over nothing.
    Dir {
        names: Names,
        is_recreated: bool,
    },
    File(Vec<u8>),
    Link(Vec<u8>),
}

impl Item {
    pub(crate) fn new(what: What) -> Self {
        Self { mode: 0o644, mtime: 1_700_000_000, xattrs: BTreeMap::new(), what }
    }

    pub(crate) fn dir(names: impl IntoIterator<Item = (&'static str, Self)>) -> Self {
        let names = names.into_iter().map(|(name, item)| (name.as_bytes().to_vec(), item)).collect();
        Self::new(What::Dir { names, is_recreated: false })
    }

    pub(crate) fn file(bytes: impl Into<Vec<u8>>) -> Self {
        Self::new(What::File(bytes.into()))
    }

    pub(crate) fn link(target: &str) -> Self {
        Self::new(What::Link(target.as_bytes().to_vec()))
    }

    pub(crate) const fn kind(&self) -> Kind {
        match self.what {
            What::Dir { .. } => Kind::Directory,
            What::File(_) => Kind::File,
            What::Link(_) => Kind::Symlink,
        }
    }

    pub(crate) fn names(&self) -> &Names {
        let What::Dir { names, .. } = &self.what else { panic!("not a directory: {self:?}") };
        names
    }

    pub(crate) fn names_mut(&mut self) -> &mut Names {
        let What::Dir { names, .. } = &mut self.what else { panic!("not a directory") };
        names
    }

    /// The entry at a path.
    pub(crate) fn at(&mut self, path: &str) -> &mut Self {
        path.split('/')
            .filter(|name| !name.is_empty())
            .fold(self, |item, name| item.names_mut().get_mut(name.as_bytes()).unwrap_or_else(|| panic!("no {name}")))
    }

    /// The same tree without marks that only steer how it is written.
    pub(crate) fn plain(&self) -> Self {
        let mut plain = self.clone();
        if let What::Dir { names, is_recreated } = &mut plain.what {
            *is_recreated = false;
            names.values_mut().for_each(|item| *item = item.plain());
        }
        plain
    }
}

/// A store of models, in a directory that goes with it.
pub(crate) struct ModelStore {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) store: Store,
    /// Files up to this length lie in the catalog.
    pub(crate) inline_bytes: usize,
    /// Longer files are cut into pieces of this length, each an extent of its own.
    pub(crate) piece_bytes: usize,
    /// Whether a chunk is looked up among those stored.
    pub(crate) dedups: bool,
    /// The family of the packs to come.
    pub(crate) family: u32,
    highest: u32,
    known: HashMap<ChunkId, (PackRef, Place)>,
    /// The version that each path had last.
    last: HashMap<Vec<u8>, (Item, Birth)>,
}

/// A catalog in the making.
struct Making<'a> {
    writer: CatalogWriter,
    packer: Packer,
    number: Number,
    full: Option<Arc<Catalog>>,
    /// Rows of the pack table; those of this session have no name yet.
    packs: Vec<Result<PackRef, u32>>,
    fresh: HashMap<ChunkId, Place>,
    versions: HashMap<Vec<u8>, (Item, Birth)>,
    store: &'a ModelStore,
}

struct Pending {
    name: Vec<u8>,
    item: Option<Item>,
    path: Vec<u8>,
    status: Status,
    base: Option<u32>,
    content: Content,
    inline: Vec<u8>,
    kind: Kind,
}

impl ModelStore {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let chunking = Chunking { small_block_bytes: 4 << 10, large_block_bytes: 4 << 10, ..Chunking::default() };
        let store = Store::init(&dir.path().join("store"), chunking).unwrap();
        Self {
            dir,
            store,
            inline_bytes: 16,
            piece_bytes: 64,
            dedups: true,
            family: 0,
            highest: 0,
            known: HashMap::new(),
            last: HashMap::new(),
        }
    }

    pub(crate) fn path(&self) -> std::path::PathBuf {
        self.dir.path().join("store")
    }

    pub(crate) fn reader(&self) -> Reader {
        let store = Store::open(&self.path()).unwrap();
        Reader::open(store, CacheBytes { catalogs: 1 << 20, blocks: 1 << 20 }).unwrap()
    }

    pub(crate) fn full(&mut self, root: &Item) -> Number {
        self.write(root, None)
    }

    pub(crate) fn differential(&mut self, base: Number, root: &Item) -> Number {
        self.write(root, Some(base))
    }

    fn write(&mut self, root: &Item, base: Option<Number>) -> Number {
        self.highest += 1;
        let number = Number(self.highest);
        let text = format!("highest = {}\ngeneration = 1\n", number.0);
        std::fs::write(self.path().join("marks.toml"), text).unwrap();
        let id = CatalogId([u8::try_from(number.0).unwrap(); 16]);
        let storage = self.store.storage();
        let full = base.map(|base| Arc::new(Catalog::open(storage, base, Arc::new(ByteCache::new(1 << 20))).unwrap()));
        let kind = full.as_ref().map_or(PointKind::Full, |full| PointKind::Differential {
            base: full.point().number,
            base_id: full.point().id,
        });
        let session =
            PackOptions { family: self.family, level: 3, small_block_bytes: 4 << 10, large_block_bytes: 4 << 10 };
        let mut making = Making {
            writer: CatalogWriter::create(storage, number, id, 3).unwrap(),
            packer: Packer::new(storage.clone(), session).unwrap(),
            number,
            packs: Vec::new(),
            fresh: HashMap::new(),
            versions: HashMap::new(),
            store: self,
            full: full.clone(),
        };
        let base_root = full.as_ref().map(|full| full.root().unwrap());
        let base_children = full.as_ref().map(|full| children_of(full, base_root.as_ref().unwrap()));
        let row = making.directory(root, base_children, b"", true).expect("asked for");
        let pending = Pending {
            name: Vec::new(),
            item: Some(root.clone()),
            path: Vec::new(),
            status: if full.is_some() { Status::Updated } else { Status::New },
            base: base_root.map(|root| root.number()),
            content: Content::Children(row),
            inline: Vec::new(),
            kind: Kind::Directory,
        };
        making.push(&pending);
        let Making { writer, packer, packs, fresh, versions, .. } = making;
        let packed: HashMap<u32, PackRef> = packer.finish().unwrap().iter().map(|p| (p.ordinal, p.pack)).collect();
        let packs: Vec<PackRef> =
            packs.into_iter().map(|pack| pack.unwrap_or_else(|ordinal| packed[&ordinal])).collect();
        self.known.extend(fresh.into_iter().map(|(chunk, place)| (chunk, (packed[&place.pack], place))));
        let has_xattrs = versions.values().any(|(item, _)| !item.xattrs.is_empty());
        self.last = versions;
        let time = Timestamp::new(1_800_000_000 + i64::from(number.0), 0);
        let point = Point {
            number,
            id,
            source: SourceId { name: "www".to_owned(), host: "h".to_owned(), path: b"/srv/www".to_vec() },
            origin: Origin::Backup,
            kind,
            family: self.family,
            time,
            clock: time,
            finished: time,
            previous: None,
            counts: Counts::default(),
            has_xattrs,
            program: "model".to_owned(),
        };
        writer.finish(&point, packs).unwrap();
        number
    }
}

impl Making<'_> {
    /// Writes the listing of a directory and all below it; answers its row, unless nothing is listed and it need not be.
    fn directory(&mut self, dir: &Item, base: Option<Children>, path: &[u8], is_listed: bool) -> Option<u32> {
        let mut names: BTreeMap<Vec<u8>, (Option<&Item>, Option<u32>)> =
            dir.names().iter().map(|(name, item)| (name.clone(), (Some(item), None))).collect();
        let full = self.full.clone();
        if let (Some(full), Some(base)) = (&full, base) {
            for record in base.first..base.first + base.count {
                names.entry(full.entry(record).unwrap().name().to_vec()).or_default().1 = Some(record);
            }
        }
        let mut group = Vec::new();
        for (name, (item, base)) in names {
            let below = [path, b"/", &name].concat();
            group.extend(self.entry(name, item, base, below));
        }
        let first = self.writer.next_record();
        group.iter().for_each(|pending| self.push(pending));
        let children = Children { first, count: self.writer.next_record() - first };
        (is_listed || children.count > 0).then(|| self.writer.push_directory(children).unwrap())
    }

    fn entry(&mut self, name: Vec<u8>, item: Option<&Item>, base: Option<u32>, path: Vec<u8>) -> Option<Pending> {
        let full = self.full.clone();
        let before = base.zip(full).map(|(base, full)| (full.entry(base).unwrap(), full));
        let Some(item) = item else {
            let (before, _) = before.expect("a name comes from somewhere");
            let kind = before.record().meta.kind;
            let (status, content, inline) = (Status::Deleted, Content::None, Vec::new());
            return Some(Pending { name, item: None, path, status, base, content, inline, kind });
        };
        let kind = item.kind();
        let recreated = matches!(item.what, What::Dir { is_recreated: true, .. });
        let before = before.filter(|(before, _)| before.record().meta.kind == kind && !recreated);
        let base = before.as_ref().and(base);
        let is_same = before.as_ref().is_some_and(|(before, _)| self.is_same_record(before, item));
        let (content, inline) = match &item.what {
            What::Dir { .. } => {
                let base = before.as_ref().map(|(before, full)| children_of(full, before));
                let row = self.directory(item, base, &path, !is_same)?;
                (Content::Children(row), Vec::new())
            }
            What::Link(target) => (Content::Inline, target.clone()),
            What::File(bytes) => {
                let is_same = is_same && before.as_ref().is_some_and(|(entry, full)| self.holds(full, entry, bytes));
                if is_same {
                    return None;
                }
                self.content(bytes)
            }
        };
        if kind == Kind::Symlink && is_same && before.is_some_and(|(before, _)| before.inline() == inline) {
            return None;
        }
        let status = match base {
            None => Status::New,
            Some(_) if is_same && kind == Kind::Directory => Status::Unchanged,
            Some(_) => Status::Updated,
        };
        Some(Pending { name, item: Some(item.clone()), path, status, base, content, inline, kind })
    }

    fn is_same_record(&self, before: &crate::catalog::Entry, item: &Item) -> bool {
        let record = before.record();
        (record.meta.mode, record.meta.mtime.secs, before.xattrs()) == (item.mode, item.mtime, &*encoded(&item.xattrs))
    }

    fn holds(&self, full: &Catalog, entry: &crate::catalog::Entry, bytes: &[u8]) -> bool {
        let reader = self.store.reader();
        let mut held = Vec::new();
        reader.read(full, entry, 0, usize::MAX, &mut held).unwrap();
        held == bytes
    }

    fn content(&mut self, bytes: &[u8]) -> (Content, Vec<u8>) {
        if bytes.is_empty() {
            return (Content::None, Vec::new());
        }
        if bytes.len() <= self.store.inline_bytes {
            return (Content::Inline, bytes.to_vec());
        }
        let mut extents = Vec::new();
        for (piece, bytes) in bytes.chunks(self.store.piece_bytes).enumerate() {
            let place = self.place(bytes);
            let at = (piece * self.store.piece_bytes) as u64;
            extents.push(Extent { at, len: u32::try_from(bytes.len()).unwrap(), place });
        }
        if let [Extent { place, .. }] = extents[..] {
            return (Content::One(place), Vec::new());
        }
        let first = self.writer.push_extents(&extents).unwrap();
        (Content::Many { first, count: u32::try_from(extents.len()).unwrap() }, Vec::new())
    }

    fn place(&mut self, bytes: &[u8]) -> Place {
        let key = self.store.store.config().secrets.chunk_key;
        let id = ChunkId::of(&key, bytes);
        let (pack, place) = match (self.fresh.get(&id), self.store.known.get(&id)) {
            (Some(place), _) if self.store.dedups => (Err(place.pack), *place),
            (_, Some((pack, place))) if self.store.dedups => (Ok(*pack), *place),
            _ => {
                let place = self.packer.add(id, bytes, Class::Small).unwrap();
                self.fresh.insert(id, place);
                (Err(place.pack), place)
            }
        };
        let row = self.packs.iter().position(|row| *row == pack).unwrap_or_else(|| {
            self.packs.push(pack);
            self.packs.len() - 1
        });
        Place { pack: u32::try_from(row).unwrap(), ..place }
    }

    fn push(&mut self, pending: &Pending) {
        let own = Birth { number: self.number, record: self.writer.next_record() };
        let item = pending.item.as_ref();
        let birth = match (item, self.store.last.get(&pending.path)) {
            (Some(item), Some((last, birth))) if item == last && pending.kind != Kind::Directory => *birth,
            _ => own,
        };
        if let Some(item) = item {
            self.versions.insert(pending.path.clone(), (item.clone(), birth));
        }
        let size = match item.map(|item| &item.what) {
            Some(What::File(bytes)) => bytes.len() as u64,
            _ => 0,
        };
        let meta = Meta {
            kind: pending.kind,
            mode: item.map_or(0, |item| item.mode),
            uid: 1,
            gid: 2,
            nlink: 1,
            rdev: 0,
            size,
            mtime: Timestamp::new(item.map_or(0, |item| item.mtime), 5),
        };
        let record = Record {
            meta,
            status: pending.status,
            flags: Flags::default(),
            ctime: Timestamp::new(1_700_000_001, 0),
            ino: 7,
            birth,
            base: pending.base,
            data_bytes: size,
            content: pending.content,
        };
        let xattrs = item.map_or_else(Vec::new, |item| encoded(&item.xattrs));
        let new = NewRecord { record, name: &pending.name, inline: &pending.inline, xattrs: &xattrs };
        self.writer.push(&new).unwrap();
    }
}

fn encoded(attributes: &BTreeMap<Vec<u8>, Vec<u8>>) -> Vec<u8> {
    record::encode_xattrs(attributes.iter().map(|(name, value)| (&name[..], &value[..])))
}

fn children_of(catalog: &Catalog, directory: &crate::catalog::Entry) -> Children {
    let Content::Children(row) = directory.record().content else { panic!("no directory") };
    catalog.children(row).unwrap()
}

/// The tree of a backup.
pub(crate) fn tree(reader: &Reader, number: Number) -> PointTree {
    let point = Catalog::read_point(reader.store().storage(), number).unwrap();
    reader.tree(&point).unwrap()
}

/// The model that a tree shows, read to the last byte.
pub(crate) fn shown(reader: &Reader, tree: &PointTree) -> Item {
    item_of(reader, tree, &tree.root().unwrap())
}

/// The model of one node and all below it.
pub(crate) fn item_of(reader: &Reader, tree: &PointTree, node: &super::Node) -> Item {
    let entry = &node.entry;
    let record = entry.record();
    let what = match record.meta.kind {
        Kind::Directory => {
            let mut names = Names::new();
            let mut entries = tree.entries(tree.directory(node).unwrap());
            while let Some(child) = entries.next_node().unwrap() {
                let before = names.insert(child.entry.name().to_vec(), item_of(reader, tree, &child));
                assert!(before.is_none(), "a name was listed twice");
            }
            What::Dir { names, is_recreated: false }
        }
        Kind::Symlink => What::Link(entry.inline().to_vec()),
        Kind::File => {
            let mut bytes = Vec::new();
            reader.read(tree.catalog(node.layer), entry, 0, usize::MAX, &mut bytes).unwrap();
            What::File(bytes)
        }
        kind => panic!("no {kind:?} in a model"),
    };
    let xattrs = record::xattrs(entry.xattrs()).map(|(name, value)| (name.to_vec(), value.to_vec())).collect();
    Item { mode: record.meta.mode, mtime: record.meta.mtime.secs, xattrs, what }
}
