//! Packs a point in time, or a part of it, into an archive that stands for itself.
//!
//! Owns the order of the members and what becomes of each entry. Refuses to know compression and where the archive goes. Invariants: a differential comes out
//! as the whole tree that it shows; memory grows with the depth of the tree and with its names of hard links, not with its size, but for a bit an entry;
//! what is damaged ends the archive, since one with a gap would be taken for whole.
//!
//! A directory stands before what is in it, and all that is in it before anything else: so `tar` gives each its time when it leaves it.

mod report;

use std::collections::HashMap;
use std::io::{self, Write};
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};

pub use report::{Notice, Report};

pub use crate::progress::Progress;

use crate::archive::{ArchiveWriter, Link, NewMember, SparseShape};
use crate::catalog::CatalogError;
use crate::format::point::bytes_as_text;
use crate::format::record::{Birth, Flags, Status};
use crate::format::{Kind, Meta};
use crate::overlay::{Node, OverlayCursor, PointTree, Records};
use crate::repository::{ReadError, Reader};

/// Bytes that are read from the store at once.
const SLICE_BYTES: u64 = 1 << 20;
/// How the paths of members begin.
const HERE: &[u8] = b"./";

/// Why there is no archive.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The point has no such path.
    #[error("the point has no {path}")]
    NoSuchPath {
        /// The path.
        path: String,
    },
    /// A catalog is damaged.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    /// The content of a file is damaged.
    #[error("cannot read {path}: {source}")]
    Damaged {
        /// Which.
        path: String,
        /// What is damaged.
        source: ReadError,
    },
    /// A store lists a record in two places.
    #[error("the catalog is damaged: {path} is listed twice")]
    Twice {
        /// Where it was met again.
        path: String,
    },
    /// The archive cannot be written.
    #[error("cannot write the archive")]
    Write(#[from] io::Error),
    /// It was told to stop.
    #[error("the export was stopped; there is no archive")]
    Cancelled,
}

type Result<T> = std::result::Result<T, ExportError>;

/// Writes what stands at `path` in `tree` to `out`: the contents of a directory, as `tar -C DIRECTORY -c .` would, or one file.
///
/// # Errors
/// Where there is no such path, something is damaged, or `out` cannot be written; what was written then is no whole archive.
pub fn export<W: Write>(
    reader: &Reader,
    tree: &PointTree,
    path: &[u8],
    out: W,
    progress: &Progress,
    notify: &mut dyn FnMut(Notice),
    cancel: &AtomicBool,
) -> Result<(Report, W)> {
    let no_path = || ExportError::NoSuchPath { path: bytes_as_text::encode(path) };
    let node = tree.resolve(path)?.ok_or_else(no_path)?;
    let mut export = Export {
        reader,
        tree,
        writer: ArchiveWriter::new(out),
        path: HERE.to_vec(),
        links: HashMap::new(),
        met: Records::none_of(tree),
        buffer: Vec::new(),
        report: Report::default(),
        progress,
        notify,
        cancel,
    };
    if node.is_directory() {
        export.walk(&node)?;
    } else {
        export.path.extend_from_slice(node.entry.name());
        export.leaf(&node)?;
    }
    Ok((export.report, export.writer.finish()?))
}

/// One export under way.
struct Export<'a, W> {
    reader: &'a Reader,
    tree: &'a PointTree,
    writer: ArchiveWriter<W>,
    /// Of the member at hand.
    path: Vec<u8>,
    /// The first member of each inode that has further names, and how many are still to come.
    links: HashMap<Birth, (Vec<u8>, u32)>,
    met: Records,
    buffer: Vec<u8>,
    report: Report,
    progress: &'a Progress,
    notify: &'a mut dyn FnMut(Notice),
    cancel: &'a AtomicBool,
}

impl<W: Write> Export<'_, W> {
    /// Writes a directory and all below it. Trees may be deeper than a stack.
    fn walk(&mut self, root: &Node) -> Result<()> {
        let mut stack: Vec<(OverlayCursor, usize)> = Vec::new();
        let mut next = Some((root.clone(), self.path.len()));
        loop {
            if let Some((node, above)) = next.take() {
                self.directory(&node)?;
                stack.push((self.tree.entries(self.tree.directory(&node)?), above));
            }
            let Some((entries, above)) = stack.last_mut() else { return Ok(()) };
            let Some(node) = entries.next_node()? else {
                self.path.truncate(*above);
                stack.pop();
                continue;
            };
            let len = self.path.len();
            self.path.extend_from_slice(node.entry.name());
            if node.is_directory() {
                self.path.push(b'/');
                next = Some((node, len));
            } else {
                self.leaf(&node)?;
                self.path.truncate(len);
            }
        }
    }

    fn meet(&mut self, node: &Node) -> Result<()> {
        if self.cancel.load(Ordering::Relaxed) {
            return Err(ExportError::Cancelled);
        }
        self.progress.entry();
        if self.met.add(node) { Ok(()) } else { Err(ExportError::Twice { path: self.shown() }) }
    }

    fn directory(&mut self, node: &Node) -> Result<()> {
        self.meet(node)?;
        let record = node.entry.record();
        if record.status == Status::Unread {
            self.report.incomplete += 1;
            self.tell(|path| Notice::Incomplete { path });
        }
        self.begin(&record.meta, Link::None, node.entry.xattrs(), None)
    }

    fn leaf(&mut self, node: &Node) -> Result<()> {
        self.meet(node)?;
        let record = *node.entry.record();
        if record.flags.has(Flags::NO_CONTENT) {
            self.report.never_read += 1;
            self.tell(|path| Notice::NeverRead { path });
            return Ok(());
        }
        if record.meta.kind == Kind::Socket {
            self.report.sockets += 1;
            self.tell(|path| Notice::Socket { path });
            return Ok(());
        }
        if record.status == Status::Unread {
            self.report.older += 1;
            self.tell(|path| Notice::Older { path });
        }
        if record.meta.nlink > 1 {
            if let Some((first, left)) = self.links.get_mut(&record.birth) {
                let (path, meta) = (self.path.as_slice(), &record.meta);
                self.report.entries += 1;
                self.writer.begin(&NewMember { path, meta, link: Link::Hard(first), xattrs: b"", sparse: None })?;
                *left -= 1;
                if *left == 0 {
                    self.links.remove(&record.birth);
                }
                return Ok(());
            }
            self.links.insert(record.birth, (self.path.clone(), record.meta.nlink - 1));
        }
        match record.meta.kind {
            Kind::File if record.data_bytes < record.meta.size => self.sparse(node),
            Kind::File => {
                self.begin(&record.meta, Link::None, node.entry.xattrs(), None)?;
                self.data(node, 0..record.meta.size)
            }
            Kind::Symlink => self.begin(&record.meta, Link::Symbolic(node.entry.inline()), node.entry.xattrs(), None),
            _ => self.begin(&record.meta, Link::None, node.entry.xattrs(), None),
        }
    }

    /// Writes a file with holes: its map, then what lies between them.
    fn sparse(&mut self, node: &Node) -> Result<()> {
        let meta = node.entry.record().meta;
        let mut shape = SparseShape::default();
        self.ranges(node, &mut |range| {
            shape.add(range);
            Ok(())
        })?;
        self.begin(&meta, Link::None, node.entry.xattrs(), Some(shape))?;
        let (reader, tree) = (self.reader, self.tree);
        self.writer.map(&shape, |row| ranges(reader, tree, node, &mut |range| Ok(row(range)?)))?;
        // The ranges are asked for again, and what is read goes out at once: there may be millions.
        let mut at = 0;
        while let Some(range) = first_range(reader, tree, node, at)? {
            at = range.end;
            self.data(node, range)?;
        }
        Ok(())
    }

    fn ranges(&self, node: &Node, take: &mut dyn FnMut(&Range<u64>) -> Result<()>) -> Result<()> {
        ranges(self.reader, self.tree, node, take)
    }

    fn begin(&mut self, meta: &Meta, link: Link<'_>, xattrs: &[u8], sparse: Option<SparseShape>) -> Result<()> {
        self.report.entries += 1;
        Ok(self.writer.begin(&NewMember { path: &self.path, meta, link, xattrs, sparse })?)
    }

    /// Writes the bytes of a range that holds data.
    fn data(&mut self, node: &Node, range: Range<u64>) -> Result<()> {
        let catalog = self.tree.catalog(node.layer);
        let mut at = range.start;
        while at < range.end {
            if self.cancel.load(Ordering::Relaxed) {
                return Err(ExportError::Cancelled);
            }
            let len = SLICE_BYTES.min(range.end - at);
            self.buffer.clear();
            let wanted = usize::try_from(len).expect("a slice is short");
            let read = self.reader.read(catalog, &node.entry, at, wanted, &mut self.buffer);
            read.map_err(|source| ExportError::Damaged { path: self.shown(), source })?;
            self.writer.data(&self.buffer)?;
            self.progress.add_bytes(len);
            self.report.bytes += len;
            at += len;
        }
        Ok(())
    }

    fn tell(&mut self, notice: impl FnOnce(String) -> Notice) {
        let path = self.shown();
        (self.notify)(notice(path));
    }

    fn shown(&self) -> String {
        let path = self.path.strip_prefix(HERE).unwrap_or(&self.path);
        bytes_as_text::encode(path.strip_suffix(b"/").unwrap_or(path))
    }
}

/// Gives the ranges of a file that hold data, and one without bytes at its end if that is a hole.
fn ranges(
    reader: &Reader,
    tree: &PointTree,
    node: &Node,
    take: &mut dyn FnMut(&Range<u64>) -> Result<()>,
) -> Result<()> {
    let size = node.entry.record().meta.size;
    let (mut outcome, mut end) = (Ok(()), 0);
    reader.data_ranges(tree.catalog(node.layer), &node.entry, 0, |range| {
        end = range.end;
        outcome = take(&range);
        outcome.is_ok()
    })?;
    outcome?;
    if end < size { take(&(size..size)) } else { Ok(()) }
}

/// The first range of data that ends after `at`, from there on.
fn first_range(reader: &Reader, tree: &PointTree, node: &Node, at: u64) -> Result<Option<Range<u64>>> {
    let mut first = None;
    reader.data_ranges(tree.catalog(node.layer), &node.entry, at, |range| {
        first = Some(range.start.max(at)..range.end);
        false
    })?;
    Ok(first)
}
