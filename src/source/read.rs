//! Reads the content of one file of the source.
//!
//! Owns opening a file so that it is the one that was listed, where its data lies, and whether it held still. Refuses
//! to know what the bytes are for. Its invariant: the content of a file is its first `size` bytes by the stat taken at
//! the open, or fewer if it shrinks meanwhile: growth is never read, so that no writer can keep the reader busy for
//! ever; [`OpenFile::settled`] tells both.

use std::io;
use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use rustix::buffer::spare_capacity;
use rustix::fs::{Advice, OFlags, SeekFrom, fadvise, readlinkat, seek};
use rustix::io::{Errno, pread, retry_on_intr};

use super::dir::OpenDir;
use super::open::open_untouched;
use super::stat::{FileId, stat_of};
use crate::format::{Kind, Stat};

/// From this size on, in bytes, the kernel is told that the file will be read from its start to its end.
const SEQUENTIAL_BYTES: u64 = 1 << 20;

/// A regular file of the source, open to be read.
#[derive(Debug)]
pub struct OpenFile {
    fd: OwnedFd,
    stat: Stat,
}

/// Opens the file `name` of `dir`, which must be the inode that `expected` is of.
///
/// # Errors
/// [`OpenError::Vanished`] and [`OpenError::Replaced`] if the tree has changed, [`OpenError::Refused`] for the rest.
pub fn open_file(dir: &OpenDir, name: &[u8], expected: &Stat) -> Result<OpenFile, OpenError> {
    let path = || dir.path_of(name);
    let failed = |errno| match errno {
        Errno::NOENT => OpenError::Vanished { path: path() },
        // A link, a socket or a device without a driver.
        Errno::LOOP | Errno::NXIO | Errno::NODEV => OpenError::Replaced { path: path() },
        errno => OpenError::Refused { path: path(), source: errno.into() },
    };
    // O_NONBLOCK: a pipe that has taken the file's place must not make the reader wait.
    let parent = dir.fd().map_err(failed)?;
    let fd = match open_untouched(parent, name, OFlags::NONBLOCK) {
        // Somebody holds a lease on the file, which the kernel has asked back just now.
        Err(Errno::AGAIN) => open_untouched(parent, name, OFlags::empty()),
        other => other,
    };
    let fd = fd.map_err(failed)?;
    let stat = stat_of(&fd).map_err(failed)?;
    if stat.meta.kind != Kind::File || FileId::of(&stat) != FileId::of(expected) {
        return Err(OpenError::Replaced { path: path() });
    }
    if stat.meta.size >= SEQUENTIAL_BYTES {
        // Advice: a file system that takes none reads as well.
        let _ = fadvise(&fd, 0, None, Advice::Sequential);
    }
    Ok(OpenFile { fd, stat })
}

impl OpenFile {
    /// The stat taken at the open, before anything was read.
    #[must_use]
    pub const fn stat(&self) -> &Stat {
        &self.stat
    }

    /// Appends the whole content to `out`. For small files: it is one system call if the file holds still.
    ///
    /// # Errors
    /// What `pread` says, or that there is no memory for so much; `out` is then as it was.
    pub fn read_whole(&self, out: &mut Vec<u8>) -> io::Result<()> {
        let size = usize::try_from(self.stat.meta.size).map_err(|_| io::ErrorKind::OutOfMemory)?;
        let begin = out.len();
        out.try_reserve(size)?;
        while out.len() < begin + size {
            let offset = (out.len() - begin) as u64;
            // Into memory that nobody has filled with zeros first.
            match pread(&self.fd, spare_capacity(out), offset) {
                Ok(0) => break,
                Ok(_) | Err(Errno::INTR) => {}
                Err(errno) => {
                    out.truncate(begin);
                    return Err(errno.into());
                }
            }
        }
        // There may have been room for more, and the file may have grown.
        out.truncate(begin + size);
        Ok(())
    }

    /// Fills `buffer` from `offset` on, in bytes; returns how many bytes it read, fewer than asked for only at the end
    /// of the file.
    ///
    /// # Errors
    /// What `pread` says.
    pub fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        fill(&self.fd, buffer, offset)
    }

    /// Where the file has data: ascending ranges of bytes that neither overlap nor reach beyond the stat's size; what
    /// lies between them, and after the last, is holes.
    ///
    /// Only a file that has fewer bytes allocated than its size is asked for its holes.
    #[must_use]
    pub const fn extents(&self) -> Extents<'_> {
        let may_have_holes = self.stat.allocated_bytes < self.stat.meta.size;
        Extents { file: self, at: 0, may_have_holes }
    }

    /// Whether the file has held still since `before` was taken: `None` if it has, else its stat now.
    ///
    /// # Errors
    /// What `statx` says.
    pub fn settled(&self, before: &Stat) -> io::Result<Option<Stat>> {
        let now = stat_of(&self.fd)?;
        let same = now.meta.size == before.meta.size && now.meta.mtime == before.meta.mtime;
        Ok(if same && now.ctime == before.ctime { None } else { Some(now) })
    }
}

impl AsFd for OpenFile {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Fills `buffer` from `offset` of `fd` on, in bytes; returns how many bytes it read, fewer than asked for only at the end of the file.
///
/// # Errors
/// What `pread` says.
pub(super) fn fill(fd: impl AsFd, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut done = 0;
    while done < buffer.len() {
        match retry_on_intr(|| pread(&fd, &mut buffer[done..], offset + done as u64))? {
            0 => break,
            read => done += read,
        }
    }
    Ok(done)
}

/// The ranges of a file that hold data; see [`OpenFile::extents`].
#[derive(Debug)]
pub struct Extents<'a> {
    file: &'a OpenFile,
    at: u64,
    may_have_holes: bool,
}

impl Extents<'_> {
    fn seek(&self, to: SeekFrom) -> Result<u64, Errno> {
        retry_on_intr(|| seek(&self.file.fd, to))
    }

    fn find(&mut self, size: u64) -> Result<Range<u64>, Errno> {
        if !self.may_have_holes {
            return Ok(self.at..size);
        }
        let start = match self.seek(SeekFrom::Data(self.at)) {
            Ok(start) => start.clamp(self.at, size),
            // No data up to the end.
            Err(Errno::NXIO) => size,
            // A file system that knows no holes.
            Err(Errno::INVAL | Errno::NOTSUP | Errno::NOSYS) => return Ok(self.at..size),
            Err(errno) => return Err(errno),
        };
        if start >= size {
            return Ok(size..size);
        }
        let end = match self.seek(SeekFrom::Hole(start)) {
            Ok(end) if end > start => end.min(size),
            // It has been cut off, or made a hole, just now: reading tells.
            Ok(_) | Err(Errno::NXIO) => size,
            Err(errno) => return Err(errno),
        };
        Ok(start..end)
    }
}

impl Iterator for Extents<'_> {
    type Item = io::Result<Range<u64>>;

    fn next(&mut self) -> Option<Self::Item> {
        let size = self.file.stat.meta.size;
        if self.at >= size {
            return None;
        }
        let found = self.find(size);
        self.at = found.as_ref().map_or(size, |range| range.end);
        match found {
            Ok(range) if range.is_empty() => None,
            Ok(range) => Some(Ok(range)),
            Err(errno) => Some(Err(errno.into())),
        }
    }
}

/// The target of the symbolic link `name` of `dir`, of any length.
///
/// # Errors
/// What `readlinkat` says; `EINVAL` if it is no link.
pub fn read_link(dir: BorrowedFd<'_>, name: &[u8]) -> io::Result<Vec<u8>> {
    Ok(readlinkat(dir, name, Vec::with_capacity(256))?.into_bytes())
}

/// Why a file was not opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// It is gone since it was listed.
    #[error("{} was removed while the source was read", path.display())]
    Vanished {
        /// The file.
        path: PathBuf,
    },
    /// Its name stands for another inode since it was listed.
    #[error("{} was replaced while the source was read", path.display())]
    Replaced {
        /// The file.
        path: PathBuf,
    },
    /// The system refused.
    #[error("cannot open {}", path.display())]
    Refused {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::unix::fs::{FileExt, symlink};
    use std::path::Path;
    use std::sync::Arc;

    use super::*;
    use crate::source::dir::Place;
    use crate::source::settled::Margin;
    use crate::source::stat::stat_at;

    fn open_dir(path: &Path) -> Arc<OpenDir> {
        Arc::new(OpenDir::new(Place::root(path), File::open(path).unwrap().into(), Margin::FINE))
    }

    fn open(dir: &OpenDir, name: &str) -> Result<OpenFile, OpenError> {
        let stat = stat_at(dir.fd().unwrap(), name).unwrap();
        open_file(dir, name.as_bytes(), &stat)
    }

    #[test]
    fn whole_content_is_appended() {
        let temp = tempfile::tempdir().unwrap();
        let dir = open_dir(temp.path());
        for content in [&b""[..], b"x", &[7; 100_000]] {
            std::fs::write(temp.path().join("f"), content).unwrap();
            let mut out = b"before".to_vec();
            open(&dir, "f").unwrap().read_whole(&mut out).unwrap();
            assert!(out.starts_with(b"before") && &out[6..] == content);
        }
    }

    #[test]
    fn reading_ends_where_a_shrunken_file_ends_and_settled_says_so() {
        let temp = tempfile::tempdir().unwrap();
        std::fs::write(temp.path().join("f"), [1; 1_000]).unwrap();
        let file = open(&open_dir(temp.path()), "f").unwrap();
        assert_eq!(file.settled(file.stat()).unwrap(), None);
        File::options().write(true).open(temp.path().join("f")).unwrap().set_len(10).unwrap();
        let mut out = Vec::new();
        file.read_whole(&mut out).unwrap();
        assert_eq!(out, [1; 10]);
        assert_eq!(file.read_at(&mut [0; 100], 4).unwrap(), 6);
        assert_eq!(file.settled(file.stat()).unwrap().unwrap().meta.size, 10);
    }

    #[test]
    fn growth_is_not_read_and_settled_says_so() {
        let temp = tempfile::tempdir().unwrap();
        std::fs::write(temp.path().join("f"), [1; 10]).unwrap();
        let file = open(&open_dir(temp.path()), "f").unwrap();
        let writer = File::options().append(true).open(temp.path().join("f")).unwrap();
        writer.set_len(5_000).unwrap();
        let mut out = Vec::with_capacity(9_000);
        file.read_whole(&mut out).unwrap();
        assert_eq!(out, [1; 10]);
        assert_eq!(file.extents().map(|range| range.unwrap().end).collect::<Vec<_>>(), [10]);
        assert_eq!(file.settled(file.stat()).unwrap().unwrap().meta.size, 5_000);
    }

    #[test]
    fn extents_are_the_data_between_the_holes() {
        let temp = tempfile::tempdir().unwrap();
        let file = File::create(temp.path().join("sparse")).unwrap();
        file.write_all_at(b"middle", 1 << 20).unwrap();
        file.set_len(3 << 20).unwrap();
        let file = open(&open_dir(temp.path()), "sparse").unwrap();
        let extents: Vec<Range<u64>> = file.extents().map(Result::unwrap).collect();
        let data: u64 = extents.iter().map(|range| range.end - range.start).sum();
        assert!(extents.iter().any(|range| range.contains(&(1 << 20))), "{extents:?}");
        assert!(data < 1 << 20, "holes are left out where the file system knows them: {extents:?}");
        assert!(extents.windows(2).all(|pair| pair[0].end < pair[1].start));
    }

    #[test]
    fn file_without_data_has_no_extent_and_full_file_has_one() {
        let temp = tempfile::tempdir().unwrap();
        File::create(temp.path().join("hole")).unwrap().set_len(1 << 20).unwrap();
        std::fs::write(temp.path().join("full"), [1; 70_000]).unwrap();
        std::fs::write(temp.path().join("empty"), []).unwrap();
        let dir = open_dir(temp.path());
        assert_eq!(open(&dir, "hole").unwrap().extents().count(), 0);
        assert_eq!(open(&dir, "empty").unwrap().extents().count(), 0);
        let full = open(&dir, "full").unwrap();
        let full: Vec<_> = full.extents().map(Result::unwrap).map(|range| (range.start, range.end)).collect();
        assert_eq!(full, [(0, 70_000)]);
    }

    #[test]
    fn whatever_took_the_place_of_the_file_is_not_read() {
        let temp = tempfile::tempdir().unwrap();
        let dir = open_dir(temp.path());
        let path = temp.path().join("f");
        std::fs::write(&path, b"old").unwrap();
        let kept = File::open(&path).unwrap();
        let stat = stat_of(&kept).unwrap();
        let reopen = || open_file(&dir, b"f", &stat).unwrap_err();

        std::fs::remove_file(&path).unwrap();
        assert!(matches!(reopen(), OpenError::Vanished { path: named } if named == path));
        std::fs::write(&path, b"new").unwrap();
        assert!(matches!(reopen(), OpenError::Replaced { .. }));
        std::fs::remove_file(&path).unwrap();
        symlink("/etc/passwd", &path).unwrap();
        assert!(matches!(reopen(), OpenError::Replaced { .. }));
        std::fs::remove_file(&path).unwrap();
        rustix::fs::mkfifoat(dir.fd().unwrap(), "f", rustix::fs::Mode::RUSR).unwrap();
        assert!(matches!(reopen(), OpenError::Replaced { .. }), "and a pipe does not make it wait");
    }

    #[test]
    fn access_time_is_left_alone() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("f");
        std::fs::write(&path, b"content").unwrap();
        let old = std::time::SystemTime::UNIX_EPOCH;
        File::options()
            .write(true)
            .open(&path)
            .unwrap()
            .set_times(std::fs::FileTimes::new().set_accessed(old))
            .unwrap();
        open(&open_dir(temp.path()), "f").unwrap().read_whole(&mut Vec::new()).unwrap();
        assert_eq!(path.metadata().unwrap().accessed().unwrap(), old);
    }

    #[test]
    fn link_target_of_any_length_is_read() {
        let temp = tempfile::tempdir().unwrap();
        let target = "x".repeat(4_095);
        symlink(&target, temp.path().join("link")).unwrap();
        let dir = open_dir(temp.path());
        assert_eq!(read_link(dir.fd().unwrap(), b"link").unwrap(), target.as_bytes());
    }
}
