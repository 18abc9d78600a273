//! The seam between a file system in the kernel and whatever holds the files: one small read-only trait.

use std::time::Duration;

/// The number that the kernel knows a node by. [`NodeId::ROOT`] is the mount's root; all other numbers are the tree's to choose.
/// Two directories may never share one; names of one file (hard links) must.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub u64);

impl NodeId {
    /// The root directory of the mount.
    pub const ROOT: Self = Self(1);
}

/// How long the kernel may remember an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lifetime {
    /// The answer never changes while the mount lives.
    Forever,
    /// The answer may change; the kernel asks again after this time.
    For(Duration),
}

/// A point in time as FUSE wants it: seconds since the epoch, negative before 1970, and nanoseconds below 1,000,000,000.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Time {
    /// Whole seconds, rounded down.
    pub secs: i64,
    /// Nanoseconds after `secs`.
    pub nanos: u32,
}

/// What `stat` shows of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attr {
    /// The node.
    pub node: NodeId,
    /// Type and permission bits, as in `st_mode`.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Names of the node, at least 1.
    pub nlink: u32,
    /// Device number of a device node, as in `st_rdev`.
    pub rdev: u64,
    /// Bytes.
    pub size: u64,
    /// Units of 512 bytes that `du` counts; fewer than `size` needs says that there are holes.
    pub blocks: u64,
    /// Last change of the data; shown as the time of access too. Times that no `SystemTime` can hold are shown as the epoch.
    pub mtime: Time,
    /// Last change of the inode.
    pub ctime: Time,
    /// How long the kernel may keep these attributes.
    pub lifetime: Lifetime,
}

/// A name in a directory.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'a> {
    /// The name: 1 to 255 bytes, any but `/` and NUL.
    pub name: &'a [u8],
    /// What it names.
    pub attr: Attr,
    /// How long the kernel may remember that this name means this node.
    pub lifetime: Lifetime,
    /// Where a listing goes on after this entry: not 0, rising, and below 2⁶² (`telldir` is signed, and the mount adds to it).
    pub next: u64,
}

/// What a look-up found.
#[derive(Clone, Copy, Debug)]
pub enum Lookup {
    /// The name means this node, for so long.
    Found(Attr, Lifetime),
    /// There is no such name, for so long.
    Absent(Lifetime),
}

/// What `lseek` looks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seek {
    /// The next byte of data.
    Data,
    /// The next byte of a hole; the end of a file is one.
    Hole,
}

/// Why a tree could not answer. The tree has logged the cause already; the mount only turns it into an errno.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TreeError {
    /// No such node, or no such name (`ENOENT`).
    #[error("no such node")]
    NotFound,
    /// The node was there once and is no more (`ESTALE`).
    #[error("the node is gone")]
    Gone,
    /// Asked for the entries of something that is no directory (`ENOTDIR`).
    #[error("not a directory")]
    NotDirectory,
    /// Asked for the target or the data of a node of another kind (`EINVAL`).
    #[error("the node is of another kind")]
    WrongKind,
    /// No extended attribute of that name (`ENODATA`).
    #[error("no such attribute")]
    NoAttribute,
    /// `lseek` from an offset at or past the end, or for data where only a hole follows (`ENXIO`).
    #[error("past the end")]
    PastEnd,
    /// What stands here is shown by another mount, which should cover this node and does not (`EREMOTE`).
    #[error("shown by another mount")]
    Elsewhere,
    /// What is stored is damaged or could not be read (`EIO`).
    #[error("damaged or unreadable")]
    Damaged,
}

/// The result of asking a tree.
pub type Result<T> = std::result::Result<T, TreeError>;

/// A read-only tree of files that a mount can show. Many threads ask at once; nothing may wait for a slow thing. Before it reads or decodes, a tree
/// calls [`step_aside`](crate::step_aside), so that quick questions need not wait.
///
/// The kernel keeps listings and data for as long as `mtime` stays the same: when the entries of a directory or the bytes of a file whose
/// attributes live for a time only have changed, its `mtime` must have, too. The target of a link is kept for ever: another target is another node.
pub trait Tree: Send + Sync + 'static {
    /// The entry `name` of directory `parent`.
    fn lookup(&self, parent: NodeId, name: &[u8]) -> Result<Lookup>;

    /// The attributes of `node`.
    fn attr(&self, node: NodeId) -> Result<Attr>;

    /// Gives the entries of `directory` after position `from` (0: from the start) to `take`, in order, until it answers
    /// `false` (that entry was not taken) or there are no more. `.` and `..` are the mount's business.
    fn read_dir(&self, directory: NodeId, from: u64, take: &mut dyn FnMut(Entry<'_>) -> bool) -> Result<()>;

    /// The number that a listing of directory `node` shows for `..`: that of the directory that holds it (the root is its own), or, where
    /// the tree keeps no way up, any number but 0. Only `readdir` shows it; the kernel finds its own way up.
    fn parent(&self, node: NodeId) -> Result<NodeId>;

    /// The target of a symbolic link: its bytes, as they were.
    fn read_link(&self, node: NodeId) -> Result<Vec<u8>>;

    /// Appends to `out` the data of file `node` from `offset`: `len` bytes, or fewer where the file ends. Holes read as zeros.
    fn read(&self, node: NodeId, offset: u64, len: usize, out: &mut Vec<u8>) -> Result<()>;

    /// Gives `push` data that will likely be asked for after a read of `len` bytes at `offset` of `node` and that is cheap to give now: a node, an
    /// offset in it, a multiple of 4096, and bytes that end at such a multiple or at the end of the file. The nearest come first; `push` answers
    /// whether it wants more. Called on a thread that answers no messages, after the read was answered. What goes wrong is silent here: whoever
    /// reads it will hear of it.
    fn ahead(&self, node: NodeId, offset: u64, len: usize, push: &mut dyn FnMut(NodeId, u64, &[u8]) -> bool) {
        let _ = (node, offset, len, push);
    }

    /// The offset of the next data or hole of file `node` at or after `offset`.
    fn seek(&self, node: NodeId, offset: u64, what: Seek) -> Result<u64>;

    /// The value of the extended attribute `name` of `node`.
    fn xattr(&self, node: NodeId, name: &[u8]) -> Result<Vec<u8>>;

    /// The names of the extended attributes of `node`, each followed by a NUL, as `listxattr` gives them.
    fn xattr_names(&self, node: NodeId) -> Result<Vec<u8>>;
}
