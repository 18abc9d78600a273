//! A mount sees what is backed up while it lives, and neither disturbs the other.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::shown::{names, time_of};
use crate::support::cli::{Place, wait_for};
use crate::support::process::limited;
use crate::support::tree::{compare, look};

/// What is made must be seen this soon.
const SOON: Duration = Duration::from_secs(1);

fn has(path: impl AsRef<Path>) -> bool {
    path.as_ref().symlink_metadata().is_ok()
}

/// The names that points of the next seconds would have.
fn names_to_come() -> Vec<String> {
    let ran = |offset: u32| {
        limited(Command::new("date").args(["-u", "-d", &format!("+{offset} seconds"), "+%Y-%m-%dT%H-%M-%SZ"])).exits(0)
    };
    (0..10).map(|offset| ran(offset).stdout.trim().to_owned()).collect()
}

#[test]
fn point_and_tags_appear_within_a_second_also_where_their_absence_was_seen() {
    let place = Place::with_store();
    fs::write(place.src().join("file"), "one").unwrap();
    let first = time_of(&place.backup(&[]));
    let Some(mount) = place.mount(&[]) else { return };
    for round in ["two", "three"] {
        fs::write(place.src().join("file"), round).unwrap();
        // The kernel now remembers all of this.
        let before = names(place.mnt().join("src"));
        let to_come: Vec<String> = names_to_come().into_iter().filter(|name| !before.contains(name)).collect();
        let absent = |name: &String| !has(place.shown(name)) && !has(place.shown(name).join("file"));
        assert!(to_come.iter().all(absent));
        assert!(!has(place.shown("tags").join(round)));
        let latest = fs::read_link(place.shown("latest")).unwrap();
        let made = time_of(&place.backup(&["--tag", round]));
        assert!(to_come.contains(&made), "{made} was not asked for before: {to_come:?}");
        wait_for(SOON, "the point", || {
            fs::read_to_string(place.shown(&made).join("file")).is_ok_and(|text| text == round)
        });
        wait_for(SOON, "latest", || fs::read_to_string(place.shown("latest/file")).is_ok_and(|text| text == round));
        wait_for(SOON, "the tag", || has(place.shown("tags").join(round).join("file")));
        assert_ne!(fs::read_link(place.shown("latest")).unwrap(), latest);
        let mut wanted = before.clone();
        wanted.insert(made);
        assert_eq!(names(place.mnt().join("src")), wanted);
    }
    assert_eq!(fs::read_to_string(place.shown(&first).join("file")).unwrap(), "one");
    mount.end();
}

#[test]
fn source_that_is_new_appears_within_a_second() {
    let place = Place::with_store();
    let Some(mount) = place.mount(&[]) else { return };
    fs::write(place.src().join("file"), "one").unwrap();
    assert!(names(place.mnt()).is_empty() && !has(place.mnt().join("src")));
    place.backup(&[]);
    wait_for(SOON, "the source", || has(place.shown("latest/file")));
    mount.end();
}

#[test]
fn tag_that_comes_later_or_moves_is_followed_within_a_second() {
    let place = Place::with_store();
    fs::write(place.src().join("file"), "one").unwrap();
    place.backup(&[]);
    let Some(mount) = place.mount(&[]) else { return };
    assert!(names(place.shown("tags")).is_empty());
    assert_eq!(place.backup(&["--tag", "here"])["outcome"], "unchanged");
    wait_for(SOON, "the tag on the newest point", || {
        fs::read_to_string(place.shown("tags/here/file")).is_ok_and(|text| text == "one")
    });
    fs::write(place.src().join("file"), "two").unwrap();
    place.backup(&["--tag", "here", "--move-tag"]);
    wait_for(SOON, "the tag that moved", || {
        fs::read_to_string(place.shown("tags/here/file")).is_ok_and(|text| text == "two")
    });
    mount.end();
}

#[test]
fn somebody_who_stands_in_an_old_point_stays_there() {
    let place = Place::with_store();
    fs::write(place.src().join("file"), "one").unwrap();
    place.backup(&[]);
    let Some(mount) = place.mount(&[]) else { return };
    let inside = fs::File::open(place.shown("latest/")).unwrap();
    let open = fs::File::open(place.shown("latest/file")).unwrap();
    fs::write(place.src().join("file"), "two").unwrap();
    place.backup(&["--full"]);
    wait_for(SOON, "latest", || fs::read_to_string(place.shown("latest/file")).is_ok_and(|text| text == "two"));
    let below =
        |name: &str| PathBuf::from(format!("/proc/self/fd/{}/{name}", std::os::fd::AsRawFd::as_raw_fd(&inside)));
    assert_eq!(fs::read_to_string(below("file")).unwrap(), "one");
    assert_eq!(std::io::read_to_string(open).unwrap(), "one");
    drop(inside);
    mount.end();
}

#[test]
fn backup_is_never_blocked_and_a_copy_of_an_older_point_goes_on_undisturbed() {
    let place = Place::with_store();
    for directory in 0..20 {
        let path = place.src().join(format!("dir-{directory}"));
        fs::create_dir(&path).unwrap();
        for file in 0..50 {
            fs::write(path.join(format!("file-{file}")), format!("{directory}/{file} ").repeat(file * 20)).unwrap();
        }
    }
    fs::write(place.src().join("large"), (0..4 << 20).flat_map(u32::to_le_bytes).collect::<Vec<u8>>()).unwrap();
    let first = time_of(&place.backup(&[]));
    let original = look(&place.src());
    let Some(mount) = place.mount(&[]) else { return };
    let (ended, copies) = (AtomicBool::new(false), std::sync::atomic::AtomicU32::new(0));
    std::thread::scope(|scope| {
        let copying = scope.spawn(|| {
            // One copy begins after the last backup has ended, too.
            let mut is_last = false;
            while !is_last {
                is_last = ended.load(Ordering::Relaxed);
                let copy = place.path("copy");
                limited(Command::new("cp").arg("-a").arg(place.shown(&first)).arg(&copy)).exits(0);
                for (claim, holds) in compare(&original, &look(&copy)) {
                    assert!(holds, "{claim}");
                }
                fs::remove_dir_all(&copy).unwrap();
                copies.fetch_add(1, Ordering::Relaxed);
            }
        });
        for round in 0..5 {
            let begun = copies.load(Ordering::Relaxed);
            fs::write(place.src().join("dir-0/file-0"), format!("round {round}")).unwrap();
            fs::remove_file(place.src().join(format!("dir-1/file-{round}"))).unwrap();
            let made = place.backup(if round == 3 { &["--full"] } else { &[] });
            assert_eq!(made["outcome"], "made");
            let shown = place.shown(&time_of(&made)).join("dir-0/file-0");
            wait_for(SOON, "the point", || {
                fs::read_to_string(&shown).is_ok_and(|text| text == format!("round {round}"))
            });
            wait_for(Duration::from_secs(60), "a copy to be whole", || {
                copies.load(Ordering::Relaxed) > begun || copying.is_finished()
            });
        }
        ended.store(true, Ordering::Relaxed);
    });
    assert!(copies.into_inner() >= 5);
    mount.end();
}
