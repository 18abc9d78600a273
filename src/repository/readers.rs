//! Whether live readers may still see what is to be removed.
//!
//! Owns the order of raising the generation and looking at leases. Refuses to know what is removed. Invariant: "nobody" is said only of what no catalog named when
//! the leases were looked at; whoever takes a lease later lists catalogs later.

use std::time::{Duration, Instant};

use super::{RepositoryError, Store, WriterLock, lease, marks};
use crate::format::Number;

/// How long readers are waited for that could let go at once: a mount looks every 200 ms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReaderWait(pub Duration);

impl Default for ReaderWait {
    fn default() -> Self {
        Self(Duration::from_secs(3))
    }
}

const PAUSE: Duration = Duration::from_millis(50);

/// How many live readers may see what became unreachable before this call, after those that can let go have had time to. `told` gets what was wrong
/// with the marks.
///
/// # Errors
/// The leases cannot be read, or the generation cannot be raised.
pub fn left(
    store: &Store,
    lock: &WriterLock,
    highest: Option<Number>,
    ReaderWait(patience): ReaderWait,
    told: &mut dyn FnMut(String),
) -> Result<usize, RepositoryError> {
    // For readers without a lease, too: a mount of theirs goes over to revisions when it sees it.
    let raised = match marks::raise_generation(store, lock, highest) {
        // On a full disk it cannot be raised, and where nobody has a lease it need not be.
        Err(RepositoryError::Storage(error)) if error.is_full() && lease::oldest_generation(store)?.is_none() => {
            return Ok(0);
        }
        answer => answer?,
    };
    if let Some(problem) = raised.problem {
        told(problem.to_string());
    }
    let end = Instant::now() + patience;
    loop {
        let older = lease::older_than(store, raised.value)?;
        if older == 0 || Instant::now() >= end {
            return Ok(older);
        }
        std::thread::sleep(PAUSE);
    }
}
