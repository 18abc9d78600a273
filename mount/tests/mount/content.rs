//! What is in the tree is what programs see.

use std::collections::{BTreeSet, HashSet};
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::mem::MaybeUninit;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt};
use std::path::Path;

use dbakfs_mount::Message;
use dbakfs_mount::tree::{NodeId, Time};
use rustix::fs::{RawDir, XattrFlags};

use crate::rig::{Rig, errno};

const ROOT: NodeId = NodeId::ROOT;

fn names(path: &Path) -> BTreeSet<Vec<u8>> {
    fs::read_dir(path).unwrap().map(|entry| entry.unwrap().file_name().as_bytes().to_vec()).collect()
}

fn noise(len: usize) -> Vec<u8> {
    let mut state = 88_172_645_463_325_252_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[0]
    };
    (0..len).map(|_| next()).collect()
}

#[test]
fn listing_and_content_are_the_trees() {
    let big = noise(5_000_001);
    let Some(rig) = Rig::new(|tree| {
        let sub = tree.dir(ROOT, "sub");
        tree.file(sub, "hello", "world");
        tree.file(ROOT, "empty", "");
        tree.file(ROOT, "big", big.clone());
    }) else {
        return;
    };
    assert_eq!(names(&rig.point.path()), BTreeSet::from([b"sub".to_vec(), b"empty".to_vec(), b"big".to_vec()]));
    assert_eq!(fs::read(rig.path("sub/hello")).unwrap(), b"world");
    assert_eq!(fs::read(rig.path("empty")).unwrap(), b"");
    assert!(fs::read(rig.path("big")).unwrap() == big);
    let mut tail = [0; 100];
    assert_eq!(File::open(rig.path("big")).unwrap().read_at(&mut tail, 4_999_991).unwrap(), 10);
    assert_eq!(tail[..10], big[4_999_991..]);
    assert_eq!(errno(fs::metadata(rig.path("none"))), libc::ENOENT);
    assert_eq!(errno(fs::read_dir(rig.path("empty"))), libc::ENOTDIR);
}

#[test]
fn large_reads_come_in_large_messages() {
    let Some(rig) = Rig::new(|tree| _ = tree.file(ROOT, "big", vec![7; 64 << 20])) else { return };
    io::copy(&mut File::open(rig.path("big")).unwrap(), &mut io::sink()).unwrap();
    let reads = rig.messages().get(Message::Read);
    assert!(reads <= 80, "{reads} messages for 64 MiB");
}

#[test]
fn dots_name_the_directory_and_its_parent() {
    let Some(rig) = Rig::new(|tree| _ = tree.dir(tree.dir(ROOT, "a"), "b")) else { return };
    let [root, a, b] = ["", "a", "a/b"].map(|name| fs::metadata(rig.path(name)).unwrap().ino());
    let directory = File::open(rig.path("a/b")).unwrap();
    let mut buffer = [MaybeUninit::uninit(); 4096];
    let mut entries = RawDir::new(&directory, &mut buffer);
    let mut listed = Vec::new();
    while let Some(entry) = entries.next() {
        let entry = entry.unwrap();
        listed.push((entry.file_name().to_bytes().to_vec(), entry.ino()));
    }
    assert_eq!(listed, [(b".".to_vec(), b), (b"..".to_vec(), a)]);
    assert_ne!((root, a), (a, b));
}

#[test]
fn hard_links_share_an_inode() {
    let Some(rig) = Rig::new(|tree| {
        let file = tree.file(ROOT, "one", "same");
        tree.link(tree.dir(ROOT, "d"), "two", file);
    }) else {
        return;
    };
    let (one, two) = (fs::metadata(rig.path("one")).unwrap(), fs::metadata(rig.path("d/two")).unwrap());
    assert_eq!((one.ino(), one.nlink()), (two.ino(), 2));
    assert_eq!(fs::read(rig.path("d/two")).unwrap(), b"same");
}

#[test]
fn times_are_exact_from_1901_to_2400() {
    let times = [
        Time { secs: -2_147_483_649, nanos: 1 },
        Time { secs: -315_619_200, nanos: 999_999_999 },
        Time { secs: -1, nanos: 500_000_000 },
        Time { secs: 0, nanos: 0 },
        Time { secs: 2_147_483_648, nanos: 7 },
        Time { secs: 4_102_444_800, nanos: 987_654_321 },
        Time { secs: 13_569_465_600, nanos: 123_456_789 },
    ];
    let Some(rig) = Rig::new(|tree| {
        for (number, time) in times.iter().enumerate() {
            let node = tree.file(ROOT, number.to_string(), "");
            tree.change(node, |node| {
                node.attr.mtime = *time;
                node.attr.ctime = Time { secs: time.secs + 1, ..*time };
            });
        }
    }) else {
        return;
    };
    for listed_first in [false, true] {
        if listed_first {
            names(&rig.point.path());
        }
        for (number, time) in times.iter().enumerate() {
            let seen = fs::metadata(rig.path(&number.to_string())).unwrap();
            assert_eq!((seen.mtime(), seen.mtime_nsec()), (time.secs, i64::from(time.nanos)));
            assert_eq!((seen.ctime(), seen.ctime_nsec()), (time.secs + 1, i64::from(time.nanos)));
        }
    }
}

#[test]
fn odd_names_are_kept_byte_for_byte() {
    let odd: [&[u8]; 7] = [b" ", b"new\nline", b"\xff\xfe\x80", "ÄÖ\u{1f980}".as_bytes(), b"...", b"-rf", &[b'x'; 255]];
    let Some(rig) = Rig::new(|tree| odd.iter().for_each(|name| _ = tree.file(ROOT, name, *name))) else { return };
    assert_eq!(names(&rig.point.path()), odd.iter().map(|name| name.to_vec()).collect());
    for name in odd {
        assert_eq!(fs::read(rig.point.path().join(OsStr::from_bytes(name))).unwrap(), name);
    }
}

#[test]
fn special_files_and_links_keep_their_kind() {
    let Some(rig) = Rig::new(|tree| {
        tree.special(ROOT, "null", libc::S_IFCHR | 0o666, libc::makedev(1, 3));
        tree.special(ROOT, "disk", libc::S_IFBLK | 0o660, libc::makedev(259, 70_000));
        tree.special(ROOT, "pipe", libc::S_IFIFO | 0o600, 0);
        tree.special(ROOT, "socket", libc::S_IFSOCK | 0o600, 0);
        tree.symlink(ROOT, "link", "/no/\u{e4}where");
    }) else {
        return;
    };
    let seen = |name| fs::symlink_metadata(rig.path(name)).unwrap();
    assert!(seen("null").file_type().is_char_device());
    assert_eq!(seen("null").rdev(), libc::makedev(1, 3));
    assert!(seen("disk").file_type().is_block_device());
    assert_eq!(seen("disk").rdev(), libc::makedev(259, 70_000));
    assert!(seen("pipe").file_type().is_fifo());
    assert!(seen("socket").file_type().is_socket());
    assert_eq!(seen("link").len(), "/no/\u{e4}where".len() as u64);
    assert_eq!(fs::read_link(rig.path("link")).unwrap(), Path::new("/no/\u{e4}where"));
    assert_eq!(errno(File::open(rig.path("null"))), libc::EACCES, "nodev");
}

#[test]
fn xattrs_follow_the_protocol_of_sizes() {
    let large = noise(60_000);
    let Some(rig) = Rig::new(|tree| {
        let node = tree.file(ROOT, "f", "");
        tree.change(node, |node| {
            node.xattrs = vec![
                (b"user.small".to_vec(), b"value".to_vec()),
                (b"user.empty".to_vec(), Vec::new()),
                (b"trusted.large".to_vec(), large.clone()),
            ];
        });
        tree.file(ROOT, "bare", "");
    }) else {
        return;
    };
    let file = rig.path("f");
    let get = |name: &str, size: usize| {
        let mut buffer = vec![0; size];
        rustix::fs::getxattr(&file, name, &mut buffer[..]).map(|len| (len, buffer))
    };
    assert_eq!(rustix::fs::getxattr_query(&file, "user.small").unwrap(), 5);
    assert_eq!(get("user.small", 5).unwrap(), (5, b"value".to_vec()));
    assert_eq!(get("user.small", 4).unwrap_err(), rustix::io::Errno::RANGE);
    assert_eq!(get("user.empty", 10).unwrap().0, 0);
    assert_eq!(get("user.none", 10).unwrap_err(), rustix::io::Errno::NODATA);
    assert_eq!(rustix::fs::getxattr_query(&file, "trusted.large").unwrap(), 60_000);
    assert!(get("trusted.large", 60_000).unwrap().1 == large);

    let list = |file: &Path, size: usize| {
        let mut buffer = vec![0; size];
        rustix::fs::listxattr(file, &mut buffer[..]).map(|len| buffer[..len].to_vec())
    };
    let all = b"user.small\0user.empty\0trusted.large\0";
    assert_eq!(list(&file, all.len()).unwrap(), all);
    assert_eq!(list(&file, all.len() - 1).unwrap_err(), rustix::io::Errno::RANGE);
    assert_eq!(list(&rig.path("bare"), 100).unwrap(), b"");
    assert_eq!(rustix::fs::listxattr_query(&file).unwrap(), all.len());
    let set = rustix::fs::setxattr(&file, "user.small", b"other", XattrFlags::empty());
    assert_eq!(set.unwrap_err(), rustix::io::Errno::ROFS);
}

#[test]
fn holes_are_found_and_read_as_zeros() {
    const MIB: u64 = 1 << 20;
    let Some(rig) = Rig::new(|tree| {
        tree.sparse(ROOT, "s", 100 * MIB, vec![(MIB, vec![1; 4096]), (10 * MIB, vec![2; 8192])]);
        tree.file(ROOT, "dense", vec![3; 5000]);
    }) else {
        return;
    };
    let file = File::open(rig.path("s")).unwrap();
    let seek = |what| rustix::fs::seek(&file, what);
    use rustix::fs::SeekFrom::{Data, Hole};
    assert_eq!(seek(Data(0)).unwrap(), MIB);
    assert_eq!(seek(Hole(0)).unwrap(), 0);
    assert_eq!(seek(Data(MIB + 5)).unwrap(), MIB + 5);
    assert_eq!(seek(Hole(MIB)).unwrap(), MIB + 4096);
    assert_eq!(seek(Data(MIB + 4096)).unwrap(), 10 * MIB);
    assert_eq!(seek(Data(11 * MIB)).unwrap_err(), rustix::io::Errno::NXIO, "only a hole follows");
    assert_eq!(seek(Hole(100 * MIB)).unwrap_err(), rustix::io::Errno::NXIO, "past the end");
    let dense = File::open(rig.path("dense")).unwrap();
    assert_eq!(rustix::fs::seek(&dense, Hole(0)).unwrap(), 5000);
    let mut middle = [9; 8192];
    file.read_exact_at(&mut middle, MIB - 4096).unwrap();
    assert!(middle[..4096].iter().all(|&byte| byte == 0) && middle[4096..].iter().all(|&byte| byte == 1));
    assert_eq!(fs::metadata(rig.path("s")).unwrap().blocks(), 24);
    let mut file = file;
    assert_eq!(file.seek(SeekFrom::End(0)).unwrap(), 100 * MIB);
}

#[test]
fn a_directory_of_50_000_is_listed_whole_and_once() {
    const NUMBER: usize = 50_000;
    let Some(rig) = Rig::new(|tree| {
        let huge = tree.dir(ROOT, "huge");
        for number in 0..NUMBER {
            tree.file(huge, format!("file-{number:05}"), "");
        }
    }) else {
        return;
    };
    for round in 0..2 {
        let listed: Vec<_> = fs::read_dir(rig.path("huge")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(listed.len(), NUMBER, "round {round}");
        assert_eq!(listed.iter().collect::<HashSet<_>>().len(), NUMBER);
    }
    // The listing of a directory that never changes is asked for once.
    let asked = rig.messages().get(Message::ReadDirPlus);
    names(&rig.path("huge"));
    assert_eq!(rig.messages().get(Message::ReadDirPlus), asked);
}

#[test]
fn a_small_buffer_lists_as_well_as_a_large_one() {
    for lifetime in [None, Some(std::time::Duration::ZERO)] {
        let Some(rig) = Rig::new(|tree| {
            let many = tree.dir(ROOT, "many");
            for number in 0..3000 {
                tree.file(many, format!("a-rather-long-name-so-that-few-fit-{number}"), "");
            }
            if let Some(lifetime) = lifetime {
                tree.live(many, lifetime);
            }
        }) else {
            return;
        };
        let directory = File::open(rig.path("many")).unwrap();
        let mut buffer = [MaybeUninit::uninit(); 128];
        let mut entries = RawDir::new(&directory, &mut buffer);
        let (mut seen, mut cookies) = (Vec::new(), Vec::new());
        while let Some(entry) = entries.next() {
            let entry = entry.unwrap();
            assert_ne!(entry.ino(), 0);
            seen.push(entry.file_name().to_bytes().to_vec());
            cookies.push(entry.next_entry_cookie());
        }
        assert_eq!(seen.len(), 3002);
        assert_eq!(seen.iter().collect::<HashSet<_>>().len(), 3002);
        assert!(cookies.is_sorted());
        // telldir and seekdir.
        rustix::fs::seek(&directory, rustix::fs::SeekFrom::Start(cookies[1500])).unwrap();
        let mut entries = RawDir::new(&directory, &mut buffer);
        assert_eq!(entries.next().unwrap().unwrap().file_name().to_bytes(), seen[1501]);
    }
}

#[test]
fn many_readers_get_their_own_data() {
    let data = noise(3_000_000);
    let Some(rig) = Rig::new(|tree| {
        for number in 0..8 {
            tree.file(ROOT, number.to_string(), data[number * 1000..].to_vec());
        }
    }) else {
        return;
    };
    std::thread::scope(|scope| {
        for reader in 0..16 {
            let (rig, data) = (&rig, &data);
            scope.spawn(move || {
                let mut bytes = Vec::new();
                for round in 0..3 {
                    let number = (reader + round) % 8;
                    bytes.clear();
                    File::open(rig.path(&number.to_string())).unwrap().read_to_end(&mut bytes).unwrap();
                    assert!(bytes == data[number * 1000..]);
                }
            });
        }
    });
}

#[test]
fn statfs_says_read_only_and_neither_full_nor_free() {
    let Some(rig) = Rig::new(|_| ()) else { return };
    let seen = rustix::fs::statvfs(rig.point.path()).unwrap();
    assert_eq!((seen.f_bavail, seen.f_blocks, seen.f_namemax), (0, 0, 255));
    let flags = rustix::fs::StatVfsMountFlags::RDONLY | rustix::fs::StatVfsMountFlags::NOSUID;
    assert!(seen.f_flag.contains(flags));
}
