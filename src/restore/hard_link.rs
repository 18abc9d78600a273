//! Further names of an inode.
//!
//! Owns making them. Refuses to know the content. Its invariant: what gets the name is the inode that was restored as the first
//! name, or the name stays as it was.

use std::os::fd::AsFd;
use std::sync::Arc;

use rustix::fs::{AtFlags, linkat, unlinkat};
use rustix::io::Errno;

use super::Notice;
use super::engine::Engine;
use super::fault::{Fault, spares_others};
use super::here::Here;
use super::leaf::Berth;
use super::links::Link;
use super::meta::look_at;
use super::trail::open_below;
use crate::format::Stat;
use crate::overlay::Node;
use crate::source::FileId;

impl Engine<'_> {
    /// Makes the name of `node` another name of the inode that `link` names. Answers whether it is; if not, it must become an inode of its own.
    pub(super) fn link(
        &mut self,
        here: &Here,
        node: &Node,
        existing: Option<Stat>,
        link: &Link,
    ) -> Result<bool, Fault> {
        let name = node.entry.name();
        if existing.is_some_and(|stat| FileId::of(&stat) == link.id) {
            self.hand.account.report.kept += 1;
            return Ok(true);
        }
        let berth = Berth::beside(existing);
        match self.try_link(here, berth.at(name), link) {
            Ok(()) => {}
            Err(errno) if spares_others(errno) => {
                self.hand.account.report.unlinked += 1;
                self.hand.notice(Notice::Unlinked { path: here.path_of(name), error: errno.into() });
                return Ok(false);
            }
            Err(errno) => return Err(Fault::System("link", errno)),
        }
        if self.hand.put_in_place(here, node, &berth)? {
            self.hand.account.report.made += 1;
        }
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
