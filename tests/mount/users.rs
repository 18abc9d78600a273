//! Who may look in, and what the archived owners, modes and ACLs let them see.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::fs::{XattrFlags, lsetxattr};

use super::shown::names;
use crate::support::awkward::is_root;
use crate::support::cli::{Place, Ran};
use crate::support::process::limited;

const SOMEBODY: u32 = 12_345;
const STRANGER: u32 = 54_321;

/// Runs a program as another user, in no group but its own.
fn run_as(user: u32, program: impl AsRef<std::ffi::OsStr>, args: &[&Path]) -> Ran {
    limited(Command::new(program).args(args).uid(user).gid(user).current_dir("/").env("LC_ALL", "C"))
}

fn set_mode(path: impl AsRef<Path>, mode: u32) {
    fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
}

/// A point with files of several owners; everybody can reach the mount point.
fn shelf() -> Place {
    let place = Place::with_store();
    set_mode(place.path(""), 0o755);
    let at = |name: &str| place.src().join(name);
    for name in ["roots-dir", "somebodys-dir"] {
        fs::create_dir(at(name)).unwrap();
        fs::write(at(name).join("inside"), "inside").unwrap();
        set_mode(at(name).join("inside"), 0o644);
        set_mode(at(name), 0o700);
    }
    let files = [("public", 0, 0o644), ("roots", 0, 0o600), ("somebodys", SOMEBODY, 0o600), ("by-acl", 0, 0o640)];
    for (name, owner, mode) in files.into_iter().chain([("group", 0, 0o640), ("not-even-mine", SOMEBODY, 0o044)]) {
        fs::write(at(name), name).unwrap();
        set_mode(at(name), mode);
        chown(at(name), Some(owner), Some(if name == "group" { SOMEBODY } else { 0 })).unwrap();
    }
    chown(at("somebodys-dir"), Some(SOMEBODY), None).unwrap();
    // Owner rw, SOMEBODY r, group nothing, mask r, others nothing.
    let mut acl = 2_u32.to_le_bytes().to_vec();
    for (tag, permissions, id) in
        [(1_u16, 6_u16, u32::MAX), (2, 4, SOMEBODY), (4, 0, u32::MAX), (0x10, 4, u32::MAX), (0x20, 0, u32::MAX)]
    {
        acl.extend(tag.to_le_bytes().into_iter().chain(permissions.to_le_bytes()).chain(id.to_le_bytes()));
    }
    lsetxattr(at("by-acl"), "system.posix_acl_access", &acl, XattrFlags::empty()).unwrap();
    set_mode(place.src(), 0o755);
    place.backup(&[]);
    place
}

#[test]
fn archived_owners_modes_and_acls_hold_for_other_users() {
    if !is_root() {
        return;
    }
    let place = shelf();
    let Some(mount) = place.mount(&["--allow-other"]) else { return };
    let may_read = |user: u32, name: &str| {
        let ran = run_as(user, "cat", &[&place.shown("latest").join(name)]);
        match ran.code {
            0 => assert_eq!(ran.stdout, name.rsplit('/').next().unwrap()),
            _ => assert!(ran.stderr.contains("Permission denied"), "{ran:#?}"),
        }
        ran.code == 0
    };
    for (name, somebody, stranger) in [
        ("public", true, true),
        ("roots", false, false),
        ("somebodys", true, false),
        ("by-acl", true, false),
        ("group", true, false),
        ("not-even-mine", false, true),
        ("roots-dir/inside", false, false),
        ("somebodys-dir/inside", true, false),
    ] {
        assert_eq!(may_read(SOMEBODY, name), somebody, "{name}, its owner or friend");
        assert_eq!(may_read(STRANGER, name), stranger, "{name}, a stranger");
    }
    for (user, name, code) in
        [(SOMEBODY, "somebodys-dir", 0), (STRANGER, "somebodys-dir", 2), (SOMEBODY, "roots-dir", 2)]
    {
        run_as(user, "ls", &[&place.shown("latest").join(name)]).exits(code);
    }
    // Root is root.
    assert_eq!(fs::read_to_string(place.shown("latest/somebodys-dir/inside")).unwrap(), "inside");
    mount.end();
}

#[test]
fn without_allow_other_nobody_else_gets_in() {
    if !is_root() {
        return;
    }
    let place = shelf();
    let Some(mount) = place.mount(&[]) else { return };
    for path in [place.mnt(), place.shown("latest"), place.shown("latest/public")] {
        let ran = run_as(SOMEBODY, "cat", &[&path]).exits(1);
        assert!(ran.stderr.contains("Permission denied"), "{ran:#?}");
    }
    assert_eq!(fs::read_to_string(place.shown("latest/public")).unwrap(), "public");
    mount.end();
}

/// A copy of the program that everybody may run, wherever the build lies.
fn program_for_all(place: &Place) -> PathBuf {
    let program = place.path("dbakfs");
    // By another process: while this one had it open for writing, a child that another test begins would inherit that, and nobody could run the copy.
    limited(Command::new("cp").arg(env!("CARGO_BIN_EXE_dbakfs")).arg(&program)).exits(0);
    set_mode(&program, 0o755);
    program
}

#[test]
fn store_of_somebody_else_is_read_without_a_lease_and_that_is_said() {
    if !is_root() {
        return;
    }
    let place = shelf();
    limited(Command::new("chmod").args(["-R", "a+rX"]).arg(place.store())).exits(0);
    let before = crate::support::cli::snapshot(&place.store());
    fs::create_dir(place.path("out")).unwrap();
    chown(place.path("out"), Some(SOMEBODY), Some(SOMEBODY)).unwrap();
    let program = program_for_all(&place);
    let run = |args: &[&str]| {
        let ran = limited(
            Command::new(&program)
                .arg("--store")
                .arg(place.store())
                .args(args)
                .uid(SOMEBODY)
                .gid(SOMEBODY)
                .current_dir(place.path("out")),
        );
        ran.says("warning: reading without a lease, a prune elsewhere would not wait")
    };
    run(&["list"]).exits(0).prints("src");
    run(&["verify", "--data"]).exits(0).prints("no damage");
    run(&["ls", "src/latest"]).exits(0).prints("public");
    // Root's files come out as this user's.
    run(&["restore", "src/latest", "restored"]).exits(0).says("owners could not be set");
    assert_eq!(fs::read_to_string(place.path("out/restored/roots")).unwrap(), "roots");
    // A writer needs more.
    let refused = limited(
        Command::new(&program)
            .arg("--store")
            .arg(place.store())
            .args(["backup", "/proc/self/fdinfo", "--name", "x"])
            .uid(SOMEBODY)
            .gid(SOMEBODY),
    );
    assert_eq!(refused.code, 1, "{refused:#?}");
    assert_eq!(refused.stderr.lines().filter(|line| line.starts_with("error: ")).count(), 1, "{refused:#?}");
    assert!(before == crate::support::cli::snapshot(&place.store()), "the store has changed");
}

#[test]
fn store_on_a_read_only_file_system_can_be_mounted() {
    if !is_root() {
        return;
    }
    let place = shelf();
    if !Path::new("/dev/fuse").exists() {
        eprintln!("\n*** NOT TESTED: /dev/fuse is missing ***\n");
        return;
    }
    // In a namespace of its own, so that no mount outlives the shell.
    let script = "set -e
        mount --bind \"$STORE\" \"$STORE\"
        mount -o remount,ro,bind \"$STORE\"
        \"$DBAKFS\" --store \"$STORE\" mount --log /dev/null \"$MNT\"
        cat \"$MNT/src/latest/public\"
        \"$DBAKFS\" umount \"$MNT\"";
    let ran = limited(
        Command::new("unshare")
            .args(["-m", "timeout", "30", "sh", "-c", script])
            .env("STORE", place.store())
            .env("MNT", place.mnt())
            .env("DBAKFS", env!("CARGO_BIN_EXE_dbakfs")),
    );
    let ran = ran.exits(0).says("warning: reading without a lease");
    assert_eq!(ran.stdout, "public");
    assert!(names(place.mnt()).is_empty());
    assert_eq!(fs::read_dir(place.store().join("leases")).unwrap().count(), 0);
}
