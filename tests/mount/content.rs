//! Attributes, ACLs, holes and special files, asked for by the system calls themselves.

use std::fs::{self, File};
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt};

use rustix::fs::{
    FileType, Mode, SeekFrom, XattrFlags, lgetxattr, lgetxattr_query, llistxattr, lsetxattr, makedev, mknodat, seek,
};
use rustix::io::Errno;

use crate::support::awkward::is_root;
use crate::support::cli::Place;

/// Owner rwx, user 1234 r, group r, mask rw, others nothing.
fn acl() -> Vec<u8> {
    let mut raw = 2_u32.to_le_bytes().to_vec();
    for (tag, permissions, id) in
        [(1_u16, 7_u16, u32::MAX), (2, 4, 1_234), (4, 4, u32::MAX), (0x10, 6, u32::MAX), (0x20, 0, u32::MAX)]
    {
        raw.extend(tag.to_le_bytes().into_iter().chain(permissions.to_le_bytes()).chain(id.to_le_bytes()));
    }
    raw
}

#[test]
fn attributes_and_acls_answer() {
    let place = Place::with_store();
    fs::write(place.src().join("file"), "content").unwrap();
    fs::write(place.src().join("plain"), "content").unwrap();
    fs::create_dir(place.src().join("dir")).unwrap();
    let mut set = vec![
        ("file", "user.bytes", b"a\0b\xff".to_vec()),
        ("file", "user.empty", Vec::new()),
        ("file", "user.long", vec![7; 3_000]),
        ("file", "system.posix_acl_access", acl()),
        ("dir", "user.dir", b"of a directory".to_vec()),
        ("dir", "system.posix_acl_access", acl()),
        ("dir", "system.posix_acl_default", acl()),
    ];
    if is_root() {
        set.push(("file", "trusted.secret", b"for root".to_vec()));
        set.push((
            "file",
            "security.capability",
            [1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0].to_vec(),
        ));
    }
    for (name, attr, value) in &set {
        lsetxattr(place.src().join(name), *attr, value, XattrFlags::empty()).unwrap();
    }
    place.backup(&[]);
    // The same through a differential that lists the directory anew.
    fs::write(place.src().join("dir/new"), "x").unwrap();
    place.backup(&[]);
    let Some(_mount) = place.mount(&[]) else { return };
    let mut buffer = vec![0; 8_192];
    for point in place.run(["list", "--json"]).json() {
        let at = |name: &str| place.mnt().join(point["point"].as_str().unwrap()).join(name);
        for (name, attr, value) in &set {
            let len =
                lgetxattr(at(name), *attr, &mut buffer[..]).unwrap_or_else(|error| panic!("{name} {attr}: {error}"));
            assert_eq!(&buffer[..len], value, "{name} {attr}");
            // The ways in which programs ask for the length.
            assert_eq!(lgetxattr_query(at(name), *attr), Ok(value.len()));
            if value.len() > 1 {
                assert_eq!(lgetxattr(at(name), *attr, &mut [0_u8; 1][..]), Err(Errno::RANGE));
            }
        }
        for name in ["file", "dir", "plain"] {
            let len = llistxattr(at(name), &mut buffer[..]).unwrap();
            let mut listed: Vec<String> = buffer[..len]
                .split(|byte| *byte == 0)
                .filter(|attr| !attr.is_empty())
                .map(|attr| String::from_utf8(attr.to_vec()).unwrap())
                .collect();
            let mut wanted: Vec<&str> = set.iter().filter(|(at, ..)| at == &name).map(|(_, attr, _)| *attr).collect();
            listed.sort_unstable();
            wanted.sort_unstable();
            assert_eq!(listed, wanted, "{name}");
        }
        assert_eq!(lgetxattr(at("plain"), "user.bytes", &mut buffer[..]), Err(Errno::NODATA));
        assert_eq!(lgetxattr(place.mnt(), "user.bytes", &mut buffer[..]), Err(Errno::NODATA));
    }
}

/// Where data and holes begin, by turns, as `SEEK_DATA` and `SEEK_HOLE` tell it.
fn map(file: &File) -> Vec<u64> {
    let (mut edges, mut at) = (Vec::new(), 0);
    loop {
        match seek(file, SeekFrom::Data(at)) {
            Ok(data) => edges.push(data),
            Err(Errno::NXIO) => return edges,
            Err(error) => panic!("SEEK_DATA: {error}"),
        }
        at = seek(file, SeekFrom::Hole(*edges.last().unwrap())).unwrap();
        edges.push(at);
    }
}

#[test]
fn holes_are_reported_and_take_no_blocks() {
    let place = Place::with_store();
    let sparse = File::create(place.src().join("sparse")).unwrap();
    for at in [1 << 20, 5 << 20, (5 << 20) + (1 << 16)] {
        sparse.write_all_at(&vec![1; 1 << 16], at).unwrap();
    }
    sparse.set_len(20 << 20).unwrap();
    File::create(place.src().join("all-hole")).unwrap().set_len(3 << 20).unwrap();
    fs::write(place.src().join("dense"), vec![2; 300_000]).unwrap();
    fs::write(place.src().join("empty"), "").unwrap();
    place.backup(&[]);
    let Some(_mount) = place.mount(&[]) else { return };
    for name in ["sparse", "all-hole", "dense", "empty"] {
        let [original, shown] = [place.src(), place.shown("latest")].map(|tree| File::open(tree.join(name)).unwrap());
        assert_eq!(map(&original), map(&shown), "{name}");
        let [original, shown] = [original, shown].map(|file| file.metadata().unwrap());
        assert_eq!(original.len(), shown.len(), "{name}");
        // File systems round up to their blocks.
        assert!(shown.blocks() <= original.blocks(), "{name}: {} {}", original.blocks(), shown.blocks());
    }
    assert_eq!(fs::metadata(place.shown("latest/sparse")).unwrap().blocks() * 512, 3 << 16);
    assert_eq!(fs::metadata(place.shown("latest/all-hole")).unwrap().blocks(), 0);
    let shown = File::open(place.shown("latest/sparse")).unwrap();
    let at = |place| seek(&shown, place);
    assert_eq!(at(SeekFrom::Data((1 << 20) + 5)), Ok((1 << 20) + 5));
    assert_eq!(at(SeekFrom::Hole(0)), Ok(0));
    assert_eq!(at(SeekFrom::Hole(5 << 20)), Ok((5 << 20) + (2 << 16)));
    assert_eq!(at(SeekFrom::Data(6 << 20)), Err(Errno::NXIO));
    assert_eq!(at(SeekFrom::Data(20 << 20)), Err(Errno::NXIO));
    assert_eq!(at(SeekFrom::Hole(20 << 20)), Err(Errno::NXIO));
}

#[test]
fn special_files_are_what_they_were_and_cannot_be_used_here() {
    let place = Place::with_store();
    let source = File::open(place.src()).unwrap();
    mknodat(&source, "fifo", FileType::Fifo, Mode::from_raw_mode(0o640), 0).unwrap();
    mknodat(&source, "socket", FileType::Socket, Mode::from_raw_mode(0o640), 0).unwrap();
    if is_root() {
        mknodat(&source, "null", FileType::CharacterDevice, Mode::from_raw_mode(0o666), makedev(1, 3)).unwrap();
    }
    place.backup(&[]);
    let Some(_mount) = place.mount(&[]) else { return };
    let kind = |name: &str| fs::symlink_metadata(place.shown("latest").join(name)).unwrap().file_type();
    assert!(kind("fifo").is_fifo() && kind("socket").is_socket());
    if is_root() {
        let null = fs::symlink_metadata(place.shown("latest/null")).unwrap();
        assert!(null.file_type().is_char_device());
        assert_eq!(null.rdev(), makedev(1, 3));
        // nodev: a device of a backup leads to no hardware.
        assert_eq!(File::open(place.shown("latest/null")).unwrap_err().raw_os_error(), Some(libc::EACCES));
    }
}
