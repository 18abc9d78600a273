//! Seeing that a store has changed, without asking much, and letting go of what it holds no more.
//!
//! Owns the order in which a mount follows a prune: it reads the generation, lists, shows, opens anew, and states the generation in its lease when nobody holds
//! anything older. Invariant: a generation is stated only when no request, no open file and nobody who stands anywhere in the mount can need what was
//! unreachable at it.

use dbakfs_mount::Mounted;

use super::Views;
use super::shown::Shown;
use crate::format::{Timestamp, layout};

/// A change that comes within this many seconds of a listing may bear the same time as what the listing saw.
const TICK_SECS: i64 = 1;

/// The directory of the store itself, in which the marks are replaced.
const STORE: &str = "";

/// Refreshes the trees of a mount when the directories of their store have changed.
pub struct Refresher<'a> {
    views: &'a Views,
    shown: Shown<'a>,
    seen: Option<[Timestamp; 3]>,
    listed_at: Timestamp,
    /// The generation that was read before what is shown was listed.
    generation: u64,
    /// What could not be done the last time, so that it is logged once.
    said: [Option<String>; 2],
}

impl<'a> Refresher<'a> {
    /// One that has seen nothing yet.
    #[must_use]
    pub fn new(views: &'a Views, mounted: &'a Mounted) -> Self {
        let (shown, generation) = (Shown::new(views, mounted), views.reader().generation());
        Self { views, shown, seen: None, listed_at: Timestamp::new(0, 0), generation, said: Default::default() }
    }

    /// Looks once: three calls of `stat` and one at the mounts, and a listing if they say something new. What goes wrong is logged: a directory that
    /// cannot be looked at once, a listing that fails each time.
    pub fn look(&mut self) {
        self.look_at_store();
        self.shown.tend();
        self.let_go();
    }

    fn look_at_store(&mut self) {
        let storage = self.views.reader().store().storage();
        let stamps = [layout::CATALOGS, layout::POINTS, STORE].map(|directory| storage.changed_at(directory));
        let [Ok(catalogs), Ok(points), Ok(marks)] = stamps else {
            if self.seen.take().is_some() {
                for error in stamps.into_iter().filter_map(Result::err) {
                    tracing::error!("{error}");
                }
            }
            return;
        };
        let now = [catalogs, points, marks];
        // A time far ahead of the clock says nothing: then only another time does.
        let is_near = |stamp: &Timestamp| {
            stamp.plus_secs(TICK_SECS) >= self.listed_at && *stamp <= self.listed_at.plus_secs(TICK_SECS)
        };
        let is_fresh = now.iter().any(is_near);
        if self.seen == Some(now) && !is_fresh {
            return;
        }
        self.listed_at = Timestamp::now();
        // Before the listing: what was unreachable at this generation is not listed.
        let generation = self.store_generation();
        match self.views.list(self.shown.points()) {
            Ok(points) => {
                self.shown.arrange(points);
                self.seen = Some(now);
            }
            Err(error) => return tracing::error!("{error}"),
        }
        if generation > self.generation {
            self.generation = generation;
            self.views.reader().reopen();
        }
    }

    /// The store's generation; the one that was read before where it cannot be read, which keeps more than need be.
    fn store_generation(&mut self) -> u64 {
        let read = self.views.reader().store_generation();
        let problem = read.as_ref().err().map(ToString::to_string);
        self.say(0, problem);
        read.unwrap_or(self.generation)
    }

    fn let_go(&mut self) {
        let reader = self.views.reader();
        if self.shown.let_go() {
            reader.reopen();
        }
        let is_behind = reader.generation() < self.generation;
        if is_behind && self.shown.departed().is_empty() && reader.has_let_go() {
            let problem = reader.advance(self.generation).err().map(|error| error.to_string());
            self.say(1, problem);
        }
    }

    fn say(&mut self, what: usize, problem: Option<String>) {
        if problem != self.said[what] {
            if let Some(problem) = &problem {
                tracing::error!("{problem}");
            }
            self.said[what] = problem;
        }
    }
}
