//! The threads that compress blocks and make packs durable, while the caller goes on reading.

use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded, unbounded};

use super::open_pack::OpenPack;
use super::packer::Class;
use super::{PackError, Result};
use crate::format::catalog::PackRef;
use crate::format::pack::ChunkId;
use crate::format::seal::Sealer;
use crate::format::table::Chunk;

/// A block to compress and write.
pub(super) struct Job {
    pub(super) pack: Arc<OpenPack>,
    pub(super) block: u32,
    pub(super) class: Class,
    pub(super) raw: Vec<u8>,
    pub(super) chunks: Vec<(ChunkId, Chunk)>,
}

/// A pack of a session that is durable, and the chunks that it holds.
#[derive(Debug)]
pub struct Packed {
    /// Which pack of its session it is.
    pub ordinal: u32,
    /// Its name and length.
    pub pack: PackRef,
    /// Its chunks, in the order of their places.
    pub chunks: Vec<(ChunkId, Chunk)>,
}

/// What the threads of a session share.
struct Shared {
    failure: Mutex<Option<PackError>>,
    /// Emptied buffers, to be filled again: a fresh one would cost a page fault for every four kilobytes.
    buffers: Mutex<Vec<Vec<u8>>>,
    finished: Mutex<Vec<Packed>>,
}

/// Threads that compress. When all are busy the caller compresses too, so that every core has work and memory stays bounded.
pub(super) struct Compressors {
    shared: Arc<Shared>,
    jobs: Option<Sender<Job>>,
    complete: Option<Sender<Arc<OpenPack>>>,
    threads: Vec<JoinHandle<()>>,
    own: Worker,
}

impl Compressors {
    pub(super) fn start(level: i32) -> Result<Self> {
        let shared = Arc::new(Shared {
            failure: Mutex::new(None),
            buffers: Mutex::new(Vec::new()),
            finished: Mutex::new(Vec::new()),
        });
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let workers = cores.saturating_sub(1).max(1);
        let (jobs, waiting) = bounded::<Job>(workers + 1);
        let (complete, completed) = unbounded();
        let worker = || Worker::new(level, &shared, &complete);
        let mut threads = Vec::with_capacity(workers + 1);
        let mut spawn = |name: &str, body: Box<dyn FnOnce() + Send>| -> Result<()> {
            let thread = std::thread::Builder::new().name(name.to_owned()).spawn(body).map_err(PackError::Thread)?;
            threads.push(thread);
            Ok(())
        };
        for _ in 0..workers {
            let (mut worker, waiting) = (worker()?, waiting.clone());
            spawn("compress", Box::new(move || waiting.iter().for_each(|job| worker.run(job))))?;
        }
        let own = worker()?;
        let mut sealer = Sealer::new(level).map_err(PackError::Compression)?;
        let for_sync = Arc::clone(&shared);
        spawn("pack-sync", Box::new(move || finish_packs(&completed, &for_sync, &mut sealer)))?;
        Ok(Self { shared, jobs: Some(jobs), complete: Some(complete), threads, own })
    }

    /// An empty buffer.
    pub(super) fn buffer(&self) -> Vec<u8> {
        lock(&self.shared.buffers).pop().unwrap_or_default()
    }

    /// Has a block compressed and written.
    pub(super) fn submit(&mut self, job: Job) -> Result<()> {
        self.check()?;
        let jobs = self.jobs.as_ref().ok_or(PackError::ThreadDied)?;
        match jobs.try_send(job) {
            Ok(()) => Ok(()),
            Err(TrySendError::Full(job)) => {
                self.own.run(job);
                self.check()
            }
            Err(TrySendError::Disconnected(_)) => Err(PackError::ThreadDied),
        }
    }

    /// Has a complete pack made durable.
    pub(super) fn complete(&self, pack: Arc<OpenPack>) -> Result<()> {
        let complete = self.complete.as_ref().ok_or(PackError::ThreadDied)?;
        complete.send(pack).map_err(|_| PackError::ThreadDied)
    }

    /// Fails where a thread has failed.
    pub(super) fn check(&self) -> Result<()> {
        match lock(&self.shared.failure).take() {
            Some(failure) => Err(failure),
            None => Ok(()),
        }
    }

    /// Waits until all that was submitted is durable.
    pub(super) fn finish(mut self) -> Result<Vec<Packed>> {
        self.join()?;
        self.check()?;
        Ok(std::mem::take(&mut lock(&self.shared.finished)))
    }

    fn join(&mut self) -> Result<()> {
        self.jobs = None;
        self.complete = None;
        self.own.complete = None;
        let mut died = false;
        for thread in self.threads.drain(..) {
            died |= thread.join().is_err();
        }
        if died { Err(PackError::ThreadDied) } else { Ok(()) }
    }
}

impl Drop for Compressors {
    fn drop(&mut self) {
        // An abandoned session: its threads end, its temporaries go with them.
        let _ = self.join();
    }
}

struct Worker {
    small: Sealer,
    large: Sealer,
    stored: Vec<u8>,
    shared: Arc<Shared>,
    complete: Option<Sender<Arc<OpenPack>>>,
}

impl Worker {
    fn new(level: i32, shared: &Arc<Shared>, complete: &Sender<Arc<OpenPack>>) -> Result<Self> {
        let small = Sealer::new(level).map_err(PackError::Compression)?;
        let large = Sealer::with_small_tables(level).map_err(PackError::Compression)?;
        Ok(Self { small, large, stored: Vec::new(), shared: Arc::clone(shared), complete: Some(complete.clone()) })
    }

    fn run(&mut self, job: Job) {
        if let Err(failure) = self.try_run(job) {
            lock(&self.shared.failure).get_or_insert(failure);
        }
    }

    fn try_run(&mut self, Job { pack, block, class, mut raw, chunks }: Job) -> Result<()> {
        self.stored.clear();
        let sealer = match class {
            Class::Small => &mut self.small,
            Class::Large => &mut self.large,
        };
        let frame = sealer.seal(&raw, 0, &mut self.stored);
        raw.clear();
        lock(&self.shared.buffers).push(raw);
        if pack.put(block, frame, &self.stored, chunks)?
            && let Some(complete) = &self.complete
        {
            complete.send(pack).map_err(|_| PackError::ThreadDied)?;
        }
        Ok(())
    }
}

fn finish_packs(completed: &Receiver<Arc<OpenPack>>, shared: &Shared, sealer: &mut Sealer) {
    for mut pack in completed {
        let ordinal = pack.ordinal;
        // Whoever completed the pack lets go of it right after.
        let pack = loop {
            match Arc::try_unwrap(pack) {
                Ok(pack) => break pack,
                Err(held) => pack = held,
            }
            std::thread::yield_now();
        };
        match pack.finish(sealer) {
            Ok((pack, chunks)) => lock(&shared.finished).push(Packed { ordinal, pack, chunks }),
            Err(failure) => {
                lock(&shared.failure).get_or_insert(failure);
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
