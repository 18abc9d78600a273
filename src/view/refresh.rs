//! Seeing that a store has changed, without asking much.

use dbakfs_mount::Mounted;

use super::Views;
use super::shown::Shown;
use crate::format::{Timestamp, layout};

/// A change that comes within this many seconds of a listing may bear the same time as what the listing saw.
const TICK_SECS: i64 = 1;

/// Refreshes the trees of a mount when the directories of their store have changed.
pub struct Refresher<'a> {
    views: &'a Views,
    shown: Shown<'a>,
    seen: Option<[Timestamp; 2]>,
    listed_at: Timestamp,
}

impl<'a> Refresher<'a> {
    /// One that has seen nothing yet.
    #[must_use]
    pub fn new(views: &'a Views, mounted: &'a Mounted) -> Self {
        Self { views, shown: Shown::new(views, mounted), seen: None, listed_at: Timestamp::new(0, 0) }
    }

    /// Looks once: two calls of `stat` and one at the mounts, and a listing if they say something new. What goes wrong is logged: a directory that
    /// cannot be looked at once, a listing that fails each time.
    pub fn look(&mut self) {
        self.look_at_store();
        self.shown.tend();
    }

    fn look_at_store(&mut self) {
        let storage = self.views.reader().store().storage();
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
        match self.views.list(self.shown.points()) {
            Ok(points) => {
                self.shown.arrange(points);
                self.seen = Some(now);
            }
            Err(error) => tracing::error!("{error}"),
        }
    }
}
