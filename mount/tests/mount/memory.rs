//! A tree in memory that can hold whatever the seam can express, and that can be changed while it is mounted.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{RwLock, RwLockWriteGuard};

use dbakfs_mount::tree::{Attr, Entry, Lifetime, Lookup, NodeId, Result, Seek, Time, Tree, TreeError};

/// What a node holds.
pub(crate) enum Body {
    Directory(Directory),
    /// Pieces of data at rising offsets, holes between them.
    File(Vec<(u64, Vec<u8>)>),
    Symlink(Vec<u8>),
    Special,
}

#[derive(Default)]
pub(crate) struct Directory {
    entries: Vec<(u64, Vec<u8>, NodeId)>,
    names: HashMap<Vec<u8>, NodeId>,
    parent: u64,
}

pub(crate) struct Node {
    pub(crate) attr: Attr,
    pub(crate) body: Body,
    pub(crate) xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    /// Whatever is asked about its contents fails.
    pub(crate) damaged: bool,
    /// How long its data takes.
    pub(crate) slow: std::time::Duration,
    /// Whatever is asked about its contents panics.
    pub(crate) panics: bool,
}

#[derive(Default)]
pub(crate) struct Memory {
    nodes: RwLock<HashMap<u64, Node>>,
    next: AtomicU64,
    /// Names that are not there are remembered for ever, as a directory that announces its changes may ask.
    pub(crate) absent_forever: AtomicBool,
    /// What names mean is asked each time.
    pub(crate) fleeting: AtomicBool,
    /// After a read, these files are offered whole.
    pub(crate) siblings: RwLock<Vec<NodeId>>,
}

impl Memory {
    pub(crate) fn new() -> Self {
        let memory = Self { next: AtomicU64::new(1), ..Self::default() };
        memory.insert(libc::S_IFDIR | 0o755, 0, Body::Directory(Directory { parent: 1, ..Directory::default() }));
        memory
    }

    pub(crate) fn dir(&self, parent: NodeId, name: impl AsRef<[u8]>) -> NodeId {
        let node = self.unnamed_dir(parent);
        self.link(parent, name, node)
    }

    /// A directory that stands nowhere yet.
    pub(crate) fn unnamed_dir(&self, parent: NodeId) -> NodeId {
        let body = Body::Directory(Directory { parent: parent.0, ..Directory::default() });
        self.insert(libc::S_IFDIR | 0o755, 0, body)
    }

    pub(crate) fn file(&self, parent: NodeId, name: impl AsRef<[u8]>, data: impl Into<Vec<u8>>) -> NodeId {
        let data = data.into();
        let node = self.insert(libc::S_IFREG | 0o644, data.len() as u64, Body::File(vec![(0, data)]));
        self.link(parent, name, node)
    }

    pub(crate) fn sparse(&self, parent: NodeId, name: &str, size: u64, pieces: Vec<(u64, Vec<u8>)>) -> NodeId {
        let blocks = pieces.iter().map(|(_, piece)| piece.len().div_ceil(512) as u64).sum();
        let node = self.insert(libc::S_IFREG | 0o644, size, Body::File(pieces));
        self.change(node, |node| node.attr.blocks = blocks);
        self.link(parent, name, node)
    }

    pub(crate) fn symlink(&self, parent: NodeId, name: &str, target: impl Into<Vec<u8>>) -> NodeId {
        let target = target.into();
        let node = self.insert(libc::S_IFLNK | 0o777, target.len() as u64, Body::Symlink(target));
        self.link(parent, name, node)
    }

    pub(crate) fn special(&self, parent: NodeId, name: &str, mode: u32, rdev: u64) -> NodeId {
        let node = self.insert(mode, 0, Body::Special);
        self.change(node, |node| node.attr.rdev = rdev);
        self.link(parent, name, node)
    }

    /// Gives `node` a name, or one more.
    pub(crate) fn link(&self, parent: NodeId, name: impl AsRef<[u8]>, node: NodeId) -> NodeId {
        let name = name.as_ref().to_vec();
        let position = self.next.fetch_add(1, Ordering::Relaxed);
        self.change(parent, |parent| {
            let Body::Directory(directory) = &mut parent.body else { panic!("no directory") };
            directory.names.insert(name.clone(), node);
            directory.entries.push((position, name, node));
            parent.attr.mtime.nanos += 1;
        });
        let mut nodes = self.write();
        let names = nodes.values().filter_map(|node| match &node.body {
            Body::Directory(directory) => Some(&directory.names),
            _ => None,
        });
        // Counting is slow, so only small trees have true link counts.
        let count =
            if position < 1000 { names.flat_map(HashMap::values).filter(|&&named| named == node).count() } else { 1 };
        nodes.get_mut(&node.0).unwrap().attr.nlink = u32::try_from(count).unwrap();
        node
    }

    pub(crate) fn unlink(&self, parent: NodeId, name: &str) {
        self.change(parent, |parent| {
            let Body::Directory(directory) = &mut parent.body else { panic!("no directory") };
            directory.names.remove(name.as_bytes());
            directory.entries.retain(|(_, listed, _)| listed != name.as_bytes());
            parent.attr.mtime.nanos += 1;
        });
    }

    pub(crate) fn change<R>(&self, node: NodeId, act: impl FnOnce(&mut Node) -> R) -> R {
        act(self.write().get_mut(&node.0).unwrap())
    }

    /// Makes `node` one that may change.
    pub(crate) fn live(&self, node: NodeId, lifetime: std::time::Duration) {
        self.change(node, |node| node.attr.lifetime = Lifetime::For(lifetime));
    }

    fn insert(&self, mode: u32, size: u64, body: Body) -> NodeId {
        let node = NodeId(self.next.fetch_add(1, Ordering::Relaxed));
        let time = Time { secs: 1_700_000_000, nanos: 123_456_789 };
        let attr = Attr {
            node,
            mode,
            uid: 0,
            gid: 0,
            nlink: 1,
            rdev: 0,
            size,
            blocks: size.div_ceil(512),
            mtime: time,
            ctime: time,
            lifetime: Lifetime::Forever,
        };
        self.write().insert(
            node.0,
            Node { attr, body, xattrs: Vec::new(), damaged: false, slow: Default::default(), panics: false },
        );
        node
    }

    fn write(&self) -> RwLockWriteGuard<'_, HashMap<u64, Node>> {
        self.nodes.write().unwrap()
    }

    fn with<R>(&self, node: NodeId, ask: impl FnOnce(&Node) -> Result<R>) -> Result<R> {
        let nodes = self.nodes.read().unwrap();
        ask(nodes.get(&node.0).ok_or(TreeError::Gone)?)
    }

    fn with_body<R>(&self, node: NodeId, ask: impl FnOnce(&Body) -> Result<R>) -> Result<R> {
        self.with(node, |node| match node {
            Node { panics: true, .. } => panic!("this node panics"),
            Node { damaged: true, .. } => Err(TreeError::Damaged),
            node => ask(&node.body),
        })
    }
}

impl Tree for Memory {
    fn lookup(&self, parent: NodeId, name: &[u8]) -> Result<Lookup> {
        let found = self.with_body(parent, |body| match body {
            Body::Directory(directory) => Ok(directory.names.get(name).copied()),
            _ => Err(TreeError::NotDirectory),
        })?;
        let absent = if self.absent_forever.load(Ordering::Relaxed) {
            Lifetime::Forever
        } else {
            Lifetime::For(std::time::Duration::ZERO)
        };
        match found {
            Some(node) if self.fleeting.load(Ordering::Relaxed) => {
                Ok(Lookup::Found(self.attr(node)?, Lifetime::For(std::time::Duration::ZERO)))
            }
            Some(node) => Ok(Lookup::Found(self.attr(node)?, Lifetime::Forever)),
            None => Ok(Lookup::Absent(absent)),
        }
    }

    fn attr(&self, node: NodeId) -> Result<Attr> {
        self.with(node, |node| Ok(node.attr))
    }

    fn read_dir(&self, directory: NodeId, from: u64, take: &mut dyn FnMut(Entry<'_>) -> bool) -> Result<()> {
        let entries = self.with_body(directory, |body| match body {
            Body::Directory(directory) => {
                let start = directory.entries.partition_point(|(position, ..)| *position <= from);
                Ok(directory.entries[start..].iter().take(2000).cloned().collect::<Vec<_>>())
            }
            _ => Err(TreeError::NotDirectory),
        })?;
        for (position, name, node) in &entries {
            let attr = self.attr(*node)?;
            if !take(Entry { name, attr, lifetime: Lifetime::Forever, next: *position }) {
                return Ok(());
            }
        }
        // What was cut short goes on where it was cut.
        match entries.last() {
            Some((position, ..)) if entries.len() == 2000 => self.read_dir(directory, *position, take),
            _ => Ok(()),
        }
    }

    fn parent(&self, node: NodeId) -> Result<NodeId> {
        self.with_body(node, |body| match body {
            Body::Directory(directory) => Ok(NodeId(directory.parent)),
            _ => Err(TreeError::NotDirectory),
        })
    }

    fn read_link(&self, node: NodeId) -> Result<Vec<u8>> {
        self.with_body(node, |body| match body {
            Body::Symlink(target) => Ok(target.clone()),
            _ => Err(TreeError::WrongKind),
        })
    }

    fn ahead(&self, node: NodeId, _: u64, _: usize, push: &mut dyn FnMut(NodeId, u64, &[u8]) -> bool) {
        for sibling in self.siblings.read().unwrap().iter().filter(|sibling| **sibling != node) {
            let mut data = Vec::new();
            if self.read(*sibling, 0, 1 << 20, &mut data).is_err() || !push(*sibling, 0, &data) {
                return;
            }
        }
    }

    fn read(&self, node: NodeId, offset: u64, len: usize, out: &mut Vec<u8>) -> Result<()> {
        let (size, slow) = self.with(node, |node| Ok((node.attr.size, node.slow)))?;
        if !slow.is_zero() {
            dbakfs_mount::step_aside();
            std::thread::sleep(slow);
        }
        self.with_body(node, |body| {
            let Body::File(pieces) = body else { return Err(TreeError::WrongKind) };
            let end = size.min(offset.saturating_add(len as u64)).max(offset);
            let base = out.len();
            out.resize(base + usize::try_from(end - offset).unwrap(), 0);
            for (at, piece) in pieces {
                let (from, to) = ((*at).max(offset), (at + piece.len() as u64).min(end));
                if from < to {
                    let place = |position: u64, origin: u64| usize::try_from(position - origin).unwrap();
                    out[base + place(from, offset)..base + place(to, offset)]
                        .copy_from_slice(&piece[place(from, *at)..place(to, *at)]);
                }
            }
            Ok(())
        })
    }

    fn seek(&self, node: NodeId, offset: u64, what: Seek) -> Result<u64> {
        let size = self.attr(node)?.size;
        self.with_body(node, |body| {
            let Body::File(pieces) = body else { return Err(TreeError::WrongKind) };
            if offset >= size {
                return Err(TreeError::PastEnd);
            }
            let mut ends = pieces.iter().map(|(at, piece)| (*at, at + piece.len() as u64));
            match what {
                Seek::Data => {
                    ends.find(|(_, end)| *end > offset).map(|(at, _)| at.max(offset)).ok_or(TreeError::PastEnd)
                }
                Seek::Hole => Ok(ends.find(|(at, end)| (*at..*end).contains(&offset)).map_or(offset, |(_, end)| end)),
            }
        })
    }

    fn xattr(&self, node: NodeId, name: &[u8]) -> Result<Vec<u8>> {
        self.with(node, |node| {
            node.xattrs
                .iter()
                .find(|(known, _)| known == name)
                .map(|(_, value)| value.clone())
                .ok_or(TreeError::NoAttribute)
        })
    }

    fn xattr_names(&self, node: NodeId) -> Result<Vec<u8>> {
        self.with(node, |node| {
            Ok(node.xattrs.iter().flat_map(|(name, _)| name.iter().copied().chain(std::iter::once(0))).collect())
        })
    }
}
