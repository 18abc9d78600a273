//! `kill -9` at random moments of everything that writes, mounts or restores: what was committed stays, and what comes next needs no help.
//!
//! `DBAKFS_KILLS` sets how many there are, `DBAKFS_SEED` which; the seed is printed.

#![allow(clippy::unwrap_used, reason = "a helper that fails is a test that fails")]
#![allow(clippy::print_stderr, reason = "a test explains itself on standard error")]

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use support::cli::{Place, wait_for};
use support::points::noise;
use support::process::{limited, mount_line, server_of, signal};

/// Name and bytes of each file.
type Files = BTreeMap<String, Vec<u8>>;

/// Small steps through all numbers, the same for the same seed.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

struct Trial {
    place: Place,
    dice: Dice,
    now: Files,
    points: BTreeMap<u64, Files>,
    /// How long each kind of thing takes, so that kills fall everywhere in it.
    usual: BTreeMap<&'static str, Duration>,
    kills: BTreeMap<&'static str, u32>,
    checked_bytes: u64,
    version: u64,
}

impl Trial {
    fn change(&mut self) {
        for _ in 0..1 + self.dice.below(12) {
            let file = format!("file-{:03}", self.dice.below(60));
            self.version += 1;
            let len = [100, 3_000, 30_000, 400_000][usize::try_from(self.dice.below(4)).unwrap()];
            let bytes = noise(self.version, len);
            fs::write(self.place.src().join(&file), &bytes).unwrap();
            self.now.insert(file, bytes);
        }
    }

    /// Runs a command and kills it somewhere; says whether it ended before by itself.
    fn kill(&mut self, what: &'static str, command: &mut Command) -> bool {
        let usual = *self.usual.entry(what).or_insert(Duration::from_millis(60));
        let at = usual * u32::try_from(self.dice.below(1_200)).unwrap() / 1_000;
        let begun = Instant::now();
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        while begun.elapsed() < at {
            if child.try_wait().unwrap().is_some() {
                self.usual.insert(what, (usual + begun.elapsed()) / 2);
                return true;
            }
            std::thread::sleep(Duration::from_micros(300));
        }
        end(&mut child);
        self.usual.insert(what, usual + usual / 50);
        *self.kills.entry(what).or_default() += 1;
        false
    }

    fn back_up(&mut self) {
        self.change();
        let mode = [&["--force"][..], &["--full"], &["--full", "--independent"], &["--tag", "t", "--move-tag"]];
        let mode = mode[usize::try_from(self.dice.below(4)).unwrap()];
        let mut command = self.place.command();
        self.kill("backup", command.args(["backup", "src"]).args(mode));
        self.admit();
    }

    /// A point that the killed backup has committed holds what the source held.
    fn admit(&mut self) {
        let listed: Vec<u64> = self.listed();
        for number in &listed {
            if !self.points.contains_key(number) {
                assert!(self.points.keys().all(|older| older < number), "number {number} came twice");
                self.points.insert(*number, self.now.clone());
            }
        }
        assert!(self.points.keys().all(|number| listed.contains(number)), "points are gone: {listed:?}");
    }

    fn listed(&self) -> Vec<u64> {
        let ran = self.place.run(["list", "--json"]).exits(0);
        assert_eq!(ran.stderr, "");
        ran.json().iter().map(|point| point["number"].as_u64().unwrap()).collect()
    }

    fn prune(&mut self) {
        // Not the newest: something must be left to be harmed.
        let numbers: Vec<u64> = self.points.keys().copied().collect();
        if numbers.len() > 3 {
            let number = numbers[usize::try_from(self.dice.below(numbers.len() as u64 - 2)).unwrap()];
            let mut command = self.place.command();
            self.kill("forget", command.args(["forget", "--with-differentials", &number.to_string()]));
            let left = self.listed();
            self.points.retain(|number, _| left.contains(number));
        }
        let mut command = self.place.command();
        self.kill("prune", command.args(["prune", "--grace", "0", "--repack-below", "100"]));
        self.admit();
    }

    fn mount(&mut self) {
        let mnt = self.place.mnt();
        self.place.run(["mount".as_ref(), mnt.as_os_str()]).exits(0);
        let server = server_of(&mnt).expect("a mount has a server");
        // Somebody reads while it dies.
        let mut reader = Command::new("timeout");
        reader.args(["20", "cp", "-r"]).arg(mnt.join("src/latest/.")).arg(self.place.path("copied"));
        let mut reader = reader.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(self.dice.below(60)));
        signal(server, rustix::process::Signal::KILL);
        *self.kills.entry("mount").or_default() += 1;
        wait_for(Duration::from_secs(20), "the reader of a dead mount to end", || reader.try_wait().unwrap().is_some());
        for (name, bytes) in files_in(&self.place.path("copied")) {
            let right = &self.points.values().last().unwrap()[&name];
            // What was being copied may be cut off; what is there is right.
            assert!(right.starts_with(&bytes), "{name} was copied wrongly");
        }
        let _ = fs::remove_dir_all(self.place.path("copied"));
        // The next mount heals it.
        let mount = self.place.mount(&[]).expect("there was one before");
        for (name, bytes) in self.points.values().last().unwrap() {
            assert!(fs::read(mnt.join("src/latest").join(name)).unwrap() == *bytes, "{name}");
        }
        mount.end();
        assert_eq!(mount_line(&mnt), None);
    }

    fn restore(&mut self) {
        let (number, expected) =
            self.points.iter().next_back().map(|(number, files)| (*number, files.clone())).unwrap();
        let into = self.place.path("restored");
        for _ in 0..2 {
            let mut command = self.place.command();
            self.kill("restore", command.arg("restore").arg(number.to_string()).arg(&into));
        }
        // Over what the killed ones have left.
        self.place
            .run(["restore".as_ref(), number.to_string().as_ref(), "--delete".as_ref(), into.as_os_str()])
            .exits(0);
        assert!(files_in(&into) == expected, "a restore after a killed one is not exact");
        fs::remove_dir_all(into).unwrap();
    }

    /// All that was committed can be read; the next backup, verification and prune need no help.
    fn check(&mut self) {
        self.change();
        let done = self.place.backup(&["--force"]);
        self.points.insert(done["number"].as_u64().unwrap(), self.now.clone());
        self.place.run(["verify", "--data"]).exits(0);
        self.place.run(["prune", "--grace", "0"]).exits(0);
        let json = self.place.run(["verify", "--json"]).exits(0).json();
        assert_eq!(json.last().unwrap()["orphan_packs"], 0, "a prune has left packs");
        assert_eq!(self.place.temporaries(), Vec::<std::path::PathBuf>::new());
        for (number, expected) in &self.points {
            let into = self.place.path("checked");
            self.place.run(["restore".as_ref(), number.to_string().as_ref(), into.as_os_str()]).exits(0);
            assert!(files_in(&into) == *expected, "point {number} is another");
            self.checked_bytes += expected.values().map(|bytes| bytes.len() as u64).sum::<u64>();
            fs::remove_dir_all(into).unwrap();
        }
        // So that the store does not grow without bound.
        while self.points.len() > 8 {
            let oldest = *self.points.keys().next().unwrap();
            self.place.run(["forget", "--with-differentials", &oldest.to_string()]).exits(0);
            let left = self.listed();
            self.points.retain(|number, _| left.contains(number));
        }
    }
}

fn end(child: &mut Child) {
    let _ = child.kill();
    child.wait().unwrap();
}

fn files_in(directory: &Path) -> Files {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries.map(|entry| (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap())).collect()
}

#[test]
fn whatever_is_killed_what_was_committed_stays_and_nothing_needs_help() {
    let kills: u32 = std::env::var("DBAKFS_KILLS").map_or(50, |kills| kills.parse().unwrap());
    let clock = || u64::from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().subsec_nanos());
    let seed: u64 = std::env::var("DBAKFS_SEED").map_or_else(|_| clock(), |seed| seed.parse().unwrap());
    eprintln!("DBAKFS_SEED={seed}");
    let has_fuse = Path::new("/dev/fuse").exists();
    if !has_fuse {
        eprintln!("\n*** NOT TESTED: /dev/fuse is missing on this machine, so no mount was killed ***\n");
    }
    let place = Place::with_store();
    let (now, points, usual, counts) = Default::default();
    let mut trial =
        Trial { place, dice: Dice(seed), now, points, usual, kills: counts, checked_bytes: 0, version: seed };
    for _ in 0..8 {
        trial.change();
    }
    trial.check();
    let mut round = 0;
    while trial.kills.values().sum::<u32>() < kills {
        if trial.points.is_empty() {
            // A full went with all that stood on it.
            trial.check();
        }
        match trial.dice.below(8) {
            0..=3 => trial.back_up(),
            4 | 5 => trial.prune(),
            6 if has_fuse => trial.mount(),
            _ => trial.restore(),
        }
        round += 1;
        if round % 6 == 0 {
            trial.check();
        }
    }
    trial.check();
    // No lock is left behind, whoever held it.
    limited(trial.place.command().args(["backup", "src", "--force"])).exits(0);
    let (kills, checked) = (&trial.kills, trial.checked_bytes);
    eprintln!("killed {kills:?} in {round} rounds; {checked} bytes of points were compared, none was wrong");
}
