//! Reads small files before the consumer of a walk asks for them, on threads of its own.
//!
//! What the kernel holds in memory is read at once. Of what it does not, it is asked for many files before the first is waited for: a disk that is asked for one thing after another
//! is idle most of the time, and a tree that was last read yesterday is read from the disk.
//!
//! Owns the guess which files will be asked for, and reading them. Refuses to know what the bytes are for, and to judge what goes wrong: a file that
//! cannot be read, or that changes meanwhile, is left to the consumer, who reads it with more care. Its invariant: what was
//! read early is what the file held when its listed stat was taken, for after reading it was still the same inode with the same stat.

use std::collections::VecDeque;
use std::io::IoSliceMut;
use std::ops::Range;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use crossbeam_channel::{Receiver, Sender, unbounded};
use rustix::fs::{Advice, OFlags, fadvise};
use rustix::io::{ReadWriteFlags, preadv2};
use rustix::process::{Resource, getrlimit};

use super::open::open_untouched;
use super::read::fill;
use super::stat::stat_of;
use super::walk::Listing;
use super::xattr::{Xattrs, xattrs_of};
use crate::format::{Kind, Stat, Timestamp};

/// Bytes of files that are read early for one listing: it is closed when its files have so many. With the number of listings that may wait
/// this bounds the memory.
pub(super) const LISTING_BYTES: u64 = 512 << 10;

/// Files above this size are never read early, in bytes: they are worth a look at where their data lies.
const MOST_BYTES: u64 = 256 << 10;

/// Threads that read, at most: each file is a handful of short system calls.
const MOST_THREADS: usize = 4;

/// Files that a thread has open while the disk brings them, at most…
const MOST_AWAITED: usize = 64;

/// …and all threads together no more than this share of the files that the process may have open.
const SHARE_OF_FILES: u64 = 8;

/// Which files are read early: those that the consumer will most likely want. A guess, not a promise.
#[derive(Clone, Copy, Debug)]
pub struct ReadAhead {
    /// Only files of at most this many bytes.
    pub most_bytes: u64,
    /// Only files whose inode has changed since; all where it is `None`.
    pub since: Option<Timestamp>,
}

impl ReadAhead {
    /// Whether the file with this stat is read early. One with several names is not: it is read once, not once for each.
    pub(super) fn wants(&self, stat: &Stat) -> bool {
        let Stat { meta, ctime, allocated_bytes, .. } = stat;
        meta.kind == Kind::File
            && meta.nlink == 1
            && meta.size <= self.most_bytes.min(MOST_BYTES)
            && *allocated_bytes >= meta.size
            && self.since.is_none_or(|since| *ctime >= since)
    }
}

/// Buffers that were used and may be written over: a fresh one would cost a page fault for every four kilobytes.
type Buffers = Arc<Mutex<Vec<Vec<u8>>>>;

/// What was read early for the entries of one listing.
#[derive(Debug, Default)]
pub(super) struct Early {
    /// Ascending by entry.
    files: Vec<Read>,
    /// As long as the longest use of this buffer.
    bytes: Vec<u8>,
    /// Where the buffer goes in the end.
    buffers: Option<Buffers>,
}

impl Drop for Early {
    fn drop(&mut self) {
        if let Some(buffers) = &self.buffers {
            lock(buffers).push(std::mem::take(&mut self.bytes));
        }
    }
}

/// A file of a listing that was read early.
#[derive(Clone, Copy, Debug)]
pub struct EarlyFile<'a> {
    /// All its bytes.
    pub content: &'a [u8],
    /// Its attributes.
    pub xattrs: &'a Xattrs,
}

#[derive(Debug)]
struct Read {
    entry: u32,
    content: Range<usize>,
    xattrs: Xattrs,
}

impl Early {
    /// The file of entry `entry`, if it was read.
    pub(super) fn file(&self, entry: usize) -> Option<EarlyFile<'_>> {
        let at = self.files.binary_search_by_key(&entry, |read| read.entry as usize).ok()?;
        let Read { content, xattrs, .. } = &self.files[at];
        Some(EarlyFile { content: &self.bytes[content.clone()], xattrs })
    }
}

/// A listing whose files are to be read, and where it goes then.
pub(super) struct Job {
    pub(super) listing: Listing,
    pub(super) reply: Sender<Listing>,
}

/// Starts the threads that read. They end with the last sender of jobs.
///
/// # Errors
/// Where no thread can be started.
pub(super) fn start(ahead: ReadAhead) -> std::io::Result<(Sender<Job>, Vec<JoinHandle<()>>)> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let count = cores.min(MOST_THREADS);
    let most_awaited = most_awaited(count);
    let (sender, jobs) = unbounded();
    let buffers = Buffers::default();
    let threads = (0..count).map(|_| {
        let (jobs, buffers): (Receiver<Job>, _) = (jobs.clone(), Arc::clone(&buffers));
        let read = move || {
            for Job { mut listing, reply } in jobs {
                read_early(&mut listing, ahead, &buffers, most_awaited);
                // An error says that nobody wants it any more.
                let _ = reply.send(listing);
            }
        };
        std::thread::Builder::new().name("read".to_owned()).spawn(read)
    });
    Ok((sender, threads.collect::<std::io::Result<_>>()?))
}

/// Files that each of `threads` threads may have open while it waits for the disk.
fn most_awaited(threads: usize) -> usize {
    let share = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX) / SHARE_OF_FILES;
    (usize::try_from(share).unwrap_or(usize::MAX) / threads).min(MOST_AWAITED)
}

fn lock(buffers: &Mutex<Vec<Vec<u8>>>) -> MutexGuard<'_, Vec<Vec<u8>>> {
    buffers.lock().unwrap_or_else(PoisonError::into_inner)
}

fn read_early(listing: &mut Listing, ahead: ReadAhead, buffers: &Buffers, most_awaited: usize) {
    let mut bytes = lock(buffers).pop().unwrap_or_default();
    let mut files = Vec::new();
    let mut awaited = VecDeque::with_capacity(most_awaited);
    let mut end = 0;
    for (entry, found) in (0..).zip(&listing.entries) {
        let Some(stat) = found.stat.as_ref().ok().filter(|stat| ahead.wants(stat)) else { continue };
        let Some(file) = Opened::open(listing, entry, listing.name(found), stat, end) else { continue };
        end = file.read.content.end;
        if bytes.len() < end {
            bytes.resize(end, 0);
        }
        if file.is_read_at_once(&mut bytes) {
            files.extend(file.if_still());
            continue;
        }
        if awaited.len() >= most_awaited {
            files.extend(awaited.pop_front().and_then(|first: Opened<'_>| first.finish(&mut bytes)));
        }
        awaited.push_back(file);
    }
    files.extend(awaited.into_iter().filter_map(|file| file.finish(&mut bytes)));
    files.sort_unstable_by_key(|read| read.entry);
    listing.early = Early { files, bytes, buffers: Some(Arc::clone(buffers)) };
}

/// A file that is being read.
struct Opened<'a> {
    fd: OwnedFd,
    stat: &'a Stat,
    /// What it will be once it is read.
    read: Read,
}

impl<'a> Opened<'a> {
    /// Opens the file `name`, whose content is to stand in the buffer from `start` on.
    ///
    /// What stands there now is looked at only after reading. So what has just taken the file's place may be read, or not let itself be read: no link is
    /// followed, nothing is waited for, and what was read is dropped.
    fn open(listing: &Listing, entry: u32, name: &[u8], stat: &'a Stat, start: usize) -> Option<Self> {
        let fd = open_untouched(listing.dir.fd().ok()?, name, OFlags::NONBLOCK).ok()?;
        let xattrs = xattrs_of(&fd).ok()?;
        let size = usize::try_from(stat.meta.size).ok()?;
        Some(Self { fd, stat, read: Read { entry, content: start..start + size, xattrs } })
    }

    /// Whether all of it was in memory. If not, the disk has been asked for it.
    fn is_read_at_once(&self, bytes: &mut [u8]) -> bool {
        let content = &mut bytes[self.read.content.clone()];
        let size = content.len();
        if size == 0 {
            return true;
        }
        let read = preadv2(&self.fd, &mut [IoSliceMut::new(content)], 0, ReadWriteFlags::NOWAIT);
        if read == Ok(size) {
            return true;
        }
        // Advice: where it is not taken, reading waits.
        let _ = fadvise(&self.fd, 0, None, Advice::WillNeed);
        false
    }

    /// Waits for the content.
    fn finish(self, bytes: &mut [u8]) -> Option<Read> {
        let content = &mut bytes[self.read.content.clone()];
        if fill(&self.fd, content, 0).ok()? < content.len() {
            return None;
        }
        self.if_still()
    }

    /// What was read, if it is and stayed the inode that the stat was taken of, unchanged.
    fn if_still(self) -> Option<Read> {
        let now = stat_of(&self.fd).ok()?;
        // Writing a file back may change where its bytes lie, but no byte.
        let is_still = Stat { allocated_bytes: self.stat.allocated_bytes, ..now } == *self.stat;
        is_still.then_some(self.read)
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::unix::fs::symlink;
    use std::path::Path;

    use super::*;
    use crate::source::{Options, Walk};

    const ALL: ReadAhead = ReadAhead { most_bytes: 1000, since: None };

    /// The names of the files that a walk of `root` has read, with their content.
    fn early(root: &Path, ahead: ReadAhead) -> Vec<(String, Vec<u8>)> {
        let walk = Walk::start(root, Options { read_ahead: Some(ahead), ..Options::default() }).unwrap();
        let mut read = Vec::new();
        for listing in walk {
            for (at, found) in listing.entries.iter().enumerate() {
                if let Some(file) = listing.early(at) {
                    let name = String::from_utf8(listing.name(found).to_vec()).unwrap();
                    read.push((name, file.content.to_vec()));
                }
            }
        }
        read
    }

    #[test]
    fn small_files_come_with_their_content_and_others_without() {
        let temp = tempfile::tempdir().unwrap();
        let at = |name: &str| temp.path().join(name);
        std::fs::create_dir(at("sub")).unwrap();
        for (name, content) in [("a", &b"first"[..]), ("empty", b""), ("large", &[7; 1001]), ("sub/b", b"second")] {
            std::fs::write(at(name), content).unwrap();
        }
        symlink("a", at("link")).unwrap();
        rustix::fs::mkfifoat(rustix::fs::CWD, at("pipe"), rustix::fs::Mode::RUSR).unwrap();
        std::fs::write(at("two names"), b"x").unwrap();
        std::fs::hard_link(at("two names"), at("two")).unwrap();
        File::create(at("hole")).unwrap().set_len(900).unwrap();
        let read = early(temp.path(), ALL);
        let expected = [("a", &b"first"[..]), ("empty", b""), ("b", b"second")];
        assert_eq!(read, expected.map(|(name, content)| (name.to_owned(), content.to_vec())));
    }

    #[test]
    fn only_what_changed_since_is_read() {
        let temp = tempfile::tempdir().unwrap();
        std::fs::write(temp.path().join("a"), b"content").unwrap();
        let soon = Timestamp::now().plus_secs(60);
        assert_eq!(early(temp.path(), ReadAhead { since: Some(soon), ..ALL }), []);
        let before = Timestamp::now().plus_secs(-60);
        assert_eq!(early(temp.path(), ReadAhead { since: Some(before), ..ALL }).len(), 1);
    }

    #[test]
    fn what_a_listing_holds_is_bounded_and_nothing_is_missed() {
        let temp = tempfile::tempdir().unwrap();
        let count = 40;
        for number in 0..count {
            std::fs::write(temp.path().join(format!("{number:02}")), vec![number; 100_000]).unwrap();
        }
        let ahead = ReadAhead { most_bytes: 100_000, since: None };
        let walk = Walk::start(temp.path(), Options { read_ahead: Some(ahead), ..Options::default() }).unwrap();
        let mut number = 0;
        for listing in walk {
            let mut bytes = 0;
            for at in 0..listing.entries.len() {
                let content = listing.early(at).unwrap().content;
                assert_eq!(content, vec![number; 100_000]);
                number += 1;
                bytes += content.len() as u64;
            }
            assert!(bytes < LISTING_BYTES + 100_000, "{bytes}");
        }
        assert_eq!(number, count);
    }

    /// A tree of files of all sizes, some in memory and some not, so that what is read at once and what is awaited alternate.
    #[test]
    fn files_come_whole_and_under_their_own_entries_in_whatever_order_they_were_read() {
        let temp = tempfile::tempdir().unwrap();
        let content = |number: usize| vec![u8::try_from(number).unwrap(); number * 977 % 70_000];
        for number in 0..200 {
            let path = temp.path().join(format!("{number:03}"));
            std::fs::write(&path, content(number)).unwrap();
            if number % 3 != 0 {
                let file = File::open(&path).unwrap();
                file.sync_all().unwrap();
                fadvise(&file, 0, None, Advice::DontNeed).unwrap();
            }
        }
        for most_awaited in [0, 1, 7, MOST_AWAITED] {
            let walk = Walk::start(temp.path(), Options::default()).unwrap();
            let mut seen = 0;
            for mut listing in walk {
                let ahead = ReadAhead { most_bytes: 100_000, since: None };
                read_early(&mut listing, ahead, &Buffers::default(), most_awaited);
                for at in 0..listing.entries.len() {
                    assert!(listing.early(at).unwrap().content == content(seen), "{seen} with {most_awaited}");
                    seen += 1;
                }
            }
            assert_eq!(seen, 200);
        }
    }

    #[test]
    fn what_is_no_longer_what_was_listed_is_left_to_the_consumer() {
        let temp = tempfile::tempdir().unwrap();
        let names = ["changed", "gone", "kept", "link", "other", "pipe", "shrunk"];
        let at = |name: &str| temp.path().join(name);
        names.iter().for_each(|name| std::fs::write(at(name), b"content").unwrap());
        let mut listing = Walk::start(temp.path(), Options::default()).unwrap().next().unwrap();
        std::fs::write(at("changed"), b"CONTENT").unwrap();
        std::fs::write(at("shrunk"), b"c").unwrap();
        ["gone", "link", "other", "pipe"].iter().for_each(|name| std::fs::remove_file(at(name)).unwrap());
        symlink("kept", at("link")).unwrap();
        std::fs::write(at("other"), b"content").unwrap();
        rustix::fs::mkfifoat(rustix::fs::CWD, at("pipe"), rustix::fs::Mode::RUSR).unwrap();
        // A write within the tick of the file system's clock in which the file was made is what `is_settled` is for, not this.
        for name in ["changed", "other"] {
            let times = std::fs::FileTimes::new().set_modified(std::time::SystemTime::UNIX_EPOCH);
            File::options().write(true).open(at(name)).unwrap().set_times(times).unwrap();
        }
        read_early(&mut listing, ALL, &Buffers::default(), 4);
        let read = (0..names.len()).filter(|at| listing.early(*at).is_some()).map(|at| names[at]);
        assert_eq!(read.collect::<Vec<_>>(), ["kept"]);
        assert_eq!(listing.early(2).unwrap().content, b"content");
    }
}
