//! The same for somebody who may not read everything: what cannot be read is what the newest point before had, and is said.

use std::collections::BTreeSet;
use std::os::unix::fs::chown;

use dbakfs::backup::{Mode, Options, Outcome};
use dbakfs::format::Point;
use dbakfs::format::record::Status;
use dbakfs::policy::decision::DecisionRules;
use dbakfs::repository::config::Chunking;
use dbakfs::repository::{CacheBytes, Reader, Store};
use proptest::collection::vec;
use proptest::prelude::*;
use rustix::fs::{Gid, Uid};
use rustix::thread::{set_thread_groups, set_thread_res_gid, set_thread_res_uid};

use crate::seen::{NEVER_READ, kept, shown};
use crate::source::{Change, Source, changes};
use crate::support::awkward::is_root;
use crate::support::tree::{Entry, Tree, look};
use crate::{back_up, try_all};

const NOBODY: u32 = 65_534;

/// Does `work` as an ordinary user: the one thread, and those that it starts.
fn as_nobody<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            let (uid, gid) = (Uid::from_raw(NOBODY), Gid::from_raw(NOBODY));
            set_thread_groups(&[]).unwrap();
            set_thread_res_gid(gid, gid, gid).unwrap();
            set_thread_res_uid(uid, uid, uid).unwrap();
            work()
        });
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// What a point must show, and which of it as unread.
#[derive(Clone, Default, PartialEq)]
struct Expected {
    tree: Tree,
    unread: BTreeSet<Vec<u8>>,
}

impl Expected {
    /// What must be shown of a source that is `now`, after a point that showed `before`.
    fn new(now: &Tree, before: &Self) -> Self {
        let mut expected = Self::default();
        expected.take(now, before, Vec::new());
        expected
    }

    /// Takes over what is at and below `path`; answers whether anything was there.
    fn carry(&mut self, before: &Self, path: &[u8]) -> bool {
        let is_below = |other: &[u8]| other == path || other.strip_prefix(path).is_some_and(|rest| rest[0] == b'/');
        let found = before.tree.iter().filter(|(other, _)| is_below(other));
        self.tree.extend(found.map(|(path, entry)| (path.clone(), entry.clone())));
        self.unread.extend(before.unread.iter().filter(|other| is_below(other)).cloned());
        before.tree.contains_key(path)
    }

    fn take(&mut self, now: &Tree, before: &Self, path: Vec<u8>) {
        let entry = &now[&path];
        let others_may = |bits: u32| entry.mode & bits == bits;
        match entry.kind() {
            libc::S_IFREG if !others_may(0o4) => {
                self.unread.insert(path.clone());
                if !self.carry(before, &path) {
                    self.tree.insert(path, Entry { content: NEVER_READ.to_vec(), ..entry.clone() });
                }
            }
            libc::S_IFDIR => {
                self.tree.insert(path.clone(), entry.clone());
                if others_may(0o4) {
                    for child in children(now, &path) {
                        if others_may(0o1) {
                            self.take(now, before, child);
                        } else {
                            self.unread.insert(child.clone());
                            if !self.carry(before, &child) {
                                self.tree.insert(child.clone(), unknown(child));
                            }
                        }
                    }
                } else {
                    self.unread.insert(path.clone());
                    if before.tree.get(&path).is_some_and(|before| before.kind() == libc::S_IFDIR) {
                        for child in children(&before.tree, &path) {
                            self.carry(before, &child);
                        }
                    }
                }
            }
            _ => drop(self.tree.insert(path, entry.clone())),
        }
    }
}

/// An entry of which nothing is known but its name.
fn unknown(path: Vec<u8>) -> Entry {
    Entry {
        mode: libc::S_IFREG,
        uid: 0,
        gid: 0,
        rdev: 0,
        size: 0,
        mtime: (0, 0),
        content: NEVER_READ.to_vec(),
        xattrs: std::collections::BTreeMap::new(),
        first_name: path,
        nlink: 1,
        allocated_bytes: 0,
    }
}

fn children(tree: &Tree, path: &[u8]) -> Vec<Vec<u8>> {
    let is_child = |other: &&Vec<u8>| {
        let below = if path.is_empty() {
            Some(&other[..])
        } else {
            other.strip_prefix(path).and_then(|rest| rest.strip_prefix(b"/"))
        };
        below.is_some_and(|name| !name.is_empty() && !name.contains(&b'/'))
    };
    tree.keys().filter(is_child).cloned().collect()
}

fn check(store: &Store, points: &[(Point, Expected)]) {
    let reader = Reader::open(store.clone(), CacheBytes::of_total(8 << 20)).unwrap();
    for (point, expected) in points {
        let shown = shown(&reader, point);
        for (path, entry) in &expected.tree {
            let text = String::from_utf8_lossy(path);
            assert_eq!(shown.get(path), Some(entry), "point {} shows another {text}", point.number);
        }
        assert_eq!(shown.len(), expected.tree.len(), "point {}: {:?}", point.number, shown.keys());
        let tree = reader.tree(point).unwrap();
        for path in expected.tree.keys() {
            let status = tree.resolve(path).unwrap().unwrap().entry.record().status;
            let text = String::from_utf8_lossy(path);
            assert_eq!(status == Status::Unread, expected.unread.contains(path), "point {}: {text}", point.number);
        }
        assert_eq!(point.is_complete(), expected.unread.is_empty(), "point {}", point.number);
    }
}

/// What happens between two backups, and whether the next one is a full.
type Round = (Vec<Change>, bool);

fn rounds() -> impl Strategy<Value = Vec<Round>> {
    // Links are of one mode and of several fates; attributes are for whoever may read.
    let is_fit = |change: &Change| !matches!(change, Change::HardLink { .. } | Change::Attribute { .. });
    let closed = prop::sample::select(vec![0o600_u32, 0o700, 0o704, 0o604, 0o701]);
    let modes = (0..64_u8, closed).prop_map(|(path, mode)| Change::Mode { path, mode });
    let change = prop_oneof![4 => changes().prop_filter("no links and attributes", is_fit), 1 => modes];
    vec((vec(change, 0..10), prop::bool::weighted(0.2)), 4..7)
}

fn history(rounds: &[Round]) {
    let mut source = Source::new();
    chown(source.dir.path(), Some(NOBODY), Some(NOBODY)).unwrap();
    let path = source.dir.path().join("store");
    let store = as_nobody(|| Store::init(&path, Chunking::default()).unwrap());
    let mut points: Vec<(Point, Expected)> = Vec::new();
    for (number, (changes, is_full)) in rounds.iter().enumerate() {
        for change in changes {
            source.apply(change);
        }
        let before = points.last().map(|(_, expected)| expected.clone()).unwrap_or_default();
        let now = Expected::new(&kept(&look(&source.root())), &before);
        let mode = if *is_full { Mode::Full { independent: false } } else { Mode::Auto };
        let done = as_nobody(|| {
            back_up(&store, &source, &Options { mode, rules: DecisionRules::lasting(), ..Options::default() })
        });
        match done.outcome {
            Outcome::Made(made) => {
                assert!(now != before || *is_full, "round {number}: a point although nothing has changed");
                points.push((made.point, now));
            }
            Outcome::Unchanged(_) => assert!(now == before && !is_full, "round {number}: a change was missed"),
            Outcome::Tried { .. } => panic!("it was no trial"),
        }
        source.keep_copy();
        check(&store, &points);
    }
}

#[test]
fn what_cannot_be_read_is_what_the_newest_point_before_had() {
    if is_root() {
        try_all(32, rounds, |rounds| history(&rounds));
    }
}
