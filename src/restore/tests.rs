//! Any number of threads, none too, does the same.

use std::collections::BTreeMap;
use std::path::Path;

use super::crew::Crew;
use super::destination::Destination;
use super::engine::Engine;
use super::hand::Run;
use super::{Options, Progress, Report};
use crate::overlay::model::{Item, ModelStore, tree};

fn broad() -> Item {
    let files = |from: u32| {
        (from..from + 40).map(|number| {
            let len = usize::try_from(number * 7 % 1_500).unwrap();
            (format!("f{number}").into_bytes(), Item::file(number.to_le_bytes().repeat(len)))
        })
    };
    let mut root = Item::dir([]);
    for number in 0..50 {
        let mut dir = Item::dir([("link", Item::link("../d0/f1"))]);
        dir.mode = 0o755;
        dir.names_mut().extend(files(number * 40));
        root.names_mut().insert(format!("d{number}").into_bytes(), dir);
    }
    root.mode = 0o755;
    root
}

/// Restores with so many threads; what there is then, and what was said.
fn restored(store: &ModelStore, number: crate::format::Number, threads: usize) -> (BTreeMap<String, Vec<u8>>, Report) {
    let reader = store.reader();
    let tree = tree(&reader, number);
    let (options, progress) = (Options::default(), Progress::default());
    let temp = tempfile::tempdir().unwrap();
    let dest = Destination::open(&temp.path().join("dest"), reader.store().path()).unwrap();
    let run = Run::new(&reader, &tree, &options, &progress, dest.store);
    let root = tree.root().unwrap();
    let mut notify = |notice| panic!("{notice:?}");
    let report = Crew::beside(threads, &run, |crew| Engine::new(&run, crew, &mut notify).run(&root, dest)).unwrap();
    let mut found = BTreeMap::new();
    for dir in std::fs::read_dir(temp.path().join("dest")).unwrap() {
        let dir = dir.unwrap();
        for file in std::fs::read_dir(dir.path()).unwrap() {
            let path = file.unwrap().path();
            let name = path.strip_prefix(temp.path()).unwrap_or(Path::new("")).display().to_string();
            found.insert(name, std::fs::read(&path).unwrap());
        }
    }
    (found, report)
}

#[test]
fn any_number_of_threads_makes_the_same() {
    let mut store = ModelStore::new();
    let number = store.full(&broad());
    let (alone, report) = restored(&store, number, 0);
    assert_eq!(alone.len(), 50 * 41);
    assert_eq!((report.entries, report.made), (50 * 42 + 1, 50 * 42 + 1));
    for threads in [1, 2, 5] {
        assert_eq!(restored(&store, number, threads).0, alone);
    }
}
