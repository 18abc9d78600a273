//! Damage of every kind, at many places: it is found, the right points and files are named, and what is called whole can be read.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use super::*;
use crate::catalog::Catalog;
use crate::format::Kind;
use crate::format::catalog::PackRef;
use crate::format::pack::PackId;
use crate::overlay::PointTree;
use crate::overlay::model::{Item, ModelStore, What, tree};

/// Five points in two series, and what each shows.
struct Fixture {
    store: ModelStore,
    models: Vec<(Number, Item)>,
}

fn noise(seed: u32, len: usize) -> Vec<u8> {
    let mut noise = vec![0; len];
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut noise);
    noise
}

fn fixture() -> Fixture {
    let mut store = ModelStore::new();
    store.piece_bytes = 3000;
    let mut model = Item::dir([("deep", Item::dir([("er", Item::dir([]))])), ("link", Item::link("deep/er"))]);
    model.names_mut().insert(b"tiny".to_vec(), Item::file("t"));
    for n in 0..12 {
        let len = 900 * n as usize;
        let dir = ["", "deep", "deep/er"][n as usize % 3];
        model.at(dir).names_mut().insert(format!("f{n}").into_bytes(), Item::file(noise(n, len)));
    }
    let one = model.clone();
    let full = store.full(&one);
    *model.at("f3") = Item::file(noise(103, 5000));
    model.at("deep").names_mut().remove(&b"f7"[..]);
    let two = model.clone();
    let second = store.differential(full, &two);
    model.at("deep/er/f5").mtime += 1;
    *model.at("f9") = Item::file(noise(109, 50));
    let three = model.clone();
    let third = store.differential(full, &three);
    store.dedups = false;
    store.family = 4;
    let other = Item::dir([("a", Item::file(noise(200, 20_000))), ("b", Item::file(noise(201, 700)))]);
    let fourth = store.full(&other);
    let mut last = other.clone();
    *last.at("b") = Item::dir([]);
    let fifth = store.differential(fourth, &last);
    let models = vec![(full, one), (second, two), (third, three), (fourth, other), (fifth, last)];
    Fixture { store, models }
}

impl Fixture {
    fn verify(&self, reader: &Reader, depth: Depth) -> Report {
        verify(reader, depth, &|_| {}, &mut |_| {}).unwrap()
    }

    /// The files of a kind, in order.
    fn files(&self, directory: &str) -> Vec<PathBuf> {
        fn below(path: &Path, files: &mut Vec<PathBuf>) {
            for entry in fs::read_dir(path).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() { below(&path, files) } else { files.push(path) }
            }
        }
        let mut files = Vec::new();
        below(&self.store.path().join(directory), &mut files);
        files.sort();
        files
    }

    /// What really cannot be read: by point, the files, or nothing where the point itself cannot be walked.
    fn harmed(&self) -> BTreeMap<Number, Option<BTreeSet<Vec<u8>>>> {
        let reader = self.store.reader();
        self.models
            .iter()
            .map(|(number, model)| {
                let point = Catalog::read_point(reader.store().storage(), *number);
                let tree = point.and_then(|point| reader.tree(&point));
                let mut harmed = BTreeSet::new();
                let walked = tree.and_then(|tree| harmed_below(&reader, &tree, &tree.root()?, model, b"", &mut harmed));
                (*number, walked.ok().map(|()| harmed))
            })
            .collect()
    }

    /// Holds a report against what can really be read.
    fn check(&self, report: &Report, what: &str) {
        for (number, harmed) in self.harmed() {
            let point = &report.points[&number];
            match harmed {
                None => {
                    let named = point.damaged.iter().any(|object| matches!(object, Object::Catalog(_)));
                    assert!(named, "{what}: point {number} is lost and not named: {report:?}");
                }
                Some(harmed) => {
                    assert!(harmed.is_empty() || !point.is_whole(), "{what}: point {number} is harmed: {report:?}");
                    let touched: BTreeSet<Vec<u8>> = point.files.iter().map(|file| file.path.clone()).collect();
                    let is_lost = point.damaged.iter().any(|object| matches!(object, Object::Catalog(_)));
                    assert!(is_lost || touched == harmed, "{what}: point {number}: {touched:?} instead of {harmed:?}");
                    assert_eq!(point.touched_files, touched.len() as u64);
                }
            }
        }
    }

    fn damaged_points(report: &Report) -> Vec<u32> {
        report.points.iter().filter(|(_, point)| !point.is_whole()).map(|(number, _)| number.0).collect()
    }
}

fn harmed_below(
    reader: &Reader,
    tree: &PointTree,
    node: &crate::overlay::Node,
    model: &Item,
    path: &[u8],
    harmed: &mut BTreeSet<Vec<u8>>,
) -> Result<(), CatalogError> {
    let mut names = model.names().iter();
    let mut entries = tree.entries(tree.directory(node)?);
    while let Some(child) = entries.next_node()? {
        let (name, item) = names.next().expect("no more names than the model has");
        assert_eq!(child.entry.name(), name);
        let path = [path, if path.is_empty() { b"" } else { b"/" }, name].concat();
        match (&item.what, child.entry.record().meta.kind) {
            (What::Dir { .. }, Kind::Directory) => harmed_below(reader, tree, &child, item, &path, harmed)?,
            (What::File(bytes), Kind::File) => {
                let mut read = Vec::new();
                let answer = reader.read(tree.catalog(child.layer), &child.entry, 0, usize::MAX, &mut read);
                if answer.is_err() || read != *bytes {
                    harmed.insert(path);
                }
            }
            (What::Link(target), Kind::Symlink) => assert_eq!(child.entry.inline(), target),
            other => panic!("{other:?}"),
        }
    }
    assert!(names.next().is_none());
    Ok(())
}

#[test]
fn a_sound_store_is_whole_and_counted() {
    let fixture = fixture();
    let reader = fixture.store.reader();
    let seen = std::sync::Mutex::new(Progress::default());
    for depth in [Depth::Structure, Depth::Data] {
        let report =
            verify(&reader, depth, &|now| *seen.lock().unwrap() = now, &mut |event| panic!("{event:?}")).unwrap();
        assert!(report.is_whole() && report.points.values().all(PointReport::is_whole));
        assert_eq!((report.points.len(), report.catalogs), (5, 5));
        assert_eq!(report.packs, fixture.files("packs").len() as u64);
        assert_eq!((report.orphan_packs, report.orphan_bytes), (0, 0));
        assert!(report.blocks > report.packs && report.chunks > report.blocks);
        assert!(seen.lock().unwrap().total_bytes > report.pack_bytes);
    }
    fixture.check(&fixture.verify(&reader, Depth::Data), "sound");
}

#[test]
fn every_flipped_byte_of_a_pack_is_found_and_the_files_on_it_are_named() {
    let fixture = fixture();
    for path in fixture.files("packs") {
        let bytes = fs::read(&path).unwrap();
        let step = (bytes.len() / 60).max(1);
        let ends = (0..32).chain(bytes.len() - 74..bytes.len());
        for at in (0..bytes.len()).step_by(step).chain(ends) {
            let mut wrong = bytes.clone();
            wrong[at] ^= 0x40;
            fs::write(&path, &wrong).unwrap();
            let what = format!("byte {at} of {} in {}", bytes.len(), path.display());
            let report = fixture.verify(&fixture.store.reader(), Depth::Data);
            assert!(!report.is_whole(), "{what}");
            assert!(!Fixture::damaged_points(&report).is_empty(), "{what}");
            fixture.check(&report, &what);
        }
        fs::write(&path, &bytes).unwrap();
    }
    assert!(fixture.verify(&fixture.store.reader(), Depth::Data).is_whole());
}

#[test]
fn every_flipped_byte_of_a_catalog_is_found_and_takes_what_stands_on_it() {
    let fixture = fixture();
    let standing = [vec![1, 2, 3], vec![2], vec![3], vec![4, 5], vec![5]];
    for (path, standing) in fixture.files("catalogs").into_iter().zip(standing) {
        let bytes = fs::read(&path).unwrap();
        let step = (bytes.len() / 50).max(1);
        for at in (0..bytes.len()).step_by(step).chain(bytes.len() - 112..bytes.len()) {
            let mut wrong = bytes.clone();
            wrong[at] ^= 1;
            fs::write(&path, &wrong).unwrap();
            let what = format!("byte {at} of {} in {}", bytes.len(), path.display());
            let report = fixture.verify(&fixture.store.reader(), Depth::Structure);
            assert_eq!(Fixture::damaged_points(&report), standing, "{what}: {:?}", report.damages);
            fixture.check(&report, &what);
        }
        fs::write(&path, &bytes).unwrap();
    }
}

#[test]
fn truncated_and_missing_files_are_found() {
    let fixture = fixture();
    for directory in ["packs", "catalogs"] {
        for path in fixture.files(directory) {
            let bytes = fs::read(&path).unwrap();
            for len in [0, 10, bytes.len() / 2, bytes.len() - 1] {
                fs::write(&path, &bytes[..len]).unwrap();
                let report = fixture.verify(&fixture.store.reader(), Depth::Structure);
                let what = format!("{} cut to {len}", path.display());
                assert!(!report.is_whole(), "{what}");
                fixture.check(&report, &what);
            }
            fs::write(&path, [&bytes[..], b"more"].concat()).unwrap();
            assert!(!fixture.verify(&fixture.store.reader(), Depth::Structure).is_whole(), "grown");
            fs::remove_file(&path).unwrap();
            let report = fixture.verify(&fixture.store.reader(), Depth::Structure);
            let number = path.file_stem().and_then(|stem| stem.to_str()?.parse::<u32>().ok());
            match number.filter(|_| directory == "catalogs") {
                // Nothing stands on these: they may as well have been pruned.
                Some(2 | 3 | 5) => assert!(report.is_whole()),
                Some(base) => {
                    let expected = if base == 1 { [1, 2, 3].to_vec() } else { [4, 5].to_vec() };
                    assert_eq!(Fixture::damaged_points(&report), expected);
                }
                None => {
                    assert!(matches!(report.damages[0].error, DamageError::NoPack { .. }));
                    fixture.check(&report, "removed");
                }
            }
            fs::write(&path, &bytes).unwrap();
        }
    }
    assert!(fixture.verify(&fixture.store.reader(), Depth::Data).is_whole());
}

#[test]
fn swapped_packs_and_swapped_catalogs_are_found() {
    let fixture = fixture();
    for (directory, depth) in [("packs", Depth::Data), ("catalogs", Depth::Structure)] {
        let files = fixture.files(directory);
        for pair in files.windows(2) {
            let swap = || {
                let (one, two) = (fs::read(&pair[0]).unwrap(), fs::read(&pair[1]).unwrap());
                fs::write(&pair[0], two).unwrap();
                fs::write(&pair[1], one).unwrap();
            };
            swap();
            let report = fixture.verify(&fixture.store.reader(), depth);
            assert!(report.damages.len() >= 2, "{pair:?}: {:?}", report.damages);
            for (number, harmed) in fixture.harmed() {
                let is_harmed = harmed.is_none_or(|harmed| !harmed.is_empty());
                assert!(!is_harmed || !report.points[&number].is_whole(), "{pair:?}: point {number}");
            }
            swap();
        }
    }
    assert!(fixture.verify(&fixture.store.reader(), Depth::Data).is_whole());
}

#[test]
fn packs_of_equal_length_that_were_swapped_are_told_apart() {
    let mut store = ModelStore::new();
    store.dedups = false;
    let one = store.full(&Item::dir([("a", Item::file(noise(1, 60)))]));
    let two = store.full(&Item::dir([("a", Item::file(noise(2, 60)))]));
    let fixture = Fixture { store, models: Vec::new() };
    let files = fixture.files("packs");
    let bytes: Vec<_> = files.iter().map(|file| fs::read(file).unwrap()).collect();
    assert_eq!(bytes[0].len(), bytes[1].len());
    fs::write(&files[0], &bytes[1]).unwrap();
    fs::write(&files[1], &bytes[0]).unwrap();
    let report = fixture.verify(&fixture.store.reader(), Depth::Structure);
    let is_other = |damage: &Damage| matches!(damage.error, DamageError::Pack(PackError::OtherPack { .. }));
    assert!(report.damages.len() == 2 && report.damages.iter().all(is_other), "{:?}", report.damages);
    for number in [one, two] {
        assert_eq!(report.points[&number].touched_files, 1);
    }
}

#[test]
fn damage_below_a_changed_file_does_not_touch_the_point_that_changed_it() {
    let fixture = fixture();
    let reader = fixture.store.reader();
    let tree = tree(&reader, Number(1));
    let node = tree.resolve(b"deep/f7").unwrap().unwrap();
    let crate::format::record::Content::Many { first, .. } = node.entry.record().content else { panic!() };
    let mut place = None;
    tree.catalog(node.layer)
        .extents(first, 1, 0, |extent| {
            place = Some(extent.place);
            false
        })
        .unwrap();
    let place = place.unwrap();
    let pack = tree.catalog(node.layer).packs()[place.pack as usize];
    let frame = reader.blocks().pack(pack).unwrap().blocks()[place.block as usize];
    let path = fixture.store.path().join(layout::pack(&pack.id));
    let mut bytes = fs::read(&path).unwrap();
    bytes[usize::try_from(frame.offset).unwrap()] ^= 1;
    fs::write(&path, bytes).unwrap();

    assert!(fixture.verify(&fixture.store.reader(), Depth::Structure).is_whole(), "no block was read");
    let mut told = Vec::new();
    let report = verify(&fixture.store.reader(), Depth::Data, &|_| {}, &mut |event| {
        if let Event::Touched { point, path, cause } = event {
            assert_eq!(cause, Object::Block { pack: pack.id, block: place.block });
            told.push((point.0, path.to_vec()));
        }
    })
    .unwrap();
    assert!(told.contains(&(1, b"deep/f7".to_vec())));
    assert!(!told.iter().any(|(point, path)| *point > 1 && path == b"deep/f7"), "it was deleted there");
    assert_eq!(report.damages.len(), 1);
    assert_eq!(
        report.damages[0].to_string(),
        format!("pack {} is damaged: block {}: checksum differs", pack.id, place.block)
    );
    assert!(report.points[&Number(4)].is_whole() && report.points[&Number(5)].is_whole());
    fixture.check(&report, "one block");
}

#[test]
fn damaged_small_files_are_named_and_take_no_point_with_them() {
    let fixture = fixture();
    let root = fixture.store.path();
    for (name, text) in [
        ("store.toml", "format = 1"),
        ("marks.toml", "rubbish"),
        ("marks.toml", "highest = 4\ngeneration = 1\n"),
        ("points/00000002.toml", "pinned = perhaps"),
        ("sources/www.toml", "["),
    ] {
        let reader = fixture.store.reader();
        let before = fs::read(root.join(name)).ok();
        fs::write(root.join(name), text).unwrap();
        let report = fixture.verify(&reader, Depth::Structure);
        let objects: Vec<_> = report.damages.iter().map(|damage| damage.object.clone()).collect();
        assert_eq!(objects, [Object::File(name.to_owned())]);
        assert_eq!(report.damages[0].harm, Harm::Notes);
        assert!(Fixture::damaged_points(&report).is_empty());
        match before {
            Some(before) => fs::write(root.join(name), before).unwrap(),
            None => fs::remove_file(root.join(name)).unwrap(),
        }
    }
}

#[test]
fn orphan_packs_are_counted_and_forgotten_points_looked_at() {
    let fixture = fixture();
    let root = fixture.store.path();
    fs::remove_file(root.join("catalogs/00000005.catalog")).unwrap();
    fs::remove_file(root.join("catalogs/00000004.catalog")).unwrap();
    fs::write(root.join("points/00000001.toml"), "[forgotten]\nsecs = 1\nnanos = 0\n").unwrap();
    let report = fixture.verify(&fixture.store.reader(), Depth::Data);
    assert!(report.is_whole());
    assert!(report.points[&Number(1)].is_forgotten && !report.points[&Number(2)].is_forgotten);
    assert_eq!(report.orphan_packs, 1);
    assert!(report.orphan_bytes > 20_000);
}

#[test]
fn a_pack_that_goes_after_it_was_listed_is_damage_only_where_a_catalog_refers_to_it() {
    let fixture = fixture();
    let reader = fixture.store.reader();
    let mut listed = crate::pack::list(reader.store().storage()).unwrap();
    let referred_to = listed[0];
    fs::remove_file(fixture.store.path().join(layout::pack(&referred_to.id))).unwrap();
    let pruned = PackRef { id: PackId([9; 32]), file_len: 100 };
    listed.push(pruned);
    let (mut report, meter) = (Report::default(), packs::Meter::new(0, &|_| {}));
    let mut states =
        packs::check(&reader, Depth::Structure.into(), &listed, &|| false, &meter, &mut report, &mut |_| {}).unwrap();
    assert!(report.is_whole());
    assert_eq!(report.packs, listed.len() as u64 - 2);
    assert!(!states.knows(&pruned.id) && states.orphans().count() == listed.len() - 2);
    let missing = states.refer(referred_to).expect("it is missing").error;
    assert!(matches!(missing, DamageError::NoPack { pack } if pack == referred_to.id));
}
