//! Hands data to the kernel for its page cache, on a thread that shares no descriptors with the others.
//!
//! Storing waits, in a way that no signal ends, for a page that a pending read holds. Were the server killed meanwhile, this thread could not end before that read is answered, and the
//! read not before the server's descriptors are closed, which threads of one table share: the mount would hang for good. So this thread has a table of its own with nothing in it but a descriptor
//! of its own for the connection (`FUSE_DEV_IOC_CLONE`). When the others are gone their descriptors are closed, the kernel ends the reads that they had taken, and this thread goes on and ends.
//!
//! Invariant: after [`Storer::start`] the thread holds one descriptor.

use std::fs::OpenOptions;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use crate::notice;
use crate::tree::NodeId;

/// Bytes that go to the thread at once; what is stored is the sooner of use the fewer they are.
const BATCH_BYTES: usize = 256 << 10;

/// Batches that wait.
const QUEUE: usize = 2;

/// `FUSE_DEV_IOC_CLONE` of linux/fuse.h.
const CLONE: libc::Ioctl = 0x8004_e500_u32 as libc::Ioctl;

/// Some pieces of data that belong together: when the kernel does not take one, the others are let go.
struct Batch {
    job: u64,
    pieces: Vec<(NodeId, u64, usize)>,
    bytes: Vec<u8>,
}

/// Gathers pieces and gives them to the thread. When it is dropped the thread ends.
pub(crate) struct Storer {
    batches: SyncSender<Batch>,
    gathered: Batch,
    /// The last job of which the kernel did not take a piece.
    refused: Arc<AtomicU64>,
}

impl Storer {
    /// Begins the thread for the connection of `device`.
    pub(crate) fn start(device: &OwnedFd) -> io::Result<Self> {
        let own = clone_of(device)?;
        let (batches, waiting) = sync_channel(QUEUE);
        let refused = Arc::new(AtomicU64::new(0));
        let (told, number) = (Arc::clone(&refused), own.as_raw_fd());
        let (left, has_left) = sync_channel(1);
        std::thread::Builder::new().name("dbakfs-store".to_owned()).spawn(move || match leave_table(number) {
            Ok(own) => {
                let _ = left.send(Ok(()));
                run(&own, &waiting, &told);
            }
            Err(error) => _ = left.send(Err(error)),
        })?;
        // In the table of the others it is closed now.
        let has_left = has_left.recv().unwrap_or_else(|_| Err(io::Error::other("the thread died")));
        drop(own);
        has_left?;
        Ok(Self { batches, gathered: Batch::of(0), refused })
    }

    /// Begins another job; the one before is flushed.
    pub(crate) fn begin(&mut self) {
        self.gathered.job += 1;
    }

    /// Takes a piece of the job; says whether more is wanted.
    pub(crate) fn add(&mut self, node: NodeId, offset: u64, data: &[u8]) -> bool {
        if self.refused.load(Ordering::Relaxed) == self.gathered.job {
            return false;
        }
        self.gathered.pieces.push((node, offset, data.len()));
        self.gathered.bytes.extend_from_slice(data);
        self.gathered.bytes.len() < BATCH_BYTES || self.flush()
    }

    /// Gives what was gathered to the thread, and waits while that has enough to do; says whether it still lives.
    pub(crate) fn flush(&mut self) -> bool {
        let next = Batch::of(self.gathered.job);
        let batch = std::mem::replace(&mut self.gathered, next);
        batch.pieces.is_empty() || self.batches.send(batch).is_ok()
    }
}

impl Batch {
    const fn of(job: u64) -> Self {
        Self { job, pieces: Vec::new(), bytes: Vec::new() }
    }
}

fn run(device: &OwnedFd, batches: &Receiver<Batch>, refused: &AtomicU64) {
    while let Ok(Batch { job, pieces, bytes }) = batches.recv() {
        let mut rest = &bytes[..];
        for (node, offset, len) in pieces {
            let (data, after) = rest.split_at(len);
            rest = after;
            if refused.load(Ordering::Relaxed) == job || notice::store(device, node, offset, data).is_err() {
                refused.store(job, Ordering::Relaxed);
                break;
            }
        }
    }
}

/// A further descriptor for the connection of `device`, with a queue of its own.
#[allow(unsafe_code, reason = "no library has this call")]
fn clone_of(device: &OwnedFd) -> io::Result<OwnedFd> {
    let own = OwnedFd::from(OpenOptions::new().read(true).write(true).open("/dev/fuse")?);
    let from = u32::try_from(device.as_raw_fd()).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    // SAFETY: the call reads one u32, which lives until it returns; both descriptors are open.
    if unsafe { libc::ioctl(own.as_raw_fd(), CLONE, &raw const from) } == -1 {
        return Err(io::Error::last_os_error());
    }
    Ok(own)
}

/// Gives the calling thread a table of descriptors of its own, with none in it but a copy of `kept`, which it returns.
#[allow(unsafe_code, reason = "the standard library takes all threads to share one table")]
fn leave_table(number: i32) -> io::Result<OwnedFd> {
    let kept = u32::try_from(number).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    // SAFETY: only this thread is concerned, and it uses no other descriptor from here on: not even a standard one.
    if unsafe { libc::unshare(libc::CLONE_FILES) } == -1 {
        return Err(io::Error::last_os_error());
    }
    let below = kept.checked_sub(1).map(|last| (0, last));
    for (first, last) in below.into_iter().chain([(kept + 1, u32::MAX)]) {
        // SAFETY: as above; the table is this thread's own.
        if unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) } == -1 {
            return Err(io::Error::last_os_error());
        }
    }
    // SAFETY: in the table of this thread nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}
