//! Random trees and random changes of them.

use proptest::prelude::*;
use proptest::sample::Index;

use super::{Item, Names, What};

/// A name of any bytes that Linux allows; mostly one of a few, so that trees meet.
pub(crate) fn name() -> impl Strategy<Value = Vec<u8>> {
    let any = prop::collection::vec(any::<u8>().prop_filter("no byte of a name", |b| !matches!(b, 0 | b'/')), 1..12)
        .prop_filter("no name", |name| name != b"." && name != b"..");
    prop_oneof![
        6 => prop::sample::select(vec![b"a".to_vec(), b"a.txt".to_vec(), b"b".to_vec(), b"c".to_vec()]),
        1 => prop::sample::select(vec![vec![0xff], b"
".to_vec(), vec![b'x'; 255], vec![0xff; 255], b"a
".to_vec()]),
        2 => any,
    ]
}

fn bytes() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![Just(Vec::new()), prop::collection::vec(0..4_u8, 1..20), prop::collection::vec(0..3_u8, 50..300)]
}

fn leaf() -> impl Strategy<Value = Item> {
    let what = prop_oneof![
        bytes().prop_map(What::File),
        "[a-z]{1,30}".prop_map(|target| What::Link(target.into_bytes())),
        Just(What::Dir { names: Names::new(), is_recreated: false }),
    ];
    with_metadata(what)
}

fn with_metadata(what: impl Strategy<Value = What>) -> impl Strategy<Value = Item> {
    let xattrs = prop_oneof![
        5 => Just(Vec::new()),
        1 => prop::collection::vec(("user[.][a-c]", prop::collection::vec(any::<u8>(), 0..9)), 1..3),
    ];
    (what, 0..3_u32, -2..2_i64, xattrs).prop_map(|(what, mode, mtime, xattrs)| Item {
        mode: 0o640 + mode,
        mtime,
        xattrs: xattrs.into_iter().map(|(name, value)| (name.into_bytes(), value)).collect(),
        what,
    })
}

fn entry() -> impl Strategy<Value = Item> {
    leaf().prop_recursive(4, 40, 6, |inner| {
        let names = prop::collection::btree_map(name(), inner, 0..6);
        with_metadata(names.prop_map(|names| What::Dir { names, is_recreated: false }))
    })
}

/// A root directory.
pub(crate) fn root() -> impl Strategy<Value = Item> {
    let names = prop::collection::btree_map(name(), entry(), 0..8);
    with_metadata(names.prop_map(|names| What::Dir { names, is_recreated: false }))
}

/// A change of a tree.
#[derive(Clone, Debug)]
pub(crate) enum Change {
    Put(Index, Vec<u8>, Item),
    Delete(Index, Index),
    Touch(Index, Index),
    Rename(Index, Index, Index, Vec<u8>),
    Recreate(Index, Index, bool),
    Empty(Index),
}

pub(crate) fn change() -> impl Strategy<Value = Change> {
    let index = any::<Index>;
    prop_oneof![
        3 => (index(), name(), entry()).prop_map(|(dir, name, item)| Change::Put(dir, name, item)),
        3 => (index(), index()).prop_map(|(dir, name)| Change::Delete(dir, name)),
        2 => (index(), index()).prop_map(|(dir, name)| Change::Touch(dir, name)),
        2 => (index(), index(), index(), name()).prop_map(|(from, name, to, new)| Change::Rename(from, name, to, new)),
        2 => (index(), index(), any::<bool>()).prop_map(|(dir, name, keep)| Change::Recreate(dir, name, keep)),
        1 => index().prop_map(Change::Empty),
    ]
}

/// Does a change, if the tree has what it needs.
pub(crate) fn apply(root: &mut Item, change: &Change) {
    let pick = |names: &Names, index: &Index| {
        (!names.is_empty()).then(|| names.keys().nth(index.index(names.len())).unwrap().clone())
    };
    match change {
        Change::Put(dir, name, item) => drop(directory(root, dir).insert(name.clone(), item.clone())),
        Change::Delete(dir, name) => {
            let names = directory(root, dir);
            if let Some(name) = pick(names, name) {
                names.remove(&name);
            }
        }
        Change::Touch(dir, name) => {
            let names = directory(root, dir);
            if let Some(name) = pick(names, name) {
                names.get_mut(&name).unwrap().mtime += 100;
            }
        }
        Change::Rename(from, name, to, new) => {
            let names = directory(root, from);
            let Some(name) = pick(names, name) else { return };
            let item = names.remove(&name).unwrap();
            directory(root, to).insert(new.clone(), item);
        }
        Change::Recreate(dir, name, keep) => {
            let names = directory(root, dir);
            let Some(name) = pick(names, name) else { return };
            if let What::Dir { names, is_recreated } = &mut names.get_mut(&name).unwrap().what {
                *is_recreated = true;
                if !keep {
                    names.clear();
                }
            }
        }
        Change::Empty(dir) => directory(root, dir).clear(),
    }
}

/// One of the directories, the root among them.
fn directory<'a>(root: &'a mut Item, index: &Index) -> &'a mut Names {
    fn count(item: &Item) -> usize {
        match &item.what {
            What::Dir { names, .. } => 1 + names.values().map(count).sum::<usize>(),
            _ => 0,
        }
    }
    fn nth<'a>(item: &'a mut Item, n: &mut usize) -> Option<&'a mut Names> {
        let What::Dir { names, .. } = &mut item.what else { return None };
        if *n == 0 {
            return Some(names);
        }
        *n -= 1;
        names.values_mut().find_map(|item| nth(item, n))
    }
    let mut n = index.index(count(root));
    nth(root, &mut n).expect("counted before")
}
