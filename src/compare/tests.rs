//! Changes, against what the models say.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::format::Number;
use crate::overlay::model::{Item, ModelStore, What, random, tree};

type Changes = BTreeMap<(Vec<u8>, u8), (bool, bool)>;

const DELETED: u8 = 0;
const UPDATED: u8 = 1;
const NEW: u8 = 2;

/// What the models say has changed.
fn expected(path: &[u8], before: Option<&Item>, after: Option<&Item>, changes: &mut Changes) {
    let add = |changes: &mut Changes, what, flags| assert!(changes.insert((path.to_vec(), what), flags).is_none());
    if let (Some(one), Some(two)) = (before, after)
        && one.kind() != two.kind()
    {
        expected(path, before, None, changes);
        return expected(path, None, after, changes);
    }
    match (before, after) {
        (Some(_), None) => add(changes, DELETED, (false, false)),
        (None, Some(_)) => add(changes, NEW, (false, false)),
        (Some(one), Some(two)) => {
            let metadata = (one.mode, one.mtime, &one.xattrs) != (two.mode, two.mtime, &two.xattrs);
            let data = match (&one.what, &two.what) {
                (What::Dir { .. }, _) => false,
                (one, two) => one != two,
            };
            if data || metadata {
                add(changes, UPDATED, (data, metadata));
            }
        }
        (None, None) => {}
    }
    let names = |item: Option<&Item>| match item.map(|item| &item.what) {
        Some(What::Dir { names, .. }) => names.clone(),
        _ => BTreeMap::new(),
    };
    let (one, two) = (names(before), names(after));
    let mut all: Vec<_> = one.keys().chain(two.keys()).collect();
    all.sort();
    all.dedup();
    for name in all {
        let below = [path, if path.is_empty() { b"" } else { b"/" }, name].concat();
        expected(&below, one.get(name), two.get(name), changes);
    }
}

fn found(reader: &Reader, before: Number, after: Number) -> (Changes, Vec<Vec<u8>>) {
    let (mut changes, mut order) = (Changes::new(), Vec::new());
    let (before, after) = (tree(reader, before), tree(reader, after));
    compare(reader, &before, &after, &mut |change| {
        let (what, flags) = match change.kind {
            ChangeKind::Deleted => (DELETED, (false, false)),
            ChangeKind::New => (NEW, (false, false)),
            ChangeKind::Updated { data, metadata } => (UPDATED, (data, metadata)),
            ChangeKind::Unread => panic!("everything was read"),
        };
        assert_eq!((change.before.is_some(), change.after.is_some()), (what != NEW, what != DELETED));
        order.push(change.path.clone());
        assert!(changes.insert((change.path, what), flags).is_none(), "a change was told twice");
    })
    .unwrap();
    (changes, order)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, max_shrink_iters: 200, ..ProptestConfig::default() })]

    #[test]
    fn changes_are_those_of_the_models(
        old in random::root(),
        changes in prop::collection::vec(random::change(), 0..6),
        more in prop::collection::vec(random::change(), 0..6),
        dedups in any::<bool>(),
    ) {
        let mut new = old.clone();
        changes.iter().for_each(|change| random::apply(&mut new, change));
        let mut newer = new.clone();
        more.iter().for_each(|change| random::apply(&mut newer, change));
        let mut store = ModelStore::new();
        store.dedups = dedups;
        let full = store.full(&old);
        let one = store.differential(full, &new);
        let two = store.differential(full, &newer);
        store.piece_bytes = 100;
        let other = store.full(&newer);
        let reader = store.reader();
        let models = [(full, &old), (one, &new), (two, &newer), (other, &newer)];
        for (before, one) in models {
            for (after, two) in models {
                let mut wanted = Changes::new();
                expected(b"", Some(&one.plain()), Some(&two.plain()), &mut wanted);
                prop_assert_eq!(found(&reader, before, after).0, wanted, "from {} to {}", before, after);
            }
        }
    }
}

#[test]
fn a_directory_is_told_before_what_is_below_it_and_what_is_gone_before_what_is_new() {
    let inside = || Item::dir([("x", Item::file("1")), ("y", Item::dir([("z", Item::file("2"))]))]);
    let mut store = ModelStore::new();
    let before = store.full(&Item::dir([("a", inside()), ("b", Item::file("b")), ("c", Item::file("c"))]));
    let after = store.full(&Item::dir([("a", Item::file("now")), ("b", inside()), ("c", Item::file("c"))]));
    let (_, order) = found(&store.reader(), before, after);
    let paths: [&[u8]; 10] = [b"a", b"a/x", b"a/y", b"a/y/z", b"a", b"b", b"b", b"b/x", b"b/y", b"b/y/z"];
    assert_eq!(order, paths);
}

#[test]
fn shared_subtrees_are_passed_over_unread() {
    let mut store = ModelStore::new();
    let mut model = Item::dir([("big", Item::dir([])), ("f", Item::file("1"))]);
    for n in 0..3000 {
        model.at("big").names_mut().insert(format!("{n}").into_bytes(), Item::file("x"));
    }
    let full = store.full(&model);
    *model.at("f") = Item::file("2");
    let one = store.differential(full, &model);
    *model.at("f") = Item::file("3");
    let two = store.differential(full, &model);
    let reader = store.reader();
    let trees = (tree(&reader, one), tree(&reader, two));
    // The first blocks hold what is in `big`: with them overwritten, whoever looks there fails.
    let path = store.path().join("catalogs/00000001.catalog");
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[32..1000].fill(0xaa);
    std::fs::write(&path, bytes).unwrap();
    let mut count = 0;
    compare(&reader, &trees.0, &trees.1, &mut |_| count += 1).unwrap();
    assert_eq!(count, 1);
    assert!(tree(&reader, full).resolve(b"big/0").is_err());
}
