//! `restore` as it is typed.

#![allow(clippy::unwrap_used, reason = "a helper that fails is a test that fails")]
#![allow(clippy::print_stderr, reason = "a test explains itself on standard error")]

mod support;

use std::fs;

use support::awkward;
use support::cli::{Place, Ran, snapshot};
use support::points::shelf;
use support::process::limited;

/// Restores into a directory of its own; what `changed` holds there.
#[track_caller]
fn changed_in(place: &Place, point: &str, more: &[&str]) -> (String, Ran) {
    let dest = place.path("dest");
    let _ = fs::remove_dir_all(&dest);
    let ran = place.run([&["restore", point, "dest"][..], more].concat()).exits(0);
    (fs::read_to_string(dest.join("changed")).unwrap(), ran)
}

/// The moment of a point, moved by some seconds, in a form for `date`.
fn moved(point: &str, seconds: i64, format: &str, zone: &str) -> String {
    let (date, time) = point.split_once('/').unwrap().1.trim_end_matches('Z').split_once('T').unwrap();
    let moment = format!("{date} {} UTC", time.replace('-', ":"));
    let mut command = std::process::Command::new("date");
    let seconds = format!("{moment} {} seconds", if seconds < 0 { seconds.to_string() } else { format!("+{seconds}") });
    limited(command.env("TZ", zone).args(["-d", &seconds, format])).exits(0).stdout.trim().to_owned()
}

#[test]
fn every_form_of_a_point_finds_it() {
    let (place, points) = shelf();
    for (point, content) in [
        (points[0].as_str(), "changed one"),
        (&points[1], "changed two"),
        (&points[2], "changed three"),
        ("src/one", "changed one"),
        ("src/three", "changed three"),
        ("src/latest", "changed three"),
        ("1", "changed one"),
        ("2", "changed two"),
        ("3", "changed three"),
        ("2:", "changed two"),
    ] {
        let (found, ran) = changed_in(&place, point, &["--exact"]);
        assert_eq!(found, content, "{point}");
        assert_eq!(ran.stderr, "", "{point}");
    }
}

#[test]
fn time_between_points_means_the_newest_not_after_it_and_says_so() {
    let (place, points) = shelf();
    let later = moved(&points[2], 3_600, "+%Y-%m-%dT%H:%M:%SZ", "UTC");
    let before = moved(&points[0], -1, "+%Y-%m-%dT%H:%M:%SZ", "UTC");
    let zoned = moved(&points[2], 60, "+%Y-%m-%dT%H:%M:%S%:z", "Asia/Kolkata");
    let date = moved(&points[2], 0, "+%Y-%m-%d", "UTC");
    let epoch = moved(&points[2], 5, "+@%s", "UTC");
    for time in [&later, &zoned, &date, &epoch] {
        let point = format!("src/{time}");
        let (found, ran) = changed_in(&place, &point, &[]);
        assert_eq!(found, "changed three", "{point}");
        assert_eq!(ran.stderr, format!("using {}, the newest point not after that time\n", points[2]), "{point}");
        fs::remove_dir_all(place.path("dest")).unwrap();
        let ran = place.run(["restore", &point, "dest", "--exact"]).exits(1);
        assert!(
            ran.stderr.starts_with("error: src has no point at exactly") && ran.stderr.contains(&points[2]),
            "{ran:#?}"
        );
        assert!(!place.path("dest").exists());
    }
    place.run(["restore", &format!("src/{before}"), "dest"]).exits(1).says("no point as old as");
    // A point's own second, in another zone, is exact.
    let same = moved(&points[1], 0, "+%Y-%m-%dT%H:%M:%S%:z", "Asia/Kolkata");
    let (found, ran) = changed_in(&place, &format!("src/{same}"), &["--exact"]);
    assert_eq!((found.as_str(), ran.stderr.as_str()), ("changed two", ""));
    // A path may follow a time, whose colons it is not confused with.
    place.run(["ls", &format!("src/{later}:dir/below")]).exits(0).prints("deep");
}

#[test]
fn time_without_a_zone_is_local() {
    let (place, points) = shelf();
    for zone in ["UTC", "America/New_York", "Asia/Kolkata"] {
        let local = moved(&points[1], 0, "+%Y-%m-%d %H:%M:%S", zone);
        let mut command = place.command();
        command.env("TZ", zone).args(["ls", "--exact", "--json", &format!("src/{local}:changed")]);
        let ran = limited(&mut command).exits(0);
        assert_eq!(ran.json()[0]["size_bytes"], "changed two".len(), "{zone}: {ran:#?}");
    }
}

#[test]
fn part_of_a_point_goes_into_dest() {
    let (place, _) = shelf();
    place.run(["restore", "src/latest:dir", "a/b/dest"]).exits(0);
    assert_eq!(fs::read_to_string(place.path("a/b/dest/come")).unwrap(), "come three");
    assert_eq!(fs::read_to_string(place.path("a/b/dest/below/deep")).unwrap(), "dir/below/deep one");
    assert_eq!(fs::read_dir(place.path("a/b/dest")).unwrap().count(), 2);
    // A single file, under its name, beside what is there.
    fs::create_dir(place.path("files")).unwrap();
    fs::write(place.path("files/mine"), "mine").unwrap();
    place.run(["restore", "src/one:/dir/../gone", "files"]).exits(2);
    place.run(["restore", "src/one:/gone", "files"]).exits(0);
    place.run(["restore", "src/one:dir/below/deep", "files/"]).exits(0);
    for (name, content) in [("gone", "gone one"), ("deep", "dir/below/deep one"), ("mine", "mine")] {
        assert_eq!(fs::read_to_string(place.path("files").join(name)).unwrap(), content);
    }
    assert_eq!(fs::read_dir(place.path("files")).unwrap().count(), 3);
}

#[test]
fn delete_removes_what_the_point_does_not_have_and_nothing_does_without() {
    let (place, _) = shelf();
    let dest = place.path("dest");
    fs::create_dir_all(dest.join("extra/deep")).unwrap();
    fs::write(dest.join("extra/deep/file"), "mine").unwrap();
    fs::write(dest.join("changed"), "mine").unwrap();
    place.run(["restore", "src/three", "dest"]).exits(0);
    assert_eq!(fs::read_to_string(dest.join("changed")).unwrap(), "changed three");
    assert_eq!(fs::read_to_string(dest.join("extra/deep/file")).unwrap(), "mine");
    let ran = place.run(["restore", "src/one", "dest", "--delete", "--json"]).exits(0);
    assert!(!dest.join("extra").exists() && !dest.join("dir/come").exists());
    assert_eq!(fs::read_to_string(dest.join("gone")).unwrap(), "gone one");
    let report = &ran.json()[0];
    assert_eq!((report["damaged"].as_u64(), report["failed"].as_u64()), (Some(0), Some(0)), "{report}");
    assert!(report["removed"].as_u64().unwrap() >= 2 && report["entries"].as_u64() == Some(8), "{report}");
    assert_eq!(report["point"].as_str().unwrap().split('/').next(), Some("src"));
    // Once more: nothing is left to do.
    let again = place.run(["restore", "src/one", "dest", "--delete", "--json"]).exits(0).json().remove(0);
    assert_eq!((again["removed"].as_u64(), again["written_bytes"].as_u64()), (Some(0), Some(0)), "{again}");
}

#[test]
fn awkward_tree_is_restored_exactly() {
    let place = Place::with_store();
    awkward::make(&place.src());
    place.run(["backup", "src"]).exits(0);
    place.run(["restore", "src/latest", "dest"]).exits(0);
    for (claim, holds) in awkward::check(&place.src(), &place.path("dest")) {
        assert!(holds, "{claim}");
    }
}

#[test]
fn dest_inside_the_store_is_refused() {
    let (place, _) = shelf();
    let before = snapshot(&place.store());
    std::os::unix::fs::symlink("store", place.path("way-in")).unwrap();
    for dest in ["store", "store/new", "store/packs", "way-in/new"] {
        let ran = place.run(["restore", "src/one", dest]).exits(1);
        assert!(ran.stderr.contains("lies inside the store"), "{dest}: {ran:#?}");
    }
    assert!(before == snapshot(&place.store()), "the store has changed");
    fs::write(place.path("file"), "mine").unwrap();
    place.run(["restore", "src/one", "file"]).exits(1);
    assert_eq!(fs::read_to_string(place.path("file")).unwrap(), "mine");
}

#[test]
fn after_a_restore_over_the_source_nothing_has_changed() {
    let (place, _) = shelf();
    fs::write(place.src().join("kept"), "spoilt").unwrap();
    fs::remove_dir_all(place.src().join("dir")).unwrap();
    fs::write(place.src().join("extra"), "extra").unwrap();
    let packs = |place: &Place| snapshot(&place.store().join("packs"));
    let before = packs(&place);
    place.run(["restore", "src/latest", "src", "--delete"]).exits(0);
    let made = place.backup(&[]);
    assert_eq!(made["outcome"], "unchanged", "{made}");
    assert_eq!(place.run(["list", "--json"]).json().len(), 3);
    // Forced, it lists what the newest lists, and stores no data.
    let made = place.backup(&["--force"]);
    assert_eq!(made["counts"]["stored_bytes"], 0, "{made}");
    assert!(packs(&place) == before, "data was stored");
    assert_eq!(place.run(["diff", "3", "4"]).exits(0).stdout, "");
}

#[test]
fn a_tree_back_at_its_full_makes_an_empty_differential() {
    let (place, _) = shelf();
    place.run(["restore", "src/one", "src", "--delete"]).exits(0);
    let made = place.backup(&[]);
    assert_eq!((&made["outcome"], &made["type"]), (&"made".into(), &"differential".into()), "{made}");
    let counts = &made["counts"];
    assert_eq!(
        [&counts["new"], &counts["updated"], &counts["deleted"], &counts["stored_bytes"]].map(|n| n.as_u64()),
        [Some(0); 4]
    );
    assert_eq!(place.run(["diff", "1", "4"]).exits(0).stdout, "");
    let list = place.run(["ls", "-R", "4", "--json"]).exits(0).json();
    assert!(list.iter().all(|entry| entry["status"] == "unchanged"), "{list:?}");
}

#[test]
fn an_equal_file_of_another_user_is_not_kept_but_made_anew() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("\n*** NOT TESTED: only root can restore over another user's file ***\n");
        return;
    }
    use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
    let place = Place::with_store();
    let (tool, dest) = (place.src().join("tool"), place.path("dest"));
    fs::write(&tool, "the same bytes").unwrap();
    fs::set_permissions(&tool, fs::Permissions::from_mode(0o4755)).unwrap();
    place.run(["backup", "src"]).exits(0);
    fs::create_dir(&dest).unwrap();
    let planted = dest.join("tool");
    fs::write(&planted, "the same bytes").unwrap();
    chown(&planted, Some(65534), Some(65534)).unwrap();
    // Somebody else holds it open, and could go on writing to it.
    let held = fs::File::options().write(true).open(&planted).unwrap();
    place.run(["restore", "src/latest", "dest"]).exits(0);
    let restored = fs::metadata(&planted).unwrap();
    assert_ne!(restored.ino(), held.metadata().unwrap().ino());
    assert_eq!((restored.uid(), restored.mode() & 0o7777), (0, 0o4755));
}

#[test]
fn a_store_on_a_full_disk_can_still_be_read() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("\n*** NOT TESTED: only root can mount a small file system ***\n");
        return;
    }
    let place = Place::new();
    fs::create_dir(place.path("small")).unwrap();
    fs::write(place.src().join("file"), "content").unwrap();
    // In a namespace of its own, so that no mount outlives the shell.
    let script = "set -e
        mount -t tmpfs -o size=2m tmpfs small
        export DBAKFS_STORE=$PWD/small/store
        \"$DBAKFS\" init; \"$DBAKFS\" backup src
        cat /dev/zero >small/fill 2>/dev/null || true
        \"$DBAKFS\" list; \"$DBAKFS\" verify --data; \"$DBAKFS\" restore src/latest out
        if \"$DBAKFS\" backup src --force --full; then exit 9; fi
        rm small/fill
        \"$DBAKFS\" backup src --force --full; \"$DBAKFS\" verify --data";
    let mut command = std::process::Command::new("unshare");
    command.args(["-m", "timeout", "30", "sh", "-c", script]).current_dir(place.path(""));
    limited(command.env("DBAKFS", env!("CARGO_BIN_EXE_dbakfs")).env("HOME", place.path("home"))).exits(0);
    assert_eq!(fs::read_to_string(place.path("out/file")).unwrap(), "content");
}

#[test]
fn modes_come_back_whatever_the_umask_of_the_user() {
    use std::os::unix::fs::PermissionsExt;
    let place = Place::with_store();
    let modes = [0o644, 0o666, 0o664, 0o600, 0o755, 0o777, 0o444, 0o4755, 0o2711, 0];
    for dir in ["one", "two"] {
        fs::create_dir(place.src().join(dir)).unwrap();
        for (number, mode) in modes.into_iter().cycle().take(40).enumerate() {
            let path = place.src().join(dir).join(number.to_string());
            fs::write(&path, vec![b'x'; number * 100]).unwrap();
            let mode = if mode == 0 && !rustix::process::geteuid().is_root() { 0o400 } else { mode };
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        }
    }
    place.run(["backup", "src"]).exits(0);
    let modes_in = |name: &str| {
        let of = |dir: &str, number: usize| {
            let meta = fs::metadata(place.path(name).join(dir).join(number.to_string())).unwrap();
            (meta.len(), meta.permissions().mode() & 0o7777)
        };
        ["one", "two"].map(|dir| (0..40).map(|number| of(dir, number)).collect::<Vec<_>>())
    };
    let wanted = modes_in("src");
    for umask in ["0", "022", "077", "0777"] {
        let mut command = std::process::Command::new("sh");
        command.args(["-c", "umask $0; mkdir -m 700 \"$1\"; exec \"$DBAKFS\" restore src/latest \"$1\"", umask, umask]);
        command
            .env("DBAKFS", env!("CARGO_BIN_EXE_dbakfs"))
            .env("DBAKFS_STORE", place.store())
            .current_dir(place.path(""));
        limited(&mut command).exits(0);
        assert_eq!(modes_in(umask), wanted, "{umask}");
    }
}

#[test]
fn a_full_disk_ends_the_restore_and_leaves_whole_files_only() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("\n*** NOT TESTED: only root can mount a small file system ***\n");
        return;
    }
    let place = Place::with_store();
    for number in 0..40 {
        let dir = place.src().join(format!("d{number:02}"));
        fs::create_dir(&dir).unwrap();
        (0..10).for_each(|file| fs::write(dir.join(format!("small{file}")), vec![b's'; 20_000]).unwrap());
        fs::write(dir.join("large"), vec![b'l'; 3 << 20]).unwrap();
    }
    place.run(["backup", "src"]).exits(0);
    // What is not whole is a file of another length, or one that has holes.
    let script = "set -e
        mkdir small; mount -t tmpfs -o size=20m tmpfs small
        if \"$DBAKFS\" restore src/latest small/out 2>said; then exit 9; fi
        grep -q 'No space left' said
        test -n \"$(find small/out -type f)\"
        ! find small/out -name '.dbakfs-*' | grep -q .
        find small/out -name 'small*' ! -size 20000c | grep -q . && exit 8
        for large in $(find small/out -name large); do cmp \"$large\" src/d00/large; done";
    let mut command = std::process::Command::new("unshare");
    command.args(["-m", "timeout", "30", "sh", "-c", script]).current_dir(place.path(""));
    command.env("DBAKFS", env!("CARGO_BIN_EXE_dbakfs")).env("DBAKFS_STORE", place.store());
    limited(&mut command).exits(0);
}
