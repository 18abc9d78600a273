//! Who may see what, and that nobody may write.

use std::fs::{self, OpenOptions, Permissions};
use std::io::Write;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};

use dbakfs_mount::MountOptions;
use dbakfs_mount::tree::NodeId;
use rustix::mount::MountFlags;

use crate::rig::{Rig, errno, run_as};

const ROOT: NodeId = NodeId::ROOT;
const ALICE: u32 = 54_321;
const BOB: u32 = 54_322;

/// Version 2, then (tag, permissions, id) in little-endian; -1 where there is no id.
fn acl(entries: &[(u16, u16, u32)]) -> Vec<u8> {
    let mut value = 2_u32.to_le_bytes().to_vec();
    for (tag, permissions, id) in entries {
        value.extend(tag.to_le_bytes());
        value.extend(permissions.to_le_bytes());
        value.extend(id.to_le_bytes());
    }
    value
}

#[test]
fn owner_and_mode_are_enforced_for_other_users() {
    let Some(rig) = Rig::new(|tree| {
        let file = tree.file(ROOT, "secret", "for alice");
        tree.change(file, |node| (node.attr.mode, node.attr.uid) = (libc::S_IFREG | 0o400, ALICE));
        tree.file(ROOT, "public", "for all");
        let closed = tree.dir(ROOT, "closed");
        tree.change(closed, |node| node.attr.mode = libc::S_IFDIR | 0o700);
        tree.file(closed, "inside", "");
    }) else {
        return;
    };
    let cat = |user, name: &str| run_as(user, user, "cat", &[rig.path(name).to_str().unwrap()]);
    assert_eq!(cat(ALICE, "secret").stdout, b"for alice");
    let bob = cat(BOB, "secret");
    assert!(!bob.status.success() && bob.stdout.is_empty(), "{bob:?}");
    assert_eq!(cat(BOB, "public").stdout, b"for all");
    assert!(!cat(BOB, "closed/inside").status.success());
}

#[test]
fn an_acl_lets_a_named_user_in_and_nobody_else() {
    const NONE: u32 = u32::MAX;
    let value = acl(&[(0x01, 6, NONE), (0x02, 4, ALICE), (0x04, 0, NONE), (0x10, 4, NONE), (0x20, 0, NONE)]);
    let Some(rig) = Rig::new(|tree| {
        let file = tree.file(ROOT, "shared", "with alice");
        tree.change(file, |node| {
            node.attr.mode = libc::S_IFREG | 0o640;
            node.xattrs.push((b"system.posix_acl_access".to_vec(), value.clone()));
        });
    }) else {
        return;
    };
    let cat = |user| run_as(user, user, "cat", &[rig.path("shared").to_str().unwrap()]);
    assert_eq!(cat(ALICE).stdout, b"with alice");
    assert!(!cat(BOB).status.success());
    let mut seen = [0; 200];
    let len = rustix::fs::getxattr(rig.path("shared"), "system.posix_acl_access", &mut seen[..]).unwrap();
    assert_eq!(seen[..len], value);
}

#[test]
fn without_allow_other_nobody_else_sees_anything() {
    let Some(rig) = Rig::with(&MountOptions::default(), |tree| _ = tree.file(ROOT, "public", "for all")) else {
        return;
    };
    let path = rig.path("public");
    assert_eq!(fs::read(&path).unwrap(), b"for all");
    let seen = run_as(ALICE, ALICE, "cat", &[path.to_str().unwrap()]);
    assert!(!seen.status.success() && seen.stdout.is_empty());
    assert!(!run_as(ALICE, ALICE, "ls", &[rig.point.path().to_str().unwrap()]).status.success());
}

#[test]
fn the_mount_is_read_only_without_setuid_and_devices_and_named() {
    let options = MountOptions { name: "my,store x".to_owned(), ..MountOptions::default() };
    let Some(rig) = Rig::with(&options, |_| ()) else { return };
    let line = rig.mount_line();
    let flags: Vec<_> = line.split(' ').nth(5).unwrap().split(',').collect();
    for flag in ["ro", "nosuid", "nodev", "noatime"] {
        assert!(flags.contains(&flag), "{flag} is missing: {line}");
    }
    assert!(line.contains(" - fuse.dbakfs my_store\\040x ro,"), "{line}");
    assert!(line.contains("default_permissions") && !line.contains("allow_other"), "{line}");
}

#[test]
fn every_way_to_write_is_erofs_even_after_a_remount() {
    let Some(rig) = Rig::new(|tree| {
        tree.file(tree.dir(ROOT, "d"), "f", "data");
    }) else {
        return;
    };
    let (file, new) = (rig.path("d/f"), rig.path("d/new"));
    for remounted in [false, true] {
        if remounted {
            rustix::mount::mount_remount(rig.point.path(), MountFlags::NOSUID | MountFlags::NODEV, c"").unwrap();
        }
        let mut refused = vec![
            ("create", errno(fs::write(&new, "x"))),
            ("mkdir", errno(fs::create_dir(&new))),
            ("unlink", errno(fs::remove_file(&file))),
            ("rmdir", errno(fs::remove_dir(rig.path("d")))),
            ("rename", errno(fs::rename(&file, &new))),
            ("link", errno(fs::hard_link(&file, &new))),
            ("symlink", errno(std::os::unix::fs::symlink("x", &new))),
            ("chmod", errno(fs::set_permissions(&file, Permissions::from_mode(0o777)))),
            // Once somebody has remounted, the kernel, which asks for no open, lets the file be opened: then the write is refused.
            ("write", errno(OpenOptions::new().write(true).open(&file).and_then(|mut file| file.write_all(b"x")))),
            ("append", errno(OpenOptions::new().append(true).open(&file).and_then(|mut file| file.write_all(b"x")))),
            ("truncate", errno(OpenOptions::new().write(true).custom_flags(libc::O_TRUNC).open(&file))),
            ("chown", errno(std::os::unix::fs::chown(&file, Some(1), None))),
        ];
        let set = rustix::fs::setxattr(&file, "user.x", b"x", rustix::fs::XattrFlags::empty());
        refused.push(("setxattr", set.unwrap_err().raw_os_error()));
        for (act, errno) in refused {
            assert_eq!(errno, libc::EROFS, "{act}, remounted: {remounted}");
        }
    }
    assert_eq!(fs::read(&file).unwrap(), b"data");
    assert_eq!(fs::read_dir(rig.path("d")).unwrap().count(), 1);
}
