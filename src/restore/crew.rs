//! The threads that make and write.
//!
//! Owns them, and the way of work to them and of accounts back. Refuses to know what the work is. Its invariants: a batch that was
//! handed over is accounted for, even by a thread that dies over it; when its account has come nothing of the batch is
//! held any more.

use crossbeam_channel::{Receiver, Sender, bounded, unbounded};

use super::hand::{Account, Hand, Piece, Run};

/// Threads at most: a file system gains little from more.
const MOST: usize = 8;

/// One thread more than there are cores: now and then one waits for the disk, or for another in the same directory.
pub(super) fn threads() -> usize {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    MOST.min(cores + 1)
}

/// The threads, as the main thread sees them.
pub(super) struct Crew {
    work: Option<Sender<Vec<Piece>>>,
    accounts: Receiver<Account>,
    /// Batches that were handed over and not accounted for yet.
    under_way: usize,
}

impl Crew {
    /// Runs `body` beside so many threads. If none can be had it runs all the same.
    pub(super) fn beside<R>(threads: usize, run: &Run<'_>, body: impl FnOnce(Self) -> R) -> R {
        std::thread::scope(|scope| {
            let (work, waiting) = bounded(2 * threads);
            let (accounts, accounted) = unbounded();
            let begins = |_: &usize| {
                let (waiting, accounts) = (waiting.clone(), accounts.clone());
                let serve = move || serve(run, &waiting, &accounts);
                std::thread::Builder::new().name("restore".to_owned()).spawn_scoped(scope, serve).is_ok()
            };
            let begun = (0..threads).filter(begins).count();
            // Only the threads hold the other ends: if all of them have died nobody waits for one.
            drop((waiting, accounts));
            body(Self { work: (begun > 0).then_some(work), accounts: accounted, under_way: 0 })
        })
    }

    /// Hands a batch over, and waits while all threads have enough to do. Gives it back where there is no thread.
    pub(super) fn hand_over(&mut self, batch: Vec<Piece>) -> Result<(), Vec<Piece>> {
        let Some(work) = &self.work else { return Err(batch) };
        work.send(batch).map_err(|refused| refused.0)?;
        self.under_way += 1;
        Ok(())
    }

    /// An account that has come.
    pub(super) fn account(&mut self) -> Option<Account> {
        let account = self.accounts.try_recv().ok()?;
        self.under_way -= 1;
        Some(account)
    }

    /// The next account, as soon as it comes; nothing if none is to come.
    pub(super) fn wait(&mut self) -> Option<Account> {
        if self.under_way == 0 {
            return None;
        }
        self.under_way -= 1;
        self.accounts.recv().ok()
    }
}

/// Sends the account of a batch when it goes, also where the thread dies.
struct Slip<'a, 'run> {
    hand: &'a mut Hand<'run>,
    accounts: &'a Sender<Account>,
}

impl Drop for Slip<'_, '_> {
    fn drop(&mut self) {
        // Nobody listens where the restore has ended.
        let _ = self.accounts.send(std::mem::take(&mut self.hand.account));
    }
}

fn serve(run: &Run<'_>, waiting: &Receiver<Vec<Piece>>, accounts: &Sender<Account>) {
    let mut hand = Hand::new(run);
    for batch in waiting {
        let slip = Slip { hand: &mut hand, accounts };
        slip.hand.work(batch);
    }
}
