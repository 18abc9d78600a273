//! The listings on their way from the walk to its consumer, in order, though some are away to have their files read.
//!
//! Owns how many may be under way. Refuses to look into them. Its invariant: they come out in the order in which they went in, and
//! never more than [`WAITING_LISTINGS`] wait, wherever they are.

use std::io;
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::{Receiver, SendTimeoutError, Sender, bounded};

use super::descent::Ended;
use super::{Listing, WAITING_LISTINGS};
use crate::source::ahead::{self, Job, ReadAhead};

/// How long a listing waits for the consumer before the walk looks whether it was cancelled.
const SEND_PATIENCE: Duration = Duration::from_millis(50);

enum Waiting {
    Ready(Box<Listing>),
    /// It comes when its files have been read.
    Coming(Receiver<Listing>),
}

/// The walk's end.
pub(super) struct Outlet {
    waiting: Sender<Waiting>,
    /// None where nothing is read ahead.
    readers: Option<Sender<Job>>,
}

/// The consumer's end.
#[derive(Debug)]
pub(super) struct Queue(Receiver<Waiting>);

/// A queue, and the threads that read ahead.
///
/// # Errors
/// Where a thread cannot be started.
pub(super) fn start(read_ahead: Option<ReadAhead>) -> io::Result<(Outlet, Queue, Vec<JoinHandle<()>>)> {
    let (waiting, queue) = bounded(WAITING_LISTINGS);
    let (readers, threads) = match read_ahead {
        Some(read_ahead) => {
            let (readers, threads) = ahead::start(read_ahead)?;
            (Some(readers), threads)
        }
        None => (None, Vec::new()),
    };
    Ok((Outlet { waiting, readers }, Queue(queue), threads))
}

impl Outlet {
    /// Sends a listing, by way of the readers if `read_ahead`; `check` says whether the walk goes on, while nobody takes it.
    pub(super) fn send(
        &self,
        listing: Listing,
        read_ahead: bool,
        check: impl Fn() -> Result<(), Ended>,
    ) -> Result<(), Ended> {
        let (mut waiting, job) = match &self.readers {
            Some(readers) if read_ahead => {
                let (reply, coming) = bounded(1);
                (Waiting::Coming(coming), Some((readers, Job { listing, reply })))
            }
            _ => (Waiting::Ready(Box::new(listing)), None),
        };
        loop {
            match self.waiting.send_timeout(waiting, SEND_PATIENCE) {
                Ok(()) => break,
                Err(SendTimeoutError::Disconnected(_)) => return Err(Ended),
                Err(SendTimeoutError::Timeout(unsent)) => waiting = unsent,
            }
            check()?;
        }
        // Only now that it has its place: so there are never more jobs than may wait.
        job.map_or(Ok(()), |(readers, job)| readers.send(job).map_err(|_| Ended))
    }
}

impl Queue {
    /// Waits for the next listing; `None` at the end, and where a thread has died.
    pub(super) fn next(&self) -> Option<Listing> {
        match self.0.recv().ok()? {
            Waiting::Ready(listing) => Some(*listing),
            Waiting::Coming(coming) => coming.recv().ok(),
        }
    }
}
