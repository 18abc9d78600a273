//! Which tree shows which point.
//!
//! A mount has two: the first, which people walk, and a second, which shows everything and is served by a connection of its own. A first tree
//! whose connection has refused to be asked for extended attributes shows no point that holds any: it shows an empty stub, and the mount covers that with
//! the point of the second tree. Owns the order of things: a point is known to the second tree before it is attached, and to the first, with all that leads to
//! it, when it is. Invariant: no point is ever shown without its attributes; one that cannot be attached is not shown, and that is said.

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use dbakfs_mount::tree::NodeId;
use dbakfs_mount::{Graft, Mounted, Side, Stub};

use super::departed::Departed;
use super::node::Node;
use super::points::{Shelf, Stand};
use super::{View, attr};
use crate::format::{Number, Point, Timestamp};
use crate::repository::{Points, Reader, RepositoryError, when};

/// What could not be attached is tried again after this time.
const PATIENCE: Duration = Duration::from_secs(1);

/// The two trees of one store.
pub struct Views {
    reader: Arc<Reader>,
    first: Arc<View>,
    second: Arc<View>,
    /// What the last listing could not read: each is logged once.
    said: Mutex<BTreeSet<String>>,
}

impl Views {
    /// Trees of the points that there are now, all of them in both.
    ///
    /// # Errors
    /// Where they cannot be listed.
    pub fn new(reader: Reader) -> Result<Self, RepositoryError> {
        let reader = Arc::new(reader);
        let [first, second] = [(); 2].map(|()| Arc::new(View::new(Arc::clone(&reader))));
        let views = Self { reader, first, second, said: Mutex::default() };
        let points = views.list(&Points::default())?;
        views.reader.serve(numbers(&points).collect());
        for view in [&views.first, &views.second] {
            // Nothing is mounted yet.
            let _ = view.show(Shelf::new(&points, [], &view.shelf(), |_| Stand::Here));
        }
        Ok(views)
    }

    /// The tree that people walk.
    #[must_use]
    pub fn first(&self) -> Arc<View> {
        Arc::clone(&self.first)
    }

    /// The tree that shows all.
    #[must_use]
    pub fn second(&self) -> Arc<View> {
        Arc::clone(&self.second)
    }

    /// The tree of one connection.
    pub(super) fn on(&self, side: Side) -> &View {
        match side {
            Side::First => &self.first,
            Side::Second => &self.second,
        }
    }

    /// Whether any point holds extended attributes or ACLs.
    #[must_use]
    pub fn has_xattrs(&self) -> bool {
        self.second.shelf().points().any(|point| point.has_xattrs)
    }

    /// The store's reader.
    #[must_use]
    pub fn reader(&self) -> &Reader {
        &self.reader
    }

    /// Lists the store again.
    pub(super) fn list(&self, before: &Points) -> Result<Points, RepositoryError> {
        let points = self.reader.points_again(before)?;
        let problems: BTreeSet<String> = points.problems.iter().map(ToString::to_string).collect();
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        for problem in problems.difference(&said) {
            tracing::warn!("{problem}");
        }
        *said = problems;
        drop(said);
        Ok(points)
    }
}

/// What is shown of the last listing, and how.
pub(super) struct Shown<'a> {
    views: &'a Views,
    mounted: &'a Mounted,
    points: Points,
    /// Those that are on the list no more.
    departed: Departed,
    grafts: BTreeMap<Number, Graft>,
    /// Points that wait to be attached, and what was last said of each.
    waiting: BTreeMap<Number, Option<String>>,
    tried: Option<Instant>,
}

impl<'a> Shown<'a> {
    pub(super) fn new(views: &'a Views, mounted: &'a Mounted) -> Self {
        let (points, departed, grafts, waiting) = Default::default();
        Self { views, mounted, points, departed, grafts, waiting, tried: None }
    }

    /// What is shown.
    pub(super) const fn points(&self) -> &Points {
        &self.points
    }

    /// Shows what a new listing found.
    pub(super) fn arrange(&mut self, points: Points) {
        self.points = points;
        let before = [Side::First, Side::Second].map(|side| (side, self.views.on(side).shelf()));
        self.departed.note(&self.views.second.shelf(), &self.points);
        self.serve();
        self.show_second();
        let all = self.views.second.shelf();
        let holding = || all.points().filter(|point| point.has_xattrs).map(|point| point.number);
        // Asked only where there is need: the answer binds the connection.
        let is_refused = holding().next().is_some() && !self.mounted.admits_xattrs();
        let apart: BTreeSet<Number> = if is_refused { holding().collect() } else { BTreeSet::new() };
        let gone: Vec<Number> = self.grafts.keys().filter(|number| !apart.contains(number)).copied().collect();
        let gone: Vec<Graft> = gone.iter().filter_map(|number| self.grafts.remove(number)).collect();
        self.waiting = apart
            .into_iter()
            .filter(|number| !self.grafts.contains_key(number))
            .map(|number| (number, self.waiting.remove(&number).flatten()))
            .collect();
        self.show();
        for graft in gone {
            self.remove(&graft);
        }
        for (side, before) in before {
            self.drop_names(side, &before);
        }
        self.attach();
    }

    /// The departed points.
    pub(super) const fn departed(&self) -> &Departed {
        &self.departed
    }

    /// Drops those departed points that nobody is inside any more; answers whether there were any.
    pub(super) fn let_go(&mut self) -> bool {
        if self.departed.is_empty() || !self.departed.let_go(self.views, self.mounted) {
            return false;
        }
        self.show_second();
        self.show();
        self.serve();
        self.views.first.forget_gone();
        self.views.second.forget_gone();
        true
    }

    /// The kernel is told of the names that are shown no more.
    fn drop_names(&self, side: Side, before: &Shelf) {
        let Some(kernel) = self.mounted.live_of(side) else { return };
        for (place, name) in before.names_gone(&self.views.on(side).shelf()) {
            if let Err(error) = kernel.invalidate_entry(Node::Source(place).id(), name.as_bytes()) {
                tracing::warn!("the name {name} may be seen for longer: {error}");
            }
        }
    }

    /// Puts right what others have done to the grafts, and tries again what failed.
    pub(super) fn tend(&mut self) {
        match self.mounted.lost_grafts() {
            Ok(lost) if lost.is_empty() => {}
            Ok(lost) => self.hide(&lost),
            Err(error) => tracing::error!("{}", told(&error)),
        }
        if self.tried.is_none_or(|tried| tried.elapsed() >= PATIENCE) {
            self.attach();
        }
    }

    /// Ceases to show points whose grafts are gone. They are attached again, but not at once: whoever takes away grafts may be about to unmount it all.
    fn hide(&mut self, lost: &[PathBuf]) {
        let lost: Vec<Number> =
            self.grafts.iter().filter(|(_, graft)| lost.contains(&graft.path)).map(|(number, _)| *number).collect();
        let grafts: Vec<Graft> = lost.iter().filter_map(|number| self.grafts.remove(number)).collect();
        self.waiting.extend(lost.into_iter().map(|number| (number, None)));
        self.tried = Some(Instant::now());
        self.show();
        for graft in grafts {
            self.remove(&graft);
        }
    }

    /// Attaches what waits for it, in the order of numbers.
    fn attach(&mut self) {
        self.tried = (!self.waiting.is_empty()).then(Instant::now);
        for number in self.waiting.keys().copied().collect::<Vec<_>>() {
            let Some((point, graft)) = self.graft_of(number) else { continue };
            let shelf = self.shelf(Some(number));
            let mut changed = Vec::new();
            let attached = self.mounted.graft(&graft, || changed = self.views.first.show(shelf));
            self.announce(changed);
            match attached {
                Ok(true) => {
                    self.waiting.remove(&number);
                    self.grafts.insert(number, graft);
                }
                // Nobody comes here by a path any more.
                Ok(false) => return,
                Err(error) => {
                    let why = Some(told(&error));
                    let before = self.waiting.insert(number, why.clone()).flatten();
                    if let Some(why) = why.filter(|why| before.as_ref() != Some(why)) {
                        let name = when_path(&point);
                        tracing::error!(
                            "{} is not shown, since its extended attributes would be missing: {why}",
                            name.display()
                        );
                    }
                }
            }
        }
    }

    /// The point of that number, and how it is attached.
    fn graft_of(&self, number: Number) -> Option<(Point, Graft)> {
        let point = self.views.second.shelf().point(number)?.clone();
        let shelf = self.views.first.shelf();
        let name = point.source.name.as_str();
        let source = Node::Source(shelf.place(name)?);
        let mut hidden = Vec::new();
        if shelf.find(name.as_bytes()).is_none() {
            let attr = attr::live_directory(source, Timestamp::default());
            hidden.push(Stub { parent: Node::Root.id(), name: name.as_bytes().to_vec(), attr });
        }
        let time = when::format_point_time(point.time);
        hidden.push(Stub { parent: source.id(), name: time.into_bytes(), attr: attr::stub(&point) });
        let graft = Graft { path: when_path(&point), hidden };
        Some((point, graft))
    }

    /// What nobody can be inside of is not read any more where prune has taken it away.
    fn serve(&self) {
        let departed = self.departed.points().map(|point| point.number);
        self.views.reader.serve(numbers(&self.points).chain(departed).collect());
    }

    fn show_second(&self) {
        // Of the second tree only points are seen, which never change.
        let second = &self.views.second;
        let _ = second.show(Shelf::new(&self.points, self.departed.points(), &second.shelf(), |_| Stand::Here));
    }

    fn show(&self) {
        self.announce(self.views.first.show(self.shelf(None)));
    }

    /// The kernel keeps listings: it is told which are others now.
    fn announce(&self, changed: Vec<NodeId>) {
        let kernel = self.mounted.live();
        for node in changed {
            if let Err(error) = kernel.invalidate_node(node) {
                tracing::warn!("a listing may be late: {error}");
            }
        }
    }

    /// What the first tree shows, once `attached` is attached as well.
    fn shelf(&self, attached: Option<Number>) -> Shelf {
        Shelf::new(&self.points, self.departed.points(), &self.views.first.shelf(), |point| match point.number {
            number if self.grafts.contains_key(&number) || attached == Some(number) => Stand::Grafted,
            number if self.waiting.contains_key(&number) => Stand::Hidden,
            _ => Stand::Here,
        })
    }

    fn remove(&self, graft: &Graft) {
        if let Err(error) = self.mounted.remove_graft(graft) {
            tracing::error!("{}", told(&error));
        }
    }
}

/// All backups that a listing found.
fn numbers(points: &Points) -> impl Iterator<Item = Number> {
    points.points.iter().chain(&points.forgotten).map(|point| point.number)
}

/// Where a point stands in the mount.
pub(super) fn when_path(point: &Point) -> PathBuf {
    Path::new(&point.source.name).join(when::format_point_time(point.time))
}

/// An error and its causes, in one line.
pub(super) fn told(error: &dyn Error) -> String {
    error.source().map_or_else(|| error.to_string(), |cause| format!("{error}: {}", told(cause)))
}
