//! A source on disk that changes at random.

use std::fs::{self, File};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

use proptest::prelude::*;
use rustix::fs::{FileType, Mode as Permissions, XattrFlags, lsetxattr, mknodat};

use crate::support::points::noise;

/// Something that happens to the source. A path is a number, see [`path`].
#[derive(Clone, Debug)]
pub(crate) enum Change {
    Put {
        path: u8,
        seed: u8,
        len: usize,
    },
    Append {
        path: u8,
        len: usize,
    },
    Remove {
        path: u8,
    },
    Directory {
        path: u8,
    },
    Link {
        path: u8,
        target: u8,
    },
    Pipe {
        path: u8,
    },
    HardLink {
        from: u8,
        to: u8,
    },
    Rename {
        from: u8,
        to: u8,
    },
    Mode {
        path: u8,
        mode: u32,
    },
    Time {
        path: u8,
        time: u8,
    },
    Attribute {
        path: u8,
        value: u8,
    },
    /// The whole source becomes a copy of what it was at an earlier backup.
    GoBack {
        to: u8,
    },
}

pub(crate) fn changes() -> impl Strategy<Value = Change> {
    let path = || 0..64_u8;
    let len = || prop::sample::select(vec![0_usize, 1, 30, 3_000, 3_000, 70_000, 400_000]);
    prop_oneof![
        6 => (path(), 0..4_u8, len()).prop_map(|(path, seed, len)| Change::Put { path, seed, len }),
        2 => (path(), len()).prop_map(|(path, len)| Change::Append { path, len }),
        3 => path().prop_map(|path| Change::Remove { path }),
        2 => path().prop_map(|path| Change::Directory { path }),
        1 => (path(), 0..3_u8).prop_map(|(path, target)| Change::Link { path, target }),
        1 => path().prop_map(|path| Change::Pipe { path }),
        4 => (path(), path()).prop_map(|(from, to)| Change::HardLink { from, to }),
        3 => (path(), path()).prop_map(|(from, to)| Change::Rename { from, to }),
        1 => (path(), 0..0o1000_u32).prop_map(|(path, mode)| Change::Mode { path, mode: mode | 0o600 }),
        2 => (path(), 0..3_u8).prop_map(|(path, time)| Change::Time { path, time }),
        1 => (path(), 0..3_u8).prop_map(|(path, value)| Change::Attribute { path, value }),
        1 => (0..6_u8).prop_map(|to| Change::GoBack { to }),
    ]
}

/// One of 64 paths of up to three components, which are in one another's way.
fn path(number: u8) -> PathBuf {
    let name = |digit: u8| ["a", "b", "c", "d"][usize::from(digit % 4)];
    let mut path = PathBuf::from(name(number));
    for digit in [number / 4, number / 16] {
        if digit % 4 > 0 {
            path.push(name(digit));
        }
    }
    path
}

/// A source on disk, with copies of what it was.
pub(crate) struct Source {
    pub(crate) dir: tempfile::TempDir,
    copies: usize,
}

impl Source {
    /// An empty one.
    pub(crate) fn new() -> Self {
        let source = Self { dir: tempfile::tempdir().unwrap(), copies: 0 };
        fs::create_dir(source.root()).unwrap();
        source
    }

    pub(crate) fn root(&self) -> PathBuf {
        self.dir.path().join("src")
    }

    fn remove(path: &Path) {
        match path.symlink_metadata() {
            Ok(stat) if stat.is_dir() => fs::remove_dir_all(path).unwrap(),
            Ok(_) => fs::remove_file(path).unwrap(),
            Err(_) => {}
        }
    }

    /// The path, with nothing there and directories above it.
    fn cleared(&self, number: u8) -> PathBuf {
        let path = self.root().join(path(number));
        let parent = path.parent().unwrap();
        for above in parent.ancestors().take_while(|above| *above != self.root()) {
            if above.symlink_metadata().is_ok_and(|stat| !stat.is_dir()) {
                fs::remove_file(above).unwrap();
            }
        }
        fs::create_dir_all(parent).unwrap();
        Self::remove(&path);
        path
    }

    fn copy(from: &Path, to: &Path) {
        assert!(Command::new("cp").arg("-a").arg(from).arg(to).status().unwrap().success());
    }

    pub(crate) fn keep_copy(&mut self) {
        Self::copy(&self.root(), &self.dir.path().join(format!("copy-{}", self.copies)));
        self.copies += 1;
    }

    pub(crate) fn apply(&self, change: &Change) {
        let existing = |number: u8| {
            let path = self.root().join(path(number));
            path.symlink_metadata().ok().map(|stat| (path, stat))
        };
        let file = |number: u8| existing(number).filter(|(_, stat)| stat.is_file()).map(|(path, _)| path);
        match *change {
            Change::Put { path, seed, len } => fs::write(self.cleared(path), noise(seed.into(), len)).unwrap(),
            Change::Append { path, len } => {
                if let Some(path) = file(path) {
                    let mut content = fs::read(&path).unwrap();
                    content.extend(noise(9, len));
                    fs::write(path, content).unwrap();
                }
            }
            Change::Remove { path } => Self::remove(&self.root().join(self::path(path))),
            Change::Directory { path } => fs::create_dir(self.cleared(path)).unwrap(),
            Change::Link { path, target } => symlink(format!("target {target}"), self.cleared(path)).unwrap(),
            Change::Pipe { path } => {
                mknodat(rustix::fs::CWD, self.cleared(path), FileType::Fifo, Permissions::RUSR, 0).unwrap();
            }
            Change::HardLink { from, to } => {
                if let Some(from) = file(from).filter(|from| !self.root().join(path(to)).starts_with(from)) {
                    // Making way for the new name may take the old one away.
                    let aside = self.root().join("aside");
                    fs::hard_link(from, &aside).unwrap();
                    fs::rename(aside, self.cleared(to)).unwrap();
                }
            }
            Change::Rename { from, to } => {
                if let Some((from, _)) = existing(from) {
                    let aside = self.root().join("aside");
                    fs::rename(from, &aside).unwrap();
                    fs::rename(aside, self.cleared(to)).unwrap();
                }
            }
            Change::Mode { path, mode } => {
                if let Some((path, stat)) = existing(path).filter(|(_, stat)| !stat.is_symlink()) {
                    let mode = if stat.is_dir() { mode | 0o700 } else { mode };
                    fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
                }
            }
            Change::Time { path, time } => {
                if let Some((path, _)) = existing(path).filter(|(_, stat)| stat.is_file() || stat.is_dir()) {
                    let time = SystemTime::UNIX_EPOCH + Duration::new(u64::from(time) * 1_000, u32::from(time));
                    File::open(path).unwrap().set_modified(time).unwrap();
                }
            }
            Change::Attribute { path, value } => {
                if let Some((path, _)) = existing(path).filter(|(_, stat)| stat.is_file() || stat.is_dir()) {
                    lsetxattr(path, "user.test", &[value], XattrFlags::empty()).unwrap();
                }
            }
            Change::GoBack { to } => {
                if self.copies > 0 {
                    let copy = self.dir.path().join(format!("copy-{}", usize::from(to) % self.copies));
                    fs::remove_dir_all(self.root()).unwrap();
                    Self::copy(&copy, &self.root());
                }
            }
        }
    }
}
