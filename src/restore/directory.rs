//! Directories: listing what belongs into one, going down, coming up.
//!
//! Owns the order: first all entries of a directory that are none themselves, as their data lies in the packs, then its
//! directories, then its own metadata. Its invariant: a directory gets its mode and times when nothing in it will change any more.

use std::ffi::CString;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex};

use rustix::fs::{Mode, mkdirat};
use rustix::io::Errno;

use super::engine::Engine;
use super::fault::{During, Fault};
use super::here::Here;
use super::leaf::existing;
use super::meta::{self, Handle, Present, Wanted};
use super::names::{Name, names_of};
use super::remove::{self, is_spared};
use super::trail::{open_directory, unlock};
use super::unfinished::Unfinished;
use super::{KeptBecause, Notice, RestoreError};
use crate::format::record::{Flags, Record, Status};
use crate::format::{Kind, Stat};
use crate::overlay::{Directory, Layer, Node, Position};
use crate::source::FileId;
use crate::source::dir::Place;
use crate::source::stat::stat_of;
use crate::source::xattr::remove_xattr_of;

const DEFAULT_ACL: &str = "system.posix_acl_default";

/// A directory that is being restored.
pub(super) struct Level {
    place: Arc<Place>,
    layer: Layer,
    record: u32,
    children: Directory,
    /// How far its directories have been restored.
    position: Position,
    /// Directories in it that are still to be restored.
    directories: u64,
    /// Whether everything but its directories has been restored.
    pub(super) is_listed: bool,
    is_fresh: bool,
    /// Whether it was made closed to others, as DEST itself is not.
    is_private: bool,
    /// Owner and group that it was made with.
    made_with: (u32, u32),
    may_inherit_acl: bool,
    keeps: Option<KeptBecause>,
    /// Whether its record says nothing true of its metadata.
    is_unknown: bool,
}

/// Why nothing may be removed below a directory with this record.
fn keeps_below(record: &Record) -> Option<KeptBecause> {
    (record.status == Status::Unread || record.flags.has(Flags::LEFT_OUT)).then_some(KeptBecause::Incomplete)
}

/// Makes a directory fit to be worked in: no ACL that its entries would inherit, if it is new, and no mode that would lock an
/// ordinary user out, if it is old.
fn prepare(fd: &OwnedFd, is_fresh: bool, inherits: bool) -> Result<(), Fault> {
    if !is_fresh {
        return unlock(fd.as_fd()).during("look at");
    }
    if inherits {
        // What it cannot lose, or never had, is found when its own attributes are set.
        let _ = remove_xattr_of(fd, DEFAULT_ACL.as_bytes());
        let _ = remove_xattr_of(fd, b"system.posix_acl_access");
    }
    Ok(())
}

impl Engine<'_> {
    /// Begins to restore `node` into DEST itself.
    pub(super) fn begin(
        &mut self,
        node: &Node,
        place: Arc<Place>,
        id: FileId,
        fd: &Arc<OwnedFd>,
        is_fresh: bool,
    ) -> Result<(), RestoreError> {
        let children = self.hand.run.tree.directory(node)?;
        let stat = stat_of(fd).during("look at");
        match stat.and_then(|stat| prepare(fd, is_fresh, true).map(|()| stat)) {
            Ok(stat) => self.push(node, children, place, id, Arc::clone(fd), is_fresh.then_some(&stat), None),
            Err(fault) => self.hand.fault(place.path(), fault)?,
        }
        Ok(())
    }

    #[expect(clippy::too_many_arguments, reason = "they are the fields of a level")]
    fn push(
        &mut self,
        node: &Node,
        children: Directory,
        place: Arc<Place>,
        id: FileId,
        fd: Arc<OwnedFd>,
        made: Option<&Stat>,
        keeps: Option<KeptBecause>,
    ) {
        let record = node.entry.record();
        self.hand.run.progress.entry();
        self.hand.account.report.entries += 1;
        *(if made.is_some() { &mut self.hand.account.report.made } else { &mut self.hand.account.report.kept }) += 1;
        let own = keeps_below(record);
        if record.status == Status::Unread || own.is_some() && self.hand.run.options.delete {
            self.hand.account.report.incomplete += 1;
            self.hand.notice(Notice::Incomplete { path: place.path() });
        }
        self.levels.push(Level {
            place: Arc::clone(&place),
            layer: node.layer,
            record: node.entry.number(),
            children,
            position: Position::default(),
            directories: 0,
            is_listed: false,
            is_fresh: made.is_some(),
            is_private: made.is_some() && !self.levels.is_empty(),
            made_with: made.map_or((0, 0), |stat| (stat.meta.uid, stat.meta.gid)),
            // In a directory that others may have, a default ACL may come at any moment: each new entry is looked at.
            may_inherit_acl: made.is_none(),
            keeps: own.or(keeps),
            is_unknown: record.status == Status::Unread && record.flags.has(Flags::LEFT_OUT),
        });
        self.trail.push(place, id, fd);
    }

    fn here(&mut self) -> Result<Here, Fault> {
        let fd = self.trail.fd().during("open")?;
        let level = self.levels.last().ok_or(Fault::System("open", Errno::BADF))?;
        Ok(Here {
            fd,
            place: Arc::clone(&level.place),
            dev: self.trail.dev().unwrap_or(0),
            is_fresh: level.is_fresh,
            may_inherit_acl: level.may_inherit_acl,
            keeps: level.keeps,
            is_private: level.is_private,
            given: Mutex::new(None),
        })
    }

    /// Restores all entries of the last level but its directories; removes what is not to be there.
    pub(super) fn list(&mut self) -> Result<(), RestoreError> {
        let Some(level) = self.levels.last_mut() else { return Ok(()) };
        level.is_listed = true;
        let (children, place) = (level.children, Arc::clone(&level.place));
        let here = match self.here() {
            Ok(here) => Arc::new(here),
            Err(fault) => return self.hand.fault(place.path(), fault),
        };
        let mut extra = if self.hand.run.options.delete && !here.is_fresh && here.keeps.is_none() {
            match names_of(here.fd.as_fd()) {
                Ok(names) => names,
                Err(errno) => {
                    self.hand.fault(place.path(), Fault::System("list", errno))?;
                    Vec::new()
                }
            }
        } else {
            Vec::new()
        }
        .into_iter()
        .peekable();
        let mut cursor = self.hand.run.tree.entries(children);
        let mut directories = 0;
        loop {
            self.check()?;
            let node = match cursor.next_node() {
                Ok(Some(node)) => node,
                Ok(None) => break,
                Err(error) => {
                    // What stands behind the damage is not known, so nothing more is removed.
                    extra = Vec::new().into_iter().peekable();
                    self.hand.fault(place.path(), error.into())?;
                    break;
                }
            };
            let name = node.entry.name();
            while let Some((other, _)) = extra.next_if(|(other, _)| other.to_bytes() < name) {
                self.remove_extra(&here, &other)?;
            }
            let _: Option<Name> = extra.next_if(|(other, _)| other.to_bytes() == name);
            if !self.hand.run.wants(&node) {
                continue;
            }
            if node.is_directory() {
                directories += 1;
            } else {
                self.leaf(&here, &node)?;
            }
        }
        for (other, _) in extra {
            self.remove_extra(&here, &other)?;
        }
        if let Some(level) = self.levels.last_mut() {
            level.directories = directories;
        }
        let entries = Arc::downgrade(&here);
        drop(here);
        self.put_off(Unfinished::Entries(entries))
    }

    fn remove_extra(&mut self, here: &Here, name: &CString) -> Result<(), RestoreError> {
        self.check()?;
        match remove::remove(&here.fd, &here.place, here.dev, name.to_bytes(), self.hand.run.store) {
            Ok(removed) => self.hand.removal(removed),
            Err(fault) => self.hand.fault(here.path_of(name.to_bytes()), fault)?,
        }
        Ok(())
    }

    /// The next directory of the last level.
    pub(super) fn next_directory(&mut self) -> Result<Option<Node>, RestoreError> {
        let Some(level) = self.levels.last_mut().filter(|level| level.directories > 0) else { return Ok(None) };
        let mut cursor = self.hand.run.tree.entries_from(level.children, level.position);
        loop {
            match cursor.next_node() {
                Ok(Some(node)) if node.is_directory() && self.hand.run.wants(&node) => {
                    level.position = cursor.position();
                    level.directories -= 1;
                    return Ok(Some(node));
                }
                Ok(Some(_)) => {}
                Ok(None) => return Ok(None),
                Err(error) => {
                    level.directories = 0;
                    let path = level.place.path();
                    self.hand.fault(path, error.into())?;
                    return Ok(None);
                }
            }
        }
    }

    /// Goes down into a directory of the last level, and makes it if need be.
    pub(super) fn enter(&mut self, node: &Node) -> Result<(), RestoreError> {
        let name = node.entry.name();
        if let Err(fault) = self.try_enter(node, name) {
            self.hand.run.progress.entry();
            self.hand.account.report.entries += 1;
            let place = self.levels.last().map(|level| Place::below(&level.place, name));
            self.hand.fault(place.map_or_else(Default::default, |place| place.path()), fault)?;
        }
        Ok(())
    }

    fn try_enter(&mut self, node: &Node, name: &[u8]) -> Result<(), Fault> {
        if node.entry.record().flags.has(Flags::NO_CONTENT) {
            return Err(crate::repository::ReadError::NeverRead.into());
        }
        self.meet(node)?;
        let children = self.hand.run.tree.directory(node)?;
        let here = self.here()?;
        let mut existing = existing(&here, name)?;
        if let Some(stat) = existing.filter(|stat| stat.meta.kind != Kind::Directory) {
            if !self.hand.clear(&here, name, &stat)? {
                return Ok(());
            }
            existing = None;
        }
        let mut keeps = here.keeps;
        if let Some(stat) = &existing {
            match is_spared(here.fd.as_fd(), here.dev, name, stat, self.hand.run.store) {
                Some(KeptBecause::Store) => {
                    self.hand.kept(here.path_of(name), KeptBecause::Store);
                    return Ok(());
                }
                Some(why) => {
                    keeps = keeps.or(Some(why));
                    if self.hand.run.options.delete {
                        self.hand.kept(here.path_of(name), why);
                    }
                }
                None => {}
            }
        } else {
            mkdirat(&*here.fd, name, Mode::RWXU).during("make")?;
        }
        let fd = Arc::new(open_directory(here.fd.as_fd(), name).during("open")?);
        let stat = stat_of(&fd).during("look at")?;
        // What was just made is ours and closed to others; something else has been put in its place by somebody else.
        let is_ours = stat.meta.uid == rustix::process::geteuid().as_raw() && stat.meta.mode & 0o077 == 0;
        let is_fresh = existing.is_none() && is_ours;
        prepare(&fd, is_fresh, here.may_inherit_acl)?;
        let place = Place::below(&here.place, name);
        self.push(node, children, place, FileId::of(&stat), fd, is_fresh.then_some(&stat), keeps);
        Ok(())
    }

    /// Comes up from the last level, whose metadata are set when its entries are made.
    pub(super) fn leave(&mut self) -> Result<(), RestoreError> {
        let fd = self.trail.fd();
        // First up, then the mode: it may forbid the way.
        self.trail.pop();
        let Some(level) = self.levels.pop() else { return Ok(()) };
        match fd {
            Ok(fd) => self.put_off(Unfinished::Directory(level, fd)),
            Err(errno) => self.hand.fault(level.place.path(), Fault::System("open", errno)),
        }
    }

    /// Gives a directory that was left its own metadata.
    pub(super) fn finish_directory(&mut self, level: &Level, fd: &OwnedFd) -> Result<(), RestoreError> {
        match self.finish(level, fd) {
            Ok(()) => Ok(()),
            Err(fault) => self.hand.fault(level.place.path(), fault),
        }
    }

    fn finish(&mut self, level: &Level, fd: &OwnedFd) -> Result<(), Fault> {
        if level.is_unknown && !level.is_fresh {
            return Ok(());
        }
        let node = self.hand.run.tree.node(level.layer, level.record)?;
        let present = if level.is_fresh {
            Present::fresh(level.made_with, None, false)
        } else {
            Present::of(&stat_of(fd).during("look at")?)
        };
        let wanted = Wanted { meta: &node.entry.record().meta, xattrs: node.entry.xattrs() };
        let missing = meta::put_right(Handle::Open(fd.as_fd()), wanted, present)?;
        self.hand.without(missing, || level.place.path());
        Ok(())
    }
}
