//! Running what may hang, so that it cannot; and looking at the processes and mounts that a test has made.
//!
//! Its invariant: nothing here waits without bound, whatever a mount or a program does.

use std::fs;
use std::io::Read;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use super::cli::{Ran, wait_for};

/// A command that has not ended by then hangs.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
/// A mount that is in use for longer than this hangs.
const HANGS_AFTER: Duration = Duration::from_secs(180);

/// Runs a command to its end *and* to the end of its output, and fails the test if that takes longer than [`PATIENCE`].
///
/// What the command leaves behind must not hold its output open: that would hang a shell's `$(…)`.
#[track_caller]
pub(crate) fn limited(command: &mut Command) -> Ran {
    let begun = Instant::now();
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let (stdout, stderr) = (drain(child.stdout.take().unwrap()), drain(child.stderr.take().unwrap()));
    let left = || PATIENCE.saturating_sub(begun.elapsed());
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if left().is_zero() {
            let _ = child.kill();
            panic!("{command:?} has not ended after {PATIENCE:?}");
        }
        std::thread::sleep(Duration::from_millis(2));
    };
    let text = |pipe: mpsc::Receiver<Vec<u8>>| {
        let bytes = pipe.recv_timeout(left()).unwrap_or_else(|_| panic!("{command:?} ended, and its output did not"));
        String::from_utf8_lossy(&bytes).into_owned()
    };
    Ran { code: status.code().unwrap_or(-1), stdout: text(stdout), stderr: text(stderr) }
}

/// Kills the server of the mount at `mnt` if it is still needed after [`HANGS_AFTER`], and what the long run adds to that: whoever waits for an answer of it gets an
/// error then, and a test that would hang fails. Watches until the sender goes.
pub(crate) fn watch(mnt: &Path) -> mpsc::Sender<()> {
    let (sender, receiver) = mpsc::channel();
    let mnt = mnt.to_owned();
    let long_run = std::env::var("DBAKFS_TOGETHER_SECS").ok().and_then(|secs| secs.parse().ok()).unwrap_or(0);
    std::thread::spawn(move || {
        if receiver.recv_timeout(HANGS_AFTER + Duration::from_secs(long_run)) == Err(mpsc::RecvTimeoutError::Timeout) {
            eprintln!("the mount at {} is ended by force: the test takes too long", mnt.display());
            if let Some(server) = server_of(&mnt) {
                signal(server, rustix::process::Signal::KILL);
            }
        }
    });
    sender
}

fn drain(mut pipe: impl Read + Send + 'static) -> mpsc::Receiver<Vec<u8>> {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = pipe.read_to_end(&mut bytes);
        let _ = sender.send(bytes);
    });
    receiver
}

/// The process that serves the mount at `mnt`, if there is one.
pub(crate) fn server_of(mnt: &Path) -> Option<i32> {
    let mnt = mnt.as_os_str().as_encoded_bytes();
    fs::read_dir("/proc").unwrap().flatten().find_map(|entry| {
        let pid = entry.file_name().to_str()?.parse().ok()?;
        // A process that has just ended has none.
        let words = fs::read(entry.path().join("cmdline")).ok()?;
        let mut words = words.split(|byte| *byte == 0);
        let is_server = words.clone().any(|word| word == b"--serve" || word == b"--foreground");
        (is_server && words.any(|word| word == mnt)).then_some(pid)
    })
}

/// Sends a signal to a process of ours.
pub(crate) fn signal(pid: i32, signal: rustix::process::Signal) {
    rustix::process::kill_process(rustix::process::Pid::from_raw(pid).unwrap(), signal).unwrap();
}

/// The line of `/proc/self/mountinfo` about `mnt`; asks nothing of the mount itself.
pub(crate) fn mount_line(mnt: &Path) -> Option<String> {
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let point = mnt.to_str().unwrap();
    table.lines().rfind(|line| line.split(' ').nth(4) == Some(point)).map(str::to_owned)
}

/// Waits until neither a mount nor a process is left of the mount at `mnt`.
#[track_caller]
pub(crate) fn wait_until_gone(mnt: &Path) {
    wait_for(Duration::from_secs(20), "the mount and its process to end", || {
        mount_line(mnt).is_none() && server_of(mnt).is_none()
    });
}
