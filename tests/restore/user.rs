//! An ordinary user gets everything but what only root may have.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::Path;
use std::process::Command;

use dbakfs::format::{Kind, Meta};

use crate::shelf::{Shelf, dir, file, item};

const NOBODY: u32 = 65_534;
const PLACE: &str = "DBAKFS_TEST_RESTORE_AS_NOBODY";

/// What the other test runs as another user.
#[test]
fn as_nobody() {
    let Some(place) = std::env::var_os(PLACE) else { return };
    let dest = Path::new(&place).join("dest");
    let theirs = |meta: &mut Meta| (meta.uid, meta.gid) = (1_234, 4_321);
    let root = dir(
        "",
        vec![
            dir("closed", vec![file("inside", b"x"), dir("deeper", vec![file("f", b"y")])])
                .with(|item| item.meta.mode = 0),
            dir("read-only", vec![file("inside", b"x")]).with(|item| item.meta.mode = 0o555),
            file("zero", b"secret").with(|item| item.meta.mode = 0),
            file("read-only-with-attribute", b"x").with(|item| {
                item.meta.mode = 0o400;
                item.xattrs = vec![(b"user.a".to_vec(), b"1".to_vec())];
            }),
            file("setuid", b"x").with(|item| {
                item.meta.mode = 0o4755;
                theirs(&mut item.meta);
            }),
            file("owned", b"x").with(|item| theirs(&mut item.meta)),
            file("trusted", b"x").with(|item| item.xattrs = vec![(b"trusted.a".to_vec(), b"1".to_vec())]),
            item("device", Kind::CharDevice, 0o600).with(|item| item.meta.rdev = 0x103),
            item("socket", Kind::Socket, 0o600),
        ],
    );
    let shelf = Shelf::of(&root);
    for round in 0..2 {
        let (report, notices) = shelf.restore(&dest, true);
        assert!(notices.is_empty() && report.is_complete(), "{round}: {notices:?}");
        assert_eq!((report.owners.count, report.modes.count), (2, 1), "{round}");
        assert_eq!((report.attributes.count, report.devices.count), (1, 1), "{round}");
        let mode = |name: &str| fs::symlink_metadata(dest.join(name)).unwrap().mode() & 0o7777;
        assert_eq!((mode("closed"), mode("read-only"), mode("zero"), mode("setuid")), (0, 0o555, 0, 0o755));
        assert_eq!(mode("read-only-with-attribute"), 0o400);
        assert_eq!(fs::read(dest.join("read-only/inside")).unwrap(), b"x");
        assert!(fs::symlink_metadata(dest.join("device")).is_err());
    }
    let (report, notices) = Shelf::of(&dir("", vec![file("closed", b"now a file")])).restore(&dest, true);
    assert!(notices.is_empty() && report.is_complete(), "{notices:?}");
    assert_eq!(fs::read_dir(&dest).unwrap().count(), 1);
    fs::write(Path::new(&place).join("done"), b"").unwrap();
}

#[test]
fn ordinary_user_gets_all_but_owners_devices_and_trusted_attributes() {
    let temp = tempfile::tempdir().unwrap();
    let mut test = Command::new(std::env::current_exe().unwrap());
    if rustix::process::geteuid().is_root() {
        use std::os::unix::process::CommandExt;
        // Where nobody else may come by, a copy of the test can be run.
        let copy = temp.path().join("test");
        fs::copy(std::env::current_exe().unwrap(), &copy).unwrap();
        fs::set_permissions(&copy, PermissionsExt::from_mode(0o755)).unwrap();
        fs::set_permissions(temp.path(), PermissionsExt::from_mode(0o755)).unwrap();
        test = Command::new(copy);
        test.uid(NOBODY).gid(NOBODY).current_dir(temp.path());
    }
    let place = temp.path().join("place");
    fs::create_dir(&place).unwrap();
    if rustix::process::geteuid().is_root() {
        chown(&place, Some(NOBODY), Some(NOBODY)).unwrap();
    }
    let output =
        test.args(["user::as_nobody", "--exact", "--nocapture"]).env(PLACE, &place).env("TMPDIR", &place).output();
    let output = output.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(place.join("done").exists(), "the test did run");
}
