//! Making entries: files, links, pipes, sockets, devices.
//!
//! Owns the system calls that it takes, few for the file that most files are: small, ours, in a directory that was made just
//! now. Its invariant: what could not be made whole is gone again.

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, mknodat, openat, symlinkat, unlinkat};
use rustix::io::Errno;

use super::content;
use super::engine::{Engine, Here};
use super::fault::{During, Fault};
use super::meta::{self, Handle, Present, Wanted, look_at};
use crate::catalog::CatalogError;
use crate::format::{FormatError, Kind};
use crate::overlay::Node;
use crate::source::FileId;
use crate::source::stat::stat_of;

/// What is made: `None` where this user may not make such a thing; else its inode, if it is to have more names.
type Made = Option<Option<FileId>>;

impl Engine<'_> {
    /// Makes the entry of `node` under the name `at`, which nothing has.
    pub(super) fn make(&mut self, here: &Here, node: &Node, at: &[u8]) -> Result<Made, Fault> {
        let made = match node.entry.record().meta.kind {
            Kind::File => return self.make_file(here, node, at).map(Some),
            Kind::Symlink => self.make_link(here, node, at).map(|()| true),
            _ => self.make_node(here, node, at),
        };
        if !made? {
            return Ok(None);
        }
        let outcome = self.finish_named(here, node, at);
        if outcome.is_err() {
            discard(here, at);
        }
        outcome.map(Some)
    }

    fn make_link(&mut self, here: &Here, node: &Node, at: &[u8]) -> Result<(), Fault> {
        let target = node.entry.inline();
        if target.is_empty() {
            let number = self.tree.catalog(node.layer).point().number;
            let part = format!("record {}", node.entry.number());
            return Err(CatalogError::Damaged { number, part, source: FormatError::Impossible("target") }.into());
        }
        symlinkat(target, &*here.fd, at).during("make the link")
    }

    /// Answers whether this user may make such a thing.
    fn make_node(&mut self, here: &Here, node: &Node, at: &[u8]) -> Result<bool, Fault> {
        let meta = &node.entry.record().meta;
        let (kind, device) = match meta.kind {
            Kind::Fifo => (FileType::Fifo, 0),
            Kind::Socket => (FileType::Socket, 0),
            Kind::CharDevice => (FileType::CharacterDevice, meta.rdev),
            _ => (FileType::BlockDevice, meta.rdev),
        };
        match mknodat(&*here.fd, at, kind, Mode::RUSR | Mode::WUSR, device) {
            Ok(()) => Ok(true),
            Err(Errno::PERM) if matches!(meta.kind, Kind::CharDevice | Kind::BlockDevice) => {
                self.report.devices.add(|| here.path_of(node.entry.name()));
                Ok(false)
            }
            Err(errno) => Err(Fault::System("make", errno)),
        }
    }

    fn finish_named(&mut self, here: &Here, node: &Node, at: &[u8]) -> Result<Option<FileId>, Fault> {
        let stat = look_at(here.fd.as_fd(), at)?;
        let meta = &node.entry.record().meta;
        if stat.meta.kind != meta.kind {
            // Somebody else has replaced it already.
            return Err(Fault::System("make", Errno::EXIST));
        }
        let present = Present::fresh((stat.meta.uid, stat.meta.gid), here.may_inherit_acl);
        let wanted = Wanted { meta, xattrs: node.entry.xattrs() };
        let missing = meta::put_right(Handle::Named(here.fd.as_fd(), at), wanted, present)?;
        self.account(missing, || here.path_of(node.entry.name()));
        Ok((meta.nlink > 1).then(|| FileId::of(&stat)))
    }

    fn make_file(&mut self, here: &Here, node: &Node, at: &[u8]) -> Result<Option<FileId>, Fault> {
        let stored = self.stored(node);
        let size = node.entry.record().meta.size;
        let is_small = stored.is_small();
        if is_small {
            stored.read(0..size, &mut self.buffer)?;
        }
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        // Nobody else reads it before it has its mode.
        let file = openat(&*here.fd, at, flags, Mode::RUSR | Mode::WUSR).during("make")?;
        let outcome = self.fill(here, node, &file, is_small);
        if outcome.is_err() {
            discard(here, at);
        }
        outcome
    }

    fn fill(&mut self, here: &Here, node: &Node, file: &OwnedFd, is_small: bool) -> Result<Option<FileId>, Fault> {
        let meta = &node.entry.record().meta;
        let mut id = None;
        let owner = match here.owner.get() {
            Some(owner) if meta.nlink <= 1 => owner,
            _ => {
                let stat = stat_of(file).during("look at")?;
                id = Some(FileId::of(&stat)).filter(|_| meta.nlink > 1);
                here.owner.set(Some((stat.meta.uid, stat.meta.gid)));
                (stat.meta.uid, stat.meta.gid)
            }
        };
        self.report.written_bytes += if is_small {
            content::write_at(file.as_fd(), &self.buffer, 0)?;
            self.progress.add_bytes(meta.size);
            meta.size
        } else {
            let stored = self.stored(node);
            content::write(stored, file.as_fd(), &mut self.buffer, self.progress)?
        };
        let present = Present::fresh(owner, here.may_inherit_acl);
        let wanted = Wanted { meta, xattrs: node.entry.xattrs() };
        let missing = meta::put_right(Handle::Open(file.as_fd()), wanted, present)?;
        self.account(missing, || here.path_of(node.entry.name()));
        Ok(id)
    }
}

/// Removes what could not be finished; the failure that is being told says why.
fn discard(here: &Here, at: &[u8]) {
    let _ = unlinkat(&*here.fd, at, AtFlags::empty());
}
