//! The real binary, on a scratch place of its own: a source, a store and a mount point that go when the test ends.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::process::{limited, watch};

/// A scratch place with the names that most tests need, and a configuration by which no differential is too large.
pub(crate) struct Place {
    dir: TempDir,
}

/// What a command did.
#[derive(Debug)]
pub(crate) struct Ran {
    /// -1 for one that a signal ended.
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ran {
    pub(crate) fn of(output: Output) -> Self {
        Self {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// Checks the exit code.
    #[track_caller]
    pub(crate) fn exits(self, code: i32) -> Self {
        assert_eq!(self.code, code, "{self:#?}");
        self
    }

    /// Checks that standard error holds `text`.
    #[track_caller]
    pub(crate) fn says(self, text: &str) -> Self {
        assert!(self.stderr.contains(text), "{text:?} is not in {self:#?}");
        self
    }

    /// Checks that standard output holds `text`.
    #[track_caller]
    pub(crate) fn prints(self, text: &str) -> Self {
        assert!(self.stdout.contains(text), "{text:?} is not in {self:#?}");
        self
    }

    /// Standard output as JSON, one value a line.
    #[track_caller]
    pub(crate) fn json(&self) -> Vec<serde_json::Value> {
        self.stdout.lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect()
    }
}

impl Place {
    /// An empty place with an empty source directory `src` and an empty mount point `mnt`; there is no store yet.
    pub(crate) fn new() -> Self {
        let place = Self { dir: tempfile::tempdir().unwrap() };
        fs::create_dir(place.src()).unwrap();
        fs::create_dir(place.mnt()).unwrap();
        // Trees of a few files change by more than half all the time.
        fs::write(
            place.path("dbakfs.toml"),
            "[defaults]\ndiff_threshold = 4294967295\nalarm = { percent = 4294967295, times = 4294967295 }\n",
        )
        .unwrap();
        place
    }

    /// A place with a store in it.
    pub(crate) fn with_store() -> Self {
        let place = Self::new();
        place.run(["init"]).exits(0);
        place
    }

    /// With a configuration by which alarms are the usual ones.
    pub(crate) fn usual(self) -> Self {
        fs::write(self.path("dbakfs.toml"), "[defaults]\ndiff_threshold = 4294967295\n").unwrap();
        self
    }

    pub(crate) fn path(&self, name: impl AsRef<OsStr>) -> PathBuf {
        self.dir.path().join(name.as_ref())
    }

    pub(crate) fn src(&self) -> PathBuf {
        self.path("src")
    }

    pub(crate) fn store(&self) -> PathBuf {
        self.path("store")
    }

    pub(crate) fn mnt(&self) -> PathBuf {
        self.path("mnt")
    }

    /// A directory of the mount: of the source `src`.
    pub(crate) fn shown(&self, when: &str) -> PathBuf {
        self.mnt().join("src").join(when)
    }

    /// `dbakfs` with this place's store and home, ready for arguments.
    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_dbakfs"));
        command
            .env("DBAKFS_STORE", self.store())
            .env("HOME", self.path("home"))
            .env_remove("XDG_DATA_HOME")
            .env_remove("XDG_STATE_HOME")
            .env("DBAKFS_CONFIG", self.path("dbakfs.toml"))
            // Not what this machine keeps of runs.
            .env("STATE_DIRECTORY", self.path("state"))
            .env("TZ", "UTC")
            .current_dir(self.dir.path())
            .stdin(Stdio::null());
        command
    }

    /// Runs `dbakfs` to its end.
    pub(crate) fn run<I: IntoIterator<Item = S>, S: AsRef<OsStr>>(&self, args: I) -> Ran {
        limited(self.command().args(args))
    }

    /// Backs up `src` with further arguments; `{"outcome": …}` and the rest of `--json`.
    #[track_caller]
    pub(crate) fn backup(&self, more: &[&str]) -> serde_json::Value {
        let mut args = vec!["backup", "src", "--json"];
        args.extend(more);
        let ran = self.run(args).exits(0);
        ran.json().remove(0)
    }

    /// Lets the clock move on, so that files written before are older than the margin within which their times are not trusted.
    pub(crate) fn settle() {
        std::thread::sleep(Duration::from_millis(2100));
    }

    /// Mounts the store; `None`, said loudly, where this machine has no FUSE.
    #[track_caller]
    pub(crate) fn mount(&self, more: &[&str]) -> Option<MountGuard> {
        if !Path::new("/dev/fuse").exists() {
            eprintln!("\n*** NOT TESTED: /dev/fuse is missing on this machine, so nothing was mounted ***\n");
            return None;
        }
        let mut args: Vec<&OsStr> = vec!["mount".as_ref()];
        args.extend(more.iter().map(OsStr::new));
        let mnt = self.mnt();
        args.push(mnt.as_ref());
        self.run(args).exits(0);
        Some(MountGuard { watch: watch(&mnt), mnt })
    }
}

/// A live mount; ends with the value.
pub(crate) struct MountGuard {
    mnt: PathBuf,
    #[allow(dead_code, reason = "it watches by being there")]
    watch: Sender<()>,
}

impl MountGuard {
    /// Ends the mount, and fails the test if that fails.
    #[track_caller]
    pub(crate) fn end(self) {
        limited(Command::new(env!("CARGO_BIN_EXE_dbakfs")).arg("umount").arg(&self.mnt)).exits(0);
    }
}

impl Drop for MountGuard {
    fn drop(&mut self) {
        // Whatever happened: nothing of ours stays mounted, and nothing here can hang.
        let _ = Command::new("timeout").args(["10", env!("CARGO_BIN_EXE_dbakfs"), "umount"]).arg(&self.mnt).output();
        let _ = Command::new("timeout").args(["10", "umount", "-l"]).arg(&self.mnt).output();
    }
}

/// Waits until `holds` answers true, at most for `limit`; answers how long it took.
#[track_caller]
pub(crate) fn wait_for(limit: Duration, what: &str, mut holds: impl FnMut() -> bool) -> Duration {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < limit, "waited {limit:?} in vain for: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
    begun.elapsed()
}

/// Every file below `root` with its length and bytes, for tests that a command changed nothing.
pub(crate) fn snapshot(root: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut files = Vec::new();
    let mut waiting = vec![root.to_owned()];
    while let Some(directory) = waiting.pop() {
        for entry in fs::read_dir(&directory).unwrap() {
            let path = entry.unwrap().path();
            if path.symlink_metadata().unwrap().is_dir() {
                files.push((path.clone(), Vec::new()));
                waiting.push(path);
            } else {
                let bytes = fs::read(&path).unwrap_or_default();
                files.push((path, bytes));
            }
        }
    }
    files.sort();
    files
}
