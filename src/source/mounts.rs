//! Which mounts of dbakfs the kernel knows.
//!
//! Owns reading `/proc/self/mountinfo`. Refuses to touch any mount: a FUSE file system whose server has died or hangs
//! would take the walk with it. Its invariant: what it says comes from the kernel's own table alone.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::makedev;

/// The file system type by which the kernel lists a mount of dbakfs.
const FS_TYPE: &[u8] = b"fuse.dbakfs";

/// The mounts of dbakfs, as paths below one root and by device.
#[derive(Debug, Default)]
pub(super) struct Mounts {
    /// Mount points below the root at the start, relative to it.
    points: Vec<Box<[u8]>>,
    /// Devices met, and whether a dbakfs is mounted from them.
    devices: Vec<(u64, bool)>,
}

impl Mounts {
    /// The mounts that the kernel lists below `root`, a canonical path.
    pub(super) fn below(root: &Path) -> Self {
        let points = dbakfs_mounts(&table())
            .filter_map(|mount| {
                let inside = Path::new(OsStr::from_bytes(&mount.point)).strip_prefix(root).ok()?;
                let inside = inside.as_os_str().as_bytes();
                // The root may itself be a mount: then it is what the user wants to have read.
                (!inside.is_empty()).then(|| inside.into())
            })
            .collect();
        Self { points, devices: Vec::new() }
    }

    /// Whether there is any mount below the root.
    pub(super) const fn is_empty(&self) -> bool {
        self.points.is_empty()
    }

    /// The names of the mount points that stand directly in the directory `relative` of the root.
    pub(super) fn directly_in(&self, relative: &[u8]) -> Vec<Box<[u8]>> {
        let name_in = |point: &[u8]| -> Option<Box<[u8]>> {
            let rest = point.strip_prefix(relative)?;
            let name = if relative.is_empty() { rest } else { rest.strip_prefix(b"/")? };
            (!name.contains(&b'/')).then(|| name.into())
        };
        self.points.iter().filter_map(|point| name_in(point)).collect()
    }

    /// Whether `dev` is a mount of dbakfs now; the kernel's table is read again for each new device.
    pub(super) fn is_dbakfs(&mut self, dev: u64) -> bool {
        if let Some((_, known)) = self.devices.iter().find(|(known, _)| *known == dev) {
            return *known;
        }
        let found = dbakfs_mounts(&table()).any(|mount| mount.dev == dev);
        self.devices.push((dev, found));
        found
    }
}

struct Mount {
    dev: u64,
    point: Vec<u8>,
}

/// Without `/proc` no mount is known, and a mount of dbakfs is read like any other directory.
fn table() -> Vec<u8> {
    std::fs::read("/proc/self/mountinfo").unwrap_or_default()
}

fn dbakfs_mounts(table: &[u8]) -> impl Iterator<Item = Mount> {
    table.split(|byte| *byte == b'\n').filter_map(|line| {
        // 36 35 98:0 /root /mnt/point rw,noatime shared:1 - type source options
        let mut fields = line.split(|byte| *byte == b' ');
        let dev = std::str::from_utf8(fields.nth(2)?).ok()?;
        let (major, minor) = dev.split_once(':')?;
        let point = unescape(fields.nth(1)?);
        let fs_type = fields.skip_while(|field| *field != b"-").nth(1)?;
        (fs_type == FS_TYPE).then_some(Mount { dev: makedev(major.parse().ok()?, minor.parse().ok()?), point })
    })
}

/// The kernel writes spaces, tabs, newlines and backslashes as a backslash and three octal digits.
fn unescape(field: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&byte, tail)) = rest.split_first() {
        let octal = (byte == b'\\').then(|| tail.get(..3)).flatten();
        let value = octal.and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok());
        if let Some(value) = value {
            out.push(value);
            rest = &tail[3..];
        } else {
            out.push(byte);
            rest = tail;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &[u8] = b"22 1 254:0 / / rw,relatime - ext4 /dev/vda rw\n\
        40 22 0:50 / /srv/with\\040space/mnt ro,nosuid shared:7 - fuse.dbakfs /store ro,user_id=0\n\
        41 22 0:51 / /srv/other rw - fuse.sshfs host: rw\n\
        broken line\n";

    #[test]
    fn only_dbakfs_mounts_are_found_and_their_paths_unescaped() {
        let found: Vec<Mount> = dbakfs_mounts(TABLE).collect();
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].dev, found[0].point.as_slice()), (makedev(0, 50), &b"/srv/with space/mnt"[..]));
    }

    #[test]
    fn escapes_that_are_none_stay() {
        assert_eq!(unescape(b"a\\134b\\9\\"), b"a\\b\\9\\");
    }

    #[test]
    fn mount_point_is_known_in_its_own_directory_only() {
        let mounts = Mounts { points: vec![(*b"a/mnt").into(), (*b"top").into()], devices: Vec::new() };
        assert_eq!(mounts.directly_in(b""), [(*b"top").into()]);
        assert_eq!(mounts.directly_in(b"a"), [(*b"mnt").into()]);
        assert!(mounts.directly_in(b"a/mnt").is_empty() && mounts.directly_in(b"b").is_empty());
    }
}
