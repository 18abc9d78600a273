//! Talks to `fusermount3`, the set-uid helper that mounts and unmounts for ordinary users.
//!
//! Invariant: what the helper refuses becomes a typed error with its remedy, or carries the helper's own words.

use std::io::{self, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags};

use crate::error::{MountError, Result};

const PROGRAM: &str = "fusermount3";

/// Where the helper is looked for after the directories of `PATH`, which services may lack.
const USUAL_PLACES: &str = "/usr/bin:/bin:/usr/local/bin";

/// Mounts at `path` and gives the descriptor of the connection.
pub(crate) fn mount(path: &Path, options: &str) -> Result<OwnedFd> {
    let (ours, theirs) = UnixStream::pair().map_err(MountError::io("make a socket for", PROGRAM))?;
    let child = helper()?
        .args(["-o", options, "--"])
        .arg(path)
        // The helper sends the descriptor over the socket that this names; as its standard input it is inherited by rule.
        .env("_FUSE_COMMFD", "0")
        .stdin(OwnedFd::from(theirs))
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(MountError::io("run", PROGRAM))?;
    let received = receive(&ours);
    let output = child.wait_with_output().map_err(MountError::io("run", PROGRAM))?;
    match received {
        Ok(Some(device)) if output.status.success() => Ok(device),
        Err(error) if output.status.success() => Err(MountError::io("receive the device from", PROGRAM)(error)),
        _ => Err(refusal(path, &output)),
    }
}

/// Unmounts `path`; `false` says that it is in use and was left alone.
pub(crate) fn unmount(path: &Path, lazily: bool) -> Result<bool> {
    let output = helper()?
        .arg(if lazily { "-uz" } else { "-u" })
        .arg("--")
        .arg(path)
        .stdin(Stdio::null())
        .output()
        .map_err(MountError::io("run", PROGRAM))?;
    if output.status.success() {
        return Ok(true);
    }
    if !lazily && words(&output).contains("busy") {
        return Ok(false);
    }
    Err(refusal(path, &output))
}

/// Searched by hand, since `execvp` reports a directory of `PATH` that may not be entered rather than a missing program.
fn helper() -> Result<Command> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let places = std::env::split_paths(&path).chain(std::env::split_paths(USUAL_PLACES));
    let program = places.map(|place| place.join(PROGRAM)).find(|program| program.is_file());
    let mut command = Command::new(program.ok_or(MountError::NoFusermount)?);
    command.env("LC_ALL", "C");
    Ok(command)
}

/// What the helper said, without its name.
fn words(output: &Output) -> String {
    let said = String::from_utf8_lossy(&output.stderr);
    said.split_once("fusermount3: ").map_or(&*said, |(_, words)| words).trim().to_owned()
}

fn refusal(path: &Path, output: &Output) -> MountError {
    let message = words(output);
    if message.contains("user_allow_other") {
        return MountError::AllowOtherRefused;
    }
    if message.contains("open /dev/fuse") {
        return MountError::DeviceDenied(io::Error::other(message));
    }
    MountError::Refused { path: path.to_owned(), message }
}

/// The descriptor that comes with one byte, or nothing if the helper ended without.
fn receive(socket: &UnixStream) -> io::Result<Option<OwnedFd>> {
    let mut byte = [0];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    rustix::io::retry_on_intr(|| {
        rustix::net::recvmsg(socket, &mut [IoSliceMut::new(&mut byte)], &mut control, RecvFlags::CMSG_CLOEXEC)
    })?;
    Ok(control.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
        _ => None,
    }))
}
