//! The real binary over a generated tree: full, unchanged, changed, restore, and where there is FUSE, mount, find and `cp -a`.
//!
//! `cargo bench --bench end_to_end`. Works in a directory of its own below `TMPDIR` (about 1 GB at most) and prints a table of
//! medians. It tells orders of magnitude on the machine at hand, with warm caches, and decides no test.

#![allow(clippy::unwrap_used, reason = "a benchmark that cannot run has nothing to measure")]
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "this is its output")]

mod tree;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use tree::Shape;

const SEED: u64 = 20_261_120;
/// 20,000 files, about 300 MB.
const SHAPE: Shape = Shape { directories: 400, files_in_each: 50, file_bytes: 15_500 };
const CHANGED_STEP: usize = 100;
const ROUNDS: usize = 3;
/// Times that are younger than this when a file is read are not trusted by the next backup, which reads the file again.
const SETTLING: Duration = Duration::from_millis(2_100);

struct Place(tempfile::TempDir);

impl Place {
    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn dbakfs(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_dbakfs"));
        command.env("DBAKFS_STORE", self.path("store")).env("HOME", self.path("home"));
        command.env_remove("XDG_DATA_HOME").env_remove("XDG_STATE_HOME");
        command
    }

    /// Runs `dbakfs` with `args`; how long it took.
    fn run(&self, args: &[&str]) -> Duration {
        time(self.dbakfs().args(args).current_dir(self.0.path()))
    }

    /// Runs a line of bash; how long it took, or nothing where a tool is missing.
    fn bash(&self, line: &str) -> Option<Duration> {
        let begun = Instant::now();
        let mut command = Command::new("bash");
        command.args(["-o", "pipefail", "-c", line]).current_dir(self.0.path()).stderr(Stdio::null());
        command.status().is_ok_and(|status| status.success()).then(|| begun.elapsed())
    }
}

fn time(command: &mut Command) -> Duration {
    let begun = Instant::now();
    let status = command.stdin(Stdio::null()).stdout(Stdio::null()).status().unwrap();
    let took = begun.elapsed();
    assert!(status.success(), "{command:?} ended with {status}");
    took
}

/// Ends the mount whatever happens.
struct Mount<'a>(&'a Place);

impl Drop for Mount<'_> {
    fn drop(&mut self) {
        let _ = self.0.dbakfs().arg("umount").arg(self.0.path("mnt")).status();
    }
}

/// Times by what was done, in the order of the first round.
#[derive(Default)]
struct Table(Vec<(&'static str, Vec<Duration>)>);

impl Table {
    /// Adds a time, or nothing where it could not be measured.
    fn add(&mut self, what: &'static str, took: impl Into<Option<Duration>>) {
        let Some(took) = took.into() else { return };
        match self.0.iter_mut().find(|(known, _)| *known == what) {
            Some((_, times)) => times.push(took),
            None => self.0.push((what, vec![took])),
        }
    }

    fn print(mut self) {
        println!("{:<28} {:>10}", "what", "median");
        for (what, times) in &mut self.0 {
            times.sort_unstable();
            println!("{what:<28} {:>8.2} s", times[times.len() / 2].as_secs_f64());
        }
    }
}

fn remove(path: &Path) {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            panic!("cannot remove {}: {error}", path.display())
        }
        _ => {}
    }
}

fn round(place: &Place, files: &[PathBuf], seed: u64, table: &mut Table) {
    remove(&place.path("store"));
    place.run(&["init"]);
    // Beside what it is held against: an archive, the `stat` of every entry, a plain copy.
    table.add("tar | zstd -3 -T2 of the source", place.bash("tar -cf - source | zstd -q -3 -T2 >/dev/null"));
    table.add("full", place.run(&["backup", "source"]));
    table.add("find -printf over the source", place.bash("find source -printf '%s %m %T@\\n' >/dev/null"));
    table.add("unchanged", place.run(&["backup", "source"]));
    tree::change(files, CHANGED_STEP, seed);
    std::thread::sleep(SETTLING);
    table.add("1 % of the files changed", place.run(&["backup", "source"]));
    remove(&place.path("copy"));
    table.add(
        "cp -a of the source itself",
        time(Command::new("cp").arg("-a").args([place.path("source"), place.path("copy")])),
    );
    remove(&place.path("copy"));
    table.add("restore", place.run(&["restore", "source/latest", "copy"]));
    if !Path::new("/dev/fuse").exists() {
        return;
    }
    let mount = Mount(place);
    table.add("mount", place.run(&["mount", "mnt"]));
    // By its own name: a path through the link `latest` asks for the link again and again.
    let point = fs::canonicalize(place.path("mnt/source/latest")).unwrap();
    table.add("find in the mount, first", time(Command::new("find").arg(&point)));
    table.add("find in the mount, again", time(Command::new("find").arg(&point)));
    remove(&place.path("copy"));
    table.add("cp -a out of the mount", time(Command::new("cp").arg("-a").args([point, place.path("copy")])));
    drop(mount);
}

fn main() {
    let place = Place(tempfile::tempdir().unwrap());
    for name in ["home", "mnt"] {
        fs::create_dir(place.path(name)).unwrap();
    }
    let files = tree::make(&place.path("source"), SHAPE, SEED);
    let bytes: u64 = files.iter().map(|file| file.metadata().unwrap().len()).sum();
    println!("{} files, {} MB, {ROUNDS} rounds", files.len(), bytes / 1_000_000);
    if !Path::new("/dev/fuse").exists() {
        eprintln!("/dev/fuse is missing on this machine: nothing is mounted");
    }
    std::thread::sleep(SETTLING);
    let mut table = Table::default();
    for round_number in 0..ROUNDS {
        round(&place, &files, SEED + 1 + round_number as u64, &mut table);
    }
    table.print();
}
