//! Everything that is no directory: what is there already, what becomes a link, what is made and put in place.
//!
//! Owns the decision. Refuses to know how an entry is made. Its invariant: what stood under a name is replaced only by something
//! whole, in one rename, and an inode with names that are not the point's is never changed.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use rustix::fs::{AtFlags, Mode, OFlags, linkat, openat, readlinkat, renameat, unlinkat};
use rustix::io::Errno;

use super::content;
use super::engine::{Engine, Here};
use super::fault::{During, Fault, spares_others};
use super::links::Link;
use super::meta::{self, Handle, Present, Wanted, look_at};
use super::trail::open_below;
use super::{Notice, RestoreError};
use crate::format::record::{Content, Flags, Status};
use crate::format::{Kind, Meta, Stat};
use crate::overlay::Node;
use crate::source::FileId;
use crate::source::stat::stat_of;

/// Whether an entry of DEST has the archived content.
enum Same {
    No,
    /// A regular file, open to be read.
    File(OwnedFd),
    Other,
}

impl Engine<'_> {
    /// Restores an entry that is no directory.
    pub(super) fn leaf(&mut self, here: &Here, node: &Node) -> Result<(), RestoreError> {
        let name = node.entry.name();
        let record = node.entry.record();
        self.progress.entry();
        self.report.entries += 1;
        let outcome = if record.flags.has(Flags::NO_CONTENT) {
            Err(crate::repository::ReadError::NeverRead.into())
        } else {
            self.look_ahead(node);
            self.try_leaf(here, node, name)
        };
        match outcome {
            Ok(()) if record.status == Status::Unread => {
                self.report.older += 1;
                (self.notify)(Notice::Older { path: here.path_of(name) });
                Ok(())
            }
            Ok(()) => Ok(()),
            Err(fault) => self.fault(here.path_of(name), fault),
        }
    }

    fn look_ahead(&mut self, node: &Node) {
        if let Content::One(place) = node.entry.record().content
            && let Some(pack) = self.tree.catalog(node.layer).packs().get(place.pack as usize)
        {
            self.ahead.at(*pack, place);
        }
    }

    fn try_leaf(&mut self, here: &Here, node: &Node, name: &[u8]) -> Result<(), Fault> {
        let record = node.entry.record();
        let existing = Self::existing(here, name)?;
        let link = if record.meta.nlink > 1 { self.links.find(record.birth) } else { None };
        if let Some(link) = link
            && self.link(here, node, name, existing.as_ref(), &link)?
        {
            self.links.count(record.birth);
            self.progress.add_bytes(record.meta.size);
            return Ok(());
        }
        if let Some(stat) = &existing
            && self.keep(here, node, name, stat)?
        {
            self.report.kept += 1;
            self.progress.add_bytes(record.meta.size);
            self.links.begin(record.birth, record.meta.nlink, &here.place, name, FileId::of(stat));
            return Ok(());
        }
        let temporary = existing.is_some().then(temporary_name);
        let Some(id) = self.make(here, node, temporary.as_deref().unwrap_or(name))? else { return Ok(()) };
        if let (Some(temporary), Some(stat)) = (&temporary, &existing)
            && !self.put_in_place(here, temporary, name, stat, record.meta.kind)?
        {
            return Ok(());
        }
        self.report.made += 1;
        if let Some(id) = id {
            self.links.begin(record.birth, record.meta.nlink, &here.place, name, id);
        }
        Ok(())
    }

    /// Gives what was made as `temporary` its name, which `stat` has now. Answers whether it could have it; if not, it is gone.
    fn put_in_place(
        &mut self,
        here: &Here,
        temporary: &[u8],
        name: &[u8],
        stat: &Stat,
        kind: Kind,
    ) -> Result<bool, Fault> {
        let is_directory = stat.meta.kind == Kind::Directory;
        let outcome = match is_directory {
            true => self.clear(here, name, stat),
            false => Ok(true),
        };
        let outcome = outcome.and_then(|is_free| {
            if is_free {
                renameat(&*here.fd, temporary, &*here.fd, name).during("replace")?;
            }
            Ok(is_free)
        });
        if !matches!(outcome, Ok(true)) {
            // The failure at hand is told; a temporary that could not be removed either would be for the same reason.
            let _ = unlinkat(&*here.fd, temporary, AtFlags::empty());
        } else if !is_directory && stat.meta.kind != kind {
            self.report.removed += 1;
        }
        outcome
    }

    /// Keeps the entry `name` as the inode it is, with its metadata put right, if that is what the point wants.
    fn keep(&mut self, here: &Here, node: &Node, name: &[u8], stat: &Stat) -> Result<bool, Fault> {
        let record = node.entry.record();
        let (now, then) = (&stat.meta, &record.meta);
        if (now.kind, now.size, now.rdev) != (then.kind, then.size, then.rdev) || now.nlink > then.nlink.max(1) {
            return Ok(false);
        }
        if !may_be_kept(now, then) {
            return Ok(false);
        }
        let same = self.same_content(here, node, name, stat)?;
        let handle = match &same {
            Same::No => return Ok(false),
            Same::File(fd) => Handle::Open(fd.as_fd()),
            Same::Other => Handle::Named(here.fd.as_fd(), name),
        };
        let wanted = Wanted { meta: then, xattrs: node.entry.xattrs() };
        if now.nlink > 1 {
            // Its other names may be none of ours: it stays as it is, or it is left alone.
            return Ok(meta::is_right(handle, wanted, stat)? && self.links.claim(FileId::of(stat), record.birth));
        }
        let missing = meta::put_right(handle, wanted, Present::of(stat))?;
        self.account(missing, || here.path_of(name));
        Ok(true)
    }

    fn same_content(&mut self, here: &Here, node: &Node, name: &[u8], stat: &Stat) -> Result<Same, Fault> {
        match stat.meta.kind {
            Kind::File => {}
            Kind::Symlink => {
                let target = readlinkat(&*here.fd, name, Vec::new()).during("read the link")?;
                return Ok(if target.as_bytes() == node.entry.inline() { Same::Other } else { Same::No });
            }
            _ => return Ok(Same::Other),
        }
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let open = |flags| openat(&*here.fd, name, flags, Mode::empty());
        let opened = match open(flags | OFlags::NOATIME) {
            Err(Errno::PERM) => open(flags),
            other => other,
        };
        // What cannot be read cannot be compared, and is replaced.
        let Ok(fd) = opened else { return Ok(Same::No) };
        if FileId::of(&stat_of(&fd).during("look at")?) != FileId::of(stat) {
            return Ok(Same::No);
        }
        let stored = self.stored(node);
        let is_equal = content::is_equal(stored, fd.as_fd(), stat.allocated_bytes, &mut self.buffer)?;
        Ok(if is_equal { Same::File(fd) } else { Same::No })
    }

    /// Makes `name` another name of the inode that `link` names. Answers whether it is; if not, it must become an inode of its own.
    fn link(
        &mut self,
        here: &Here,
        node: &Node,
        name: &[u8],
        existing: Option<&Stat>,
        link: &Link,
    ) -> Result<bool, Fault> {
        if existing.is_some_and(|stat| FileId::of(stat) == link.id) {
            self.report.kept += 1;
            return Ok(true);
        }
        let temporary = existing.is_some().then(temporary_name);
        let at = temporary.as_deref().unwrap_or(name);
        match self.try_link(here, at, link) {
            Ok(()) => {}
            Err(errno) if spares_others(errno) => {
                self.report.unlinked += 1;
                (self.notify)(Notice::Unlinked { path: here.path_of(name), error: errno.into() });
                return Ok(false);
            }
            Err(errno) => return Err(Fault::System("link", errno)),
        }
        if let (Some(temporary), Some(stat)) = (&temporary, existing)
            && !self.put_in_place(here, temporary, name, stat, node.entry.record().meta.kind)?
        {
            return Ok(true);
        }
        self.report.made += 1;
        Ok(true)
    }

    fn try_link(&self, here: &Here, at: &[u8], link: &Link) -> Result<(), Errno> {
        let opened;
        let from = if Arc::ptr_eq(&link.place, &here.place) {
            here.fd.as_fd()
        } else {
            let first = self.trail.first().ok_or(Errno::BADF)?;
            opened = open_below(first.as_fd(), &link.place.relative())?;
            opened.as_fd()
        };
        linkat(from, &*link.name, &*here.fd, at, AtFlags::empty())?;
        match look_at(here.fd.as_fd(), at) {
            Ok(stat) if FileId::of(&stat) == link.id => Ok(()),
            // Somebody has put something else where the first name was.
            _ => {
                unlinkat(&*here.fd, at, AtFlags::empty())?;
                Err(Errno::STALE)
            }
        }
    }
}

/// A name that nothing else in a directory has: 64 random bits.
fn temporary_name() -> Vec<u8> {
    let mut random = [0; 8];
    crate::random::fill(&mut random);
    format!(".dbakfs-{:016x}", u64::from_le_bytes(random)).into_bytes()
}

/// Whether an existing inode may become the restored one. Where root restores it must have the owner already and let nobody write who may not in
/// the end: somebody else may hold it open, or mapped, and would go on writing to it when it is root's, or set-user-id.
fn may_be_kept(now: &Meta, then: &Meta) -> bool {
    const OTHERS_WRITE: u32 = 0o022;
    let is_group_same = now.gid == then.gid || now.mode & 0o020 == 0;
    !rustix::process::geteuid().is_root()
        || now.kind == Kind::Symlink
        || now.uid == then.uid && is_group_same && now.mode & OTHERS_WRITE & !then.mode == 0
}
