//! Points that prune has taken away while somebody may have been inside.
//!
//! Owns who they are, and the asking whether anybody is inside. Refuses to know generations. Invariant: a point is dropped only when the kernel has
//! forgotten its root, which whatever is used below it pins, and never before those that stand on it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use dbakfs_mount::{Leaving, Mounted, Side, Stub};

use super::node::Node;
use super::points::Shelf;
use super::shown::{told, when_path};
use super::{Views, attr};
use crate::format::{Number, Point, PointKind, Timestamp};
use crate::repository::{Points, when};

/// A question that was under way when a point was hidden has been answered after this time.
const SETTLED: Duration = Duration::from_millis(150);

/// What the kernel keeps of a point without need is shaken off again after this time.
const PATIENCE: Duration = Duration::from_secs(1);

/// The points that are still served, though the store lists them no more.
#[derive(Default)]
pub(super) struct Departed(BTreeMap<Number, Departure>);

struct Departure {
    point: Point,
    hidden_at: Instant,
    shaken_at: Option<Instant>,
}

impl Departed {
    /// Takes in what is on the shelf and that `points`, a new listing, knows neither as a point nor as a forgotten one.
    pub(super) fn note(&mut self, shelf: &Shelf, points: &Points) {
        let listed: BTreeSet<Number> =
            points.points.iter().chain(&points.forgotten).map(|point| point.number).collect();
        self.0.retain(|number, _| !listed.contains(number));
        for point in shelf.all().filter(|point| !listed.contains(&point.number)) {
            let new = || Departure { point: point.clone(), hidden_at: Instant::now(), shaken_at: None };
            self.0.entry(point.number).or_insert_with(new);
        }
    }

    /// The points.
    pub(super) fn points(&self) -> impl Iterator<Item = Point> {
        self.0.values().map(|departure| departure.point.clone())
    }

    fn numbers(&self) -> BTreeSet<Number> {
        self.0.keys().copied().collect()
    }

    /// Whether there are none.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Drops the points that nobody is inside any more; answers whether there were any.
    pub(super) fn let_go(&mut self, views: &Views, mounted: &Mounted) -> bool {
        let before = self.0.len();
        let mut bases = BTreeSet::new();
        // From the highest number on: a differential is looked at before its full.
        for number in self.numbers().into_iter().rev() {
            let Some(departure) = self.0.get_mut(&number) else { continue };
            let is_due = departure.hidden_at.elapsed() >= SETTLED;
            if is_due && !bases.contains(&number) && !departure.is_held(views, mounted) {
                self.0.remove(&number);
            } else if let PointKind::Differential { base, .. } = departure.point.kind {
                bases.insert(base);
            }
        }
        self.0.len() < before
    }
}

impl Departure {
    /// Whether the kernel knows the root on any connection; what it keeps without need is shaken off first, now and then.
    fn is_held(&mut self, views: &Views, mounted: &Mounted) -> bool {
        let may_shake = self.shaken_at.is_none_or(|shaken_at| shaken_at.elapsed() >= PATIENCE);
        let mut is_held = false;
        for side in [Side::First, Side::Second] {
            if !self.is_held_on(side, views, mounted) {
                continue;
            }
            if may_shake {
                self.shaken_at = Some(Instant::now());
                if let Some(leaving) = self.leaving(side, views)
                    && let Err(error) = mounted.shake_off(side, &leaving)
                {
                    tracing::debug!("backup {} is kept in memory: {}", self.point.number, told(&error));
                }
            }
            is_held |= !may_shake || self.is_held_on(side, views, mounted);
        }
        is_held
    }

    fn is_held_on(&self, side: Side, views: &Views, mounted: &Mounted) -> bool {
        // Without a second connection nobody is inside there, and of a root that was never told nobody knows.
        let Some(kernel) = mounted.live_of(side) else { return false };
        let Some(root) = views.on(side).known_root(self.point.number) else { return false };
        kernel.holds(root.node).unwrap_or_else(|error| {
            tracing::warn!("whether backup {} is in use is not known: {error}", self.point.number);
            true
        })
    }

    fn leaving(&self, side: Side, views: &Views) -> Option<Leaving> {
        let (view, point) = (views.on(side), &self.point);
        let (shelf, name) = (view.shelf(), point.source.name.as_str());
        let source = Node::Source(shelf.place(name)?);
        let mut hidden = Vec::new();
        if shelf.find(name.as_bytes()).is_none() {
            let attr = attr::live_directory(source, Timestamp::default());
            hidden.push(Stub { parent: Node::Root.id(), name: name.as_bytes().to_vec(), attr });
        }
        let time = when::format_point_time(point.time).into_bytes();
        hidden.push(Stub { parent: source.id(), name: time, attr: view.known_root(point.number)? });
        Some(Leaving { path: when_path(point), hidden })
    }
}
