//! Node numbers: arithmetic, not a table.
//!
//! | bits 63–62 | bits 61–58 | bits 57–32 | bits 31–0 |
//! |---|---|---|---|
//! | 0: made here | what | backup | source |
//! | 1: a file | 0 | backup of its birth | record of its birth |
//! | 2: a directory | layer | point in time | record in that layer |
//!
//! A directory is the point's own, for its entries are; anything else is its version's, so that it is one inode at every point that shows it.

use dbakfs_mount::tree::NodeId;

use crate::format::Number;
use crate::format::record::Birth;
use crate::overlay::Layer;

/// What a node number stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Node {
    /// The root of the mount: the sources.
    Root,
    /// A source, by its place in the list of sources: its points.
    Source(u32),
    /// The tags of a source.
    Tags(u32),
    /// The link `latest` to a point.
    Latest(Number),
    /// The link of a tag to a point.
    Tag(Number),
    /// What stands for a point that another mount shows.
    Stub(Number),
    /// A directory at a point in time.
    Directory {
        /// The point.
        point: Number,
        /// The catalog that the record stands in.
        layer: Layer,
        /// The record.
        record: u32,
    },
    /// Anything that is no directory.
    File(Birth),
}

const MADE: u64 = 0;
const FILE: u64 = 1;
const DIRECTORY: u64 = 2;

const fn pack(kind: u64, what: u64, backup: u32, low: u32) -> NodeId {
    NodeId(kind << 62 | what << 58 | (backup as u64) << 32 | low as u64)
}

impl Node {
    /// The number.
    #[must_use]
    pub const fn id(self) -> NodeId {
        match self {
            Self::Root => NodeId::ROOT,
            Self::Source(source) => pack(MADE, 1, 0, source),
            Self::Tags(source) => pack(MADE, 2, 0, source),
            Self::Latest(point) => pack(MADE, 3, point.0, 0),
            Self::Tag(point) => pack(MADE, 4, point.0, 0),
            Self::Stub(point) => pack(MADE, 5, point.0, 0),
            Self::Directory { point, layer, record } => pack(DIRECTORY, layer as u64, point.0, record),
            Self::File(birth) => pack(FILE, 0, birth.number.0, birth.record),
        }
    }

    /// What a number stands for, if it is one of ours.
    #[must_use]
    pub const fn from_id(id: NodeId) -> Option<Self> {
        if id.0 == NodeId::ROOT.0 {
            return Some(Self::Root);
        }
        #[allow(clippy::cast_possible_truncation, reason = "the low half is taken on purpose")]
        let low = id.0 as u32;
        #[allow(clippy::cast_possible_truncation, reason = "26 bits are left")]
        let backup = Number((id.0 >> 32 & ((1 << 26) - 1)) as u32);
        Some(match (id.0 >> 62, id.0 >> 58 & 15) {
            (MADE, 1) => Self::Source(low),
            (MADE, 2) => Self::Tags(low),
            (MADE, 3) => Self::Latest(backup),
            (MADE, 4) => Self::Tag(backup),
            (MADE, 5) => Self::Stub(backup),
            (DIRECTORY, 0) => Self::Directory { point: backup, layer: Layer::Full, record: low },
            (DIRECTORY, 1) => Self::Directory { point: backup, layer: Layer::Differential, record: low },
            (FILE, 0) => Self::File(Birth { number: backup, record: low }),
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_come_back_and_differ() {
        let nodes = [
            Node::Root,
            Node::Source(0),
            Node::Tags(0),
            Node::Latest(Number(1)),
            Node::Tag(Number(1)),
            Node::Stub(Number(1)),
            Node::Directory { point: Number::MAX, layer: Layer::Full, record: u32::MAX },
            Node::Directory { point: Number::MAX, layer: Layer::Differential, record: u32::MAX },
            Node::File(Birth { number: Number::MAX, record: u32::MAX }),
            Node::File(Birth { number: Number(1), record: 0 }),
        ];
        let mut ids: Vec<u64> = nodes.iter().map(|node| node.id().0).collect();
        for node in nodes {
            assert_eq!(Node::from_id(node.id()), Some(node));
        }
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), nodes.len());
        assert!(!ids.contains(&0));
        assert_eq!(Node::from_id(NodeId(u64::MAX)), None);
        assert_eq!(Node::from_id(NodeId(0)), None);
    }
}
