//! What differs between two points in time.
//!
//! Owns the merge of two overlays into changes. Refuses to print, and to guess what was never read. Invariant: memory grows with the depth of the trees,
//! not with their size, and a subtree that both points share in one full is passed over unread.
//!
//! A new or deleted directory is followed by everything below it, each entry a change of its own, as `zfs diff` and `restic diff` list it:
//! whoever asks what a deploy added wants the files. An entry that became one of another kind is deleted and then new.

mod content;

#[cfg(test)]
mod tests;

use std::cmp::Ordering;

use content::Contents;

use crate::catalog::Result as CatalogResult;
use crate::format::record::{Flags, Status};
use crate::format::{Kind, Meta};
use crate::overlay::{Directory, Layer, Node, OverlayCursor, PointTree, Records};
use crate::repository::{ReadError, Reader};

/// How an entry differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChangeKind {
    /// Only the second point has it.
    New,
    /// Both have it, and it differs.
    Updated {
        /// In its bytes: a file's content, a link's target.
        data: bool,
        /// In what `stat` and `getxattr` show.
        metadata: bool,
    },
    /// Only the first point has it.
    Deleted,
    /// It could not be read when one of the points was made, so nobody knows. What is known of a directory's inside is compared all the same.
    Unread,
}

/// One entry that differs.
#[derive(Clone, Debug)]
pub struct Change {
    /// How.
    pub kind: ChangeKind,
    /// Its path, from the root, without `/` in front; empty for the root itself.
    pub path: Vec<u8>,
    /// The entry at the first point.
    pub before: Option<Node>,
    /// The entry at the second point.
    pub after: Option<Node>,
}

/// Gives `take` every change that makes `after` of `before`, in the order of a walk: a directory, then what is below it, names sorted by their bytes.
///
/// # Errors
/// Where a catalog is damaged, or a block that must be read to tell two files apart.
pub fn compare(
    reader: &Reader,
    before: &PointTree,
    after: &PointTree,
    take: &mut dyn FnMut(Change),
) -> Result<(), ReadError> {
    let met = [before, after].map(Records::none_of);
    let mut compare = Compare { trees: [before, after], met, contents: Contents::new(reader), take };
    compare.run()
}

struct Compare<'a> {
    trees: [&'a PointTree; 2],
    /// The directories that were entered, of each.
    met: [Records; 2],
    contents: Contents<'a>,
    take: &'a mut dyn FnMut(Change),
}

/// One side of a directory that is being merged.
struct Side {
    cursor: Option<OverlayCursor>,
    head: Option<Node>,
}

impl Side {
    fn new(tree: &PointTree, directory: Option<Directory>) -> Self {
        Self { cursor: directory.map(|directory| tree.entries(directory)), head: None }
    }

    fn fill(&mut self) -> CatalogResult<()> {
        if let (None, Some(cursor)) = (&self.head, &mut self.cursor) {
            self.head = cursor.next_node()?;
            if self.head.is_none() {
                self.cursor = None;
            }
        }
        Ok(())
    }
}

/// A directory on the way down.
struct Frame {
    sides: [Side; 2],
    /// Bytes of the path of the directory.
    path_len: usize,
}

impl Compare<'_> {
    fn run(&mut self) -> Result<(), ReadError> {
        let [before, after] = self.trees;
        let mut path = Vec::new();
        let mut stack = Vec::new();
        stack.extend(self.pair(&path, Some(before.root()?), Some(after.root()?))?);
        while let Some(frame) = stack.last_mut() {
            path.truncate(frame.path_len);
            let [one, two] = &mut frame.sides;
            one.fill()?;
            two.fill()?;
            let order = match (&one.head, &two.head) {
                (None, None) => {
                    stack.pop();
                    continue;
                }
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (Some(one), Some(two)) => one.entry.name().cmp(two.entry.name()),
            };
            let before = if order.is_le() { one.head.take() } else { None };
            let after = if order.is_ge() { two.head.take() } else { None };
            if !path.is_empty() {
                path.push(b'/');
            }
            path.extend_from_slice(before.as_ref().or(after.as_ref()).map_or(b"", |node| node.entry.name()));
            match (&before, &after) {
                (Some(one), Some(two)) if kind(one) != kind(two) => {
                    let (old, new) = (self.pair(&path, before, None)?, after);
                    match old {
                        // What was a directory is first told to its last leaf.
                        Some(old) => {
                            frame.sides[1].head = new;
                            stack.push(old);
                        }
                        None => stack.extend(self.pair(&path, None, new)?),
                    }
                }
                _ => stack.extend(self.pair(&path, before, after)?),
            }
        }
        Ok(())
    }

    /// Deals with one name; answers the frame of what is below it, if that must be looked at.
    fn pair(&mut self, path: &[u8], before: Option<Node>, after: Option<Node>) -> Result<Option<Frame>, ReadError> {
        if let Some(kind) = self.change(before.as_ref(), after.as_ref())? {
            (self.take)(Change { kind, path: path.to_vec(), before: before.clone(), after: after.clone() });
        }
        let enter = |node: Option<Node>, tree: &PointTree, met: &mut Records| {
            node.filter(Node::is_directory).map(|node| met.enter(tree, &node)).transpose()
        };
        let [met_before, met_after] = &mut self.met;
        let directories = [enter(before, self.trees[0], met_before)?, enter(after, self.trees[1], met_after)?];
        let is_shared = match directories {
            [None, None] => true,
            [Some(before), Some(after)] => self.is_shared(before, after),
            _ => false,
        };
        let [one, two] = directories;
        let sides = || [Side::new(self.trees[0], one), Side::new(self.trees[1], two)];
        Ok((!is_shared).then(|| Frame { sides: sides(), path_len: path.len() }))
    }

    /// Whether two directories show the same records of the same catalogs, and so the same to the last leaf.
    fn is_shared(&self, before: Directory, after: Directory) -> bool {
        let is_same_catalog = |layer| {
            let [one, two] = self.trees.map(|tree| tree.has(layer).then(|| tree.catalog(layer).point()));
            one.map(|point| (point.number, point.id)) == two.map(|point| (point.number, point.id))
        };
        before == after
            && (before.base.is_none() || is_same_catalog(Layer::Full))
            && (before.own.is_none() || is_same_catalog(Layer::Differential))
    }

    fn change(&mut self, before: Option<&Node>, after: Option<&Node>) -> Result<Option<ChangeKind>, ReadError> {
        let (before, after) = match (before, after) {
            (Some(before), Some(after)) => (before, after),
            (None, Some(after)) => {
                return Ok(Some(if is_unread(after) { ChangeKind::Unread } else { ChangeKind::New }));
            }
            (Some(_), None) => return Ok(Some(ChangeKind::Deleted)),
            (None, None) => return Ok(None),
        };
        if is_unread(before) || is_unread(after) {
            return Ok(Some(ChangeKind::Unread));
        }
        let (one, two) = (before.entry.record(), after.entry.record());
        // One birth is one version: the same bytes and the same of everything else.
        if kind(before) != Kind::Directory && one.birth == two.birth {
            return Ok(None);
        }
        // The size is part of the data.
        let metadata = !Meta { size: two.meta.size, ..one.meta }.is_same(&two.meta)
            || before.entry.xattrs() != after.entry.xattrs();
        let data = match kind(before) {
            Kind::File => !self.contents.are_same(self.trees, [before, after])?,
            Kind::Symlink => before.entry.inline() != after.entry.inline(),
            _ => false,
        };
        Ok((data || metadata).then_some(ChangeKind::Updated { data, metadata }))
    }
}

fn kind(node: &Node) -> Kind {
    node.entry.record().meta.kind
}

fn is_unread(node: &Node) -> bool {
    let record = node.entry.record();
    record.status == Status::Unread || record.flags.has(Flags::NO_CONTENT)
}
