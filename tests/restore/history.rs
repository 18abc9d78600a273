//! What `backup` made, `restore` writes out: a full, and differentials over it.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use dbakfs::backup::{self, Mode, Outcome, Session, Subject};
use dbakfs::format::Point;
use dbakfs::policy::decision::DecisionRules;
use dbakfs::repository::config::Chunking;
use dbakfs::repository::{CacheBytes, Reader, SourceName, Store};
use dbakfs::restore::{Options, Progress, Report, restore};
use dbakfs::source;
use dbakfs::storage::Wait;

use crate::support::awkward;
use crate::support::tree::{Tree, compare, look};

fn back_up(store: &Store, source: &Path, mode: Mode) -> Point {
    let session = Session::begin(store, Wait::Never).unwrap();
    let name: SourceName = "test".parse().unwrap();
    let subject = Subject::Tree { path: source.to_owned(), walk: source::Options::default() };
    let options = backup::Options {
        mode,
        rules: DecisionRules::lasting(),
        host: "here".to_owned(),
        ..backup::Options::default()
    };
    let cancel = Arc::new(AtomicBool::new(false));
    let progress = backup::Progress::default();
    let notify = |notice| eprintln!("{notice:?}");
    let done = session.back_up(&name, subject, &options, &progress, &notify, &cancel).unwrap();
    let Outcome::Made(made) = done.outcome else { panic!("no point was made") };
    made.point
}

fn write_out(store: &Path, point: &Point, dest: &Path) -> Report {
    let reader = Reader::open(Store::open(store).unwrap(), CacheBytes::of_total(32 << 20)).unwrap();
    let tree = reader.tree(point).unwrap();
    let options = Options { delete: true, ..Options::default() };
    let progress = Progress::default();
    let mut notify = |notice| panic!("{notice:?}");
    let report = restore(&reader, &tree, b"", dest, &options, &progress, &mut notify).unwrap();
    assert!(report.is_exact(), "{report:?}");
    let counts = &point.counts;
    assert_eq!(progress.entries(), counts.files + counts.directories + counts.others);
    assert_eq!(progress.bytes(), counts.bytes);
    report
}

fn is_same(one: &Tree, other: &Tree) -> bool {
    compare(one, other).iter().all(|(_, holds)| *holds)
}

#[test]
fn every_point_is_restored_over_every_other() {
    let temp = tempfile::tempdir().unwrap();
    let (source, dest, path) = (temp.path().join("source"), temp.path().join("dest"), temp.path().join("store"));
    fs::create_dir(&source).unwrap();
    awkward::make(&source);
    let store = Store::init(&path, Chunking::default()).unwrap();
    let mut points = vec![(back_up(&store, &source, Mode::Auto), look(&source))];

    let at = |name: &str| source.join(name);
    fs::remove_dir_all(at("equal")).unwrap();
    fs::write(at("equal"), b"a file now").unwrap();
    fs::remove_file(at("links/one")).unwrap();
    fs::write(at("links/one"), b"parted from the others").unwrap();
    fs::remove_file(at("fifo")).unwrap();
    fs::create_dir(at("fifo")).unwrap();
    fs::write(at("fifo/inside"), vec![1; 300_000]).unwrap();
    symlink("/nowhere", at("new-link")).unwrap();
    fs::rename(at("crowd"), at("moved")).unwrap();
    fs::set_permissions(at("acl-file"), PermissionsExt::from_mode(0o600)).unwrap();
    fs::write(at("sparse"), b"no hole any more").unwrap();
    points.push((back_up(&store, &source, Mode::Differential), look(&source)));

    fs::remove_file(at("equal")).unwrap();
    fs::hard_link(at("links/one"), at("equal")).unwrap();
    fs::rename(at("moved"), at("crowd")).unwrap();
    points.push((back_up(&store, &source, Mode::Differential), look(&source)));

    for order in [[0, 1, 2], [2, 0, 1], [1, 0, 2]] {
        for at in order {
            let (point, expected) = &points[at];
            write_out(&path, point, &dest);
            assert!(is_same(expected, &look(&dest)), "point {}", point.number);
            let again = write_out(&path, point, &dest);
            assert_eq!((again.made, again.removed), (0, 0), "a second restore changes nothing");
        }
    }
    // And over the source itself.
    write_out(&path, &points[0].0, &source);
    assert!(is_same(&points[0].1, &look(&source)));
}
