//! What cannot be read is neither deleted nor unchanged: reported, kept as it was, and read again next time.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use crate::support::cli::{Place, Ran, wait_for};
use crate::support::points::{changes, count, noise};
use crate::support::tree::look;

const NOBODY: u32 = 65_534;

/// A place of an ordinary user, so that a mode can forbid something.
struct Users {
    place: Place,
    program: PathBuf,
}

impl Users {
    fn new() -> Self {
        let place = Place::new();
        // The program may stand where an ordinary user cannot reach it. It is copied by another process: this one forks on other
        // threads, and a child that still has the copy open for writing keeps it from being run.
        let program = place.path("dbakfs");
        let copied = Command::new("cp").arg(env!("CARGO_BIN_EXE_dbakfs")).arg(&program).status().unwrap();
        assert!(copied.success());
        if rustix::process::geteuid().is_root() {
            chown(place.path(""), Some(NOBODY), Some(NOBODY)).unwrap();
            chown(place.src(), Some(NOBODY), Some(NOBODY)).unwrap();
        }
        let users = Self { place, program };
        users.run(&["init"]).exits(0);
        users
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.env("DBAKFS_STORE", self.place.store()).env("HOME", self.place.path("home")).env("TZ", "UTC");
        command.env("DBAKFS_CONFIG", self.place.path("dbakfs.toml"));
        if rustix::process::geteuid().is_root() {
            command.uid(NOBODY).gid(NOBODY);
        }
        command.current_dir(self.place.path(""));
        command
    }

    fn run(&self, args: &[&str]) -> Ran {
        Ran::of(self.command().args(args).output().unwrap())
    }

    fn write(&self, path: &str, content: &[u8]) {
        let full = self.place.src().join(path);
        fs::create_dir_all(full.parent().unwrap()).unwrap();
        fs::write(&full, content).unwrap();
        if rustix::process::geteuid().is_root() {
            for path in full.ancestors().take_while(|path| path.starts_with(self.place.src())) {
                chown(path, Some(NOBODY), Some(NOBODY)).unwrap();
            }
        }
    }

    fn mode(&self, path: &str, mode: u32) {
        fs::set_permissions(self.place.src().join(path), PermissionsExt::from_mode(mode)).unwrap();
    }

    #[track_caller]
    fn backup(&self, code: i32, more: &[&str]) -> (Value, String) {
        let ran = self.run(&[&["backup", "src", "--json"], more].concat()).exits(code);
        (ran.json().remove(0), ran.stderr)
    }

    fn unread(&self) -> Vec<String> {
        self.place.differing("src/latest").into_iter().filter(|line| line.ends_with("unread")).collect()
    }
}

#[test]
fn an_unreadable_file_keeps_its_earlier_version_and_is_read_again() {
    let users = Users::new();
    users.write("secret", &noise(1, 50_000));
    users.write("plain", b"plain");
    users.backup(0, &[]);

    users.write("secret", &noise(2, 60_000));
    users.mode("secret", 0o000);
    let (done, stderr) = users.backup(3, &[]);
    assert!(stderr.contains("warning: cannot read") && stderr.contains("src/secret"), "{stderr}");
    assert_eq!((done["outcome"].as_str(), count(&done, "unread"), changes(&done)[2]), (Some("made"), 1, 0));
    assert_eq!(users.unread(), ["secret unread"]);
    assert_eq!(users.place.points()[1]["complete"], false);
    users.run(&["list"]).exits(0).prints("(incomplete)");

    // Nothing else has changed: no new point, but it is said again.
    let (done, stderr) = users.backup(3, &[]);
    assert!(stderr.contains("src/secret"), "{stderr}");
    assert_eq!((done["outcome"].as_str(), count(&done, "unread")), (Some("unchanged"), 1));
    users.write("plain", b"other");
    let (done, _) = users.backup(3, &[]);
    assert_eq!((done["outcome"].as_str(), users.unread()), (Some("made"), vec!["secret unread".to_owned()]));
    // A full carries it, too.
    let (done, _) = users.backup(3, &["--full", "--force"]);
    assert_eq!((done["type"].as_str(), users.unread()), (Some("full"), vec!["secret unread".to_owned()]));
    if let Some(mount) = users.place.mount(&[]) {
        for point in users.place.points() {
            let path = users.place.mnt().join(point["point"].as_str().unwrap()).join("secret");
            assert!(fs::read(path).unwrap() == noise(1, 50_000), "{point}");
        }
        mount.end();
    }

    users.mode("secret", 0o600);
    let (done, stderr) = users.backup(0, &[]);
    assert_eq!((stderr.as_str(), count(&done, "unread"), changes(&done)), ("", 0, [0, 1, 0]));
    assert_eq!(
        (users.place.differing("src/latest"), users.backup(0, &[]).0["outcome"].as_str()),
        (vec!["secret updated".to_owned()], Some("unchanged"))
    );
    let Some(mount) = users.place.mount(&[]) else { return };
    assert!(fs::read(users.place.shown("latest/secret")).unwrap() == noise(2, 60_000));
    mount.end();
}

#[test]
fn an_unreadable_directory_keeps_what_was_below_and_is_read_again() {
    let users = Users::new();
    users.write("closed/a", &noise(1, 20_000));
    users.write("closed/sub/deep/b", &noise(2, 20_000));
    users.write("closed/sub/gone", b"gone");
    users.write("open/c", b"c");
    users.backup(0, &[]);
    let original = look(&users.place.src());
    users.write("closed/sub/deep/b", &noise(3, 20_000));
    fs::remove_file(users.place.src().join("closed/sub/gone")).unwrap();
    users.write("closed/sub/come", b"come");
    users.backup(0, &[]);
    let before = look(&users.place.src());

    users.mode("closed", 0o000);
    users.write("open/c", b"other");
    let (done, stderr) = users.backup(3, &[]);
    assert!(stderr.contains("src/closed"), "{stderr}");
    assert_eq!((done["outcome"].as_str(), count(&done, "unread"), count(&done, "files")), (Some("made"), 1, 4));
    assert_eq!(users.unread(), ["closed unread"]);
    let (done, _) = users.backup(3, &[]);
    assert_eq!(done["outcome"], "unchanged", "still closed, and nothing else: {done}");
    let (done, _) = users.backup(3, &["--full", "--force"]);
    assert_eq!((done["type"].as_str(), count(&done, "files")), (Some("full"), 4));
    users.write("open/c", b"another");
    users.backup(3, &[]);
    if let Some(mount) = users.place.mount(&[]) {
        for (number, point) in users.place.points().iter().enumerate() {
            let shown = look(&users.place.mnt().join(point["point"].as_str().unwrap()));
            let expected = if number == 0 { &original } else { &before };
            for (path, entry) in expected.iter().filter(|(path, _)| path.starts_with(b"closed/")) {
                let is_kept = shown.get(path).is_some_and(|shown| entry.is_kept_by(shown));
                assert!(is_kept, "{number} {}: {:?}", String::from_utf8_lossy(path), shown.get(path));
            }
            assert_eq!(shown.len(), expected.len(), "{number}");
        }
        mount.end();
    }

    users.mode("closed", 0o755);
    let (done, stderr) = users.backup(0, &[]);
    assert_eq!((stderr.as_str(), count(&done, "unread"), count(&done, "files")), ("", 0, 4));
    assert_eq!((users.unread(), users.backup(0, &[]).0["outcome"].as_str()), (vec![], Some("unchanged")));
    let Some(mount) = users.place.mount(&[]) else { return };
    crate::support::points::same("open again", &look(&users.place.src()), &look(&users.place.shown("latest")));
    mount.end();
}

#[test]
fn what_could_never_be_read_is_listed_without_content() {
    let users = Users::new();
    users.write("secret", b"secret");
    users.write("closed/inside", b"inside");
    users.write("plain", b"plain");
    users.mode("secret", 0o000);
    users.mode("closed", 0o000);
    let (done, stderr) = users.backup(3, &[]);
    assert_eq!((count(&done, "unread"), done["type"].as_str()), (2, Some("full")));
    assert!(stderr.contains("src/secret") && stderr.contains("src/closed"), "{stderr}");
    assert_eq!(users.unread(), ["closed unread", "secret unread"]);
    let (done, _) = users.backup(3, &[]);
    assert_eq!(done["outcome"], "unchanged", "{done}");
    if let Some(mount) = users.place.mount(&[]) {
        // It is there, with what stat said of it, and reading it is an error, not an empty file.
        let shown = users.place.shown("latest");
        assert_eq!(shown.join("secret").metadata().unwrap().len(), 6);
        assert_eq!(fs::read(shown.join("secret")).unwrap_err().raw_os_error(), Some(libc::EIO));
        assert_eq!(fs::read_dir(shown.join("closed")).unwrap().count(), 0);
        assert_eq!(fs::read(shown.join("plain")).unwrap(), b"plain");
        mount.end();
    }
    users.mode("secret", 0o600);
    users.mode("closed", 0o700);
    let (done, stderr) = users.backup(0, &[]);
    assert_eq!((stderr.as_str(), count(&done, "unread"), count(&done, "files")), ("", 0, 3));
    let Some(mount) = users.place.mount(&[]) else { return };
    crate::support::points::same("open", &look(&users.place.src()), &look(&users.place.shown("latest")));
    mount.end();
}

#[test]
fn an_unreadable_name_of_a_hard_link_and_what_replaces_the_unread_come_out_right() {
    let users = Users::new();
    users.write("a", &noise(1, 10_000));
    users.write("closed/x", b"x");
    fs::hard_link(users.place.src().join("a"), users.place.src().join("z")).unwrap();
    users.backup(0, &[]);
    users.mode("a", 0o000);
    users.mode("closed", 0o000);
    let (done, _) = users.backup(3, &[]);
    assert_eq!((count(&done, "unread"), count(&done, "files")), (3, 3));
    // The unread go, or become something else.
    fs::remove_file(users.place.src().join("a")).unwrap();
    fs::remove_file(users.place.src().join("z")).unwrap();
    users.mode("closed", 0o755);
    fs::remove_dir_all(users.place.src().join("closed")).unwrap();
    users.write("closed", b"now a file");
    users.write("a/b", b"now a directory");
    users.backup(0, &[]);
    assert_eq!(users.place.differing("src/latest"), ["a new", "a/b new", "closed new", "z deleted"]);
    let Some(mount) = users.place.mount(&[]) else { return };
    crate::support::points::same("replaced", &look(&users.place.src()), &look(&users.place.shown("latest")));
    mount.end();
}

#[test]
fn a_source_that_cannot_be_opened_fails_and_makes_nothing() {
    let users = Users::new();
    users.write("a", b"a");
    users.mode("", 0o000);
    let ran = users.run(&["backup", "src"]);
    assert!(matches!(ran.code, 1 | 3), "{ran:#?}");
    assert!(ran.stderr.contains("src"), "{ran:#?}");
    users.mode("", 0o755);
    let (done, _) = users.backup(0, &[]);
    assert_eq!(count(&done, "files"), 1);
}

#[test]
fn a_mount_by_root_does_not_stop_the_backups_of_the_store_s_owner() {
    let users = Users::new();
    users.write("a", b"before");
    users.backup(0, &[]);
    let Some(mount) = users.place.mount(&[]) else { return };
    users.write("a", b"after");
    let (done, stderr) = users.backup(0, &[]);
    assert_eq!((done["outcome"].as_str(), stderr.as_str()), (Some("made"), ""));
    let point = users.place.mnt().join(done["point"].as_str().unwrap());
    let appears = wait_for(Duration::from_secs(5), "the new point in the mount", || point.exists());
    assert!(appears < Duration::from_secs(1), "{appears:?}");
    assert_eq!(fs::read(point.join("a")).unwrap(), b"after");
    mount.end();
    users.backup(0, &["--force"]);
}

#[test]
fn a_deep_tree_that_becomes_unreadable_is_carried_on_a_small_stack() {
    let users = Users::new();
    let deep = "d/".repeat(1_500);
    users.write(&format!("closed/{deep}file"), b"far below");
    users.backup(0, &[]);
    users.mode("closed", 0o000);
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -s 512; exec \"$0\" backup src --full"]).arg(&users.program);
    command.env("DBAKFS_CONFIG", users.place.path("dbakfs.toml"));
    command.env("DBAKFS_STORE", users.place.store()).current_dir(users.place.path(""));
    if rustix::process::geteuid().is_root() {
        command.uid(NOBODY).gid(NOBODY);
    }
    Ran::of(command.output().unwrap()).exits(3).says("cannot read");
    users.mode("closed", 0o755);
    users.run(&["ls", &format!("2:closed/{deep}")]).exits(0).prints("file");
    users.run(&["verify", "--data"]).exits(0);
}
