//! The overlay against the model.

use proptest::prelude::*;

use super::model::{Item, ModelStore, Names, What, item_of, random, shown, tree};
use super::{Layer, Node, PointTree};
use crate::format::record::{Birth, Content};
use crate::format::{Number, PointKind};
use crate::repository::Reader;

/// Looks at every directory in every way there is, and compares with the model.
fn check_directory(reader: &Reader, tree: &PointTree, node: &Node, item: &Item, old: Option<&Item>) {
    let directory = tree.directory(node).unwrap();
    let names = item.names();
    let listed = |mut cursor: super::OverlayCursor| {
        let mut names = Vec::new();
        let mut positions = vec![cursor.position()];
        while let Some(node) = cursor.next_node().unwrap() {
            names.push(node.entry.name().to_vec());
            positions.push(cursor.position());
        }
        (names, positions)
    };
    let (all, positions) = listed(tree.entries(directory));
    assert!(all.iter().eq(names.keys()), "{all:?} instead of {names:?}");
    for (taken, position) in positions.into_iter().enumerate() {
        let (rest, _) = listed(tree.entries_from(directory, position));
        assert_eq!(rest, all[taken..], "from {position:?}");
    }
    let gone = old.filter(|old| matches!(old.what, What::Dir { .. })).map(Item::names);
    let none = Names::new();
    for name in gone.unwrap_or(&none).keys().chain([&b"never".to_vec(), &vec![0xfe; 255], &Vec::new()]) {
        let found = tree.find(directory, name).unwrap();
        assert_eq!(found.is_some(), names.contains_key(name), "{name:?}");
    }
    for (name, item) in names {
        let child = tree.find(directory, name).unwrap().expect("a name of the model is found");
        assert_eq!(child.entry.name(), name);
        assert_eq!(item_of(reader, tree, &child), item.plain());
        if matches!(item.what, What::Dir { .. }) {
            let old = gone.and_then(|old| old.get(name));
            check_directory(reader, tree, &child, item, old);
        }
    }
}

fn check_paths(tree: &PointTree, item: &Item, path: &[u8]) {
    let found = tree.resolve(path).unwrap().expect("a path of the model leads somewhere");
    assert_eq!(found.entry.record().meta.kind, item.kind());
    if let What::Dir { names, .. } = &item.what {
        for (name, item) in names {
            check_paths(tree, item, &[path, b"//", name].concat());
        }
        assert!(tree.resolve(&[path, b"/never"].concat()).unwrap().is_none());
    } else {
        assert!(tree.resolve(&[path, b"/below"].concat()).unwrap().is_none());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, max_shrink_iters: 200, ..ProptestConfig::default() })]

    #[test]
    fn a_differential_over_its_full_shows_exactly_the_new_tree(
        old in random::root(),
        changes in prop::collection::vec(random::change(), 0..8),
        more in prop::collection::vec(random::change(), 0..4),
    ) {
        let mut new = old.clone();
        changes.iter().for_each(|change| random::apply(&mut new, change));
        let mut newer = new.clone();
        more.iter().for_each(|change| random::apply(&mut newer, change));
        let mut store = ModelStore::new();
        let full = store.full(&old);
        let one = store.differential(full, &new);
        let two = store.differential(full, &newer);
        let reader = store.reader();
        for (number, model) in [(full, &old), (one, &new), (two, &newer)] {
            let tree = tree(&reader, number);
            for layer in [Layer::Full, Layer::Differential].into_iter().filter(|layer| tree.has(*layer)) {
                tree.catalog(layer).check().unwrap();
            }
            prop_assert_eq!(shown(&reader, &tree), model.plain());
            check_directory(&reader, &tree, &tree.root().unwrap(), model, Some(&old));
            check_paths(&tree, model, b"");
        }
    }
}

#[test]
fn an_unchanged_tree_lists_nothing_but_the_root() {
    let mut store = ModelStore::new();
    let model = Item::dir([("d", Item::dir([("f", Item::file(vec![1; 500]))])), ("l", Item::link("d/f"))]);
    let full = store.full(&model);
    let differential = store.differential(full, &model);
    let reader = store.reader();
    let tree = tree(&reader, differential);
    assert_eq!(tree.catalog(Layer::Differential).len(), 1);
    assert_eq!(shown(&reader, &tree), model);
}

#[test]
fn a_directory_of_many_blocks_is_merged_and_searched() {
    let mut store = ModelStore::new();
    let mut model = Item::dir([]);
    for at in 0..1500 {
        let item = if at % 7 == 0 { Item::file(format!("{at}")) } else { Item::dir([]) };
        model.names_mut().insert(format!("entry {at}").into_bytes(), item);
    }
    let full = store.full(&model);
    let old = model.clone();
    for at in 0..1500 {
        let name = format!("entry {at}").into_bytes();
        match at % 3 {
            0 => drop(model.names_mut().remove(&name)),
            1 => drop(model.names_mut().insert(format!("more {at}").into_bytes(), Item::file("x"))),
            _ => {}
        }
    }
    let differential = store.differential(full, &model);
    let reader = store.reader();
    let tree = tree(&reader, differential);
    let own = tree.catalog(Layer::Differential);
    assert!(own.len() > 600 && own.packs().is_empty());
    assert_eq!(shown(&reader, &tree), model);
    let directory = tree.directory(&tree.root().unwrap()).unwrap();
    for name in old.names().keys().chain(model.names().keys()) {
        assert_eq!(tree.find(directory, name).unwrap().is_some(), model.names().contains_key(name));
    }
}

#[test]
fn a_file_of_many_extents_is_read_from_any_offset() {
    let mut store = ModelStore::new();
    store.piece_bytes = 8;
    let bytes: Vec<u8> = (0..1200_u64).rev().flat_map(u64::to_be_bytes).collect();
    let full = store.full(&Item::dir([("before", Item::file(vec![3; 99])), ("many", Item::file(bytes.clone()))]));
    let reader = store.reader();
    let tree = tree(&reader, full);
    let node = tree.resolve(b"many").unwrap().unwrap();
    let Content::Many { count: 1200, .. } = node.entry.record().content else { panic!("{:?}", node.entry.record()) };
    for (offset, len) in [(0, 9600), (1, 1), (7, 2), (8191, 5), (9599, 9), (4095, 4000), (9600, 1), (u64::MAX, 7)] {
        let mut read = b"kept".to_vec();
        reader.read(tree.catalog(node.layer), &node.entry, offset, len, &mut read).unwrap();
        let start = usize::try_from(offset).unwrap().min(bytes.len());
        assert_eq!(read, [&b"kept"[..], &bytes[start..(start.saturating_add(len)).min(bytes.len())]].concat());
    }
    let mut ranges = Vec::new();
    reader
        .data_ranges(tree.catalog(node.layer), &node.entry, 0, |range| {
            ranges.push(range);
            true
        })
        .unwrap();
    assert!(ranges.into_iter().eq(std::iter::once(0..9600)));
}

#[test]
fn an_adopted_birth_is_found_and_no_other() {
    let mut store = ModelStore::new();
    let mut model = Item::dir([]);
    for at in 0..2500 {
        model.names_mut().insert(format!("{at}").into_bytes(), Item::file(format!("{at}")));
    }
    let first = store.full(&model);
    for at in (0..2500).step_by(5) {
        model.at(&at.to_string()).mtime += 1;
    }
    let second = store.full(&model);
    let reader = store.reader();
    let (one, two) = (reader.catalog(first).unwrap(), reader.catalog(second).unwrap());
    assert!(matches!(two.point().kind, PointKind::Full));
    for record in 0..two.len() - 1 {
        let entry = two.entry(record).unwrap();
        let birth = entry.record().birth;
        let changed = str::from_utf8(entry.name()).unwrap().parse::<u32>().unwrap() % 5 == 0;
        assert_eq!(birth.number, if changed { second } else { first });
        assert_eq!(two.adopted(birth).unwrap(), (!changed).then_some(record));
        if !changed {
            assert_eq!(one.entry(birth.record).unwrap().name(), entry.name());
        }
    }
    for birth in [(0, 0), (1, 2500), (1, u32::MAX), (2, 1), (3, 0)] {
        let birth = Birth { number: Number(birth.0), record: birth.1 };
        assert_eq!(two.adopted(birth).unwrap(), None);
    }
}
