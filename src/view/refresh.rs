//! Seeing that a store has changed, without asking much.

use super::View;
use crate::format::{Timestamp, layout};

/// A change that comes within this many seconds of a listing may bear the same time as what the listing saw.
const TICK_SECS: i64 = 1;

/// Refreshes a view when the directories of its store have changed.
pub struct Refresher<'a> {
    view: &'a View,
    seen: Option<[Timestamp; 2]>,
    listed_at: Timestamp,
}

impl<'a> Refresher<'a> {
    /// One that has seen nothing yet.
    #[must_use]
    pub const fn new(view: &'a View) -> Self {
        Self { view, seen: None, listed_at: Timestamp::new(0, 0) }
    }

    /// Looks once: two calls of `stat`, and a listing if they say something new. What goes wrong is logged: a directory that cannot be looked at
    /// once, a listing that fails each time.
    pub fn look(&mut self) {
        let storage = self.view.reader().store().storage();
        let stamps = [layout::CATALOGS, layout::POINTS].map(|directory| storage.changed_at(directory));
        let [Ok(catalogs), Ok(points)] = stamps else {
            if self.seen.take().is_some() {
                for error in stamps.into_iter().filter_map(Result::err) {
                    tracing::error!("{error}");
                }
            }
            return;
        };
        let now = [catalogs, points];
        // A time far ahead of the clock says nothing: then only another time does.
        let is_near = |stamp: &Timestamp| {
            stamp.plus_secs(TICK_SECS) >= self.listed_at && *stamp <= self.listed_at.plus_secs(TICK_SECS)
        };
        let is_fresh = now.iter().any(is_near);
        if self.seen == Some(now) && !is_fresh {
            return;
        }
        self.listed_at = Timestamp::now();
        match self.view.refresh() {
            Ok(()) => self.seen = Some(now),
            Err(error) => tracing::error!("{error}"),
        }
    }
}
