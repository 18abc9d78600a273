//! A tree of everything that backups are known to lose.
//!
//! Owns making it, and the claims about it, one for each awkward thing. Its invariant: two trees made by it are the
//! same in all that a backup keeps, and a claim holds only if the awkward thing is in the original and in the copy.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, FileType, Gid, Mode, OFlags, Timespec, Timestamps, Uid, XattrFlags, chownat, lsetxattr, makedev, mkdirat,
    mknodat, openat, utimensat,
};
use rustix::time::Timespec as Time;

use super::tree::{Entry, Tree, compare, look};

/// A file's raw `security.capability`: `cap_net_bind_service=ep`, version 2.
const CAPABILITY: [u8; 20] = [1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
/// Sizes around which readers and writers change their ways, in bytes.
const SIZES: [usize; 8] = [1, 256, 257, 4_096, 65_536, 65_537, (1 << 20) + 1, 5 << 20];
const CROWD: usize = 3_000;
const YEAR_1960: i64 = -315_619_200;
const YEAR_2100: i64 = 4_102_444_800;
const DEEP_LEVELS: usize = 25;

/// Whether this process may make devices, other owners and trusted attributes; says so if it may not.
pub(crate) fn is_root() -> bool {
    let is_root = rustix::process::geteuid().is_root();
    if !is_root {
        eprintln!("NOT ROOT: devices, owners, capabilities, trusted attributes, unreadable entries are LEFT OUT");
    }
    is_root
}

/// Makes the tree in `dir`, an empty directory.
pub(crate) fn make(dir: &Path) {
    let at = |name: &str| dir.join(name);
    let write = |name: &str, content: &[u8]| fs::write(dir.join(name), content).unwrap();
    for name in
        ["links/deep", "empty-dir", "xattr-dir", "acl-dir", "sticky", "closed", "crowd", "equal/a/b", "timed-dir"]
    {
        fs::create_dir_all(at(name)).unwrap();
    }
    write("links/one", b"one file of three names");
    fs::hard_link(at("links/one"), at("links/two")).unwrap();
    fs::hard_link(at("links/one"), at("links/deep/three")).unwrap();

    for name in ["xattr-file", "acl-file", "zero-mode", "setuid", "setgid", "year-1960", "year-2100", "closed/inside"] {
        write(name, name.as_bytes());
    }
    write("empty-file", b"");
    for name in ["-rf", "  spaces  ", "back\\slash", "star*?[x]", "new\nline", &"n".repeat(255)] {
        write(name, b"an awkward name");
    }
    fs::write(dir.join(OsStr::from_bytes(b"\xff\xfe not utf-8")), b"any bytes").unwrap();
    for size in SIZES {
        write(&format!("size-{size}"), &noise(size));
    }
    for number in 0..CROWD {
        write(&format!("crowd/{number}"), number.to_string().as_bytes());
    }
    for (name, size) in [("small", 300), ("large", 300_000)] {
        for place in ["equal", "equal/a", "equal/a/b", "empty-dir/../timed-dir"] {
            write(&format!("{place}/{name}"), &noise(size));
        }
    }
    let sparse = File::create(at("sparse")).unwrap();
    sparse.write_all_at(&noise(10_000), 50_000_000).unwrap();
    sparse.set_len(100_000_000).unwrap();
    let trailing = File::create(at("trailing-hole")).unwrap();
    trailing.write_all_at(&noise(5_000), 0).unwrap();
    trailing.set_len(10_000_000).unwrap();

    symlink("nowhere/at all", at("dangling")).unwrap();
    symlink("t".repeat(4_095), at("long-link")).unwrap();
    let root = File::open(dir).unwrap();
    node(&root, "fifo", FileType::Fifo, 0);
    node(&root, "socket", FileType::Socket, 0);
    make_deep(&root);
    finish(dir, &root);
}

/// Attributes, owners, modes and times, in the order in which none undoes another.
fn finish(dir: &Path, root: &File) {
    let is_root = is_root();
    if is_root {
        node(root, "char-device", FileType::CharacterDevice, makedev(1, 3));
        node(root, "block-device", FileType::BlockDevice, makedev(7, 200));
        for name in ["owned", "capable", "privileged"] {
            fs::write(dir.join(name), name).unwrap();
        }
        for name in ["owned", "setuid", "timed-dir", "dangling"] {
            let owner = (Some(Uid::from_raw(1_234)), Some(Gid::from_raw(4_321)));
            chownat(root, name, owner.0, owner.1, AtFlags::SYMLINK_NOFOLLOW).unwrap();
        }
        set(root, "capable", "security.capability", &CAPABILITY);
        set(root, "privileged", "trusted.dbakfs", b"trusted\0value");
        set(root, "privileged", "security.dbakfs", b"security value");
        set(root, "dangling", "trusted.link", b"of the link itself");
    }
    set(root, "xattr-file", "user.bytes", b"a\0b\xff");
    set(root, "xattr-file", "user.empty", b"");
    set(root, "xattr-file", "user.long", &noise(2_000));
    set(root, "xattr-dir", "user.dir", b"\xff\0");
    set(root, "acl-file", "system.posix_acl_access", &acl());
    set(root, "acl-dir", "system.posix_acl_access", &acl());
    set(root, "acl-dir", "system.posix_acl_default", &acl());
    let mode = |name: &str, mode| fs::set_permissions(dir.join(name), PermissionsExt::from_mode(mode)).unwrap();
    mode("setuid", 0o4755);
    mode("setgid", 0o2755);
    mode("sticky", 0o1777);
    settle(root.as_fd());
    let times = [("year-1960", YEAR_1960, 123_456_789), ("year-2100", YEAR_2100, 987_654_321)];
    for (name, secs, nanos) in times.into_iter().chain([("dangling", 1_000_000_000, 1), ("timed-dir", 5, 999_999_999)])
    {
        set_time(root.as_fd(), name, secs, nanos);
    }
    if is_root {
        // Nobody else could read them back.
        mode("zero-mode", 0o000);
        mode("closed", 0o000);
    }
    set_time(root.as_fd(), ".", 1_600_000_000, 7);
}

/// Gives everything below `dir` a time that only its name decides.
fn settle(dir: BorrowedFd<'_>) {
    for entry in fs::read_dir(format!("/proc/self/fd/{}", dir.as_raw_fd())).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name();
        if entry.file_type().unwrap().is_dir() {
            settle(open(dir, &name).as_fd());
        }
        let sum: u32 = name.as_bytes().iter().map(|byte| u32::from(*byte)).sum();
        set_time(dir, &name, 1_500_000_000 + i64::from(sum), i64::from(sum) * 1_001);
    }
}

fn set_time(dir: BorrowedFd<'_>, name: impl AsRef<OsStr>, secs: i64, nanos: i64) {
    let time: Timespec = Time { tv_sec: secs, tv_nsec: nanos };
    let times = Timestamps { last_access: time, last_modification: time };
    utimensat(dir, name.as_ref(), &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
}

fn set(root: &File, name: &str, attr: &str, value: &[u8]) {
    let path = format!("/proc/self/fd/{}/{name}", root.as_raw_fd());
    lsetxattr(path, attr, value, XattrFlags::empty()).unwrap();
}

fn node(root: &File, name: &str, kind: FileType, device: u64) {
    mknodat(root, name, kind, Mode::from_raw_mode(0o640), device).unwrap();
}

fn open(dir: BorrowedFd<'_>, name: impl AsRef<OsStr>) -> OwnedFd {
    openat(dir, name.as_ref(), OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).unwrap()
}

fn deep_name(level: usize) -> String {
    format!("{level:02}-{}", "deep".repeat(50))
}

fn deep_path() -> Vec<u8> {
    (0..DEEP_LEVELS).map(deep_name).chain(["bottom".to_owned()]).collect::<Vec<_>>().join("/").into_bytes()
}

fn make_deep(root: &File) {
    let mut at: OwnedFd = root.try_clone().unwrap().into();
    for level in 0..DEEP_LEVELS {
        mkdirat(&at, deep_name(level), Mode::RWXU).unwrap();
        at = open(at.as_fd(), deep_name(level));
    }
    fs::write(PathBuf::from(format!("/proc/self/fd/{}/bottom", at.as_raw_fd())), b"deeper than PATH_MAX").unwrap();
}

/// Bytes that no compressor shrinks, the same at each call.
fn noise(len: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64 ^ len as u64;
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}

/// A raw POSIX ACL: owner rwx, user 1234 r, group r, mask rw, others nothing.
fn acl() -> Vec<u8> {
    let entries: [(u16, u16, u32); 5] =
        [(0x01, 7, u32::MAX), (0x02, 4, 1_234), (0x04, 4, u32::MAX), (0x10, 6, u32::MAX), (0x20, 0, u32::MAX)];
    let mut raw = 2_u32.to_le_bytes().to_vec();
    for (tag, permissions, id) in entries {
        raw.extend(tag.to_le_bytes().into_iter().chain(permissions.to_le_bytes()).chain(id.to_le_bytes()));
    }
    raw
}

/// All claims about `copy`, a copy of the tree that [`make`] made at `original`, and whether each holds.
pub(crate) fn check(original: &Path, copy: &Path) -> Vec<(&'static str, bool)> {
    check_trees(&look(original), &look(copy))
}

/// Like [`check`], for trees that have been looked at.
pub(crate) fn check_trees(original: &Tree, copy: &Tree) -> Vec<(&'static str, bool)> {
    let mut claims = compare(original, copy);
    let root_only = if is_root() { root_claims() } else { Vec::new() };
    for (claim, path, is_so) in anyone_claims().into_iter().chain(root_only) {
        let holds = match (original.get(&path), copy.get(&path)) {
            (Some(original), Some(copy)) => is_so(original) && is_so(copy) && original.is_kept_by(copy),
            _ => false,
        };
        if !holds {
            eprintln!("not so: {claim}");
        }
        claims.push((claim, holds));
    }
    let crowd = copy.keys().filter(|path| path.starts_with(b"crowd/")).count();
    claims.push(("directory of 3,000 entries is complete", crowd == CROWD));
    claims
}

type Claim = (&'static str, Vec<u8>, fn(&Entry) -> bool);

fn attr<'a>(entry: &'a Entry, name: &str) -> Option<&'a [u8]> {
    entry.xattrs.get(name.as_bytes()).map(Vec::as_slice)
}

fn claim(text: &'static str, path: impl Into<Vec<u8>>, is_so: fn(&Entry) -> bool) -> Claim {
    (text, path.into(), is_so)
}

fn anyone_claims() -> Vec<Claim> {
    let mut claims = vec![
        claim("hard link in the same directory", "links/two", |e| e.first_name == b"links/deep/three" && e.nlink == 3),
        claim("hard link across directories", "links/deep/three", |e| e.nlink == 3),
        claim("user attribute of any bytes", "xattr-file", |e| attr(e, "user.bytes") == Some(b"a\0b\xff")),
        claim("empty and long attribute", "xattr-file", |e| {
            attr(e, "user.empty") == Some(b"") && attr(e, "user.long").is_some_and(|value| value.len() == 2_000)
        }),
        claim("attribute of a directory", "xattr-dir", |e| attr(e, "user.dir") == Some(b"\xff\0")),
        claim("access ACL of a file", "acl-file", |e| attr(e, "system.posix_acl_access") == Some(&acl())),
        claim("access ACL of a directory", "acl-dir", |e| attr(e, "system.posix_acl_access") == Some(&acl())),
        claim("default ACL of a directory", "acl-dir", |e| attr(e, "system.posix_acl_default") == Some(&acl())),
        claim("hole before and after data", "sparse", |e| e.size == 100_000_000 && e.allocated_bytes < 1_000_000),
        claim("hole at the end", "trailing-hole", |e| e.size == 10_000_000 && e.allocated_bytes < 1_000_000),
        claim("fifo", "fifo", |e| e.kind() == libc::S_IFIFO),
        claim("socket", "socket", |e| e.kind() == libc::S_IFSOCK),
        claim("dangling symlink", "dangling", |e| e.content == b"nowhere/at all"),
        claim("time of a symlink", "dangling", |e| e.mtime == (1_000_000_000, 1)),
        claim("symlink of 4,095 bytes", "long-link", |e| e.content.len() == 4_095),
        claim("setuid", "setuid", |e| e.permissions() == 0o4755),
        claim("setgid", "setgid", |e| e.permissions() == 0o2755),
        claim("sticky directory", "sticky", |e| e.permissions() == 0o1777 && e.kind() == libc::S_IFDIR),
        claim("name that is not UTF-8", *b"\xff\xfe not utf-8", |_| true),
        claim("name with a newline", "new\nline", |_| true),
        claim("name of 255 bytes", "n".repeat(255), |_| true),
        claim("name that looks like an option", "-rf", |_| true),
        claim("name with spaces at its ends", "  spaces  ", |_| true),
        claim("name with a backslash", "back\\slash", |_| true),
        claim("name that is a pattern", "star*?[x]", |_| true),
        claim("empty directory", "empty-dir", |e| e.kind() == libc::S_IFDIR),
        claim("empty file", "empty-file", |e| e.kind() == libc::S_IFREG && e.size == 0),
        claim("time before 1970", "year-1960", |e| e.mtime == (YEAR_1960, 123_456_789)),
        claim("time after 2038", "year-2100", |e| e.mtime == (YEAR_2100, 987_654_321)),
        claim("time of a directory", "timed-dir", |e| e.mtime == (5, 999_999_999)),
        claim("time of the root", "", |e| e.mtime == (1_600_000_000, 7)),
        claim("file deeper than PATH_MAX", deep_path(), |e| e.size == 20),
        claim("equal file in another place", "equal/a/b/large", |e| e.size == 300_000),
    ];
    claims.extend(SIZES.map(|size| claim("file of each awkward size", format!("size-{size}"), |e| e.size > 0)));
    claims
}

fn root_claims() -> Vec<Claim> {
    vec![
        claim("file of mode 0000", "zero-mode", |e| e.permissions() == 0),
        claim("directory of mode 0000", "closed", |e| e.permissions() == 0 && e.kind() == libc::S_IFDIR),
        claim("file in a directory of mode 0000", "closed/inside", |e| e.size == 13),
        claim("trusted attribute", "privileged", |e| attr(e, "trusted.dbakfs") == Some(b"trusted\0value")),
        claim("security attribute", "privileged", |e| attr(e, "security.dbakfs") == Some(b"security value")),
        claim("attribute of a symlink", "dangling", |e| attr(e, "trusted.link").is_some()),
        claim("file capability", "capable", |e| attr(e, "security.capability") == Some(&CAPABILITY)),
        claim("owner and group", "owned", |e| (e.uid, e.gid) == (1_234, 4_321)),
        claim("owner of a setuid file", "setuid", |e| (e.uid, e.permissions()) == (1_234, 0o4755)),
        claim("owner of a symlink", "dangling", |e| (e.uid, e.gid) == (1_234, 4_321)),
        claim("character device", "char-device", |e| e.kind() == libc::S_IFCHR && e.rdev == makedev(1, 3)),
        claim("block device", "block-device", |e| e.kind() == libc::S_IFBLK && e.rdev == makedev(7, 200)),
    ]
}
