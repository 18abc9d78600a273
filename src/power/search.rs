//! Cuts the power at every change, with several choices of what survives.
//!
//! Owns which states are tried, and that none is tried twice. Refuses to judge. Its invariant: the same log, seed and number of survivals give the same states.

use std::collections::HashSet;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use super::medium::{self, Image, Medium, Survival};
use super::oracle::{INDEXES, IndexIs, Promise};
use super::script::{self, Script};

/// How hard is searched.
#[derive(Clone, Copy, Debug)]
pub(super) struct Effort {
    /// Choices of what survives, at each cut.
    pub(super) survivals: u64,
    /// What the choices come from.
    pub(super) seed: u64,
    /// Each state with each kind of index, not with one of them.
    pub(super) every_index: bool,
    /// How many search at once.
    pub(super) threads: usize,
}

impl Effort {
    /// As the environment says; else what `cargo test` has time for.
    pub(super) fn from_environment() -> Self {
        let number = |name| std::env::var(name).ok().map(|text| text.parse::<u64>().expect("a number"));
        let survivals = number("DBAKFS_POWER_SURVIVALS");
        let seed = number("DBAKFS_POWER_SEED").unwrap_or(1);
        Self { survivals: survivals.unwrap_or(5), seed, every_index: survivals.is_some(), threads: 2 }
    }

    /// What survives: the plain answers first.
    fn survival(self, cut: usize, choice: u64) -> Survival {
        match choice {
            0 => Survival::Nothing,
            1 => Survival::Latest,
            2 => Survival::Names,
            3 => Survival::Everything,
            _ => Survival::Some(self.seed ^ (cut as u64) << 20 ^ choice << 48),
        }
    }
}

/// What judges a state: the store in an image that was written out.
pub(super) type Oracle = fn(&Script, &Promise<'_>, &Path, IndexIs) -> Result<(), String>;

/// What went wrong, and how to see it again.
#[derive(Debug)]
pub(super) struct Failure {
    step: &'static str,
    cut: usize,
    what: String,
    survival: Survival,
    index: IndexIs,
    seed: u64,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { step, cut, what, survival, index, seed } = self;
        write!(
            f,
            "power cut after change {cut}, in \"{step}\", with {survival:?} surviving and the index {index:?} (DBAKFS_POWER_SEED={seed}): {what}"
        )
    }
}

/// What was tried.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Tried {
    pub(super) cuts: usize,
    pub(super) survivals: usize,
    pub(super) states: usize,
}

impl fmt::Display for Tried {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { cuts, survivals, states } = self;
        write!(f, "{cuts} cuts, {survivals} survivals, {states} states that differ")
    }
}

/// Cuts the power after each number of changes in `cuts`, syncs in `dropped` not being made; the first failure ends it.
pub(super) fn search(
    script: &Script,
    oracle: Oracle,
    cuts: &[usize],
    dropped: &(dyn Fn(usize) -> bool + Sync),
    effort: Effort,
) -> Result<Tried, Failure> {
    let (next, states, is_over) = (AtomicUsize::new(0), AtomicUsize::new(0), AtomicBool::new(false));
    let seen = Mutex::new(HashSet::new());
    let failure = Mutex::new(None);
    let work = || {
        while let Some(cut) = cuts.get(next.fetch_add(1, Ordering::Relaxed)).copied() {
            let medium = Medium::after(&script.log[..cut], dropped);
            for choice in 0..effort.survivals {
                let survival = effort.survival(cut, choice);
                let image = medium.image(survival);
                let promise = Promise::at(&script.steps, cut);
                let key = key(&image, promise.key());
                if !seen.lock().unwrap().insert(key) {
                    continue;
                }
                let one = [INDEXES[usize::from(key[0]) % INDEXES.len()]];
                for index in if effort.every_index { &INDEXES[..] } else { &one } {
                    if is_over.load(Ordering::Relaxed) {
                        return;
                    }
                    states.fetch_add(1, Ordering::Relaxed);
                    if let Err(what) = tried(script, oracle, &promise, &image, *index) {
                        let step = script.steps[promise.step].name;
                        let found = Failure { step, cut, what, survival, index: *index, seed: effort.seed };
                        failure.lock().unwrap().get_or_insert(found);
                        is_over.store(true, Ordering::Relaxed);
                    }
                }
            }
        }
    };
    thread::scope(|scope| (0..effort.threads).for_each(|_| _ = scope.spawn(work)));
    let tried = Tried {
        cuts: cuts.len(),
        survivals: cuts.len() * usize::try_from(effort.survivals).unwrap(),
        states: states.into_inner(),
    };
    failure.into_inner().unwrap().map_or(Ok(tried), Err)
}

fn tried(script: &Script, oracle: Oracle, promise: &Promise<'_>, image: &Image, index: IndexIs) -> Result<(), String> {
    let scratch = script::scratch();
    medium::write(image, scratch.path());
    let answer = catch_unwind(AssertUnwindSafe(|| oracle(script, promise, scratch.path(), index)));
    answer.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        Err(format!(
            "panic: {}",
            text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap_or_default()
        ))
    })
}

/// What makes two states the same to the oracle.
fn key(image: &Image, promise: (usize, bool)) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(format!("{promise:?}").as_bytes());
    for (path, bytes) in image {
        hasher.update(path.as_bytes());
        // What is in a temporary nobody reads, so one of all that it may hold will do.
        let bytes = bytes.as_ref().map(|bytes| if path.contains("/.tmp-") { b"" } else { &bytes[..] });
        hasher.update(format!("\0{:?}\0", bytes.map(<[u8]>::len)).as_bytes());
        hasher.update(bytes.unwrap_or_default());
    }
    *hasher.finalize().as_bytes()
}
