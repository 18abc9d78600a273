//! How a mount begins: what it is for the kernel, where it is refused, and that nobody has to wait for its process.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use rustix::process::Signal;

use crate::support::cli::{Place, wait_for};
use crate::support::process::{limited, mount_line, server_of, signal, wait_until_gone, watch};

fn shelf() -> Place {
    let place = Place::with_store();
    fs::write(place.src().join("file"), "content").unwrap();
    place.backup(&[]);
    place
}

#[test]
fn mount_is_read_only_and_lends_no_rights() {
    let place = shelf();
    let Some(_mount) = place.mount(&[]) else { return };
    let line = mount_line(&place.mnt()).unwrap();
    let fields: Vec<&str> = line.split(' ').collect();
    let options: Vec<&str> = fields[5].split(',').collect();
    assert!(["ro", "nosuid", "nodev"].iter().all(|option| options.contains(option)), "{line}");
    assert!(line.contains(" - fuse.dbakfs ") && line.contains("default_permissions"), "{line}");
    assert!(line.contains(place.store().to_str().unwrap()), "{line}");

    let at = |name: &str| place.shown("latest").join(name);
    let refusals = [
        fs::write(at("new"), "x"),
        fs::write(at("file"), "x"),
        fs::remove_file(at("file")),
        fs::create_dir(at("new-dir")),
        fs::rename(at("file"), at("other")),
        fs::hard_link(at("file"), at("link")),
        std::os::unix::fs::symlink("x", at("symlink")),
        fs::set_permissions(at("file"), fs::metadata(at("file")).unwrap().permissions()),
        fs::File::open(at("file")).unwrap().set_times(fs::FileTimes::new().set_modified(std::time::UNIX_EPOCH)),
        fs::create_dir(place.mnt().join("new-source")),
        fs::remove_file(place.shown("latest")),
        fs::remove_dir_all(place.shown("tags")),
    ];
    for (number, refusal) in refusals.into_iter().enumerate() {
        assert_eq!(refusal.unwrap_err().raw_os_error(), Some(libc::EROFS), "try {number}");
    }
    assert_eq!(fs::read_to_string(at("file")).unwrap(), "content");
}

#[test]
fn mounting_twice_is_refused_and_the_first_goes_on() {
    let place = shelf();
    let Some(_mount) = place.mount(&[]) else { return };
    let server = server_of(&place.mnt());
    for more in [&[][..], &["--foreground"]] {
        let ran = limited(place.command().arg("mount").args(more).arg(place.mnt())).exits(1);
        assert!(ran.stderr.contains("is already a mount point (fuse.dbakfs); unmount it first"), "{ran:#?}");
        assert_eq!(ran.stderr.lines().count(), 1, "{ran:#?}");
    }
    assert_eq!(server_of(&place.mnt()), server);
    assert_eq!(fs::read_to_string(place.shown("latest/file")).unwrap(), "content");
}

#[test]
fn one_store_can_be_mounted_at_two_places() {
    let place = shelf();
    let Some(mount) = place.mount(&[]) else { return };
    let other = place.path("other");
    fs::create_dir(&other).unwrap();
    place.run(["mount", "other"]).exits(0);
    let _watch = watch(&other);
    assert_eq!(fs::read_to_string(other.join("src/latest/file")).unwrap(), "content");
    mount.end();
    assert_eq!(fs::read_to_string(other.join("src/latest/file")).unwrap(), "content");
    place.run(["umount", "other"]).exits(0);
    wait_until_gone(&other);
}

#[test]
fn command_substitution_and_pipes_do_not_wait_for_the_server() {
    let place = shelf();
    if place.mount(&[]).map(crate::support::cli::MountGuard::end).is_none() {
        return;
    }
    for script in [
        "said=$(\"$DBAKFS\" mount \"$MNT\" 2>&1); test -z \"$said\"",
        "\"$DBAKFS\" mount \"$MNT\" 2>&1 | cat",
        "\"$DBAKFS\" mount \"$MNT\" </dev/null >out 2>&1; test ! -s out",
        "exec 0<&-; \"$DBAKFS\" mount \"$MNT\"",
        "exec 1>&-; \"$DBAKFS\" mount \"$MNT\"",
        "exec 2>&-; \"$DBAKFS\" mount \"$MNT\"",
        "exec 0<&- 1>&- 2>&-; \"$DBAKFS\" mount \"$MNT\"",
    ] {
        let mut shell = Command::new("sh");
        let shell = shell.args(["-c", script]).current_dir(place.path("")).env("MNT", place.mnt());
        let shell = shell.env("DBAKFS", env!("CARGO_BIN_EXE_dbakfs")).env("DBAKFS_STORE", place.store());
        let ran = limited(shell.env("HOME", place.path("home")));
        let _watch = watch(&place.mnt());
        assert_eq!((ran.code, ran.stderr.as_str()), (0, ""), "{script}: {ran:#?}");
        let seen = fs::read_to_string(place.shown("latest/file"));
        limited(place.command().arg("umount").arg(place.mnt())).exits(0);
        assert_eq!(seen.unwrap(), "content", "{script}");
        wait_until_gone(&place.mnt());
    }
}

#[test]
fn relative_paths_of_store_mount_point_and_log_are_those_of_the_caller() {
    let place = shelf();
    fs::create_dir(place.path("elsewhere")).unwrap();
    if !Path::new("/dev/fuse").exists() {
        return;
    }
    let mut command = place.command();
    command.current_dir(place.path("elsewhere")).env_remove("DBAKFS_STORE");
    limited(command.args(["--store", "../store", "mount", "--log", "a.log", "../mnt"])).exits(0);
    let _watch = watch(&place.mnt());
    let seen = fs::read_to_string(place.shown("latest/file"));
    // What comes after the start is found, too, though the server has left for the root directory.
    fs::write(place.src().join("file"), "changed").unwrap();
    place.backup(&[]);
    wait_for(Duration::from_secs(5), "the new point", || {
        fs::read_to_string(place.shown("latest/file")).is_ok_and(|text| text == "changed")
    });
    let mut umount = place.command();
    limited(umount.current_dir(place.path("elsewhere")).args(["umount", "../mnt"])).exits(0);
    wait_until_gone(&place.mnt());
    assert_eq!(seen.unwrap(), "content");
    assert!(place.path("elsewhere/a.log").exists() && !place.path("home/.local/state/dbakfs").exists());
}

#[test]
fn log_goes_to_the_state_directory_unless_told_otherwise() {
    let place = shelf();
    let Some(mount) = place.mount(&[]) else { return };
    assert!(place.path("home/.local/state/dbakfs/mount.log").exists());
    mount.end();
    // A place of the user's own that cannot be written is a mistake, found before anything is mounted; so is a pipe.
    rustix::fs::mkfifoat(rustix::fs::CWD, place.path("pipe"), rustix::fs::Mode::RWXU).unwrap();
    for log in ["/proc/no/log", "pipe"] {
        limited(place.command().args(["mount", "--log", log, "mnt"])).exits(1).says("error: cannot log to");
        assert!(mount_line(&place.mnt()).is_none());
    }
}

#[test]
fn foreground_stays_until_it_is_told_to_stop() {
    let place = shelf();
    if !Path::new("/dev/fuse").exists() {
        return;
    }
    for how in [Signal::TERM, Signal::INT] {
        let mut server = place.command().args(["mount", "--foreground"]).arg(place.mnt()).spawn().unwrap();
        let _watch = watch(&place.mnt());
        wait_for(Duration::from_secs(20), "the mount", || mount_line(&place.mnt()).is_some());
        let seen = fs::read_to_string(place.shown("latest/file"));
        assert!(server.try_wait().unwrap().is_none());
        signal(i32::try_from(server.id()).unwrap(), how);
        let mut status = None;
        wait_for(Duration::from_secs(20), "the foreground process to end", || {
            status = server.try_wait().unwrap();
            status.is_some()
        });
        assert!(status.unwrap().success(), "{how:?}: {status:?}");
        assert!(mount_line(&place.mnt()).is_none());
        assert_eq!(seen.unwrap(), "content");
    }
}
