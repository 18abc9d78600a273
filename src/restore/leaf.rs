//! Everything that is no directory: what is there already, what is made and put in place.
//!
//! Owns the decision. Refuses to know how an entry is made, and which thread does it. Its invariant: what stood under a name is replaced
//! only by something whole, in one rename, and an inode with names that are not the point's is never changed.

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{AtFlags, Mode, OFlags, openat, readlinkat, renameat, unlinkat};
use rustix::io::Errno;

use super::RestoreError;
use super::content::{self, Stored};
use super::fault::{During, Fault};
use super::hand::Hand;
use super::here::Here;
use super::meta::{self, Handle, Present, Wanted, look_at};
use super::remove;
use crate::format::record::Flags;
use crate::format::{Kind, Meta, Stat};
use crate::overlay::Node;
use crate::repository::ReadError;
use crate::source::FileId;
use crate::source::stat::stat_of;

/// Whether an entry of DEST has the archived content.
enum Same {
    No,
    /// A regular file, open to be read.
    File(OwnedFd),
    Other,
}

/// Where an entry is made: under its own name if that is free, else beside what has it, whose place it takes when it is whole.
pub(super) struct Berth {
    temporary: Option<Vec<u8>>,
    existing: Option<Stat>,
}

impl Berth {
    /// Beside `existing`, which has the name of the entry now.
    pub(super) fn beside(existing: Option<Stat>) -> Self {
        Self { temporary: existing.map(|_| temporary_name()), existing }
    }

    /// The name that the entry `name` is made under.
    pub(super) fn at<'n>(&'n self, name: &'n [u8]) -> &'n [u8] {
        self.temporary.as_deref().unwrap_or(name)
    }
}

impl Hand<'_> {
    /// Restores an entry that is no directory and has no other name.
    pub(super) fn leaf(&mut self, here: &Here, node: &Node) -> Result<(), RestoreError> {
        self.count();
        let outcome = self.try_leaf(here, node);
        self.settle(here, node, outcome)
    }

    fn try_leaf(&mut self, here: &Here, node: &Node) -> Result<(), Fault> {
        self.run.check()?;
        let existing = existing_leaf(here, node)?;
        if let Some(stat) = &existing
            && self.keep(here, node, stat)?
        {
            self.count_kept(node);
            return Ok(());
        }
        self.replace(here, node, existing).map(drop)
    }

    /// Makes the entry of `node` in the place of `existing`. Answers its inode, if it is to have more names.
    pub(super) fn replace(
        &mut self,
        here: &Here,
        node: &Node,
        existing: Option<Stat>,
    ) -> Result<Option<FileId>, Fault> {
        let berth = Berth::beside(existing);
        let Some(id) = self.make(here, node, berth.at(node.entry.name()))? else { return Ok(None) };
        if !self.put_in_place(here, node, &berth)? {
            return Ok(None);
        }
        self.account.report.made += 1;
        Ok(id)
    }

    pub(super) fn count_kept(&mut self, node: &Node) {
        self.account.report.kept += 1;
        self.run.progress.add_bytes(node.entry.record().meta.size);
    }

    /// Gives what was made in `berth` its name. Answers whether it could have it; if not, it is gone.
    pub(super) fn put_in_place(&mut self, here: &Here, node: &Node, berth: &Berth) -> Result<bool, Fault> {
        let (Some(temporary), Some(stat)) = (&berth.temporary, &berth.existing) else { return Ok(true) };
        let name = node.entry.name();
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
            here.discard(temporary);
        } else if !is_directory && stat.meta.kind != node.entry.record().meta.kind {
            self.account.report.removed += 1;
        }
        outcome
    }

    /// Removes the entry `name`, which stands where one of another kind must go. Answers whether it is gone.
    pub(super) fn clear(&mut self, here: &Here, name: &[u8], stat: &Stat) -> Result<bool, Fault> {
        if let (Some(why), Kind::Directory) = (here.keeps, stat.meta.kind) {
            return match unlinkat(&*here.fd, name, AtFlags::REMOVEDIR) {
                Ok(()) => {
                    self.account.report.removed += 1;
                    Ok(true)
                }
                Err(Errno::NOTEMPTY | Errno::EXIST | Errno::BUSY) => {
                    self.kept(here.path_of(name), why);
                    Ok(false)
                }
                Err(errno) => Err(Fault::System("remove", errno)),
            };
        }
        let removed = remove::remove(&here.fd, &here.place, here.dev, name, self.run.store)?;
        let is_gone = removed.is_all();
        self.removal(removed);
        Ok(is_gone)
    }

    /// Keeps the entry of `node`, which `stat` is of, as the inode it is, with its metadata put right, if that is what the point wants.
    /// One with more names is kept only if nothing of it has to be put right.
    pub(super) fn keep(&mut self, here: &Here, node: &Node, stat: &Stat) -> Result<bool, Fault> {
        let name = node.entry.name();
        let (now, then) = (&stat.meta, &node.entry.record().meta);
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
            return meta::is_right(handle, wanted, stat);
        }
        let missing = meta::put_right(handle, wanted, Present::of(stat))?;
        self.without(missing, || here.path_of(name));
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
        let stored = Stored { run: self.run, catalog: self.run.tree.catalog(node.layer), entry: &node.entry };
        let is_equal = content::is_equal(stored, fd.as_fd(), stat.allocated_bytes, &mut self.buffer)?;
        Ok(if is_equal { Same::File(fd) } else { Same::No })
    }
}

/// The stat of what stands under the name of `node`, if anything does; a fault where the point has not got the content of `node`.
pub(super) fn existing_leaf(here: &Here, node: &Node) -> Result<Option<Stat>, Fault> {
    if node.entry.record().flags.has(Flags::NO_CONTENT) {
        return Err(ReadError::NeverRead.into());
    }
    existing(here, node.entry.name())
}

/// The stat of what stands under `name`, if anything does.
pub(super) fn existing(here: &Here, name: &[u8]) -> Result<Option<Stat>, Fault> {
    if here.is_fresh {
        return Ok(None);
    }
    match look_at(here.fd.as_fd(), name) {
        Ok(stat) => Ok(Some(stat)),
        Err(Fault::System(_, Errno::NOENT)) => Ok(None),
        Err(fault) => Err(fault),
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
