//! What a backup keeps of one inode, and what it looks at to see whether the inode has changed.

use super::time::Timestamp;

/// What an entry is. The numbers are those of the format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Kind {
    /// A directory.
    Directory = 1,
    /// A regular file.
    File = 2,
    /// A symbolic link.
    Symlink = 3,
    /// A named pipe.
    Fifo = 4,
    /// A Unix socket; restored as a socket that nobody listens on.
    Socket = 5,
    /// A character device.
    CharDevice = 6,
    /// A block device.
    BlockDevice = 7,
}

impl Kind {
    /// The kind with this number in the format, if there is one.
    #[must_use]
    pub const fn from_code(code: u8) -> Option<Self> {
        Some(match code {
            1 => Self::Directory,
            2 => Self::File,
            3 => Self::Symlink,
            4 => Self::Fifo,
            5 => Self::Socket,
            6 => Self::CharDevice,
            7 => Self::BlockDevice,
            _ => return None,
        })
    }

    /// The kind that the type bits (`S_IFMT`) of a raw `st_mode` name, if it is one of Linux's seven.
    #[must_use]
    pub const fn from_mode(st_mode: u32) -> Option<Self> {
        Some(match st_mode & libc::S_IFMT {
            libc::S_IFDIR => Self::Directory,
            libc::S_IFREG => Self::File,
            libc::S_IFLNK => Self::Symlink,
            libc::S_IFIFO => Self::Fifo,
            libc::S_IFSOCK => Self::Socket,
            libc::S_IFCHR => Self::CharDevice,
            libc::S_IFBLK => Self::BlockDevice,
            _ => return None,
        })
    }

    /// The type bits (`S_IFMT`) of `st_mode` for this kind.
    #[must_use]
    pub const fn mode_bits(self) -> u32 {
        match self {
            Self::Directory => libc::S_IFDIR,
            Self::File => libc::S_IFREG,
            Self::Symlink => libc::S_IFLNK,
            Self::Fifo => libc::S_IFIFO,
            Self::Socket => libc::S_IFSOCK,
            Self::CharDevice => libc::S_IFCHR,
            Self::BlockDevice => libc::S_IFBLK,
        }
    }
}

/// What is archived of an inode besides its data, its link target and its extended attributes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Meta {
    /// What the entry is.
    pub kind: Kind,
    /// The twelve permission bits (`st_mode & 0o7777`).
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Names of the inode at the source (`st_nlink`); always 1 for directories, whose count says nothing here.
    pub nlink: u32,
    /// Device number (`st_rdev`) of a device node, else 0.
    pub rdev: u64,
    /// Bytes of a regular file, holes included; 0 for everything else.
    pub size: u64,
    /// Time of the last change of the data.
    pub mtime: Timestamp,
}

impl Meta {
    /// Whether all archived metadata are the same. A directory's count of links says nothing and is not compared.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        let nlink = if self.kind == Kind::Directory { other.nlink } else { self.nlink };
        Self { nlink, ..*self } == *other
    }
}

/// One `statx` of a source entry: what is archived, and what tells a changed inode from an unchanged one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stat {
    /// What is archived.
    pub meta: Meta,
    /// Time of the last change of the inode.
    pub ctime: Timestamp,
    /// Inode number at the source.
    pub ino: u64,
    /// Device (`st_dev`) that the inode lies on.
    pub dev: u64,
    /// Bytes that the file system has allocated (`st_blocks * 512`); fewer than `size` means that there are holes.
    pub allocated_bytes: u64,
}
