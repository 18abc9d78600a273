//! A real mount of a tree in memory, with a watchdog: a test that hangs is named, unmounted and ended.

use std::io::Write;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use dbakfs_mount::{MountOptions, Mounted};
use rustix::mount::UnmountFlags;
use tempfile::TempDir;

use crate::memory::Memory;

/// Longer than any test takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);

pub(crate) struct Rig {
    pub(crate) tree: Arc<Memory>,
    pub(crate) mounted: Mounted,
    pub(crate) point: Point,
}

/// An empty directory that everybody may enter, and that is unmounted at the end come what may.
pub(crate) struct Point {
    directory: TempDir,
    _watchdog: mpsc::Sender<()>,
}

impl Point {
    /// Nothing where mounts cannot be made, which is said past the capture of the test runner.
    pub(crate) fn new() -> Option<Self> {
        if !Path::new("/dev/fuse").exists() || !rustix::process::geteuid().is_root() {
            shout("SKIPPED: this test needs /dev/fuse and root");
            return None;
        }
        let directory = TempDir::new().unwrap();
        open_to_all(directory.path());
        std::fs::create_dir(directory.path().join("mnt")).unwrap();
        let (sender, receiver) = mpsc::channel::<()>();
        let path = directory.path().join("mnt");
        let name = std::thread::current().name().unwrap_or("a test").to_owned();
        std::thread::spawn(move || {
            if receiver.recv_timeout(PATIENCE) == Err(mpsc::RecvTimeoutError::Timeout) {
                shout(&format!("HUNG: {name}"));
                detach_all(&path);
                std::process::abort();
            }
        });
        Some(Self { directory, _watchdog: sender })
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.directory.path().join("mnt")
    }

    pub(crate) fn outside(&self) -> &Path {
        self.directory.path()
    }
}

impl Drop for Point {
    fn drop(&mut self) {
        detach_all(&self.path());
    }
}

impl Rig {
    pub(crate) fn new(fill: impl FnOnce(&Memory)) -> Option<Self> {
        Self::with(&MountOptions { allow_other: true, ..MountOptions::default() }, fill)
    }

    pub(crate) fn with(options: &MountOptions, fill: impl FnOnce(&Memory)) -> Option<Self> {
        let point = Point::new()?;
        let tree = Arc::new(Memory::new());
        fill(&tree);
        let mounted = dbakfs_mount::mount(Arc::clone(&tree), &point.path(), options).unwrap();
        Some(Self { tree, mounted, point })
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.point.path().join(name)
    }

    /// The line of `/proc/self/mountinfo` for this mount.
    pub(crate) fn mount_line(&self) -> String {
        mount_lines(&self.point.path()).pop().expect("mounted")
    }
}

impl Deref for Rig {
    type Target = Mounted;

    fn deref(&self) -> &Mounted {
        &self.mounted
    }
}

pub(crate) fn mount_lines(path: &Path) -> Vec<String> {
    let table = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    let path = path.to_str().unwrap();
    table.lines().filter(|line| line.split(' ').nth(4) == Some(path)).map(str::to_owned).collect()
}

pub(crate) fn detach_all(path: &Path) {
    while rustix::mount::unmount(path, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW).is_ok() {}
}

pub(crate) fn shout(what: &str) {
    let name = std::thread::current().name().unwrap_or("?").to_owned();
    std::io::stderr().write_all(format!("\n*** {name}: {what}\n").as_bytes()).unwrap();
}

pub(crate) fn open_to_all(path: &Path) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
}

/// Runs a program as another user.
pub(crate) fn run_as(uid: u32, gid: u32, program: &str, arguments: &[&str]) -> Output {
    use std::os::unix::process::CommandExt;
    Command::new(program).args(arguments).uid(uid).gid(gid).current_dir("/").env("LC_ALL", "C").output().unwrap()
}

pub(crate) fn errno<T: std::fmt::Debug>(result: std::io::Result<T>) -> i32 {
    result.unwrap_err().raw_os_error().unwrap()
}
