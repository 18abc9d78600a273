//! What `stat` shows.

use std::time::Duration;

use dbakfs_mount::tree::{Attr, Lifetime, Time};

use super::node::Node;
use crate::format::record::{Content, Record};
use crate::format::{Kind, Point, Timestamp};
use crate::overlay;

/// How long the kernel may believe what can change: names above the points, and their times.
pub(super) const LIVE: Lifetime = Lifetime::For(Duration::from_millis(200));

/// Bytes that a directory shows as its size, as most file systems do; nothing depends on it.
const DIRECTORY_BYTES: u64 = 4096;

const fn time(time: Timestamp) -> Time {
    Time { secs: time.secs, nanos: time.nanos }
}

/// The node of an entry at a point in time.
pub(super) fn node_of(point: crate::format::Number, node: &overlay::Node) -> Node {
    if node.is_directory() {
        Node::Directory { point, layer: node.layer, record: node.entry.number() }
    } else {
        Node::File(node.entry.record().birth)
    }
}

/// The attributes of an archived entry. `inline_len` is the length of its inline bytes, a link's target.
pub(super) fn archived(node: Node, record: &Record, inline_len: usize) -> Attr {
    let meta = &record.meta;
    let is_directory = meta.kind == Kind::Directory;
    let size = match (meta.kind, record.content) {
        (Kind::Directory, _) => DIRECTORY_BYTES,
        (Kind::Symlink, Content::Inline) => inline_len as u64,
        _ => meta.size,
    };
    Attr {
        node: node.id(),
        mode: meta.kind.mode_bits() | meta.mode,
        uid: meta.uid,
        gid: meta.gid,
        // A count of 1 tells tools that nothing is known of a directory's subdirectories.
        nlink: if is_directory { 1 } else { meta.nlink.max(1) },
        rdev: meta.rdev,
        size,
        blocks: record.data_bytes.div_ceil(512),
        mtime: time(meta.mtime),
        ctime: time(record.ctime),
        lifetime: Lifetime::Forever,
    }
}

/// The attributes of a directory above the points, last changed at `changed`.
pub(super) fn live_directory(node: Node, changed: Timestamp) -> Attr {
    made(node, libc::S_IFDIR | 0o555, DIRECTORY_BYTES, changed, LIVE)
}

/// The attributes of the directory that stands for a point which another mount shows.
pub(super) fn stub(point: &Point) -> Attr {
    live_directory(Node::Stub(point.number), point.finished)
}

/// The attributes of a link to a point. The node is the link's for this very point: it never changes.
pub(super) fn link(node: Node, target: &str, changed: Timestamp) -> Attr {
    made(node, libc::S_IFLNK | 0o777, target.len() as u64, changed, Lifetime::Forever)
}

fn made(node: Node, mode: u32, size: u64, changed: Timestamp, lifetime: Lifetime) -> Attr {
    Attr {
        node: node.id(),
        mode,
        uid: rustix::process::geteuid().as_raw(),
        gid: rustix::process::getegid().as_raw(),
        nlink: 1,
        rdev: 0,
        size,
        blocks: 0,
        mtime: time(changed),
        ctime: time(changed),
        lifetime,
    }
}
