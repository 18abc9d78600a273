//! From mounting to unmounting, by whomever, and what is left alone.

use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use dbakfs_mount::tree::NodeId;
use dbakfs_mount::{Message, MountError, MountOptions, Unmounted, mountpoint};
use rustix::mount::{MountFlags, UnmountFlags};
use rustix::process::{Pid, Signal, WaitOptions};

use crate::memory::Memory;
use crate::rig::{Point, Rig, errno, mount_lines, shout};

const SOON: Duration = Duration::from_secs(20);
pub(crate) const SERVE: &str = "DBAKFS_TEST_SERVE_AT";

fn tree() -> Arc<Memory> {
    let tree = Memory::new();
    tree.file(NodeId::ROOT, "file", "data");
    Arc::new(tree)
}

fn try_mount(path: &Path) -> dbakfs_mount::Result<dbakfs_mount::Mounted> {
    dbakfs_mount::mount(tree(), path, &MountOptions::default())
}

fn tmpfs(path: &Path) {
    rustix::mount::mount("elsewhere", path, "tmpfs", MountFlags::empty(), None).unwrap();
}

#[test]
fn the_mount_answers_when_mount_returns_and_is_gone_after_unmount() {
    let Some(point) = Point::new() else { return };
    for _ in 0..10 {
        let mounted = try_mount(&point.path()).unwrap();
        assert_eq!(fs::read(point.path().join("file")).unwrap(), b"data");
        assert!(mountpoint::is_dbakfs_mount(&point.path()).unwrap());
        let device = fs::metadata(point.path().join("file")).unwrap().dev();
        assert_eq!((libc::major(device), libc::minor(device)), mounted.device());
        assert!(mountpoint::is_dbakfs_device(mounted.device()).unwrap());
        assert!(mounted.messages().get(Message::GetAttr) > 0);
        assert_ne!(mounted.unmount().unwrap(), Unmounted::Already);
        assert!(mounted.wait_timeout(SOON));
        assert_eq!(mounted.unmount().unwrap(), Unmounted::Already);
        assert!(mount_lines(&point.path()).is_empty());
        assert!(!mountpoint::is_dbakfs_mount(&point.path()).unwrap());
    }
}

#[test]
fn a_tree_without_a_readable_root_is_not_left_mounted() {
    let Some(point) = Point::new() else { return };
    let tree = tree();
    tree.change(NodeId::ROOT, |root| root.attr.mode = 0);
    let refused = dbakfs_mount::mount(tree, &point.path(), &MountOptions::default()).unwrap_err();
    assert!(refused.to_string().starts_with("cannot read the root of"), "{refused}");
    assert!(mount_lines(&point.path()).is_empty());
    try_mount(&point.path()).unwrap();
}

#[test]
fn dropping_unmounts() {
    let Some(point) = Point::new() else { return };
    drop(try_mount(&point.path()).unwrap());
    assert!(mount_lines(&point.path()).is_empty());
}

#[test]
fn wait_returns_when_somebody_else_unmounts() {
    let Some(rig) = Rig::new(|_| ()) else { return };
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| rig.wait());
        assert!(!rig.wait_timeout(Duration::from_millis(50)));
        assert!(Command::new("umount").arg(rig.point.path()).status().unwrap().success());
        waiting.join().unwrap();
    });
    assert_eq!(rig.unmount().unwrap(), Unmounted::Already);
}

#[test]
fn a_mount_in_use_is_detached_and_serves_its_user_to_the_end() {
    let Some(rig) = Rig::new(|tree| _ = tree.file(NodeId::ROOT, "file", "data")) else { return };
    let mut open = File::open(rig.path("file")).unwrap();
    assert_eq!(rig.unmount().unwrap(), Unmounted::Detached);
    assert!(mount_lines(&rig.point.path()).is_empty());
    assert!(!rig.wait_timeout(Duration::from_millis(50)));
    let mut data = String::new();
    open.read_to_string(&mut data).unwrap();
    assert_eq!(data, "data");
    drop(open);
    assert!(rig.wait_timeout(SOON));
}

#[test]
fn what_cannot_be_mounted_on_is_named() {
    let Some(point) = Point::new() else { return };
    let path = point.path();
    let missing = path.join("missing");
    assert!(matches!(try_mount(&missing), Err(MountError::Missing(named)) if named == missing));
    fs::write(path.join("file"), "").unwrap();
    assert!(matches!(try_mount(&path.join("file")), Err(MountError::NotDirectory(_))));
    assert!(matches!(try_mount(&path.join("file/x")), Err(MountError::NotDirectory(_))));
    assert!(matches!(try_mount(&path), Err(MountError::NotEmpty(_))));
    fs::remove_file(path.join("file")).unwrap();

    let mounted = try_mount(&path).unwrap();
    let again = try_mount(&path);
    assert!(matches!(again, Err(MountError::AlreadyMounted { fs_type, .. }) if fs_type == "fuse.dbakfs"));
    assert_eq!(fs::read(path.join("file")).unwrap(), b"data");
    mounted.unmount().unwrap();

    tmpfs(&path);
    assert!(matches!(try_mount(&path), Err(MountError::AlreadyMounted { fs_type, .. }) if fs_type == "tmpfs"));
}

#[test]
fn a_mount_point_behind_a_link_is_mounted_where_the_link_leads() {
    let Some(point) = Point::new() else { return };
    let link = point.outside().join("link");
    symlink("mnt", &link).unwrap();
    let mounted = try_mount(&link).unwrap();
    assert_eq!(mounted.path(), point.path());
    assert_eq!(fs::read(link.join("file")).unwrap(), b"data");
    assert!(mountpoint::is_dbakfs_mount(&link).unwrap());
    assert_ne!(mountpoint::unmount(&link).unwrap(), Unmounted::Already);
    assert!(mounted.wait_timeout(SOON));
}

#[test]
fn root_without_the_capability_is_told_of_it() {
    let Some(point) = Point::new() else { return };
    let output = Command::new("setpriv")
        .args(["--inh-caps=-sys_admin", "--bounding-set=-sys_admin", "--"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "lifecycle::child_serves", "--nocapture"])
        .env(SERVE, point.path())
        .output();
    let Ok(output) = output else { return shout("SKIPPED: setpriv is not installed") };
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains("Forbidden"), "{said}");
}

#[test]
fn umount_refuses_what_is_not_ours() {
    let Some(point) = Point::new() else { return };
    let path = point.path();
    assert!(matches!(mountpoint::unmount(&path), Err(MountError::NotMounted(_))));
    assert!(matches!(mountpoint::unmount(&path.join("none")), Err(MountError::Missing(_))));
    tmpfs(&path);
    fs::write(path.join("kept"), "").unwrap();
    assert!(matches!(mountpoint::unmount(&path), Err(MountError::NotOurs { fs_type, .. }) if fs_type == "tmpfs"));
    assert!(!mountpoint::heal(&path).unwrap());
    assert!(path.join("kept").exists());
    assert!(matches!(mountpoint::unmount(Path::new("/proc")), Err(MountError::NotOurs { .. })));
}

#[test]
fn a_file_system_mounted_over_ours_is_left_alone() {
    let Some(rig) = Rig::new(|_| ()) else { return };
    let path = rig.point.path();
    tmpfs(&path);
    fs::write(path.join("kept"), "").unwrap();
    assert!(matches!(rig.unmount(), Err(MountError::Covered { fs_type, .. }) if fs_type == "tmpfs"));
    assert!(path.join("kept").exists());
    rustix::mount::unmount(&path, UnmountFlags::empty()).unwrap();
    assert_ne!(rig.unmount().unwrap(), Unmounted::Already);
    assert!(mount_lines(&path).is_empty());
}

#[test]
fn a_file_system_mounted_after_ours_was_unmounted_is_left_alone() {
    let Some(rig) = Rig::new(|_| ()) else { return };
    let path = rig.point.path();
    rustix::mount::unmount(&path, UnmountFlags::DETACH).unwrap();
    tmpfs(&path);
    fs::write(path.join("kept"), "").unwrap();
    assert_eq!(rig.unmount().unwrap(), Unmounted::Already);
    drop(rig.mounted);
    assert!(path.join("kept").exists());
}

#[test]
fn a_mount_that_was_moved_is_unmounted_where_it_is() {
    let Some(rig) = Rig::new(|_| ()) else { return };
    let base = rig.point.outside().join("base");
    fs::create_dir(&base).unwrap();
    // Only below a private mount may mounts be moved.
    tmpfs(&base);
    rustix::mount::mount_change(&base, rustix::mount::MountPropagationFlags::PRIVATE).unwrap();
    for name in ["from", "to"] {
        fs::create_dir(base.join(name)).unwrap();
    }
    let mounted = try_mount(&base.join("from")).unwrap();
    rustix::mount::mount_move(base.join("from"), base.join("to")).unwrap();
    assert_eq!(fs::read(base.join("to/file")).unwrap(), b"data");
    assert_ne!(mounted.unmount().unwrap(), Unmounted::Already);
    assert!(mount_lines(&base.join("to")).is_empty());
    assert!(mounted.wait_timeout(SOON));
    rustix::mount::unmount(&base, UnmountFlags::DETACH).unwrap();
}

/// Serves in a process of its own, started by the tests below.
#[test]
fn child_serves() {
    let Some(path) = std::env::var_os(SERVE) else { return };
    let mounted = try_mount(Path::new(&path)).unwrap();
    println!("serving");
    mounted.wait();
}

/// With its output, since it would die of writing to nobody.
pub(crate) struct Server(Child, #[expect(dead_code, reason = "kept open")] ChildStdout);

impl Server {
    pub(crate) fn start(path: &Path) -> Self {
        Self::start_test("lifecycle::child_serves", path)
    }

    /// Starts the test of that name to serve at `path`.
    pub(crate) fn start_test(name: &str, path: &Path) -> Self {
        let program = std::env::current_exe().unwrap();
        let arguments = ["--exact", name, "--nocapture"];
        let mut child = Command::new(program).args(arguments).env(SERVE, path).stdout(Stdio::piped()).spawn().unwrap();
        let mut output = child.stdout.take().unwrap();
        let (mut said, mut byte) = (Vec::new(), [0]);
        while !said.ends_with(b"serving\n") {
            assert_eq!(output.read(&mut byte).unwrap(), 1, "the server ended early");
            said.push(byte[0]);
        }
        Self(child, output)
    }

    /// Stops all its threads; the signal alone may come before an answer that is under way.
    pub(crate) fn stop(&self) {
        let process = Pid::from_child(&self.0);
        rustix::process::kill_process(process, Signal::STOP).unwrap();
        let (_, status) = rustix::process::waitpid(Some(process), WaitOptions::UNTRACED).unwrap().unwrap();
        assert!(status.stopped());
    }

    /// Waits for its end.
    pub(crate) fn ended_well(&mut self) -> bool {
        self.0.wait().unwrap().success()
    }

    pub(crate) fn kill(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn dead_mount() -> Option<(Point, PathBuf)> {
    let point = Point::new()?;
    let path = point.path();
    let mut server = Server::start(&path);
    assert_eq!(fs::read(path.join("file")).unwrap(), b"data");
    assert!(!mountpoint::heal(&path).unwrap(), "it lives");
    server.kill();
    assert_eq!(errno(fs::read_dir(&path)), libc::ENOTCONN);
    assert!(mountpoint::is_dbakfs_mount(&path).unwrap());
    Some((point, path))
}

#[test]
fn mounting_over_a_mount_whose_server_was_killed_heals_it() {
    let Some((_point, path)) = dead_mount() else { return };
    let mounted = try_mount(&path).unwrap();
    assert_eq!(fs::read(path.join("file")).unwrap(), b"data");
    assert_eq!(mount_lines(&path).len(), 1);
    mounted.unmount().unwrap();
    assert!(mount_lines(&path).is_empty());
}

#[test]
fn a_dead_mount_can_be_healed_and_unmounted() {
    let Some((_point, path)) = dead_mount() else { return };
    assert!(mountpoint::heal(&path).unwrap());
    assert!(!mountpoint::heal(&path).unwrap());
    assert!(mount_lines(&path).is_empty());
    let Some((_point, path)) = dead_mount() else { return };
    assert_ne!(mountpoint::unmount(&path).unwrap(), Unmounted::Already);
    assert!(mount_lines(&path).is_empty());
}

#[test]
fn umount_from_another_process_ends_the_server() {
    let Some(point) = Point::new() else { return };
    let mut server = Server::start(&point.path());
    assert_ne!(mountpoint::unmount(&point.path()).unwrap(), Unmounted::Already);
    assert!(server.ended_well());
}

#[test]
fn a_server_that_hangs_is_named_within_seconds() {
    let Some(point) = Point::new() else { return };
    let path = point.path();
    let mut server = Server::start(&path);
    server.stop();
    let begin = Instant::now();
    assert!(mountpoint::is_dbakfs_mount(&path).unwrap());
    let refused = try_mount(&path);
    assert!(begin.elapsed() < Duration::from_secs(15));
    assert!(matches!(refused, Err(MountError::NotAnswering(_))), "{refused:?}");
    // Unmounting asks nothing of the server either.
    assert_ne!(mountpoint::unmount(&path).unwrap(), Unmounted::Already);
    assert!(mount_lines(&path).is_empty());
    server.kill();
}
