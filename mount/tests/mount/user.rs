//! Mounting as an ordinary user, through fusermount3 where it is installed.

use std::fs;
use std::os::unix::fs::{MetadataExt, chown};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use dbakfs_mount::tree::NodeId;
use dbakfs_mount::{MountError, MountOptions, Unmounted, mountpoint};

use crate::lifecycle::Server;
use crate::memory::Memory;
use crate::rig::{Point, mount_lines, shout};

/// `nobody`: the helper refuses users without a name.
const USER: u32 = 65_534;
const MOUNT_AT: &str = "DBAKFS_TEST_USER_MOUNTS_AT";

fn has_fusermount() -> bool {
    Command::new("fusermount3").arg("-V").output().is_ok()
}

fn device_is_open_to_all() -> bool {
    fs::metadata("/dev/fuse").unwrap().mode() & 0o666 == 0o666
}

/// Runs as an ordinary user, started by the test below.
#[test]
fn child_mounts_as_user() {
    let Some(path) = std::env::var_os(MOUNT_AT) else { return };
    let path = Path::new(&path);
    let tree = Arc::new(Memory::new());
    tree.file(NodeId::ROOT, "file", "data");
    let private = tree.file(NodeId::ROOT, "roots", "not for you");
    tree.change(private, |node| node.attr.mode = libc::S_IFREG | 0o600);
    let options = MountOptions { name: "a,suid,name".to_owned(), ..MountOptions::default() };
    let mounted = dbakfs_mount::mount(Arc::clone(&tree), path, &options);
    if !has_fusermount() {
        let refused = mounted.unwrap_err();
        assert!(matches!(refused, MountError::NoFusermount) && refused.to_string().contains("package fuse3"));
        return;
    }
    if !device_is_open_to_all() {
        assert!(matches!(mounted, Err(MountError::DeviceDenied(_))), "{mounted:?}");
        return;
    }
    let mounted = mounted.unwrap();
    assert_eq!(fs::read(path.join("file")).unwrap(), b"data");
    assert!(fs::read(path.join("roots")).is_err(), "the kernel checks owners");
    let line = mount_lines(path).pop().unwrap();
    assert!(line.contains(" ro,nosuid,nodev") && line.contains("- fuse.dbakfs a_suid_name "), "{line}");
    assert!(mountpoint::is_dbakfs_mount(path).unwrap());

    let open = fs::File::open(path.join("file")).unwrap();
    assert_eq!(mounted.unmount().unwrap(), Unmounted::Detached);
    assert!(mount_lines(path).is_empty());
    drop(open);
    assert!(mounted.wait_timeout(Duration::from_secs(20)));

    let mounted = dbakfs_mount::mount(Arc::clone(&tree), path, &options).unwrap();
    assert_ne!(mountpoint::unmount(path).unwrap(), Unmounted::Already);
    assert!(mounted.wait_timeout(Duration::from_secs(20)));

    // Nothing can be attached by an ordinary user, so attributes are always answered.
    let second = Arc::new(Memory::new());
    let mounted = dbakfs_mount::mount_grafting(Arc::clone(&tree), second, false, path, &options).unwrap();
    let asked = rustix::fs::lgetxattr(path.join("file"), "user.any", &mut [0_u8; 8][..]);
    assert_eq!(asked, Err(rustix::io::Errno::NODATA));
    assert!(mounted.admits_xattrs());
    drop(mounted);

    let mut server = Server::start(path);
    server.kill();
    let healed = dbakfs_mount::mount(Arc::clone(&tree), path, &options).unwrap();
    assert_eq!(mount_lines(path).len(), 1);
    drop(healed);
    assert!(mount_lines(path).is_empty());

    let allowed = fs::read_to_string("/etc/fuse.conf").unwrap_or_default();
    if !allowed.lines().any(|line| line.trim() == "user_allow_other") {
        let options = MountOptions { allow_other: true, ..options };
        let refused = dbakfs_mount::mount(tree, path, &options);
        assert!(matches!(refused, Err(MountError::AllowOtherRefused)), "{refused:?}");
    }
    let denied =
        dbakfs_mount::mount(Arc::new(Memory::new()), Path::new("/var/empty-for-dbakfs"), &MountOptions::default());
    assert!(matches!(denied, Err(MountError::Missing(_))));
}

#[test]
fn an_ordinary_user_mounts_with_the_helper_or_is_told_to_install_it() {
    let Some(point) = Point::new() else { return };
    if !has_fusermount() {
        shout("fusermount3 is not installed: only the message that says so is tested");
    }
    if !device_is_open_to_all() {
        shout("/dev/fuse is closed to ordinary users: only the message that says so is tested");
    }
    // Where everybody may run it, whatever directory it was built in.
    let program = point.outside().join("tests");
    // Copied by another process: a descriptor of ours could be inherited by a child of another test, and the program be "busy".
    let copied = Command::new("cp").arg(std::env::current_exe().unwrap()).arg(&program).status().unwrap();
    assert!(copied.success());
    chown(point.path(), Some(USER), Some(USER)).unwrap();
    let output = Command::new(program)
        .args(["--exact", "user::child_mounts_as_user", "--nocapture"])
        .env(MOUNT_AT, point.path())
        .current_dir("/")
        .uid(USER)
        .gid(USER)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(mount_lines(&point.path()).is_empty());
}
