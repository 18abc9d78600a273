//! A store to be damaged, and the library's view of it.

use std::fs;
use std::path::{Path, PathBuf};

use dbakfs::format::Number;
use dbakfs::format::catalog::PackRef;
use dbakfs::repository::runs::{Check, CheckEnd};
use dbakfs::repository::{CacheBytes, Reader, RunNotes, SourceName, Store};
use dbakfs::verify::written::{self, Level, Outcome, Wrote};

use super::support::cli::Place;
use super::support::points::noise;

/// A place with files of all sizes, none of them compressible; `many` small ones.
pub(crate) fn filled(many: u64) -> Place {
    let place = Place::with_store();
    fs::create_dir_all(place.src().join("deep/er")).unwrap();
    for number in 0..many {
        let dir = ["", "deep", "deep/er"][usize::try_from(number % 3).unwrap()];
        let path = place.src().join(dir).join(format!("small-{number}"));
        fs::write(path, noise(number, 3_000 + usize::try_from(number).unwrap())).unwrap();
    }
    fs::write(place.src().join("large"), noise(1_000, 3_000_000)).unwrap();
    fs::write(place.src().join("tiny"), "inside the catalog").unwrap();
    place
}

/// All packs of the store.
pub(crate) fn packs(place: &Place) -> Vec<PackRef> {
    dbakfs::pack::list(Store::open(&place.store()).unwrap().storage()).unwrap()
}

/// The file of a pack.
pub(crate) fn file_of(place: &Place, pack: &PackRef) -> PathBuf {
    place.store().join(dbakfs::format::layout::pack(&pack.id))
}

/// The file of a catalog.
pub(crate) fn catalog(place: &Place, number: u32) -> PathBuf {
    place.store().join(dbakfs::format::layout::catalog(Number(number)))
}

/// Changes one byte.
pub(crate) fn flip(path: &Path, at: usize) {
    let mut bytes = fs::read(path).unwrap();
    bytes[at] ^= 1;
    fs::write(path, bytes).unwrap();
}

pub(crate) fn open(place: &Place) -> Store {
    Store::open(&place.store()).unwrap()
}

pub(crate) fn reader(place: &Place) -> Reader {
    Reader::open(open(place), CacheBytes::of_total(8 << 20)).unwrap()
}

/// Checks what backup `number` wrote, which is `packs`.
pub(crate) fn check(place: &Place, number: u32, packs: &[PackRef], level: Level) -> Outcome {
    let wrote = Wrote { number: Number(number), packs };
    written::check(&reader(place), wrote, level, &|| false, &|_| ())
}

/// The verdict, and what was found.
pub(crate) fn verdict(outcome: &Outcome) -> (CheckEnd, String) {
    (outcome.check.end, outcome.check.findings.join("\n"))
}

/// What is kept of the checks of `src`.
pub(crate) fn kept(place: &Place) -> Vec<Check> {
    RunNotes::read(open(place).storage(), &src()).unwrap().checks
}

pub(crate) fn src() -> SourceName {
    SourceName::new("src").unwrap()
}
