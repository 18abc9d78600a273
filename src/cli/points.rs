//! Points as people name them and as they are printed.

use dbakfs::format::{Origin, Point};
use dbakfs::repository::address::{self, Exactness, PointAddress};
use dbakfs::repository::{Points, Reader, Store, when};
use jiff::tz::TimeZone;
use serde::Serialize;
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use super::{Exit, Failure, Result, output};

/// Lists the points, and says what could not be read.
pub(crate) fn list(reader: &Reader) -> Result<Points> {
    let points = reader.points()?;
    for problem in &points.problems {
        output::complain(&format!("warning: {problem}"));
    }
    Ok(points)
}

/// The points, without a lease: whoever holds the writer lock is the only one to remove anything.
pub(crate) fn listed(store: &Store) -> Result<Points> {
    let points = Points::list(store.storage())?;
    for problem in &points.problems {
        output::complain(&format!("warning: {problem}"));
    }
    Ok(points)
}

/// The point that `text` names, and the path in it. A point that was chosen because none has just that time is said.
pub(crate) fn find<'a>(points: &'a Points, text: &OsStr, exactness: Exactness) -> Result<(&'a Point, Vec<u8>)> {
    let address =
        address::parse(text.as_bytes(), &TimeZone::system()).map_err(|error| Failure::of(Exit::Usage, &error))?;
    let found = address::resolve(&points.points, &points.notes, &address.point, exactness).map_err(|error| {
        let is_forgotten = |number| points.forgotten.iter().any(|point| point.number == number);
        match address.point {
            PointAddress::Number(number) if is_forgotten(number) => {
                Failure::new(Exit::Failed, format!("backup {number} is forgotten"))
                    .hint(format!("`dbakfs unforget {number}` brings it back"))
            }
            _ => Failure::of(Exit::Failed, &error).hint("`dbakfs list` shows the points there are"),
        }
    })?;
    if !found.is_exact {
        output::complain(&format!("using {}, the newest point not after that time", name(found.point)));
    }
    Ok((found.point, address.path))
}

/// NAME/TIME.
pub(crate) fn name(point: &Point) -> String {
    format!("{}/{}", point.source.name, when::format_point_time(point.time))
}

/// A point as `--json` shows it.
#[derive(Debug, Serialize)]
pub(crate) struct Shown {
    number: u32,
    name: String,
    time: String,
    point: String,
    r#type: &'static str,
    origin: Origin,
    series: u32,
    position: usize,
    base: Option<u32>,
    tags: Vec<String>,
    pinned: bool,
    forgotten: Option<String>,
    complete: bool,
    files: u64,
    directories: u64,
    others: u64,
    size_bytes: u64,
    stored_bytes: u64,
    new: u64,
    updated: u64,
    deleted: u64,
    unread: u64,
    torn: u64,
    damaged: Vec<String>,
    host: String,
    path: String,
}

/// Where each point stands in its series, from 1; forgotten ones still count.
pub(crate) fn positions(points: &Points) -> BTreeMap<u32, usize> {
    let mut lengths: BTreeMap<u32, usize> = BTreeMap::new();
    let mut positions = BTreeMap::new();
    let mut all: Vec<&Point> = points.points.iter().chain(&points.forgotten).collect();
    all.sort_unstable_by_key(|point| point.number);
    for point in all {
        let length = lengths.entry(point.series().0).or_default();
        *length += 1;
        positions.insert(point.number.0, *length);
    }
    positions
}

/// A point with everything that is known of it.
pub(crate) fn shown(points: &Points, point: &Point, position: usize) -> Shown {
    let notes = points.notes_of(point.number);
    let catalog_bytes = points.catalog_bytes.get(&point.number).copied().unwrap_or(0);
    let counts = point.counts;
    Shown {
        number: point.number.0,
        name: point.source.name.clone(),
        time: when::format_point_time(point.time),
        point: name(point),
        r#type: kind(point),
        origin: point.origin,
        series: point.series().0,
        position,
        base: point.kind.base().map(|base| base.0),
        tags: notes.tags.iter().map(ToString::to_string).collect(),
        pinned: notes.pinned,
        forgotten: notes.forgotten.map(when::format_point_time),
        complete: point.is_complete(),
        files: counts.files,
        directories: counts.directories,
        others: counts.others,
        size_bytes: counts.bytes,
        stored_bytes: counts.stored_bytes + catalog_bytes,
        new: counts.new,
        updated: counts.updated,
        deleted: counts.deleted,
        unread: counts.unread,
        torn: counts.torn,
        damaged: notes.damaged,
        host: point.source.host.clone(),
        path: dbakfs::format::point::bytes_as_text::encode(&point.source.path),
    }
}

/// `full` or `differential`.
pub(crate) const fn kind(point: &Point) -> &'static str {
    if point.is_full() { "full" } else { "differential" }
}
