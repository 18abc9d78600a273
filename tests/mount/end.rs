//! How a mount ends: nothing of it is left, whoever ends it and however.

use std::fs;
use std::io::Read;
use std::process::Command;
use std::time::Duration;

use rustix::process::Signal;

use crate::support::cli::{Place, wait_for};
use crate::support::process::{limited, mount_line, server_of, signal, wait_until_gone, watch};

fn shelf() -> Place {
    let place = Place::with_store();
    fs::write(place.src().join("file"), "content".repeat(100_000)).unwrap();
    place.backup(&[]);
    place
}

/// No mount, no process, no lease.
#[track_caller]
fn nothing_is_left(place: &Place) {
    wait_until_gone(&place.mnt());
    assert_eq!(fs::read_dir(place.mnt()).unwrap().count(), 0);
    assert_eq!(fs::read_dir(place.store().join("leases")).unwrap().count(), 0);
}

#[test]
fn umount_leaves_neither_mount_nor_process_nor_lease() {
    let place = shelf();
    let Some(mount) = place.mount(&[]) else { return };
    assert_eq!(fs::read_dir(place.store().join("leases")).unwrap().count(), 1);
    mount.end();
    nothing_is_left(&place);
    place.run(["umount", "mnt"]).exits(1).says("error: nothing is mounted at");
}

#[test]
fn signals_end_a_mount_as_umount_does() {
    let place = shelf();
    for how in [Signal::TERM, Signal::INT, Signal::HUP] {
        let Some(_mount) = place.mount(&[]) else { return };
        signal(server_of(&place.mnt()).unwrap(), how);
        nothing_is_left(&place);
    }
}

#[test]
fn umount_of_the_system_ends_the_process_too() {
    let place = shelf();
    let Some(_mount) = place.mount(&[]) else { return };
    if !crate::support::awkward::is_root() {
        return;
    }
    limited(Command::new("umount").arg(place.mnt())).exits(0);
    nothing_is_left(&place);
}

#[test]
fn busy_mount_leaves_the_tree_at_once_and_ends_with_its_last_user() {
    let place = shelf();
    let Some(mount) = place.mount(&[]) else { return };
    let mut open = fs::File::open(place.shown("latest/file")).unwrap();
    let server = server_of(&place.mnt()).unwrap();
    let ran = limited(place.command().args(["umount", "mnt"])).exits(0);
    assert!(ran.stderr.contains("note: the mount was busy"), "{ran:#?}");
    assert!(mount_line(&place.mnt()).is_none());
    let mut text = String::new();
    open.read_to_string(&mut text).unwrap();
    assert_eq!(text.len(), 700_000);
    assert_eq!(server_of(&place.mnt()), Some(server));
    drop(open);
    nothing_is_left(&place);
    drop(mount);
}

#[test]
fn mount_after_a_killed_server_heals() {
    let place = shelf();
    let Some(_mount) = place.mount(&[]) else { return };
    signal(server_of(&place.mnt()).unwrap(), Signal::KILL);
    wait_for(Duration::from_secs(20), "the server to be gone", || server_of(&place.mnt()).is_none());
    // The dead mount that every other program now trips over.
    let ran = limited(Command::new("timeout").args(["10", "ls"]).arg(place.mnt()).env("LC_ALL", "C")).exits(2);
    assert!(["not connected", "connection abort"].iter().any(|dead| ran.stderr.contains(dead)), "{ran:#?}");
    limited(place.command().args(["mount", "mnt"])).exits(0);
    assert_eq!(fs::read_to_string(place.shown("latest/file")).unwrap().len(), 700_000);
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert_eq!(table.matches(place.mnt().to_str().unwrap()).count(), 1, "the dead mount lies below still");
    // A writer sweeps the lease that the dead one left.
    place.backup(&["--force"]);
    assert_eq!(fs::read_dir(place.store().join("leases")).unwrap().count(), 1);
    limited(place.command().args(["umount", "mnt"])).exits(0);
    nothing_is_left(&place);
}

#[test]
fn umount_of_a_dead_mount_cleans_it_away() {
    let place = shelf();
    let Some(_mount) = place.mount(&[]) else { return };
    signal(server_of(&place.mnt()).unwrap(), Signal::KILL);
    wait_for(Duration::from_secs(20), "the server to be gone", || server_of(&place.mnt()).is_none());
    limited(place.command().args(["umount", "mnt"])).exits(0);
    assert!(mount_line(&place.mnt()).is_none());
    assert_eq!(fs::read_dir(place.mnt()).unwrap().count(), 0);
}

#[test]
fn foreign_mounts_are_left_alone() {
    if !crate::support::awkward::is_root() {
        return;
    }
    let place = shelf();
    // In a namespace of its own, so that no mount outlives the shell.
    let script = "set -e
        mount -t tmpfs none \"$MNT\"
        if \"$DBAKFS\" umount \"$MNT\"; then exit 7; fi
        if \"$DBAKFS\" mount \"$MNT\"; then exit 8; fi
        grep -q \" $MNT .* - tmpfs \" /proc/self/mountinfo";
    let mut shell = Command::new("unshare");
    let shell = shell.args(["-m", "timeout", "30", "sh", "-c", script]).env("MNT", place.mnt());
    let shell = shell.env("DBAKFS", env!("CARGO_BIN_EXE_dbakfs")).env("DBAKFS_STORE", place.store());
    let ran = limited(shell.env("HOME", place.path("home"))).exits(0);
    assert!(ran.stderr.contains("is no dbakfs mount but tmpfs; nothing was unmounted"), "{ran:#?}");
    assert!(ran.stderr.contains("is already a mount point (tmpfs)"), "{ran:#?}");
    assert_eq!(ran.stderr.lines().count(), 2, "{ran:#?}");
}

#[test]
fn umount_inside_a_mount_is_refused() {
    let place = shelf();
    let Some(_mount) = place.mount(&[]) else { return };
    let ran = limited(place.command().arg("umount").arg(place.shown("tags"))).exits(1);
    assert!(ran.stderr.starts_with("error: nothing is mounted at"), "{ran:#?}");
    assert!(mount_line(&place.mnt()).is_some());
}

#[test]
fn store_that_vanishes_takes_down_no_mount() {
    let place = shelf();
    let Some(mount) = place.mount(&[]) else { return };
    let _watch = watch(&place.mnt());
    let away = place.path("away");
    fs::rename(place.store(), &away).unwrap();
    // The names are known, and the server holds the store open.
    assert!(fs::read_dir(place.mnt()).unwrap().count() == 1);
    assert_eq!(fs::read_to_string(place.shown("latest/file")).unwrap().len(), 700_000);
    fs::rename(&away, place.store()).unwrap();
    mount.end();
    nothing_is_left(&place);
}
