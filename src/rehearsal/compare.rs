//! Holding what was restored against what the catalog and the packs say of it, and against the source.
//!
//! Owns the comparison and its findings. Refuses to believe what the restore says, but for what this user or file system may not have. Its invariant: every entry of a group is
//! looked at where it was restored, and each directory on the way to it once.

use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::AtomicBool;

use rustix::fs::{CWD, Mode, OFlags, SeekFrom, fdatasync, openat, readlinkat, seek};
use rustix::io::Errno;

use super::is_stopped;
use super::live::{Compared, Live};
use super::sample::Group;
use crate::catalog::CatalogError;
use crate::format::pack::ChunkId;
use crate::format::record::{Content, Status, xattrs};
use crate::format::{Kind, Meta};
use crate::overlay::{Node, PointTree};
use crate::repository::{FileChunk, FileChunks, ReadError, Reader};
use crate::restore::Report;
use crate::source::stat::{stat_at, stat_of};
use crate::source::xattr;

const SLICE_BYTES: usize = 1 << 20;
const DIRECTORY: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC).union(OFlags::NOFOLLOW);

/// Why the comparison could not go on.
#[derive(Debug, thiserror::Error)]
pub(super) enum JudgeError {
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    #[error("it was stopped")]
    Stopped,
}

/// Compares the groups of one rehearsal.
pub(super) struct Judge<'a> {
    reader: &'a Reader,
    tree: &'a PointTree,
    chunks: FileChunks<'a>,
    live: &'a Live,
    cancel: &'a AtomicBool,
    root: OwnedFd,
    /// What the system refused to set somewhere, and is not judged.
    refused: Refused,
    /// Entries of which the restore has said already that they are not there.
    told: BTreeSet<Vec<u8>>,
    /// Directories that were compared.
    seen: BTreeSet<Vec<u8>>,
    buffer: Vec<u8>,
    pub(super) findings: Vec<String>,
    pub(super) notes: Vec<String>,
    pub(super) live_files: u64,
}

#[derive(Clone, Copy)]
struct Refused {
    owners: bool,
    modes: bool,
    times: bool,
    attributes: bool,
    devices: bool,
}

impl<'a> Judge<'a> {
    pub(super) fn new(
        reader: &'a Reader,
        tree: &'a PointTree,
        dest: &Path,
        report: &Report,
        told: BTreeSet<Vec<u8>>,
        live: &'a Live,
        cancel: &'a AtomicBool,
    ) -> io::Result<Self> {
        let refused = Refused {
            owners: report.owners.count > 0,
            modes: report.modes.count > 0,
            times: report.times.count > 0,
            attributes: report.attributes.count > 0,
            devices: report.devices.count > 0,
        };
        let kinds = [
            (refused.owners, "owners are not judged: this user may not give them"),
            (refused.modes, "modes are not judged: some could not be set here"),
            (refused.times, "times are not judged: some could not be set here"),
            (refused.attributes, "extended attributes are not judged: some could not be set here"),
            (refused.devices, "devices are not judged: this user may not make them"),
        ];
        let notes = kinds.into_iter().filter(|(is_refused, _)| *is_refused).map(|(_, note)| note.to_owned());
        Ok(Self {
            reader,
            tree,
            chunks: FileChunks::new(reader),
            live,
            cancel,
            root: openat(CWD, dest, DIRECTORY, Mode::empty())?,
            refused,
            told,
            seen: BTreeSet::new(),
            buffer: vec![0; SLICE_BYTES],
            findings: Vec::new(),
            notes: notes.collect(),
            live_files: 0,
        })
    }

    /// Waits until the files of a group are on the disk.
    pub(super) fn flush(&self, group: &Group) -> io::Result<()> {
        for chosen in &group.entries {
            let (path, name) = split(&chosen.path);
            // One that is not there is found when it is compared.
            if let Ok(file) = self.open_directory(path).and_then(|dir| open_file(dir.as_fd(), name)) {
                fdatasync(&file)?;
            }
        }
        Ok(())
    }

    /// Compares all entries of a group, and the directories on the way to them.
    pub(super) fn group(&mut self, group: &Group) -> Result<(), JudgeError> {
        for chosen in &group.entries {
            if is_stopped(self.cancel) {
                return Err(JudgeError::Stopped);
            }
            self.directories(split(&chosen.path).0)?;
            let node = chosen.node(self.tree)?;
            self.entry(&chosen.path, &node)?;
        }
        Ok(())
    }

    /// Compares the metadata of the directories down to `path`, and of that.
    fn directories(&mut self, path: &[u8]) -> Result<(), JudgeError> {
        let mut node = self.tree.root()?;
        let ends = path.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| at);
        for end in std::iter::once(0).chain(ends).chain([path.len()]) {
            let here = &path[..end];
            if end > 0 {
                let name = split(here).1;
                let Some(found) = self.tree.find(self.tree.directory(&node)?, name)? else { return Ok(()) };
                node = found;
            }
            if self.seen.insert(here.to_vec()) {
                self.metadata(here, &node);
            }
        }
        Ok(())
    }

    fn finding(&mut self, path: &[u8], what: impl std::fmt::Display) {
        let path = if path.is_empty() { "the root".to_owned() } else { shown(path) };
        self.findings.push(format!("{path}: {what}"));
    }

    fn open_directory(&self, path: &[u8]) -> Result<OwnedFd, Errno> {
        let mut at = openat(&self.root, c".", DIRECTORY, Mode::empty())?;
        for name in path.split(|byte| *byte == b'/').filter(|name| !name.is_empty()) {
            at = openat(&at, name, DIRECTORY, Mode::empty())?;
        }
        Ok(at)
    }

    /// Opens the directory of an entry. A way that a restored mode forbids to this user is no fault of the backup's.
    fn above(&mut self, path: &[u8]) -> Option<OwnedFd> {
        match self.open_directory(split(path).0) {
            Ok(dir) => Some(dir),
            Err(Errno::ACCESS) if !rustix::process::geteuid().is_root() => {
                self.note("some entries are not judged: their modes, as restored, keep this user out");
                None
            }
            Err(errno) => {
                self.finding(path, format_args!("it was not restored: {}", io::Error::from(errno)));
                None
            }
        }
    }

    fn note(&mut self, note: &str) {
        if !self.notes.iter().any(|known| known == note) {
            self.notes.push(note.to_owned());
        }
    }

    fn entry(&mut self, path: &[u8], node: &Node) -> Result<(), JudgeError> {
        let kind = node.entry.record().meta.kind;
        if !self.metadata(path, node) {
            return Ok(());
        }
        let Some(dir) = self.above(path) else { return Ok(()) };
        let name = split(path).1;
        match kind {
            Kind::Symlink => match readlinkat(&dir, name, Vec::new()) {
                Ok(target) if target.as_bytes() == node.entry.inline() => {}
                _ => self.finding(path, "it leads elsewhere than the link that was backed up"),
            },
            Kind::File => match open_file(dir.as_fd(), name) {
                Ok(file) => self.content(path, node, &File::from(file))?,
                Err(Errno::ACCESS) if !rustix::process::geteuid().is_root() => {
                    self.note("some entries are not judged: their modes, as restored, keep this user out");
                }
                Err(errno) => self.finding(path, format_args!("it cannot be read: {}", io::Error::from(errno))),
            },
            _ => {}
        }
        Ok(())
    }

    /// Compares the metadata of an entry; answers whether there is one of the kind.
    fn metadata(&mut self, path: &[u8], node: &Node) -> bool {
        let record = node.entry.record();
        let wanted = record.meta;
        let (stat, found) = if path.is_empty() {
            (stat_of(&self.root), xattr::xattrs_at(self.root.as_fd(), b"."))
        } else {
            let Some(dir) = self.above(path) else { return false };
            let name = split(path).1;
            (stat_at(dir.as_fd(), name), xattr::xattrs_at(dir.as_fd(), name))
        };
        let is_device = matches!(wanted.kind, Kind::CharDevice | Kind::BlockDevice);
        let now = match stat {
            Ok(stat) => stat.meta,
            Err(Errno::NOENT) if is_device && self.refused.devices || self.told.contains(path) => return false,
            Err(errno) => {
                self.finding(path, format_args!("it was not restored: {}", io::Error::from(errno)));
                return false;
            }
        };
        if now.kind != wanted.kind {
            self.finding(path, "it is of another kind than what was backed up");
            return false;
        }
        // Of a directory that could not be read its record knows nothing.
        if record.status == Status::Unread && wanted.kind == Kind::Directory {
            return true;
        }
        for what in self.differences(&now, &wanted) {
            self.finding(path, what);
        }
        if !self.refused.attributes {
            let is_ours = |name: &[u8]| name != b"security.selinux" && !name.starts_with(b"security.SMACK64");
            let wanted = xattrs(node.entry.xattrs()).filter(|(name, _)| is_ours(name));
            let is_same = found.as_ref().is_ok_and(|found| {
                found.iter().map(|(name, value)| (&**name, &**value)).filter(|(name, _)| is_ours(name)).eq(wanted)
            });
            if !is_same {
                self.finding(path, "its extended attributes are not those that were backed up");
            }
        }
        true
    }

    fn differences(&self, now: &Meta, wanted: &Meta) -> Vec<String> {
        let mut wrong = Vec::new();
        if wanted.kind == Kind::File && now.size != wanted.size {
            wrong.push(format!("it has {} bytes instead of {}", now.size, wanted.size));
        }
        if now.rdev != wanted.rdev {
            wrong.push("it is another device".to_owned());
        }
        let is_given = |id: u32, wanted: u32| id == wanted || wanted == u32::MAX;
        let is_owner = is_given(now.uid, wanted.uid) && is_given(now.gid, wanted.gid);
        if !self.refused.owners && !is_owner {
            wrong.push(format!("it belongs to {}:{} instead of {}:{}", now.uid, now.gid, wanted.uid, wanted.gid));
        }
        // Without its owner a file gets no set-id bits.
        let judged = if self.refused.owners { 0o1777 } else { 0o7777 };
        if wanted.kind != Kind::Symlink && !self.refused.modes && now.mode & judged != wanted.mode & judged {
            wrong.push(format!("its mode is {:04o} instead of {:04o}", now.mode, wanted.mode));
        }
        if !self.refused.times && now.mtime != wanted.mtime {
            wrong.push("its time is not the one that was backed up".to_owned());
        }
        wrong
    }

    /// Compares the content of a file: with the hashes of its chunks, and with the source.
    fn content(&mut self, path: &[u8], node: &Node, file: &File) -> Result<(), JudgeError> {
        let (entry, record) = (&node.entry, node.entry.record());
        let catalog = self.tree.catalog(node.layer);
        let key = &self.reader.store().config().secrets.chunk_key;
        let buffer = &mut self.buffer;
        let mut wrong: Option<String> = None;
        match record.content {
            Content::Inline => {
                let bytes = entry.inline();
                let buffer = &mut vec![0; bytes.len()];
                if file.read_exact_at(buffer, 0).is_err() || *buffer != bytes {
                    wrong = Some("its content is not what was backed up".to_owned());
                }
            }
            Content::Children(_) => {}
            Content::None | Content::One(_) | Content::Many { .. } => {
                let mut reached = 0;
                let answer = self.chunks.each(catalog, entry, |FileChunk { at, len, id }| {
                    let len = len as usize;
                    if buffer.len() < len {
                        buffer.resize(len, 0);
                    }
                    let is_hole = is_zero(file, reached..at, buffer);
                    let is_right = is_hole
                        && file.read_exact_at(&mut buffer[..len], at).is_ok()
                        && ChunkId::of(key, &buffer[..len]) == id;
                    reached = at + len as u64;
                    if !is_right {
                        wrong = Some(format!("its content differs from what was backed up, near byte {at}"));
                    }
                    is_right
                });
                match answer {
                    Ok(()) if wrong.is_none() && !is_zero(file, reached..record.meta.size, buffer) => {
                        wrong = Some("it holds data where a hole was backed up".to_owned());
                    }
                    Ok(()) => {}
                    Err(ReadError::Catalog(error)) if !error.is_damage() => return Err(error.into()),
                    Err(error) => wrong = Some(format!("nothing says which bytes are right: {error}")),
                }
            }
        }
        match self.live.compare(path, record, file) {
            Compared::Not => {}
            Compared::Same => self.live_files += 1,
            Compared::Differs(at) => {
                self.live_files += 1;
                let what =
                    format!("byte {at} is not that of the source, whose file has not changed since, as its stat says");
                self.finding(path, what);
            }
        }
        if let Some(wrong) = wrong {
            self.finding(path, wrong);
        }
        Ok(())
    }
}

/// The directory and the name of a path.
fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|byte| *byte == b'/') {
        Some(at) => (&path[..at], &path[at + 1..]),
        None => (b"", path),
    }
}

fn shown(path: &[u8]) -> String {
    String::from_utf8_lossy(path).escape_debug().to_string()
}

fn open_file(dir: BorrowedFd<'_>, name: &[u8]) -> Result<OwnedFd, Errno> {
    openat(dir, name, OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC, Mode::empty())
}

/// Whether a file has nothing but zeros in a range.
fn is_zero(file: &File, range: std::ops::Range<u64>, buffer: &mut [u8]) -> bool {
    let mut at = range.start;
    while at < range.end {
        match seek(file, SeekFrom::Data(at)) {
            Ok(data) if data >= range.end => return true,
            Ok(data) => at = data.max(at),
            // No data up to the end.
            Err(Errno::NXIO) => return true,
            // A file system that knows no holes.
            Err(_) => {}
        }
        let len = buffer.len().min(usize::try_from(range.end - at).unwrap_or(usize::MAX));
        if file.read_exact_at(&mut buffer[..len], at).is_err() || buffer[..len].iter().any(|byte| *byte != 0) {
            return false;
        }
        at += len as u64;
    }
    true
}
