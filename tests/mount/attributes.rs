//! A mount that asks nothing about attributes while there are none, and loses none when they come.
//!
//! Where the kernel or this user cannot attach what comes later (root, Linux 6.15), the mount is asked as ever: that is tested, too.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{BufRead, BufReader, Error, Result, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use rustix::fs::{XattrFlags, lgetxattr, lsetxattr};
use rustix::process::Signal;

use super::counts::Logged;
use super::shown::{names, time_of};
use crate::support::awkward::is_root;
use crate::support::cli::{MountGuard, Place, wait_for};
use crate::support::process::{limited, server_of, signal, wait_until_gone};
use crate::support::tree::{Tree, compare, look};

/// What is committed must be seen this soon.
const SOON: Duration = Duration::from_secs(1);

/// Read and write for the owner, read for user 12345 and for others.
const ACL: [u8; 44] = [
    2, 0, 0, 0, 1, 0, 6, 0, 255, 255, 255, 255, 2, 0, 4, 0, 57, 48, 0, 0, 4, 0, 4, 0, 255, 255, 255, 255, 16, 0, 4, 0,
    255, 255, 255, 255, 32, 0, 4, 0, 255, 255, 255, 255,
];
const CAPABILITY: [u8; 20] = [1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

fn xattr(path: impl AsRef<Path>, name: &str) -> Result<Vec<u8>> {
    let mut value = vec![0; 256];
    let length = lgetxattr(path.as_ref(), name, value.as_mut_slice())?;
    value.truncate(length);
    Ok(value)
}

fn set_xattr(path: impl AsRef<Path>, name: &str, value: &[u8]) {
    lsetxattr(path.as_ref(), name, value, XattrFlags::empty()).unwrap();
}

fn errno(error: &Error) -> i32 {
    error.raw_os_error().unwrap()
}

/// Asks a mount of points without attributes for some, so that it refuses for good.
fn refuses(file: &Path) -> bool {
    match errno(&xattr(file, "user.any").unwrap_err()) {
        libc::EOPNOTSUPP => true,
        other => {
            assert_eq!(other, libc::ENODATA);
            eprintln!("\n*** NOT TESTED: no part of a detached mount can be attached here (root, Linux 6.15) ***\n");
            false
        }
    }
}

/// A source with hard links and without attributes, backed up and mounted, and a mount that has refused.
fn refusing() -> Option<(Place, String, MountGuard)> {
    let place = Place::with_store();
    for directory in 0..10 {
        let path = place.src().join(format!("dir-{directory}"));
        fs::create_dir(&path).unwrap();
        for file in 0..30 {
            fs::write(path.join(format!("file-{file}")), format!("{directory}/{file} ").repeat(file * 20)).unwrap();
        }
        fs::hard_link(path.join("file-7"), place.src().join(format!("link-{directory}"))).unwrap();
    }
    let first = time_of(&place.backup(&[]));
    let mount = place.mount(&[])?;
    refuses(&place.shown(&first).join("dir-0/file-1")).then_some((place, first, mount))
}

/// The mounts at and below the mount point.
fn mounts(place: &Place) -> usize {
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap();
    table.lines().filter(|line| Path::new(line.split(' ').nth(4).unwrap()).starts_with(place.mnt())).count()
}

fn device(path: impl AsRef<Path>) -> u64 {
    fs::metadata(path).unwrap().dev()
}

/// Copies a point with `cp -a` and holds the copy against `original`.
#[track_caller]
fn copies_as(place: &Place, when: &str, original: &Tree, copy: &str) {
    let copy = place.path(copy);
    limited(Command::new("cp").arg("-a").arg(place.shown(when).join(".")).arg(&copy)).exits(0);
    for (claim, holds) in compare(original, &look(&copy)) {
        assert!(holds, "{claim}");
    }
    fs::remove_dir_all(&copy).unwrap();
}

/// Looks at everything that is listed in the directory of the source, again and again, until told to stop: each name leads somewhere, and
/// no point is ever without its content.
fn look_without_pause(place: &Place, first: &str, is_over: &AtomicBool) {
    let home = device(place.shown(first));
    let mut latest = String::new();
    while !is_over.load(Ordering::Relaxed) {
        for name in names(place.mnt().join("src")).into_iter().filter(|name| name != "tags") {
            let inside = names(place.shown(&name));
            assert!(inside.contains("dir-0"), "{name} shows {inside:?}");
            let mark = xattr(place.shown(&name).join("dir-0/file-1"), "user.mark");
            // What is on the first device was committed without.
            if device(place.shown(&name)) != home {
                assert!(mark.is_ok(), "{name} has lost its attributes");
            }
        }
        let now = fs::read_link(place.shown("latest")).unwrap().to_str().unwrap().to_owned();
        assert!(latest <= now, "latest went from {latest} back to {now}");
        latest = now;
    }
}

#[test]
fn attributes_that_come_while_copies_run_are_seen_within_a_second_and_no_copy_breaks() {
    let Some((place, first, mount)) = refusing() else { return };
    let original = look(&place.src());
    let home = device(place.shown(&first));
    let (is_over, copies) = (AtomicBool::new(false), AtomicU32::new(0));
    std::thread::scope(|scope| {
        let copying = scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                copies_as(&place, &first, &original, "running copy");
                copies.fetch_add(1, Ordering::Relaxed);
            }
        });
        let looking = scope.spawn(|| look_without_pause(&place, &first, &is_over));
        for round in 0..4 {
            let begun = copies.load(Ordering::Relaxed);
            // Even rounds have attributes, odd ones have none.
            let has_any = round % 2 == 0;
            fs::write(place.src().join("dir-0/file-0"), format!("round {round}")).unwrap();
            let marked = ["dir-0/file-1", "dir-3", "link-4"].map(|name| place.src().join(name));
            for path in &marked {
                match has_any {
                    true => set_xattr(path, "user.mark", format!("round {round}").as_bytes()),
                    false => rustix::fs::lremovexattr(path, "user.mark").unwrap(),
                }
            }
            if has_any {
                fs::set_permissions(place.src().join("dir-1/file-2"), PermissionsExt::from_mode(0o644)).unwrap();
                set_xattr(place.src().join("dir-1/file-2"), "system.posix_acl_access", &ACL);
                set_xattr(place.src().join("dir-1/file-3"), "security.capability", &CAPABILITY);
            } else {
                let removed = ["dir-1/file-2", "dir-1/file-3"].map(|name| place.src().join(name));
                rustix::fs::lremovexattr(&removed[0], "system.posix_acl_access").unwrap();
                rustix::fs::lremovexattr(&removed[1], "security.capability").unwrap();
            }
            let now = look(&place.src());
            let made = time_of(&place.backup(&["--tag", &format!("tag-{round}")]));
            wait_for(SOON, "latest", || fs::read_link(place.shown("latest")).unwrap() == Path::new(&made));
            for when in ["latest", &made, &format!("tags/tag-{round}")] {
                let shown = place.shown(when);
                assert_eq!(fs::read_to_string(shown.join("dir-0/file-0")).unwrap(), format!("round {round}"));
                if has_any {
                    let value = format!("round {round}").into_bytes();
                    assert_eq!(xattr(shown.join("dir-0/file-1"), "user.mark").unwrap(), value);
                    assert_eq!(xattr(shown.join("dir-1/file-2"), "system.posix_acl_access").unwrap(), ACL);
                    assert_eq!(xattr(shown.join("dir-1/file-3"), "security.capability").unwrap(), CAPABILITY);
                }
                assert_eq!(device(&shown) == home, !has_any, "{when} of round {round}");
            }
            copies_as(&place, &made, &now, "copy");
            wait_for(Duration::from_secs(60), "a copy to be whole", || {
                copies.load(Ordering::Relaxed) > begun || copying.is_finished() || looking.is_finished()
            });
        }
        is_over.store(true, Ordering::Relaxed);
    });
    assert!(copies.into_inner() >= 4);
    assert_eq!(mounts(&place), 3);
    mount.end();
    wait_until_gone(&place.mnt());
    assert_eq!(mounts(&place), 0);
}

#[test]
fn kernel_is_spared_its_questions_and_both_connections_are_counted() {
    let place = Place::with_store();
    for file in 0..50 {
        fs::write(place.src().join(format!("file-{file}")), file.to_string()).unwrap();
    }
    let first = time_of(&place.backup(&[]));
    let Some(mount) = Logged::mount(&place, &[]) else { return };
    if !refuses(&place.shown(&first).join("file-1")) {
        return;
    }
    let questions = |counts: &BTreeMap<String, u64>| counts["getxattr"] + counts["listxattr"];
    copies_as(&place, &first, &look(&place.src()), "copy");
    let spared = mount.counts();
    // The first question for a value, and the first for names.
    assert!(questions(&spared) <= 2 && spared["read"] >= 1, "{spared:?}");
    set_xattr(place.src().join("file-1"), "user.mark", b"red");
    let made = time_of(&place.backup(&[]));
    wait_for(SOON, "the point", || place.shown(&made).exists());
    copies_as(&place, &made, &look(&place.src()), "copy");
    let asked = mount.counts();
    assert!(questions(&asked) >= 100 && asked["read"] > spared["read"], "{asked:?}");
    mount.guard.end();
    wait_until_gone(&place.mnt());
}

#[test]
fn source_whose_first_point_has_attributes_appears_with_them() {
    let Some((place, _, mount)) = refusing() else { return };
    fs::create_dir(place.path("other")).unwrap();
    fs::write(place.path("other/file"), "other").unwrap();
    set_xattr(place.path("other/file"), "user.mark", b"red");
    set_xattr(place.path("other"), "user.mark", b"root");
    place.run(["backup", "other"]).exits(0);
    wait_for(SOON, "the source", || names(place.mnt()).contains("other"));
    // Never without the point.
    assert_eq!(xattr(place.mnt().join("other/latest/file"), "user.mark").unwrap(), b"red");
    assert_eq!(xattr(place.mnt().join("other/latest/."), "user.mark").unwrap(), b"root");
    mount.end();
    assert_eq!(mounts(&place), 0);
}

/// Threads by name, and open files that are FUSE devices.
fn costs(server: i32) -> (BTreeMap<String, usize>, usize) {
    let mut threads = BTreeMap::new();
    for task in fs::read_dir(format!("/proc/{server}/task")).unwrap() {
        let name = fs::read_to_string(task.unwrap().path().join("comm")).unwrap();
        *threads.entry(name).or_default() += 1;
    }
    let files = fs::read_dir(format!("/proc/{server}/fd")).unwrap().flatten();
    let devices = files.filter(|file| fs::read_link(file.path()).is_ok_and(|to| to == Path::new("/dev/fuse"))).count();
    (threads, devices)
}

#[test]
fn thirty_points_with_attributes_cost_one_connection() {
    let Some((place, first, mount)) = refusing() else { return };
    let server = server_of(&place.mnt()).unwrap();
    let mut after_first = None;
    for round in 0..30 {
        set_xattr(place.src().join("dir-0/file-1"), "user.mark", format!("{round}").as_bytes());
        let made = time_of(&place.backup(&[]));
        if round == 0 {
            wait_for(SOON, "the first", || place.shown(&made).exists());
            after_first = Some(costs(server));
        }
    }
    wait_for(SOON, "all points", || names(place.mnt().join("src")).len() == 33);
    let points: BTreeSet<String> = names(place.mnt().join("src")).into_iter().filter(|name| name > &first).collect();
    let points: Vec<String> = points.into_iter().filter(|name| name.starts_with('2')).collect();
    for (round, name) in points.iter().enumerate() {
        let value = xattr(place.shown(name).join("dir-0/file-1"), "user.mark").unwrap();
        assert_eq!(value, round.to_string().into_bytes());
    }
    assert_eq!(points.len(), 30);
    let devices: BTreeSet<u64> = points.iter().map(|name| device(place.shown(name))).collect();
    assert_eq!(devices.len(), 1);
    assert_eq!(mounts(&place), 31);
    assert_eq!(Some(costs(server)), after_first);
    mount.end();
    assert_eq!(mounts(&place), 0);
    wait_until_gone(&place.mnt());
}

#[test]
fn mount_ends_with_its_grafts_by_signal_and_by_hand() {
    for how in ["signal", "umount -R"] {
        let Some((place, _, _mount)) = refusing() else { return };
        set_xattr(place.src().join("dir-0/file-1"), "user.mark", b"red");
        let made = time_of(&place.backup(&[]));
        wait_for(SOON, "the point", || place.shown(&made).exists());
        match how {
            "signal" => signal(server_of(&place.mnt()).unwrap(), Signal::TERM),
            _ => _ = limited(Command::new("umount").arg("-R").arg(place.mnt())).exits(0),
        }
        wait_until_gone(&place.mnt());
        assert_eq!(mounts(&place), 0);
        assert_eq!(fs::read_dir(place.store().join("leases")).unwrap().count(), 0);
    }
}

#[test]
fn mount_of_a_killed_server_is_healed_with_its_grafts() {
    let Some((place, _, _mount)) = refusing() else { return };
    set_xattr(place.src().join("dir-0/file-1"), "user.mark", b"red");
    let made = time_of(&place.backup(&[]));
    wait_for(SOON, "the point", || place.shown(&made).exists());
    signal(server_of(&place.mnt()).unwrap(), Signal::KILL);
    wait_for(Duration::from_secs(20), "the server to be gone", || server_of(&place.mnt()).is_none());
    limited(place.command().args(["mount", "mnt"])).exits(0);
    assert_eq!(mounts(&place), 1);
    assert_eq!(xattr(place.shown(&made).join("dir-0/file-1"), "user.mark").unwrap(), b"red");
    limited(place.command().args(["umount", "mnt"])).exits(0);
    wait_until_gone(&place.mnt());
}

#[test]
fn graft_that_is_taken_away_comes_back_and_is_no_mount_of_its_own() {
    let Some((place, first, mount)) = refusing() else { return };
    set_xattr(place.src().join("dir-0/file-1"), "user.mark", b"red");
    let made = time_of(&place.backup(&[]));
    wait_for(SOON, "the point", || place.shown(&made).exists());
    let refused = limited(place.command().arg("umount").arg(place.shown(&made))).exits(1);
    assert!(refused.stderr.contains("is a part of the dbakfs mounted at"), "{refused:#?}");
    limited(Command::new("umount").arg(place.shown(&made))).exits(0);
    // Whoever is quick finds an error, but no empty directory.
    match fs::read_dir(place.shown(&made)).and_then(|mut entries| entries.next().transpose()) {
        Ok(found) => assert!(found.is_some(), "an empty directory stands for a point"),
        Err(error) => assert!(matches!(errno(&error), libc::EREMOTE | libc::ENOENT), "{error}"),
    }
    wait_for(Duration::from_secs(5), "the point to come back", || {
        xattr(place.shown(&made).join("dir-0/file-1"), "user.mark").is_ok_and(|value| value == b"red")
    });
    assert!(place.shown(&first).join("dir-0").exists());
    mount.end();
    assert_eq!(mounts(&place), 0);
}

#[test]
fn point_that_is_gone_takes_its_graft_along() {
    let Some((place, first, mount)) = refusing() else { return };
    set_xattr(place.src().join("dir-0/file-1"), "user.mark", b"red");
    let made = place.backup(&[]);
    let time = time_of(&made);
    wait_for(SOON, "the point", || place.shown(&time).exists());
    let number = made["number"].as_u64().unwrap();
    fs::remove_file(place.store().join(format!("catalogs/{number:08}.catalog"))).unwrap();
    wait_for(SOON, "the point to go", || !place.shown(&time).exists());
    wait_for(SOON, "latest to go back", || fs::read_link(place.shown("latest")).unwrap() == Path::new(&first));
    assert_eq!(mounts(&place), 1);
    mount.end();
}

#[test]
fn whoever_sees_the_mount_without_its_grafts_is_told_so() {
    let Some((place, _, mount)) = refusing() else { return };
    // A copy of the mount in which nothing that is mounted later appears.
    let script = "set -e
        mount --make-rprivate /
        echo ready; read -r go
        cd \"$MNT/src\"
        for look in 'ls latest/' 'ls latest/dir-0' 'cat latest/dir-0/file-1'; do $look 2>&1 || true; done";
    let mut shell = Command::new("unshare");
    shell.args(["-m", "timeout", "60", "sh", "-c", script]).env("MNT", place.mnt()).env("LC_ALL", "C");
    set_xattr(place.src().join("dir-0/file-1"), "user.mark", b"red");
    let mut shell = shell.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut said = BufReader::new(shell.stdout.take().unwrap());
    let mut line = String::new();
    said.read_line(&mut line).unwrap();
    assert_eq!(line, "ready\n");
    let made = time_of(&place.backup(&[]));
    wait_for(SOON, "the point", || place.shown(&made).exists());
    shell.stdin.take().unwrap().write_all(b"go\n").unwrap();
    let said = std::io::read_to_string(said).unwrap();
    shell.wait().unwrap();
    assert_eq!(said.matches("Object is remote").count(), 3, "{said}");
    mount.end();
}

#[test]
fn point_that_cannot_be_attached_is_not_shown_and_said_and_tried_again() {
    let place = Place::with_store();
    fs::write(place.src().join("file"), "file").unwrap();
    let first = time_of(&place.backup(&[]));
    if !is_root() || !Path::new("/dev/fuse").exists() {
        eprintln!("\n*** NOT TESTED: this needs root and /dev/fuse ***\n");
        return;
    }
    // In a namespace of its own, where the device can be hidden.
    let script = "set -e
        mount --make-rprivate /
        \"$DBAKFS\" mount --log \"$LOG\" \"$MNT\"; echo mounted; read -r go
        mount --bind /dev/null /dev/fuse; echo hidden; read -r go
        umount /dev/fuse; echo back; read -r go
        \"$DBAKFS\" umount \"$MNT\"; echo ended";
    let mut shell = Command::new("unshare");
    shell.args(["-m", "timeout", "60", "sh", "-c", script]).env("MNT", place.mnt()).env("HOME", place.path("home"));
    shell.env("DBAKFS", env!("CARGO_BIN_EXE_dbakfs")).env("DBAKFS_STORE", place.store()).env("LOG", place.path("log"));
    let mut shell = shell.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut input = shell.stdin.take().unwrap();
    let mut lines = BufReader::new(shell.stdout.take().unwrap()).lines();
    let mut next = |expected: &str| assert_eq!(lines.next().unwrap().unwrap(), expected);
    next("mounted");
    // The way into its namespace.
    let inside = PathBuf::from(format!("/proc/{}/root", server_of(&place.mnt()).unwrap()));
    let shown = |when: &str| inside.join(place.shown(when).strip_prefix("/").unwrap());
    let can_refuse = refuses(&shown("latest/file"));
    input.write_all(b"go\n").unwrap();
    next("hidden");
    set_xattr(place.src().join("file"), "user.mark", b"red");
    let made = time_of(&place.backup(&[]));
    if can_refuse {
        wait_for(Duration::from_secs(5), "the log", || fs::read_to_string(place.path("log")).unwrap().contains(&made));
        std::thread::sleep(Duration::from_millis(1500));
        assert!(!shown(&made).exists());
        assert_eq!(fs::read_link(shown("latest")).unwrap(), Path::new(&first));
        let log = fs::read_to_string(place.path("log")).unwrap();
        assert!(log.contains("is not shown, since its extended attributes would be missing"), "{log}");
        assert_eq!(log.lines().count(), 1, "it was tried again and said again: {log}");
    }
    input.write_all(b"go\n").unwrap();
    next("back");
    wait_for(Duration::from_secs(5), "the point", || shown(&made).exists());
    assert_eq!(xattr(shown("latest/file"), "user.mark").unwrap(), b"red");
    input.write_all(b"go\n").unwrap();
    next("ended");
    assert!(shell.wait().unwrap().success());
    wait_until_gone(&place.mnt());
}

#[test]
fn mount_that_shows_attributes_from_the_start_is_asked_for_ever() {
    let place = Place::with_store();
    fs::write(place.src().join("plain"), "plain").unwrap();
    fs::write(place.src().join("marked"), "marked").unwrap();
    set_xattr(place.src().join("marked"), "user.mark", b"red");
    place.backup(&[]);
    let Some(mount) = place.mount(&[]) else { return };
    for _ in 0..3 {
        assert_eq!(errno(&xattr(place.shown("latest/plain"), "user.mark").unwrap_err()), libc::ENODATA);
        assert_eq!(xattr(place.shown("latest/marked"), "user.mark").unwrap(), b"red");
    }
    // What is removed is not missed, and nothing is attached.
    rustix::fs::lremovexattr(place.src().join("marked"), "user.mark").unwrap();
    let made = time_of(&place.backup(&[]));
    wait_for(SOON, "the point", || place.shown(&made).exists());
    assert_eq!(errno(&xattr(place.shown(&made).join("marked"), "user.mark").unwrap_err()), libc::ENODATA);
    assert_eq!(mounts(&place), 1);
    mount.end();
}

#[test]
fn mount_that_nobody_has_asked_shows_attributes_itself() {
    let place = Place::with_store();
    fs::write(place.src().join("file"), "file").unwrap();
    place.backup(&[]);
    let Some(mount) = place.mount(&[]) else { return };
    set_xattr(place.src().join("file"), "user.mark", b"red");
    let made = time_of(&place.backup(&[]));
    wait_for(SOON, "the point", || place.shown(&made).exists());
    assert_eq!(xattr(place.shown(&made).join("file"), "user.mark").unwrap(), b"red");
    assert_eq!(mounts(&place), 1);
    mount.end();
}
