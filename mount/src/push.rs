//! Puts data into the page cache before it is asked for: the files that lie beside the one just read cost no message then.
//!
//! A thread of its own finds out what that is, and another one ([`Storer`]) stores it: storing waits for a page that a pending read holds, so a thread that answers reads must never do it. Only nodes that the
//! kernel knows can be stored to; the first that it does not know ends a push. Invariant: nobody who answers messages ever waits for these threads.

use std::collections::HashSet;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::store::Storer;
use crate::tree::{NodeId, Tree};

/// Reads that may wait to be looked at. More are let go: pushing is a favour.
const QUEUE: usize = 32;

/// How far ahead of the reader a first push goes, in bytes, and how far one does that a reader has followed to its end.
const FIRST_BYTES: usize = 1 << 20;
const MOST_BYTES: usize = 8 << 20;

/// What was pushed is not pushed again for so long, nor while so many others were not.
const FRESH: Duration = Duration::from_secs(1);
const FRESH_COUNT: usize = 8192;

/// A read that was answered.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Answered {
    pub(crate) node: NodeId,
    pub(crate) offset: u64,
    pub(crate) len: usize,
}

/// Takes answered reads, from any thread. When it is dropped the pushing ends; the thread, which holds the tree and the device, a moment later.
#[derive(Debug)]
pub(crate) struct Pusher(SyncSender<Answered>);

impl Pusher {
    /// Begins to push what `tree` has ahead of reads into the page cache behind `device`.
    pub(crate) fn start<T: Tree>(tree: Arc<T>, device: OwnedFd) -> io::Result<(Self, JoinHandle<()>)> {
        let (sender, reads) = sync_channel(QUEUE);
        let thread = std::thread::Builder::new().name("dbakfs-push".to_owned());
        let thread = thread.spawn(move || {
            let storer = Storer::start(&device);
            drop(device);
            match storer {
                Ok(storer) => run(&*tree, storer, &reads),
                Err(error) => tracing::debug!(%error, "nothing is put into the page cache ahead of reads"),
            }
        })?;
        Ok((Self(sender), thread))
    }

    /// Says that a read was answered. Never waits.
    pub(crate) fn answered(&self, read: Answered) {
        // Too many, or the thread has ended: then nothing is pushed.
        let _ = self.0.try_send(read);
    }
}

fn run<T: Tree>(tree: &T, mut storer: Storer, reads: &Receiver<Answered>) {
    let mut pushed = Recent::default();
    // Where the last push ended because it had gone far enough, and how far the next goes from there.
    let mut follow: Option<(NodeId, u64)> = None;
    let mut budget = FIRST_BYTES;
    while let Ok(read) = reads.recv() {
        budget = if follow == Some((read.node, read.offset)) { (budget * 2).min(MOST_BYTES) } else { FIRST_BYTES };
        follow = None;
        let mut left = budget;
        pushed.add(read.node, read.offset);
        storer.begin();
        tree.ahead(read.node, read.offset, read.len, &mut |node, offset, data| {
            if data.len() > left {
                follow = Some((node, offset));
                return false;
            }
            left -= data.len();
            !pushed.add(node, offset) || storer.add(node, offset, data)
        });
        storer.flush();
    }
}

/// What was pushed a short while ago: two generations, the older forgotten when the younger is full or old.
struct Recent {
    young: HashSet<(NodeId, u64)>,
    old: HashSet<(NodeId, u64)>,
    since: Instant,
}

impl Default for Recent {
    fn default() -> Self {
        Self { young: HashSet::new(), old: HashSet::new(), since: Instant::now() }
    }
}

impl Recent {
    /// Answers whether this is new.
    fn add(&mut self, node: NodeId, offset: u64) -> bool {
        if self.young.len() >= FRESH_COUNT || self.since.elapsed() > FRESH {
            std::mem::swap(&mut self.young, &mut self.old);
            self.young.clear();
            self.since = Instant::now();
        }
        !self.old.contains(&(node, offset)) && self.young.insert((node, offset))
    }
}
