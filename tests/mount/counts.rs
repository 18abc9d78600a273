//! The messages that a mount was sent, as it writes them to its log.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use rustix::process::Signal;

use crate::support::cli::{MountGuard, Place, wait_for};
use crate::support::process::{limited, server_of, signal, wait_until_gone};

/// A mount with a log.
pub(crate) struct Logged {
    log: PathBuf,
    server: i32,
    pub(crate) guard: MountGuard,
}

impl Logged {
    pub(crate) fn mount(place: &Place, more: &[&str]) -> Option<Self> {
        let log = place.path("mount.log");
        let guard = place.mount(&[&["--log", log.to_str().unwrap()], more].concat())?;
        let server = server_of(&place.mnt()).expect("a process that serves the mount");
        Some(Self { log, server, guard })
    }

    /// The counts as they stand now.
    pub(crate) fn counts(&self) -> BTreeMap<String, u64> {
        let before = counts_in(&self.log).len();
        signal(self.server, Signal::USR1);
        wait_for(Duration::from_secs(10), "the counts in the log", || counts_in(&self.log).len() > before);
        counts_in(&self.log).pop().unwrap()
    }
}

fn counts_in(log: &PathBuf) -> Vec<BTreeMap<String, u64>> {
    let text = fs::read_to_string(log).unwrap_or_default();
    // The last line may be half-written.
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    let lines = whole.lines().filter_map(|line| line.strip_prefix("messages: ")?.split_once(';'));
    lines
        .map(|(kinds, _)| {
            let pairs = kinds.split(", ").map(|pair| pair.rsplit_once(' ').unwrap());
            pairs.map(|(kind, count)| (kind.to_owned(), count.parse().unwrap())).collect()
        })
        .collect()
}

#[test]
fn counts_come_on_sigusr1_and_with_stats_at_the_end() {
    let place = Place::with_store();
    fs::write(place.src().join("file"), "x".repeat(1000)).unwrap();
    place.backup(&[]);
    let Some(mount) = Logged::mount(&place, &["--stats"]) else { return };
    let before = mount.counts();
    fs::read(place.shown("latest/file")).unwrap();
    let after = mount.counts();
    assert!(after["lookup"] > before["lookup"] && after["read"] > before["read"], "{before:?} {after:?}");
    let log = mount.log.clone();
    mount.guard.end();
    wait_until_gone(&place.mnt());
    assert_eq!(counts_in(&log).len(), 3, "{}", fs::read_to_string(&log).unwrap());
}

#[test]
fn diff_between_two_points_reads_only_what_changed() {
    let place = Place::with_store();
    fs::create_dir(place.src().join("dir")).unwrap();
    for number in 0..40 {
        fs::write(place.src().join(format!("dir/{number}")), format!("{number:04}").repeat(5_000)).unwrap();
    }
    let first = place.backup(&[]);
    for number in [3, 17] {
        fs::write(place.src().join(format!("dir/{number}")), format!("new{number:02}").repeat(4_000)).unwrap();
    }
    let second = place.backup(&[]);
    let Some(mount) = Logged::mount(&place, &[]) else { return };
    let point = |made: &serde_json::Value| place.mnt().join(made["point"].as_str().unwrap());
    let before = mount.counts();
    let ran = limited(Command::new("diff").args(["-r", "-q"]).arg(point(&first)).arg(point(&second))).exits(1);
    assert_eq!(ran.stdout.lines().count(), 2, "{ran:#?}");
    let after = mount.counts();
    // Two versions of two files of 20,000 bytes, each one message at most, and perhaps one that finds the end. Some may be there already when they are wanted.
    let reads = after["read"] - before["read"];
    assert!((1..=8).contains(&reads), "{reads} READ messages; {after:?}");

    // A point against itself: nothing at all.
    limited(Command::new("diff").arg("-r").arg(point(&first)).arg(point(&first))).exits(0);
    assert_eq!(mount.counts()["read"], after["read"]);
}
