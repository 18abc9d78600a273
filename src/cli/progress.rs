//! A line on the terminal that moves while something long goes on.

use std::io::IsTerminal;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

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

/// Ends the line even if the work panics.
struct Finish<'a> {
    is_done: &'a AtomicBool,
}

impl Drop for Finish<'_> {
    fn drop(&mut self) {
        self.is_done.store(true, Ordering::Relaxed);
    }
}
