//! What a store shows to other users: nothing, whatever the umask was.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::process::Command;

use crate::support::cli::Place;
use crate::support::process::limited;

/// Runs `dbakfs` with a umask.
fn with_umask(place: &Place, umask: &str, args: &[&str]) {
    let mut shell = Command::new("sh");
    shell
        .args(["-c", "umask \"$1\"; shift; exec \"$@\"", "sh", umask, env!("CARGO_BIN_EXE_dbakfs")])
        .args(args)
        .env("DBAKFS_STORE", place.store())
        .env("HOME", place.path("home"))
        .current_dir(place.path(""));
    limited(&mut shell).exits(0);
}

#[test]
fn store_is_closed_to_others_whatever_the_umask() {
    for umask in ["000", "022", "077", "007"] {
        let place = Place::new();
        fs::write(place.src().join("file"), vec![7; 3000]).unwrap();
        with_umask(&place, umask, &["init"]);
        with_umask(&place, umask, &["backup", "src", "--tag", "one"]);
        fs::write(place.src().join("more"), vec![8; 3000]).unwrap();
        with_umask(&place, umask, &["backup", "src"]);
        with_umask(&place, umask, &["verify", "--data"]);
        with_umask(&place, umask, &["rebuild-index"]);
        with_umask(&place, umask, &["forget", "2"]);
        let mut waiting = vec![place.store()];
        let (mut files, mut directories) = (0, 0);
        while let Some(path) = waiting.pop() {
            let meta = fs::symlink_metadata(&path).unwrap();
            let mode = meta.permissions().mode() & 0o7777;
            let name = path.strip_prefix(place.store()).unwrap().to_owned();
            if meta.is_dir() {
                directories += 1;
                assert_eq!(mode, 0o700, "umask {umask}: {}", name.display());
                waiting.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
            } else {
                files += 1;
                assert_eq!(mode, 0o600, "umask {umask}: {}", name.display());
            }
        }
        assert!(files > 8 && directories > 7, "{files} files, {directories} directories");
    }
}

#[test]
fn another_user_gets_nothing_out_of_a_store() {
    if !crate::support::awkward::is_root() {
        return;
    }
    let place = Place::with_store();
    fs::write(place.src().join("file"), "secret").unwrap();
    place.backup(&[]);
    fs::set_permissions(place.path(""), PermissionsExt::from_mode(0o755)).unwrap();
    let store = place.store();
    for (program, path) in [("ls", store.clone()), ("cat", store.join("store.toml")), ("ls", store.join("packs"))] {
        let ran = limited(Command::new(program).arg(&path).uid(65_534).gid(65_534).current_dir("/").env("LC_ALL", "C"));
        assert!(ran.code != 0 && ran.stderr.contains("Permission denied"), "{ran:#?}");
    }
}
