//! A line on the terminal that moves while something long goes on.

use std::io::IsTerminal;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use dbakfs::verify::Progress;
use indicatif::{HumanBytes, ProgressBar, ProgressStyle};

use super::Global;

/// Calls `work` and shows meanwhile what `describe` says: how far it is, of how much (0: nobody knows), and in words. Shows nothing
/// where standard error is no terminal, or with `--quiet` or `--json`.
pub(crate) fn shown<T>(
    global: &Global,
    describe: impl Fn() -> (u64, u64, String) + Sync,
    work: impl FnOnce(&ProgressBar) -> T,
) -> T {
    let bar = if global.quiet || global.json || !std::io::stderr().is_terminal() {
        ProgressBar::hidden()
    } else {
        ProgressBar::new(0)
    };
    if bar.is_hidden() {
        return work(&bar);
    }
    let unknown = ProgressStyle::with_template("{spinner} {elapsed} {msg}").expect("a template of ours");
    let known = ProgressStyle::with_template("{bar:30} {percent:>3} % {elapsed} {msg}").expect("a template of ours");
    bar.set_style(unknown);
    let is_done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut is_known = false;
            while !is_done.load(Ordering::Relaxed) {
                let (done, total, text) = describe();
                if total > 0 && !is_known {
                    bar.set_style(known.clone());
                    is_known = true;
                }
                bar.set_length(total.max(done));
                bar.set_position(done);
                bar.set_message(text);
                bar.tick();
                std::thread::park_timeout(Duration::from_millis(100));
            }
        });
        let finish = Finish { is_done: &is_done };
        let answer = work(&bar);
        drop(finish);
        bar.finish_and_clear();
        answer
    })
}

/// As [`shown`], for work that verifies and says with what it is given how far it has come.
pub(crate) fn of_verification<T>(
    global: &Global,
    work: impl FnOnce(&ProgressBar, &(dyn Fn(Progress) + Sync)) -> T,
) -> T {
    let state = Mutex::new(Progress::default());
    let lock = || state.lock().unwrap_or_else(PoisonError::into_inner);
    let describe = || {
        let now = *lock();
        (now.done_bytes, now.total_bytes, format!("{} of {}", HumanBytes(now.done_bytes), HumanBytes(now.total_bytes)))
    };
    shown(global, describe, |bar| work(bar, &|now| *lock() = now))
}

/// Ends the line even if the work panics.
struct Finish<'a> {
    is_done: &'a AtomicBool,
}

impl Drop for Finish<'_> {
    fn drop(&mut self) {
        self.is_done.store(true, Ordering::Relaxed);
    }
}
