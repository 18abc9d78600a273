//! What the file system below a store is known to do.
//!
//! Owns one table. Refuses to guess: what the table does not hold is unknown. Its invariant: "known" is said only where
//! a lock taken by one process is seen by every process that can reach the store.

/// Whose locks (`flock`) a process on this machine can see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlockReach {
    /// The file system belongs to this machine, so every process that can reach the store sees every lock.
    ThisHost,
    /// The file system is shared between machines and carries the locks between them.
    BetweenHosts,
    /// It may be shared between machines, and nothing is known of the locks of the others.
    Unknown,
}

impl FlockReach {
    /// Whether every live reader's lock is sure to be seen.
    #[must_use]
    pub const fn is_known(self) -> bool {
        matches!(self, Self::ThisHost | Self::BetweenHosts)
    }

    /// What is known of a file system with this magic number (`statfs.f_type`).
    ///
    /// NFS is unknown on purpose: its mount option `local_lock` keeps locks on one machine, and statfs does not tell.
    /// So are the cluster file systems, which have such options too, and whatever FUSE carries.
    pub(super) const fn of_magic(magic: u32) -> Self {
        match magic {
            0xef53 // ext2, ext3, ext4
            | 0x5846_5342 // xfs
            | 0x9123_683e // btrfs
            | 0xf2f5_2010 // f2fs
            | 0xca45_1a4e // bcachefs
            | 0x2fc1_2fc1 // zfs
            | 0x0102_1994 // tmpfs
            | 0x8584_58f6 // ramfs
            | 0x794c_7630 // overlayfs
            | 0x3153_464a // jfs
            | 0x5265_4973 // reiserfs
            | 0x3434 // nilfs
            | 0xf15f // ecryptfs
            | 0x4d44 // vfat
            | 0x2011_bab0 // exfat
            | 0x7366_746e // ntfs3
            | 0x5346_544e // ntfs
            | 0x7371_7368 // squashfs
            | 0xe0f5_e1e2 // erofs
            | 0x9660 // iso9660
            | 0x1501_3346 // udf
            => Self::ThisHost,
            0x00c3_6400 // ceph
            => Self::BetweenHosts,
            _ => Self::Unknown,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn network_and_fuse_file_systems_are_not_believed() {
        const NFS: u32 = 0x6969;
        const FUSE: u32 = 0x6573_5546;
        const CIFS: u32 = 0xff53_4d42;
        const NINE_P: u32 = 0x0102_1997;
        for magic in [NFS, FUSE, CIFS, NINE_P, 0] {
            assert!(!FlockReach::of_magic(magic).is_known(), "{magic:#x}");
        }
        assert!(FlockReach::of_magic(0xef53).is_known());
    }
}
