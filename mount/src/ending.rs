//! Knows whether a connection to the kernel still lives, and lets others wait for its end.
//!
//! Invariant: it says "over" no later than the kernel may give the number of the mount or of its device to another mount.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec};

/// The end of one connection, reached or not.
#[derive(Debug)]
pub(crate) struct Ending {
    /// The device while the session runs. It is closed with the session, since as long as it were open, requests to a mount that
    /// nobody serves would wait instead of failing.
    device: Mutex<Option<OwnedFd>>,
    changed: Condvar,
}

impl Ending {
    /// Watches the connection that `device` belongs to.
    pub(crate) fn of(device: &OwnedFd) -> io::Result<Self> {
        Ok(Self { device: Mutex::new(Some(device.try_clone()?)), changed: Condvar::new() })
    }

    /// The session is over.
    pub(crate) fn reach(&self) {
        self.lock().take();
        self.changed.notify_all();
    }

    /// Whether the kernel has ended the connection, even if the session has not noticed yet.
    pub(crate) fn is_over(&self) -> bool {
        self.lock().as_ref().is_none_or(|device| {
            let mut poll = [PollFd::new(device, PollFlags::empty())];
            let polled = rustix::event::poll(&mut poll, Some(&Timespec { tv_sec: 0, tv_nsec: 0 }));
            polled.is_ok() && poll[0].revents().contains(PollFlags::ERR)
        })
    }

    /// Waits for the end of the session.
    pub(crate) fn wait(&self) {
        drop(self.changed.wait_while(self.lock(), |device| device.is_some()).unwrap_or_else(PoisonError::into_inner));
    }

    /// Waits no longer than `time`; says whether the session is over.
    pub(crate) fn wait_timeout(&self, time: Duration) -> bool {
        let waited = self.changed.wait_timeout_while(self.lock(), time, |device| device.is_some());
        waited.unwrap_or_else(PoisonError::into_inner).0.is_none()
    }

    fn lock(&self) -> MutexGuard<'_, Option<OwnedFd>> {
        self.device.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
