//! The view itself: every question of the mount, answered from the shelf of points and their trees.

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use dbakfs_mount::tree::{Attr, Entry, Lifetime, Lookup, NodeId, Result, Seek, Tree, TreeError};
use lru::LruCache;

use super::attr::{self, LIVE, archived, live_directory, node_of};
use super::node::Node;
use super::points::{Shelf, Source};
use crate::catalog::{self, Catalog, CatalogError};
use crate::format::record::{Birth, xattrs};
use crate::format::{Kind, Number, Timestamp};
use crate::overlay::{self, Directory, Layer, PointTree, Position};
use crate::repository::{ReadError, Reader, when};

/// Births whose backup is gone, and where they were found again.
const MOVED_BIRTHS: NonZeroUsize = NonZeroUsize::new(4096).expect("4096 is not zero");

/// A store, to be mounted.
pub struct View {
    reader: Arc<Reader>,
    shelf: RwLock<Arc<Shelf>>,
    moved: Mutex<LruCache<Birth, (Number, u32)>>,
    /// The root directories of points: whoever lists a source wants them all, and none ever changes.
    roots: Mutex<HashMap<Number, Attr>>,
}

/// The names in a source's directory besides its points.
const LATEST: &[u8] = b"latest";
const TAGS: &[u8] = b"tags";

impl View {
    /// A view of no points yet.
    pub(super) fn new(reader: Arc<Reader>) -> Self {
        Self {
            reader,
            shelf: RwLock::default(),
            moved: Mutex::new(LruCache::new(MOVED_BIRTHS)),
            roots: Mutex::default(),
        }
    }

    /// Shows these points from now on; the directories above them whose listings are others now.
    pub(super) fn show(&self, shelf: Shelf) -> Vec<NodeId> {
        let shelf = Arc::new(shelf);
        let before =
            std::mem::replace(&mut *self.shelf.write().unwrap_or_else(PoisonError::into_inner), Arc::clone(&shelf));
        shelf.changed_since(&before).into_iter().map(Node::id).collect()
    }

    /// The store's reader.
    #[must_use]
    pub fn reader(&self) -> &Reader {
        &self.reader
    }

    /// The root of a point, if anybody was ever told of it.
    pub(super) fn known_root(&self, number: Number) -> Option<Attr> {
        self.roots.lock().unwrap_or_else(PoisonError::into_inner).get(&number).copied()
    }

    /// Forgets what was found in points that are on the shelf no more.
    pub(super) fn forget_gone(&self) {
        let shelf = self.shelf();
        let is_gone = |number: &Number| shelf.point(*number).is_none();
        self.roots.lock().unwrap_or_else(PoisonError::into_inner).retain(|number, _| !is_gone(number));
        let mut moved = self.moved.lock().unwrap_or_else(PoisonError::into_inner);
        let gone: Vec<Birth> =
            moved.iter().filter(|(_, (number, _))| is_gone(number)).map(|(birth, _)| *birth).collect();
        for birth in gone {
            moved.pop(&birth);
        }
    }

    pub(super) fn shelf(&self) -> Arc<Shelf> {
        Arc::clone(&self.shelf.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// The tree of a point that is shown here, or that is leaving.
    fn point(&self, number: Number) -> Result<PointTree> {
        let shelf = self.shelf();
        if shelf.is_grafted(number) {
            return Err(TreeError::Elsewhere);
        }
        let point = shelf.point(number).ok_or(TreeError::Gone)?;
        self.reader.tree(point).map_err(|error| log(&error))
    }

    fn directory(&self, point: Number, layer: Layer, record: u32) -> Result<(PointTree, overlay::Node)> {
        let tree = self.point(point)?;
        if !tree.has(layer) {
            return Err(TreeError::NotFound);
        }
        let node = tree.node(layer, record).map_err(|error| log(&error))?;
        if node.is_directory() { Ok((tree, node)) } else { Err(TreeError::NotDirectory) }
    }

    /// The entry of a version: in the catalog of its birth, or, where that is gone, in one that adopted it.
    pub(super) fn version(&self, birth: Birth) -> Result<(Arc<Catalog>, catalog::Entry)> {
        let found = self.moved.lock().unwrap_or_else(PoisonError::into_inner).get(&birth).copied();
        let (number, record) = found.unwrap_or((birth.number, birth.record));
        let read = self.reader.catalog(number).and_then(|catalog| Ok((catalog.entry(record)?, catalog)));
        match read {
            Ok((entry, catalog)) => Ok((catalog, entry)),
            Err(error) => {
                // Whatever is wrong with that catalog: one that adopted the version has it, too.
                let is_gone = matches!(&error, CatalogError::Storage(error) if error.is_not_found());
                self.adopted(birth, number).map_err(|other| if is_gone { other } else { log(&error) })
            }
        }
    }

    fn adopted(&self, birth: Birth, unreadable: Number) -> Result<(Arc<Catalog>, catalog::Entry)> {
        for number in self.shelf().numbers().filter(|number| *number != unreadable) {
            // One damaged catalog must not hide what another holds.
            let Ok(catalog) = self.reader.catalog(number) else { continue };
            let Ok(Some(record)) = catalog.adopted(birth) else { continue };
            let Ok(entry) = catalog.entry(record) else { continue };
            self.moved.lock().unwrap_or_else(PoisonError::into_inner).put(birth, (number, record));
            return Ok((catalog, entry));
        }
        Err(TreeError::Gone)
    }

    /// The archived entry behind a node, whatever it is.
    fn entry(&self, node: Node) -> Result<(Arc<Catalog>, catalog::Entry)> {
        match node {
            Node::Directory { point, layer, record } => {
                let (tree, found) = self.directory(point, layer, record)?;
                Ok((Arc::clone(tree.catalog(layer)), found.entry))
            }
            Node::File(birth) => self.version(birth),
            _ => Err(TreeError::WrongKind),
        }
    }

    fn link_target(&self, node: Node) -> Result<(String, Timestamp)> {
        let shelf = self.shelf();
        let (number, prefix) = match node {
            Node::Latest(number) => (number, ""),
            Node::Tag(number) => (number, "../"),
            _ => return Err(TreeError::WrongKind),
        };
        let point = shelf.point(number).ok_or(TreeError::Gone)?;
        Ok((format!("{prefix}{}", when::format_point_time(point.time)), point.finished))
    }

    fn root_of(&self, number: Number) -> Result<Attr> {
        if self.shelf().is_grafted(number) {
            return self.stub_attr(number);
        }
        if let Some(root) = self.known_root(number) {
            return Ok(root);
        }
        let root = self.point(number)?.root().map_err(|error| log(&error))?;
        let root = archived(node_of(number, &root), root.entry.record(), 0);
        self.roots.lock().unwrap_or_else(PoisonError::into_inner).insert(number, root);
        Ok(root)
    }

    fn stub_attr(&self, number: Number) -> Result<Attr> {
        self.shelf().point(number).map(attr::stub).ok_or(TreeError::Gone)
    }

    fn link_attr(&self, node: Node) -> Result<Attr> {
        let (target, changed) = self.link_target(node)?;
        Ok(attr::link(node, &target, changed))
    }

    fn lookup_in_source(&self, source: &Source, place: u32, name: &[u8]) -> Result<Lookup> {
        if name == TAGS {
            return Ok(Lookup::Found(live_directory(Node::Tags(place), source.changed), LIVE));
        }
        if name == LATEST {
            let latest = source.latest.map(|number| self.link_attr(Node::Latest(number))).transpose()?;
            return Ok(latest.map_or(Lookup::Absent(LIVE), |attr| Lookup::Found(attr, LIVE)));
        }
        match std::str::from_utf8(name).ok().and_then(|name| source.times.get(name)) {
            Some(number) => Ok(Lookup::Found(self.root_of(*number)?, LIVE)),
            None => Ok(Lookup::Absent(LIVE)),
        }
    }

    /// Lists a directory above the points: `entries` gives a name, its place in the listing and its attributes, in the order of places.
    fn list_live<'n>(
        entries: impl Iterator<Item = (&'n [u8], u64, Result<Attr>)>,
        from: u64,
        take: &mut dyn FnMut(Entry<'_>) -> bool,
    ) -> Result<()> {
        for (name, next, attr) in entries {
            if next <= from {
                continue;
            }
            // A point whose catalog is damaged is left out of the listing: it is in the log, and its neighbours are whole.
            let Ok(attr) = attr else { continue };
            if !take(Entry { name, attr, lifetime: LIVE, next }) {
                break;
            }
        }
        Ok(())
    }

    fn list_source(&self, shelf: &Shelf, place: u32, from: u64, take: &mut dyn FnMut(Entry<'_>) -> bool) -> Result<()> {
        let source = shelf.source(place).ok_or(TreeError::Gone)?;
        let mut points: Vec<(Number, &str)> =
            source.times.iter().map(|(name, number)| (*number, name.as_str())).collect();
        // By number: a point that comes while somebody lists comes last.
        points.sort_unstable();
        let points =
            points.into_iter().map(|(number, name)| (name.as_bytes(), u64::from(number.0), self.root_of(number)));
        let after = u64::from(Number::MAX.0);
        let tags = live_directory(Node::Tags(place), source.changed);
        let others = source
            .latest
            .map(|number| (LATEST, after + 1, self.link_attr(Node::Latest(number))))
            .into_iter()
            .chain([(TAGS, after + 2, Ok(tags))]);
        Self::list_live(points.chain(others), from, take)
    }

    fn list_archived(
        point: Number,
        tree: &PointTree,
        directory: Directory,
        from: u64,
        take: &mut dyn FnMut(Entry<'_>) -> bool,
    ) -> Result<()> {
        let mut entries = tree.entries_from(directory, position(from));
        while let Some(node) = entries.next_node().map_err(|error| log(&error))? {
            let entry = Entry {
                name: node.entry.name(),
                attr: archived(node_of(point, &node), node.entry.record(), node.entry.inline().len()),
                lifetime: Lifetime::Forever,
                next: cookie(entries.position()).ok_or(TreeError::Damaged)?,
            };
            if !take(entry) {
                break;
            }
        }
        Ok(())
    }
}

/// A place in a listing as one number, below 2^62: 31 bits for each layer.
fn cookie(position: Position) -> Option<u64> {
    let fits = position.own < 1 << 31 && position.base < 1 << 31;
    fits.then_some(u64::from(position.own) << 31 | u64::from(position.base))
}

fn position(cookie: u64) -> Position {
    let part = |bits: u64| u32::try_from(bits & ((1 << 31) - 1)).unwrap_or(u32::MAX);
    Position { own: part(cookie >> 31), base: part(cookie) }
}

/// Logs why something could not be answered, once, and says to the mount that it could not.
fn log(error: &dyn std::error::Error) -> TreeError {
    tracing::error!("{error}");
    TreeError::Damaged
}

fn log_read(error: &ReadError, catalog: &Catalog, entry: &catalog::Entry) -> TreeError {
    let name = String::from_utf8_lossy(entry.name()).escape_debug().to_string();
    tracing::error!("cannot read {name} (record {} of backup {}): {error}", entry.number(), catalog.point().number);
    TreeError::Damaged
}

impl Tree for View {
    fn lookup(&self, parent: NodeId, name: &[u8]) -> Result<Lookup> {
        let shelf = self.shelf();
        match Node::from_id(parent).ok_or(TreeError::NotFound)? {
            Node::Root => {
                let Some(place) = shelf.find(name) else { return Ok(Lookup::Absent(LIVE)) };
                let source = shelf.source(place).ok_or(TreeError::Gone)?;
                Ok(Lookup::Found(live_directory(Node::Source(place), source.changed), LIVE))
            }
            Node::Source(place) => self.lookup_in_source(shelf.source(place).ok_or(TreeError::Gone)?, place, name),
            Node::Tags(place) => {
                let source = shelf.source(place).ok_or(TreeError::Gone)?;
                match std::str::from_utf8(name).ok().and_then(|name| source.tags.get(name)) {
                    Some(number) => Ok(Lookup::Found(self.link_attr(Node::Tag(*number))?, LIVE)),
                    None => Ok(Lookup::Absent(LIVE)),
                }
            }
            Node::Directory { point, layer, record } => {
                let (tree, node) = self.directory(point, layer, record)?;
                let found = tree.directory(&node).and_then(|directory| tree.find(directory, name));
                Ok(match found.map_err(|error| log(&error))? {
                    Some(node) => {
                        let attr = archived(node_of(point, &node), node.entry.record(), node.entry.inline().len());
                        Lookup::Found(attr, Lifetime::Forever)
                    }
                    None => Lookup::Absent(Lifetime::Forever),
                })
            }
            // Never empty: whoever comes here has lost the mount that covers it.
            Node::Stub(_) => Err(TreeError::Elsewhere),
            Node::Latest(_) | Node::Tag(_) | Node::File(_) => Err(TreeError::NotDirectory),
        }
    }

    fn attr(&self, node: NodeId) -> Result<Attr> {
        let shelf = self.shelf();
        let node = Node::from_id(node).ok_or(TreeError::NotFound)?;
        match node {
            Node::Root => Ok(live_directory(node, shelf.changed())),
            Node::Source(place) | Node::Tags(place) => {
                let source = shelf.source(place).ok_or(TreeError::Gone)?;
                Ok(live_directory(node, source.changed))
            }
            Node::Latest(_) | Node::Tag(_) => self.link_attr(node),
            Node::Stub(number) => self.stub_attr(number),
            Node::Directory { .. } | Node::File(_) => {
                let (_, entry) = self.entry(node)?;
                Ok(archived(node, entry.record(), entry.inline().len()))
            }
        }
    }

    fn read_dir(&self, directory: NodeId, from: u64, take: &mut dyn FnMut(Entry<'_>) -> bool) -> Result<()> {
        let shelf = self.shelf();
        match Node::from_id(directory).ok_or(TreeError::NotFound)? {
            Node::Root => {
                let sources = shelf.sources().map(|(place, source)| {
                    let attr = live_directory(Node::Source(place), source.changed);
                    (source.name.as_bytes(), u64::from(place) + 1, Ok(attr))
                });
                Self::list_live(sources, from, take)
            }
            Node::Source(place) => self.list_source(&shelf, place, from, take),
            Node::Tags(place) => {
                let source = shelf.source(place).ok_or(TreeError::Gone)?;
                let tags = (1..).zip(&source.tags);
                let tags = tags.map(|(next, (tag, number))| (tag.as_bytes(), next, self.link_attr(Node::Tag(*number))));
                Self::list_live(tags, from, take)
            }
            Node::Directory { point, layer, record } => {
                let (tree, node) = self.directory(point, layer, record)?;
                let directory = tree.directory(&node).map_err(|error| log(&error))?;
                Self::list_archived(point, &tree, directory, from, take)
            }
            // Never empty: whoever comes here has lost the mount that covers it.
            Node::Stub(_) => Err(TreeError::Elsewhere),
            Node::Latest(_) | Node::Tag(_) | Node::File(_) => Err(TreeError::NotDirectory),
        }
    }

    fn parent(&self, node: NodeId) -> Result<NodeId> {
        Ok(match Node::from_id(node).ok_or(TreeError::NotFound)? {
            Node::Tags(place) => Node::Source(place).id(),
            // Records know the way down only.
            Node::Directory { .. } => node,
            _ => NodeId::ROOT,
        })
    }

    fn read_link(&self, node: NodeId) -> Result<Vec<u8>> {
        let node = Node::from_id(node).ok_or(TreeError::NotFound)?;
        if let Node::Latest(_) | Node::Tag(_) = node {
            return Ok(self.link_target(node)?.0.into_bytes());
        }
        let (catalog, entry) = self.entry(node)?;
        match entry.record().meta.kind {
            Kind::Symlink if entry.inline().is_empty() => Err(log_read(&ReadError::NeverRead, &catalog, &entry)),
            Kind::Symlink => Ok(entry.inline().to_vec()),
            _ => Err(TreeError::WrongKind),
        }
    }

    fn read(&self, node: NodeId, offset: u64, len: usize, out: &mut Vec<u8>) -> Result<()> {
        let (catalog, entry) = self.entry(Node::from_id(node).ok_or(TreeError::NotFound)?)?;
        if entry.record().meta.kind != Kind::File {
            return Err(TreeError::WrongKind);
        }
        self.reader.read(&catalog, &entry, offset, len, out).map_err(|error| log_read(&error, &catalog, &entry))
    }

    fn ahead(&self, node: NodeId, offset: u64, len: usize, push: &mut dyn FnMut(NodeId, u64, &[u8]) -> bool) {
        if let Some(Node::File(birth)) = Node::from_id(node) {
            self.push_ahead(birth, offset, len, push);
        }
    }

    fn seek(&self, node: NodeId, offset: u64, what: Seek) -> Result<u64> {
        let (catalog, entry) = self.entry(Node::from_id(node).ok_or(TreeError::NotFound)?)?;
        let record = entry.record();
        if record.meta.kind != Kind::File {
            return Err(TreeError::WrongKind);
        }
        let size = record.meta.size;
        if offset >= size {
            return Err(TreeError::PastEnd);
        }
        let mut found = None;
        let ranges = self.reader.data_ranges(&catalog, &entry, offset, |range| {
            found = match what {
                Seek::Data => Some(offset.max(range.start)),
                Seek::Hole if range.start > offset => Some(offset),
                Seek::Hole => Some(range.end),
            };
            false
        });
        ranges.map_err(|error| log(&error))?;
        match (what, found) {
            (_, Some(found)) => Ok(found),
            (Seek::Hole, None) => Ok(offset),
            (Seek::Data, None) => Err(TreeError::PastEnd),
        }
    }

    fn xattr(&self, node: NodeId, name: &[u8]) -> Result<Vec<u8>> {
        let Some(entry) = self.archived_entry(node)? else { return Err(TreeError::NoAttribute) };
        let found = xattrs(entry.xattrs()).find(|(known, _)| *known == name);
        found.map(|(_, value)| value.to_vec()).ok_or(TreeError::NoAttribute)
    }

    fn xattr_names(&self, node: NodeId) -> Result<Vec<u8>> {
        let mut names = Vec::new();
        if let Some(entry) = self.archived_entry(node)? {
            for (name, _) in xattrs(entry.xattrs()) {
                names.extend_from_slice(name);
                names.push(0);
            }
        }
        Ok(names)
    }
}

impl View {
    /// The entry behind a node; none for what is made here and so has no attributes.
    fn archived_entry(&self, node: NodeId) -> Result<Option<catalog::Entry>> {
        let node = Node::from_id(node).ok_or(TreeError::NotFound)?;
        match node {
            Node::Directory { .. } | Node::File(_) => Ok(Some(self.entry(node)?.1)),
            _ => Ok(None),
        }
    }
}
