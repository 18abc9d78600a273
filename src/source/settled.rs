//! Whether a time stamp proves that a file has not changed since.
//!
//! Owns the margin by which a time must be past. Refuses to look at the clock: the moment is handed in. Its invariant:
//! when in doubt, the file is not settled.

use std::os::fd::AsFd;

use rustix::fs::fstatfs;

use crate::format::{Stat, Timestamp};

/// How far a file's times must lie in the past before an equal stat means equal content.
///
/// A second write within one tick of the file system's clock leaves the same times behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Margin {
    /// Whole seconds.
    pub secs: i64,
}

impl Margin {
    /// 2 seconds: file systems that keep time by the kernel's own tick.
    pub const FINE: Self = Self { secs: 2 };
    /// 10 seconds: file systems whose ticks are whole seconds, or whose times are set by another machine's clock.
    pub const COARSE: Self = Self { secs: 10 };

    /// The margin of the file system that `open` lies on; coarse if it cannot be asked.
    #[must_use]
    pub fn of(open: impl AsFd) -> Self {
        match fstatfs(open) {
            #[allow(clippy::unnecessary_cast, reason = "narrower on 32-bit machines")]
            Ok(fs) if !COARSE_MAGICS.contains(&(fs.f_type as i64 & 0xffff_ffff)) => Self::FINE,
            _ => Self::COARSE,
        }
    }
}

/// `f_type` of the file systems that need the coarse margin.
const COARSE_MAGICS: [i64; 12] = [
    0x4d44,      // FAT: 2 s
    0x2011_bab0, // exFAT: 10 ms, or 2 s
    0x4244,      // HFS: 1 s
    0x482b,      // HFS+: 1 s
    0x6969,      // NFS
    0x517b,      // SMB
    0xff53_4d42, // CIFS
    0xfe53_4d42, // SMB 2 and later
    0x0102_1997, // 9p
    0x00c3_6400, // Ceph
    0x786f_4256, // VirtualBox shared folders
    0x6573_5546, // FUSE: any of the above may stand behind it
];

/// Whether `stat`, taken at `taken_at`, will still tell if the file is written to after it.
///
/// It does so if both its mtime and its ctime are older than `taken_at` by more than `margin`. Times that lie in the
/// future never are.
#[must_use]
pub fn is_settled(stat: &Stat, taken_at: Timestamp, margin: Margin) -> bool {
    [stat.meta.mtime, stat.ctime].iter().all(|time| time.plus_secs(margin.secs) < taken_at)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::stat::stat_of;

    fn stat(mtime: Timestamp, ctime: Timestamp) -> Stat {
        let mut stat = stat_of(std::fs::File::open("/").unwrap()).unwrap();
        stat.meta.mtime = mtime;
        stat.ctime = ctime;
        stat
    }

    #[test]
    fn both_times_must_be_older_than_the_margin() {
        let now = Timestamp::new(1_000, 500);
        let old = Timestamp::new(998, 499);
        let young = Timestamp::new(998, 500);
        assert!(is_settled(&stat(old, old), now, Margin::FINE));
        assert!(!is_settled(&stat(young, old), now, Margin::FINE));
        assert!(!is_settled(&stat(old, young), now, Margin::FINE));
        assert!(!is_settled(&stat(old, old), now, Margin::COARSE));
        assert!(is_settled(&stat(Timestamp::new(-300_000_000, 1), old), now, Margin::FINE), "1960 is past");
    }

    #[test]
    fn times_in_the_future_never_settle() {
        let now = Timestamp::new(1_000, 0);
        let future = Timestamp::new(4_102_444_800, 0);
        assert!(!is_settled(&stat(future, now.plus_secs(-100)), now, Margin::FINE));
        assert!(!is_settled(&stat(Timestamp::new(i64::MAX, 0), now.plus_secs(-100)), now, Margin::FINE));
    }

    #[test]
    fn procfs_keeps_fine_time() {
        assert_eq!(Margin::of(std::fs::File::open("/proc").unwrap()), Margin::FINE);
    }
}
