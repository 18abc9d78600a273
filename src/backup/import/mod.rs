//! Taking archives in as points of a source.
//!
//! Owns which archive becomes what: full or differential, of when, on which full. All archives are read to their ends and held against what is written down of
//! them before anything of any is stored. Refuses to believe them: names, types, sizes and maps are checked in [`crate::archive`]. Invariants: what is imported
//! stands outside the rotation; a differential lists what its archive has and its full has not, and deletes nothing, since archives do not say what is gone.

mod contents;
mod records;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64};

use jiff::tz::TimeZone;

use super::run::{CACHE, Ground, Made, Options, Run};
use super::session::Session;
use super::{BackupError, Choice, Decision, Notice, Progress, Reason};
use crate::archive::{ArchiveError, Label, LabelKind, People, Sidecar, SidecarError, Survey, survey};
use crate::format::{CatalogId, Counts, Number, Origin, Point, PointKind, SourceId, Timestamp};
use crate::policy::decision::Facts;
use crate::repository::{Points, Reader, RepositoryError, SourceName, marks, notes};
use crate::source::xattr;

/// Why archives are not imported. Unless it says otherwise, nothing was.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// An archive cannot be taken.
    #[error("{} is not imported", path.display())]
    Archive {
        /// The file.
        path: PathBuf,
        /// Why.
        source: ArchiveError,
    },
    /// It is not what was written down of it.
    #[error("{} is not imported", path.display())]
    Sidecar {
        /// The file.
        path: PathBuf,
        /// Why.
        source: SidecarError,
    },
    /// A differential without a full.
    #[error("{} is a differential, and there is no imported full before it", path.display())]
    NoBase {
        /// The file.
        path: PathBuf,
    },
    /// A differential on a full that is not there.
    #[error("{} says that its full is {base}, which is neither given nor imported", path.display())]
    NoSuchBase {
        /// The file.
        path: PathBuf,
        /// The name of the full's file.
        base: String,
    },
    /// The file is not what it was a moment ago.
    #[error("{} changed while it was imported; no point was made of it", path.display())]
    Changed {
        /// The file.
        path: PathBuf,
    },
    /// It cannot be stored.
    #[error(transparent)]
    Backup(#[from] BackupError),
}

type Result<T> = std::result::Result<T, ImportError>;

impl ImportError {
    fn archive(path: &Path) -> impl Fn(ArchiveError) -> Self {
        let path = path.to_owned();
        move |source| match source {
            ArchiveError::Cancelled => Self::Backup(BackupError::Cancelled),
            source => Self::Archive { path: path.clone(), source },
        }
    }
}

/// An archive that was read to its end and found whole.
pub struct Prepared {
    /// Its file.
    pub path: PathBuf,
    /// What is in it.
    pub survey: Survey,
    /// What it is.
    pub kind: LabelKind,
    /// Of when it is.
    pub time: Timestamp,
    /// Whether nothing but what is in it says so.
    pub is_undated: bool,
    /// Whether something was written down of it.
    pub has_sidecar: bool,
    base: Option<String>,
}

/// Reads an archive to its end, and what is written down of it. `at` is its time, whatever it says itself.
///
/// # Errors
/// Where it cannot be taken, or is not what was written down.
pub fn prepare(
    path: &Path,
    at: Option<Timestamp>,
    zone: &TimeZone,
    read_bytes: &AtomicU64,
    cancel: &AtomicBool,
) -> Result<Prepared> {
    let wrong = |source| ImportError::Sidecar { path: path.to_owned(), source };
    let sidecar = Sidecar::beside(path, zone).map_err(wrong)?;
    let has_sidecar = sidecar.is_some();
    let sidecar = sidecar.unwrap_or_default();
    let people = People::default();
    let number_of = |named, name: &[u8]| people.number_of(named, name);
    let survey = survey(path, sidecar.sha256.is_some(), xattr::is_kept, &number_of, read_bytes, cancel)
        .map_err(ImportError::archive(path))?;
    sidecar.check(&survey.seen).map_err(wrong)?;
    let name = path.file_name().map_or(&b""[..], std::os::unix::ffi::OsStrExt::as_bytes);
    let label = Label::of_name(name, zone);
    let said = at.or(sidecar.time).or(label.time);
    let time = said.or(survey.newest).unwrap_or_else(Timestamp::now);
    Ok(Prepared {
        path: path.to_owned(),
        survey,
        kind: sidecar.kind.unwrap_or(label.kind),
        time: Timestamp::new(time.secs, 0),
        is_undated: said.is_none(),
        has_sidecar,
        base: sidecar.base,
    })
}

/// The full that a differential goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Base {
    /// One that was imported before.
    Imported(Number),
    /// The one at this place of the plan.
    Planned(usize),
}

/// An archive and its place among the points.
pub struct Planned {
    /// The archive.
    pub archive: Prepared,
    /// The full that it goes on, if it is a differential.
    pub base: Option<Base>,
}

/// Finds for each differential the newest full before it, or the one that is written down, and orders all by their times, each full before what goes on it.
///
/// # Errors
/// Where there is none.
pub fn plan(mut archives: Vec<Prepared>, points: &Points, name: &SourceName) -> Result<Vec<Planned>> {
    archives.sort_by_key(|archive| archive.time);
    let imported = || points.of_source(name.as_str()).filter(|point| point.origin == Origin::Import && point.is_full());
    let mut planned: Vec<Planned> = Vec::new();
    // A full that is written down may bear a later time.
    let (fulls, differentials): (Vec<_>, Vec<_>) =
        archives.into_iter().partition(|archive| archive.kind == LabelKind::Full);
    planned.extend(fulls.into_iter().map(|archive| Planned { archive, base: None }));
    let fulls = planned.len();
    for archive in differentials {
        let path = || archive.path.clone();
        let given = || planned[..fulls].iter().enumerate();
        let base = if let Some(base) = &archive.base {
            let of_given =
                given().find(|(_, full)| is_called(&full.archive.path, base)).map(|(at, _)| Base::Planned(at));
            let of_imported = || {
                let called =
                    |point: &&Point| point.source.path.rsplit(|byte| *byte == b'/').next() == Some(base.as_bytes());
                imported().filter(called).max_by_key(|point| point.number).map(|point| Base::Imported(point.number))
            };
            let base = of_given.or_else(of_imported);
            base.ok_or_else(|| ImportError::NoSuchBase {
                path: path(),
                base: archive.base.clone().unwrap_or_default(),
            })?
        } else {
            let of_given = given().map(|(at, full)| (full.archive.time, Base::Planned(at)));
            let of_imported = imported().map(|point| (point.time, Base::Imported(point.number)));
            let before = of_imported.chain(of_given).filter(|(time, _)| *time <= archive.time);
            let newest = before.max_by_key(|(time, _)| *time).map(|(_, base)| base);
            newest.ok_or_else(|| ImportError::NoBase { path: path() })?
        };
        planned.push(Planned { archive, base: Some(base) });
    }
    Ok(in_order(planned))
}

fn in_order(planned: Vec<Planned>) -> Vec<Planned> {
    let time = |at: usize| planned[at].archive.time;
    let key = |at: usize| match planned[at].base {
        Some(Base::Planned(base)) => (time(at).max(time(base)), true),
        base => (time(at), base.is_some()),
    };
    let mut order: Vec<usize> = (0..planned.len()).collect();
    order.sort_by_key(|at| key(*at));
    let mut places = vec![0; order.len()];
    for (place, at) in order.iter().enumerate() {
        places[*at] = place;
    }
    let mut placed: Vec<(usize, Planned)> = planned
        .into_iter()
        .zip(&places)
        .map(|(mut planned, place)| {
            if let Some(Base::Planned(base)) = &mut planned.base {
                *base = places[*base];
            }
            (*place, planned)
        })
        .collect();
    placed.sort_by_key(|(place, _)| *place);
    placed.into_iter().map(|(_, planned)| planned).collect()
}

fn is_called(path: &Path, name: &str) -> bool {
    path.file_name().is_some_and(|file| file.as_encoded_bytes() == name.as_bytes())
}

/// One archive to be imported.
pub struct Import<'a> {
    /// The name of the source.
    pub name: &'a SourceName,
    /// This machine's name.
    pub host: &'a str,
    /// The archive.
    pub archive: &'a Prepared,
    /// The full that it goes on, if it is a differential.
    pub base: Option<Number>,
    /// How hard it is compressed (zstd); as the store says if absent.
    pub level: Option<i32>,
    /// Bytes of the file that were read.
    pub read_bytes: &'a AtomicU64,
}

impl Session {
    /// Makes a point of an archive. Its time is the archive's own, or the first free one after it.
    ///
    /// # Errors
    /// Where it could not be made: the store then has at most packs more that nothing refers to.
    pub fn import(
        &self,
        import: &Import<'_>,
        progress: &Progress,
        notify: &dyn Fn(Notice),
        cancel: &Arc<AtomicBool>,
    ) -> Result<Made> {
        let level = import.level;
        let options = Options { full_level: level, differential_level: level, ..Options::default() };
        let run =
            Run { session: self, name: import.name, options: &options, progress, notify, cancel, abandoned: None };
        let reader = Reader::open(self.store.clone(), CACHE).map_err(BackupError::from)?;
        let points = reader.points().map_err(BackupError::from)?;
        let number = next_number(self).map_err(BackupError::from)?;
        let base = match import.base {
            None => None,
            Some(base) => {
                let gone = || ImportError::NoBase { path: import.archive.path.clone() };
                let base = points.get(base).ok_or_else(gone)?;
                Some(reader.tree(base).map_err(BackupError::from)?)
            }
        };
        let family = match &base {
            Some(base) => base.point().family,
            // Where the newest full's data is, there the same data is found again.
            None => points.backups_of(import.name.as_str()).rev().find(|point| point.is_full()).map_or(0, |p| p.family),
        };
        let (choice, kind) = match &base {
            None => (Choice::Full { independent: false }, PointKind::Full),
            Some(base) => {
                let (base, base_id) = (base.point().number, base.point().id);
                (Choice::Differential { base }, PointKind::Differential { base, base_id })
            }
        };
        let mut id = [0; 16];
        crate::random::fill(&mut id);
        let id = CatalogId(id);
        let ground = Ground {
            decision: Decision { choice, reason: Reason::Asked },
            facts: Facts::default(),
            previous: base,
            family,
        };
        let mut engine = run.engine(&reader, &ground, &notes::distrusted(&points.notes), number, id, true)?;
        let time = points.free_time(import.name.as_str(), import.archive.time);
        if let Some(base) = &ground.previous {
            let Counts { files, directories, others, bytes, .. } = base.point().counts;
            engine.counts = Counts { files, directories, others, bytes, ..Counts::default() };
            engine.has_xattrs = base.point().has_xattrs;
        }
        let clock = Timestamp::now();
        engine.import(import, time)?;
        let path = import.archive.path.canonicalize().unwrap_or_else(|_| import.archive.path.clone());
        let point = Point {
            number,
            id,
            source: SourceId {
                name: import.name.to_string(),
                host: import.host.to_owned(),
                path: std::os::unix::ffi::OsStringExt::into_vec(path.into_os_string()),
            },
            origin: Origin::Import,
            kind,
            family,
            time,
            clock,
            finished: clock,
            previous: None,
            counts: engine.counts,
            has_xattrs: engine.has_xattrs,
            program: concat!("dbakfs ", env!("CARGO_PKG_VERSION")).to_owned(),
        };
        let made = run.publish(engine, point.clone())?;
        Ok(made.unwrap_or(Made { point, catalog_bytes: 0, packs: Vec::new(), alarm: None }))
    }
}

fn next_number(session: &Session) -> std::result::Result<Number, RepositoryError> {
    marks::next(&session.store, Points::highest(session.store.storage())?)
}
