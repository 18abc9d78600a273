//! Whether the walk goes down into a directory.
//!
//! Owns the rules, and how a store and a cache are recognised. Refuses to list anything. Its invariant: a rule that
//! keeps the walk out needs proof; what cannot be looked at is entered, and then fails by its own name.

use std::ffi::CStr;
use std::os::fd::BorrowedFd;

use rustix::fs::OFlags;

use super::{Descend, Options};
use crate::format::{Kind, Stat};
use crate::source::mounts::Mounts;
use crate::source::open::open_untouched;
use crate::source::stat::{FileId, stat_at};

/// The file that tags a directory as a cache (<https://bford.info/cachedir/>).
pub(super) const CACHE_TAG: &CStr = c"CACHEDIR.TAG";
const CACHE_SIGNATURE: &[u8; 43] = b"Signature: 8a477f597d28d172789f06886806bc55";

/// What stands in each store: a directory that holds all of these is one.
const STORE_SIGNS: [(&[u8], Kind); 3] =
    [(b"/store.toml\0", Kind::File), (b"/packs\0", Kind::Directory), (b"/catalogs\0", Kind::Directory)];

/// The rules of one walk.
#[derive(Debug)]
pub(super) struct Rules {
    one_file_system: bool,
    never_enter: Vec<FileId>,
    root_dev: u64,
    mounts: Mounts,
    /// A path of two components, reused.
    path: Vec<u8>,
}

impl Rules {
    pub(super) fn new(options: &Options, root: &Stat, mounts: Mounts) -> Self {
        let Options { one_file_system, never_enter, .. } = options;
        Self {
            one_file_system: *one_file_system,
            never_enter: never_enter.clone(),
            root_dev: root.dev,
            mounts,
            path: Vec::new(),
        }
    }

    /// The names of the entries of the directory at `place` that must not be touched: dbakfs is mounted on them.
    pub(super) fn mounted_in(&self, place: &crate::source::Place) -> Vec<Box<[u8]>> {
        if self.mounts.is_empty() { Vec::new() } else { self.mounts.directly_in(&place.relative()) }
    }

    /// The verdict on the entry `name` of `dir`, a directory on device `dir_dev`.
    pub(super) fn judge(&mut self, dir: BorrowedFd<'_>, dir_dev: u64, name: &CStr, stat: &Stat) -> Descend {
        if stat.meta.kind != Kind::Directory {
            Descend::No
        } else if self.one_file_system && stat.dev != self.root_dev {
            Descend::OtherFilesystem
        } else if self.never_enter.contains(&FileId::of(stat)) {
            Descend::Store
        } else if stat.dev != dir_dev && self.mounts.is_dbakfs(stat.dev) {
            Descend::Mount
        } else if self.is_store(dir, name) {
            Descend::Store
        } else {
            Descend::Yes
        }
    }

    fn is_store(&mut self, dir: BorrowedFd<'_>, name: &CStr) -> bool {
        STORE_SIGNS.iter().all(|(sign, kind)| {
            self.path.clear();
            self.path.extend_from_slice(name.to_bytes());
            self.path.extend_from_slice(sign);
            let path = CStr::from_bytes_with_nul(&self.path).expect("each sign ends with a NUL");
            stat_at(dir, path).is_ok_and(|stat| stat.meta.kind == *kind)
        })
    }
}

/// Whether `dir`, which holds an entry named [`CACHE_TAG`], is tagged by it as a cache.
pub(super) fn is_cache(dir: BorrowedFd<'_>) -> bool {
    // O_NONBLOCK: a pipe of that name must not make the walk wait.
    let Ok(tag) = open_untouched(dir, CACHE_TAG, OFlags::NONBLOCK) else { return false };
    let mut start = [0; CACHE_SIGNATURE.len()];
    let read = rustix::io::retry_on_intr(|| rustix::io::read(&tag, &mut start));
    read == Ok(start.len()) && start == *CACHE_SIGNATURE
}
