//! Reads what is mounted where, without ever asking a mounted file system: one that hangs or is dead is still seen.
//!
//! Invariant: [`at`] names the mount that a path really leads into, however many are stacked or hidden.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fs::{Mode, OFlags};

const TABLE: &str = "/proc/self/mountinfo";

/// One line of `/proc/self/mountinfo`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    /// The mount, unique among those that exist now.
    pub(crate) id: u64,
    /// The mount that it stands in.
    pub(crate) parent: u64,
    /// Major and minor number, as in `st_dev` of all that is inside.
    pub(crate) device: (u32, u32),
    /// What of the file system it shows: `/`, or a directory inside.
    pub(crate) root: PathBuf,
    /// Where it is mounted.
    pub(crate) point: PathBuf,
    /// Options of this mount, such as `ro,nosuid`.
    pub(crate) options: String,
    /// The type of the file system, such as `fuse.dbakfs`.
    pub(crate) fs_type: String,
    /// What it calls its source.
    pub(crate) source: String,
}

/// A path that was resolved without asking what is mounted there.
pub(crate) struct Place {
    /// The absolute path, free of symbolic links.
    pub(crate) path: PathBuf,
    /// The mount whose root this is, if it is a mount point.
    pub(crate) mount: Option<Entry>,
    /// A reference to the place. It must be dropped before unmounting, since it keeps the mount busy.
    pub(crate) reference: OwnedFd,
}

/// Everything that is mounted.
pub(crate) fn read() -> io::Result<Vec<Entry>> {
    let text = std::fs::read(TABLE)?;
    Ok(text.split(|&byte| byte == b'\n').filter_map(parse).collect())
}

/// Where `path` leads. Opening with `O_PATH` sends nothing to the file system at its end.
pub(crate) fn at(path: &Path) -> io::Result<Place> {
    let reference = rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
    let number = reference.as_raw_fd();
    let path = std::fs::read_link(format!("/proc/self/fd/{number}"))?;
    let info = std::fs::read_to_string(format!("/proc/self/fdinfo/{number}"))?;
    let id = info
        .lines()
        .find_map(|line| line.strip_prefix("mnt_id:")?.trim().parse::<u64>().ok())
        .ok_or_else(|| io::Error::other("the kernel does not tell the mount of an open file"))?;
    let mount = read()?.into_iter().find(|entry| entry.id == id && entry.point == path);
    Ok(Place { path, mount, reference })
}

/// Tells whether the table has changed, without reading it.
#[derive(Debug)]
pub(crate) struct Watch(File);

impl Watch {
    /// Watches from now on.
    pub(crate) fn begin() -> io::Result<Self> {
        File::open(TABLE).map(Self)
    }

    /// Whether anything was mounted or unmounted since the last time; yes, where the kernel does not tell.
    pub(crate) fn has_changed(&self) -> bool {
        let mut poll = [PollFd::new(&self.0, PollFlags::PRI)];
        let polled = rustix::event::poll(&mut poll, Some(&Timespec { tv_sec: 0, tv_nsec: 0 }));
        polled.is_err() || poll[0].revents().intersects(PollFlags::PRI | PollFlags::ERR)
    }
}

/// `id parent major:minor root point options optional… - type source super-options`
fn parse(line: &[u8]) -> Option<Entry> {
    let mut fields = line.split(|&byte| byte == b' ');
    let id = text(fields.next()?).parse().ok()?;
    let parent = text(fields.next()?).parse().ok()?;
    let device = text(fields.next()?);
    let (major, minor) = device.split_once(':')?;
    let path = |field| PathBuf::from(OsString::from_vec(unescape(field)));
    let (root, point) = (path(fields.next()?), path(fields.next()?));
    let options = text(fields.next()?);
    fields.find(|&field| field == b"-")?;
    let fs_type = text(fields.next()?);
    let source = text(fields.next()?);
    let device = (major.parse().ok()?, minor.parse().ok()?);
    Some(Entry { id, parent, device, root, point, options, fs_type, source })
}

fn text(field: &[u8]) -> String {
    String::from_utf8_lossy(&unescape(field)).into_owned()
}

/// Spaces, tabs, newlines, backslashes and `#` stand as a backslash and three octal digits.
fn unescape(field: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&first, tail)) = rest.split_first() {
        let escaped = (first == b'\\').then(|| tail.get(..3)).flatten().and_then(|digits| {
            let digits = std::str::from_utf8(digits).ok()?;
            u8::from_str_radix(digits, 8).ok()
        });
        out.push(escaped.unwrap_or(first));
        rest = if escaped.is_some() { &tail[3..] } else { tail };
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_taken_apart() {
        let entry = parse(
            br"36 35 0:57 / /mnt/two\040words\134 ro,nosuid shared:1 master:2 - fuse.dbakfs my\040store rw,user_id=0",
        )
        .unwrap();
        assert_eq!((entry.id, entry.parent), (36, 35));
        assert_eq!(entry.root, PathBuf::from("/"));
        assert_eq!(entry.device, (0, 57));
        assert_eq!(entry.point, PathBuf::from("/mnt/two words\\"));
        assert_eq!(entry.options, "ro,nosuid");
        assert_eq!((entry.fs_type.as_str(), entry.source.as_str()), ("fuse.dbakfs", "my store"));
    }

    #[test]
    fn broken_lines_are_passed_over() {
        for line in [&b""[..], b"36", b"36 35 057 / /mnt ro - a b c", b"36 35 0:57 / /mnt ro a b c", b"\xff \xff"] {
            assert_eq!(parse(line), None);
        }
    }

    #[test]
    fn an_escape_cut_short_is_left_as_it_is() {
        assert_eq!(unescape(br"a\04"), br"a\04");
        assert_eq!(unescape(br"\999"), br"\999");
    }

    #[test]
    fn proc_is_a_mount_point_and_what_lies_in_it_is_not() {
        assert_eq!(at(Path::new("/proc")).unwrap().mount.unwrap().fs_type, "proc");
        assert!(at(Path::new("/proc/self/")).unwrap().mount.is_none());
    }
}
