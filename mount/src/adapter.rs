//! Answers the kernel's messages from a [`Tree`]: positions of listings, sizes of attributes, what may be cached. Holds no state
//! of its own but counters.
//!
//! Invariant: every message gets exactly one answer, even if the tree panics.

use std::cell::RefCell;
use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use fuser::{
    AccessFlags, BsdFileFlags, CopyFileRangeFlags, Errno, FileAttr, FileHandle, Filesystem, FopenFlags, Generation,
    INodeNo, InitFlags, IoctlFlags, KernelConfig, LockOwner, OpenAccMode, OpenFlags, PollEvents, PollFlags,
    PollNotifier, RenameFlags, ReplyAttr, ReplyBmap, ReplyCreate, ReplyData, ReplyDirectory, ReplyDirectoryPlus,
    ReplyEmpty, ReplyEntry, ReplyIoctl, ReplyLock, ReplyLseek, ReplyOpen, ReplyPoll, ReplyStatfs, ReplyWrite,
    ReplyXattr, Request, TimeOrNow, WriteFlags,
};

use crate::attr;
use crate::crew::Crew;
use crate::errno;
use crate::push::{Answered, Pusher};
use crate::scaffold::{Scaffold, Seen};
use crate::stats::{Counters, Message};
use crate::tree::{self, Lifetime, Lookup, NodeId, Seek, Tree, TreeError};
use crate::xattrs::Xattrs;

/// Node numbers are never given to another node, so one generation is enough.
const GENERATION: Generation = Generation(0);

/// No state hangs on an open file.
const HANDLE: FileHandle = FileHandle(0);

/// `.` and `..` come before the tree's own entries.
const DOTS: u64 = 2;

/// Reads that the kernel may have under way without anybody waiting.
const MAX_BACKGROUND: u16 = 64;

/// What is asked of the kernel where it can do it. Listings are kept until the directory has another time (`FUSE_AUTO_INVAL_DATA`).
const WISHES: InitFlags = InitFlags::FUSE_ASYNC_READ
    .union(InitFlags::FUSE_ASYNC_DIO)
    .union(InitFlags::FUSE_PARALLEL_DIROPS)
    .union(InitFlags::FUSE_DO_READDIRPLUS)
    .union(InitFlags::FUSE_AUTO_INVAL_DATA)
    .union(InitFlags::FUSE_CACHE_SYMLINKS)
    .union(InitFlags::FUSE_NO_OPEN_SUPPORT)
    .union(InitFlags::FUSE_NO_OPENDIR_SUPPORT)
    .union(InitFlags::FUSE_POSIX_ACL);

thread_local! {
    /// What a read is put together in, so that not every one asks the system for fresh memory.
    static READ_BUFFER: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// What the messages of a connection are answered from. Who else holds `xattrs` and `scaffold` has a say in it.
pub(crate) struct Answers<T> {
    pub(crate) tree: Arc<T>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) xattrs: Arc<Xattrs>,
    pub(crate) scaffold: Arc<Scaffold>,
}

/// A [`Filesystem`] over a tree.
pub(crate) struct Adapter<T> {
    tree: Arc<T>,
    counters: Arc<Counters>,
    xattrs: Arc<Xattrs>,
    scaffold: Arc<Scaffold>,
    crew: Arc<Crew>,
    pusher: Pusher,
    /// What the kernel can do, from the first message on.
    can: InitFlags,
}

type Answer<R> = Result<R, Errno>;

impl<T: Tree> Adapter<T> {
    /// Answers the messages of one connection with `answers`; `crew` are its threads.
    pub(crate) fn new(answers: Answers<T>, crew: Arc<Crew>, pusher: Pusher) -> Self {
        let Answers { tree, counters, xattrs, scaffold } = answers;
        Self { tree, counters, xattrs, scaffold, crew, pusher, can: InitFlags::empty() }
    }

    /// Counts a message and asks the tree. A panic costs this answer, not the mount.
    fn ask<R>(&self, kind: Message, question: impl FnOnce(&T) -> tree::Result<R>) -> Answer<R> {
        self.counters.add(kind);
        let answer = catch_unwind(AssertUnwindSafe(|| question(&self.tree))).unwrap_or_else(|panic| {
            let why = panic.downcast_ref::<String>().map(String::as_str);
            let why = why.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no message");
            tracing::error!(message = kind.name(), why, "the tree panicked; answered with an I/O error");
            Err(TreeError::Damaged)
        });
        answer.map_err(errno::of)
    }

    /// Gives `.`, `..` and the tree's entries from `offset` on to `add` until that says the buffer is full. What goes wrong after
    /// the first entry is left to the next message, so that what can be listed is listed.
    fn list(
        &self,
        kind: Message,
        directory: INodeNo,
        offset: u64,
        mut add: impl FnMut(Listed<'_>) -> bool,
    ) -> Answer<()> {
        let directory = NodeId(directory.0);
        let mut added = false;
        let listed = self.ask(kind, |tree| {
            let mut take = |listed: Listed<'_>| {
                let full = add(listed);
                added |= !full;
                !full
            };
            for (position, name) in [(0, "."), (1, "..")] {
                if position >= offset {
                    let node = if name == "." { directory } else { tree.parent(directory)? };
                    let attr = attr::to_kernel(&tree.attr(node)?)?;
                    if !take(Listed { name: name.as_bytes(), attr, ttl: Duration::ZERO, next: position + 1 }) {
                        return Ok(());
                    }
                }
            }
            let mut refused = None;
            tree.read_dir(directory, offset.saturating_sub(DOTS), &mut |entry| {
                // The kernel is told one lifetime for both the name and the attributes.
                let ttl = attr::ttl(entry.lifetime).min(attr::ttl(entry.attr.lifetime));
                match attr::to_kernel(&entry.attr) {
                    Ok(attr) => take(Listed { name: entry.name, attr, ttl, next: entry.next.saturating_add(DOTS) }),
                    Err(error) => {
                        refused = Some(error);
                        false
                    }
                }
            })?;
            refused.map_or(Ok(()), Err)
        });
        if added { Ok(()) } else { listed }
    }
}

/// One entry of a listing, as the kernel wants it.
struct Listed<'a> {
    name: &'a [u8],
    attr: FileAttr,
    ttl: Duration,
    next: u64,
}

/// The protocol of sizes: 0 asks for the size, and what does not fit is refused.
fn reply_sized(answer: Answer<Vec<u8>>, size: u32, reply: ReplyXattr) {
    match answer {
        Err(error) => reply.error(error),
        Ok(value) => match u32::try_from(value.len()) {
            Ok(needed) if size == 0 => reply.size(needed),
            Ok(needed) if needed <= size => reply.data(&value),
            _ => reply.error(Errno::ERANGE),
        },
    }
}

/// What a name on the scaffold is: nothing of it may be remembered.
fn reply_seen(seen: Seen, reply: ReplyEntry) {
    match seen {
        Seen::Stub(attr) => match attr::to_kernel(&attr) {
            Ok(stub) => reply.entry_with_ttls(&attr::ttl(attr.lifetime), &Duration::ZERO, &stub, GENERATION),
            Err(error) => reply.error(errno::of(error)),
        },
        Seen::Absent => reply.error(Errno::ENOENT),
        Seen::NotYet => reply.error(Errno::EINTR),
    }
}

/// Messages that never get another answer. Those that would write meet `ro` before they come here, unless somebody remounts.
macro_rules! refuse {
    ($($errno:ident: $name:ident($($argument:ty),*) $reply:ty;)*) => {
        $(fn $name(&self, _: &Request, $(_: $argument,)* reply: $reply) {
            let _turn = self.crew.take();
            self.counters.add(Message::Other);
            reply.error(Errno::$errno);
        })*
    };
}

impl<T: Tree> Filesystem for Adapter<T> {
    fn init(&mut self, _: &Request, config: &mut KernelConfig) -> io::Result<()> {
        let wishes = WISHES & config.capabilities();
        config.add_capabilities(wishes).map_err(|missing| io::Error::other(format!("the kernel lacks {missing:?}")))?;
        self.can = wishes;
        config.set_max_background(MAX_BACKGROUND).map_err(|_| io::Error::other("too few background requests"))?;
        Ok(())
    }

    fn lookup(&self, request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let _turn = self.crew.take();
        if let Some(seen) = self.scaffold.seen(request.pid(), NodeId(parent.0), name.as_bytes()) {
            self.counters.add(Message::Lookup);
            return reply_seen(seen, reply);
        }
        let found = self.ask(Message::Lookup, |tree| match tree.lookup(NodeId(parent.0), name.as_bytes())? {
            Lookup::Found(attr, lifetime) => {
                Ok((attr::to_kernel(&attr)?, attr::ttl(attr.lifetime), attr::ttl(lifetime)))
            }
            Lookup::Absent(lifetime) => Ok((attr::absent(), Duration::ZERO, attr::ttl(lifetime))),
        });
        match found {
            Ok((attr, _, ttl)) if attr.ino == INodeNo(0) && ttl.is_zero() => reply.error(Errno::ENOENT),
            Ok((attr, attr_ttl, ttl)) => reply.entry_with_ttls(&attr_ttl, &ttl, &attr, GENERATION),
            Err(error) => reply.error(error),
        }
    }

    fn forget(&self, _: &Request, _: INodeNo, _: u64) {
        let _turn = self.crew.take();
        self.counters.add(Message::Forget);
    }

    fn getattr(&self, _: &Request, node: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        let _turn = self.crew.take();
        let answer = self.ask(Message::GetAttr, |tree| {
            let attr = tree.attr(NodeId(node.0))?;
            Ok((attr::to_kernel(&attr)?, attr::ttl(attr.lifetime)))
        });
        match answer {
            Ok((attr, ttl)) => reply.attr(&ttl, &attr),
            Err(error) => reply.error(error),
        }
    }

    fn readlink(&self, _: &Request, node: INodeNo, reply: ReplyData) {
        let _turn = self.crew.take();
        match self.ask(Message::ReadLink, |tree| tree.read_link(NodeId(node.0))) {
            Ok(target) => reply.data(&target),
            Err(error) => reply.error(error),
        }
    }

    fn open(&self, _: &Request, node: INodeNo, flags: OpenFlags, reply: ReplyOpen) {
        let _turn = self.crew.take();
        let lifetime = self.ask(Message::Open, |tree| Ok(tree.attr(NodeId(node.0))?.lifetime));
        match lifetime {
            // The kernel never asks again, and keeps pages as if each answer had been to keep them.
            Ok(_) if self.can.contains(InitFlags::FUSE_NO_OPEN_SUPPORT) => reply.error(Errno::ENOSYS),
            Ok(_) if flags.acc_mode() != OpenAccMode::O_RDONLY => reply.error(Errno::EROFS),
            Ok(Lifetime::Forever) => reply.opened(HANDLE, FopenFlags::FOPEN_KEEP_CACHE | FopenFlags::FOPEN_NOFLUSH),
            Ok(Lifetime::For(_)) => reply.opened(HANDLE, FopenFlags::FOPEN_NOFLUSH),
            Err(error) => reply.error(error),
        }
    }

    fn read(
        &self,
        _: &Request,
        node: INodeNo,
        _: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let _turn = self.crew.take();
        let mut buffer = READ_BUFFER.take();
        buffer.clear();
        let size = size as usize;
        match self.ask(Message::Read, |tree| tree.read(NodeId(node.0), offset, size, &mut buffer)) {
            Ok(()) => {
                reply.data(&buffer[..buffer.len().min(size)]);
                self.pusher.answered(Answered { node: NodeId(node.0), offset, len: size });
            }
            Err(error) => reply.error(error),
        }
        READ_BUFFER.set(buffer);
    }

    fn release(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        _: OpenFlags,
        _: Option<LockOwner>,
        _: bool,
        reply: ReplyEmpty,
    ) {
        let _turn = self.crew.take();
        self.counters.add(Message::Release);
        reply.ok();
    }

    fn opendir(&self, _: &Request, node: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        let _turn = self.crew.take();
        match self.ask(Message::OpenDir, |tree| Ok(tree.attr(NodeId(node.0))?.lifetime)) {
            Ok(_) if self.can.contains(InitFlags::FUSE_NO_OPENDIR_SUPPORT) => reply.error(Errno::ENOSYS),
            Ok(Lifetime::Forever) => reply.opened(HANDLE, FopenFlags::FOPEN_KEEP_CACHE | FopenFlags::FOPEN_CACHE_DIR),
            Ok(Lifetime::For(_)) => reply.opened(HANDLE, FopenFlags::empty()),
            Err(error) => reply.error(error),
        }
    }

    fn readdir(&self, _: &Request, node: INodeNo, _: FileHandle, offset: u64, mut reply: ReplyDirectory) {
        let _turn = self.crew.take();
        let listed = self.list(Message::ReadDir, node, offset, |entry| {
            reply.add(entry.attr.ino, entry.next, entry.attr.kind, OsStr::from_bytes(entry.name))
        });
        match listed {
            Ok(()) => reply.ok(),
            Err(error) => reply.error(error),
        }
    }

    fn readdirplus(&self, _: &Request, node: INodeNo, _: FileHandle, offset: u64, mut reply: ReplyDirectoryPlus) {
        let _turn = self.crew.take();
        let listed = self.list(Message::ReadDirPlus, node, offset, |entry| {
            let name = OsStr::from_bytes(entry.name);
            reply.add(entry.attr.ino, entry.next, name, &entry.ttl, &entry.attr, GENERATION)
        });
        match listed {
            Ok(()) => reply.ok(),
            Err(error) => reply.error(error),
        }
    }

    fn releasedir(&self, _: &Request, _: INodeNo, _: FileHandle, _: OpenFlags, reply: ReplyEmpty) {
        let _turn = self.crew.take();
        self.counters.add(Message::ReleaseDir);
        reply.ok();
    }

    fn lseek(&self, _: &Request, node: INodeNo, _: FileHandle, offset: i64, whence: i32, reply: ReplyLseek) {
        let _turn = self.crew.take();
        let found = self.ask(Message::Lseek, |tree| {
            let what = match whence {
                libc::SEEK_DATA => Seek::Data,
                libc::SEEK_HOLE => Seek::Hole,
                _ => return Err(TreeError::WrongKind),
            };
            let offset = u64::try_from(offset).map_err(|_| TreeError::PastEnd)?;
            i64::try_from(tree.seek(NodeId(node.0), offset, what)?).map_err(|_| TreeError::Damaged)
        });
        match found {
            Ok(offset) => reply.offset(offset),
            Err(error) => reply.error(error),
        }
    }

    fn getxattr(&self, _: &Request, node: INodeNo, name: &OsStr, size: u32, reply: ReplyXattr) {
        let _turn = self.crew.take();
        if self.xattrs.refuses() {
            self.counters.add(Message::GetXattr);
            return reply.error(Errno::ENOSYS);
        }
        let value = self.ask(Message::GetXattr, |tree| tree.xattr(NodeId(node.0), name.as_bytes()));
        reply_sized(value, size, reply);
    }

    fn listxattr(&self, _: &Request, node: INodeNo, size: u32, reply: ReplyXattr) {
        let _turn = self.crew.take();
        if self.xattrs.refuses() {
            self.counters.add(Message::ListXattr);
            return reply.error(Errno::ENOSYS);
        }
        reply_sized(self.ask(Message::ListXattr, |tree| tree.xattr_names(NodeId(node.0))), size, reply);
    }

    /// No sizes: a backup is neither full nor free, and a disk that is always full alarms whoever watches disks.
    fn statfs(&self, _: &Request, _: INodeNo, reply: ReplyStatfs) {
        let _turn = self.crew.take();
        self.counters.add(Message::StatFs);
        reply.statfs(0, 0, 0, 0, 0, 4096, 255, 4096);
    }

    refuse! {
        EROFS: mknod(INodeNo, &OsStr, u32, u32, u32) ReplyEntry;
        EROFS: mkdir(INodeNo, &OsStr, u32, u32) ReplyEntry;
        EROFS: symlink(INodeNo, &OsStr, &std::path::Path) ReplyEntry;
        EROFS: link(INodeNo, INodeNo, &OsStr) ReplyEntry;
        EROFS: create(INodeNo, &OsStr, u32, u32, i32) ReplyCreate;
        EROFS: unlink(INodeNo, &OsStr) ReplyEmpty;
        EROFS: rmdir(INodeNo, &OsStr) ReplyEmpty;
        EROFS: rename(INodeNo, &OsStr, INodeNo, &OsStr, RenameFlags) ReplyEmpty;
        EROFS: setattr(
            INodeNo, Option<u32>, Option<u32>, Option<u32>, Option<u64>, Option<TimeOrNow>, Option<TimeOrNow>,
            Option<SystemTime>, Option<FileHandle>, Option<SystemTime>, Option<SystemTime>, Option<SystemTime>,
            Option<BsdFileFlags>
        ) ReplyAttr;
        EROFS: setxattr(INodeNo, &OsStr, &[u8], i32, u32) ReplyEmpty;
        EROFS: removexattr(INodeNo, &OsStr) ReplyEmpty;
        EROFS: write(INodeNo, FileHandle, u64, &[u8], WriteFlags, OpenFlags, Option<LockOwner>) ReplyWrite;
        EROFS: fallocate(INodeNo, FileHandle, u64, u64, i32) ReplyEmpty;
        EROFS: copy_file_range(
            INodeNo, FileHandle, u64, INodeNo, FileHandle, u64, u64, CopyFileRangeFlags
        ) ReplyWrite;

        // Here "never ask again" is meant: the kernel then does by itself what is right for files that never change.
        ENOSYS: access(INodeNo, AccessFlags) ReplyEmpty;
        ENOSYS: flush(INodeNo, FileHandle, LockOwner) ReplyEmpty;
        ENOSYS: fsync(INodeNo, FileHandle, bool) ReplyEmpty;
        ENOSYS: fsyncdir(INodeNo, FileHandle, bool) ReplyEmpty;
        ENOSYS: poll(INodeNo, FileHandle, PollNotifier, PollEvents, PollFlags) ReplyPoll;
        ENOSYS: getlk(INodeNo, FileHandle, LockOwner, u64, u64, i32, u32) ReplyLock;
        ENOSYS: setlk(INodeNo, FileHandle, LockOwner, u64, u64, i32, u32, bool) ReplyEmpty;
        ENOSYS: bmap(INodeNo, u32, u64) ReplyBmap;
        ENOTTY: ioctl(INodeNo, FileHandle, IoctlFlags, u32, &[u8], u32) ReplyIoctl;
    }
}

impl<T> Drop for Adapter<T> {
    /// A session may end before any thread had a message.
    fn drop(&mut self) {
        self.crew.end();
    }
}
