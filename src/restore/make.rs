//! Making entries: files, links, pipes, sockets, devices.
//!
//! Owns the system calls that it takes, few for the file that most files are: small, ours, in a directory that was made just
//! now. Its invariant: what could not be made whole is gone again.

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{FileType, Mode, OFlags, mknodat, openat, symlinkat};
use rustix::io::Errno;

use super::content;
use super::fault::{During, Fault};
use super::hand::Hand;
use super::here::{Given, Here};
use super::meta::{self, Handle, Present, Wanted, look_at};
use crate::format::Kind;
use crate::format::record::{Content, Record};
use crate::overlay::Node;
use crate::source::FileId;
use crate::source::stat::stat_of;

/// What is made: `None` where this user may not make such a thing; else its inode, if it is to have more names.
type Made = Option<Option<FileId>>;

/// The mode in which a file is open to nobody else.
const CLOSED: u32 = 0o600;

/// Whether all bytes of a file lie in one run, so that it is read before it is made, and made by one thread.
pub(super) fn is_one_run(record: &Record) -> bool {
    match record.content {
        Content::Inline | Content::One(_) => true,
        Content::None => record.meta.size == 0,
        Content::Many { .. } | Content::Children(_) => false,
    }
}

/// Makes an empty file for `node` under the name `at`. Answers it, and what it got from the system.
pub(super) fn create(here: &Here, node: &Node, at: &[u8]) -> Result<(OwnedFd, Given), Fault> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    // Nobody else opens it before it has its owner and all its content. Attributes cannot be set in every mode.
    let is_closed = !here.is_private || !node.entry.xattrs().is_empty();
    let asked = if is_closed { CLOSED } else { node.entry.record().meta.mode & 0o777 };
    let file = openat(&*here.fd, at, flags, Mode::from_raw_mode(asked)).during("make")?;
    match here.given(&file, asked) {
        Ok(given) => Ok((file, given)),
        Err(fault) => {
            here.discard(at);
            Err(fault)
        }
    }
}

/// The inode of a file that is to have more names.
pub(super) fn linked_id(node: &Node, file: &OwnedFd) -> Result<Option<FileId>, Fault> {
    if node.entry.record().meta.nlink <= 1 {
        return Ok(None);
    }
    Ok(Some(FileId::of(&stat_of(file).during("look at")?)))
}

impl Hand<'_> {
    /// Makes the entry of `node`, a file of [one run](is_one_run) if a file, under the name `at`, which nothing has.
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
            here.discard(at);
        }
        outcome.map(Some)
    }

    fn make_link(&self, here: &Here, node: &Node, at: &[u8]) -> Result<(), Fault> {
        let target = node.entry.inline();
        if target.is_empty() {
            return Err(self.run.damaged(node, "target"));
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
                self.account.report.devices.add(|| here.path_of(node.entry.name()));
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
        let present = Present::fresh((stat.meta.uid, stat.meta.gid), None, here.may_inherit_acl);
        let wanted = Wanted { meta, xattrs: node.entry.xattrs() };
        let missing = meta::put_right(Handle::Named(here.fd.as_fd(), at), wanted, present)?;
        self.without(missing, || here.path_of(node.entry.name()));
        Ok((meta.nlink > 1).then(|| FileId::of(&stat)))
    }

    fn make_file(&mut self, here: &Here, node: &Node, at: &[u8]) -> Result<Option<FileId>, Fault> {
        let (run, entry) = (self.run, &node.entry);
        let size = entry.record().meta.size;
        match entry.record().content {
            Content::One(place) => {
                let len = u32::try_from(size).map_err(|_| run.damaged(node, "size"))?;
                let catalog = run.tree.catalog(node.layer);
                run.reader.with(catalog, place, len, |bytes| self.make_filled(here, node, at, bytes))?
            }
            Content::Inline if entry.inline().len() as u64 != size => Err(run.damaged(node, "size")),
            Content::Inline => self.make_filled(here, node, at, entry.inline()),
            Content::None if size == 0 => self.make_filled(here, node, at, b""),
            _ => Err(run.damaged(node, "content")),
        }
    }

    fn make_filled(&mut self, here: &Here, node: &Node, at: &[u8], bytes: &[u8]) -> Result<Option<FileId>, Fault> {
        let (file, given) = create(here, node, at)?;
        let outcome = content::write_at(file.as_fd(), bytes, 0).and_then(|()| {
            self.run.progress.add_bytes(bytes.len() as u64);
            self.account.report.written_bytes += bytes.len() as u64;
            self.finish_file(here, node, &file, given)
        });
        if outcome.is_err() {
            here.discard(at);
        }
        outcome
    }

    /// Gives a file that was [made](create) and filled everything else.
    pub(super) fn finish_file(
        &mut self,
        here: &Here,
        node: &Node,
        file: &OwnedFd,
        given: Given,
    ) -> Result<Option<FileId>, Fault> {
        let mode = Some(given.mode).filter(|_| !here.may_inherit_acl);
        let present = Present::fresh(given.owner, mode, here.may_inherit_acl);
        let wanted = Wanted { meta: &node.entry.record().meta, xattrs: node.entry.xattrs() };
        let missing = meta::put_right(Handle::Open(file.as_fd()), wanted, present)?;
        self.without(missing, || here.path_of(node.entry.name()));
        linked_id(node, file)
    }
}
