//! Random trees, changed at random between backups of random modes: each point is what the source was, lists only what differs from its
//! base, and is made only where something differs.
//!
//! `DBAKFS_CASES` sets how many histories are tried.

#![allow(clippy::unwrap_used, reason = "a helper that fails is a test that fails")]
#![allow(clippy::print_stderr, reason = "a test explains itself on standard error")]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, SystemTime};

use dbakfs::backup::{Mode, Options, Outcome, Progress, Session, Subject};
use dbakfs::format::record::{Birth, Status, xattrs};
use dbakfs::format::{Kind, Point};
use dbakfs::overlay::{Directory, Layer, PointTree};
use dbakfs::repository::config::Chunking;
use dbakfs::repository::{CacheBytes, Reader, SourceName, Store};
use dbakfs::source;
use dbakfs::storage::Wait;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use rustix::fs::{FileType, Mode as Permissions, XattrFlags, lsetxattr, mknodat};
use support::points::noise;
use support::tree::{Entry, Tree, look};

/// Something that happens to the source. A path is a number, see [`path`].
#[derive(Clone, Debug)]
enum Change {
    Put {
        path: u8,
        seed: u8,
        len: usize,
    },
    Append {
        path: u8,
        len: usize,
    },
    Remove {
        path: u8,
    },
    Directory {
        path: u8,
    },
    Link {
        path: u8,
        target: u8,
    },
    Pipe {
        path: u8,
    },
    HardLink {
        from: u8,
        to: u8,
    },
    Rename {
        from: u8,
        to: u8,
    },
    Mode {
        path: u8,
        mode: u32,
    },
    Time {
        path: u8,
        time: u8,
    },
    Attribute {
        path: u8,
        value: u8,
    },
    /// The whole source becomes a copy of what it was at an earlier backup.
    GoBack {
        to: u8,
    },
}

/// What happens between two backups, and the backup after it.
#[derive(Clone, Debug)]
struct Round {
    changes: Vec<Change>,
    mode: Mode,
    force: bool,
    checksum: bool,
    /// Wait until the times of what was written may be trusted.
    settle: bool,
}

fn changes() -> impl Strategy<Value = Change> {
    let path = || 0..64_u8;
    let len = || prop::sample::select(vec![0_usize, 1, 30, 3_000, 3_000, 70_000, 400_000]);
    prop_oneof![
        6 => (path(), 0..4_u8, len()).prop_map(|(path, seed, len)| Change::Put { path, seed, len }),
        2 => (path(), len()).prop_map(|(path, len)| Change::Append { path, len }),
        3 => path().prop_map(|path| Change::Remove { path }),
        2 => path().prop_map(|path| Change::Directory { path }),
        1 => (path(), 0..3_u8).prop_map(|(path, target)| Change::Link { path, target }),
        1 => path().prop_map(|path| Change::Pipe { path }),
        4 => (path(), path()).prop_map(|(from, to)| Change::HardLink { from, to }),
        3 => (path(), path()).prop_map(|(from, to)| Change::Rename { from, to }),
        1 => (path(), 0..0o1000_u32).prop_map(|(path, mode)| Change::Mode { path, mode: mode | 0o600 }),
        2 => (path(), 0..3_u8).prop_map(|(path, time)| Change::Time { path, time }),
        1 => (path(), 0..3_u8).prop_map(|(path, value)| Change::Attribute { path, value }),
        1 => (0..6_u8).prop_map(|to| Change::GoBack { to }),
    ]
}

fn rounds() -> impl Strategy<Value = Vec<Round>> {
    let mode = prop_oneof![
        6 => Just(Mode::Auto),
        2 => Just(Mode::Differential),
        2 => Just(Mode::Full { independent: false }),
        1 => Just(Mode::Full { independent: true }),
    ];
    let rare = || prop::bool::weighted(0.15);
    let round = (vec(changes(), 0..14), mode, rare(), rare(), rare());
    let round =
        round.prop_map(|(changes, mode, force, checksum, settle)| Round { changes, mode, force, checksum, settle });
    vec(round, 4..7)
}

/// One of 64 paths of up to three components, which are in one another's way.
fn path(number: u8) -> PathBuf {
    let name = |digit: u8| ["a", "b", "c", "d"][usize::from(digit % 4)];
    let mut path = PathBuf::from(name(number));
    for digit in [number / 4, number / 16] {
        if digit % 4 > 0 {
            path.push(name(digit));
        }
    }
    path
}

/// A source on disk, with copies of what it was.
struct Source {
    dir: tempfile::TempDir,
    copies: usize,
}

impl Source {
    fn root(&self) -> PathBuf {
        self.dir.path().join("src")
    }

    fn remove(path: &Path) {
        match path.symlink_metadata() {
            Ok(stat) if stat.is_dir() => fs::remove_dir_all(path).unwrap(),
            Ok(_) => fs::remove_file(path).unwrap(),
            Err(_) => {}
        }
    }

    /// The path, with nothing there and directories above it.
    fn cleared(&self, number: u8) -> PathBuf {
        let path = self.root().join(path(number));
        let parent = path.parent().unwrap();
        for above in parent.ancestors().take_while(|above| *above != self.root()) {
            if above.symlink_metadata().is_ok_and(|stat| !stat.is_dir()) {
                fs::remove_file(above).unwrap();
            }
        }
        fs::create_dir_all(parent).unwrap();
        Self::remove(&path);
        path
    }

    fn copy(from: &Path, to: &Path) {
        assert!(Command::new("cp").arg("-a").arg(from).arg(to).status().unwrap().success());
    }

    fn keep_copy(&mut self) {
        Self::copy(&self.root(), &self.dir.path().join(format!("copy-{}", self.copies)));
        self.copies += 1;
    }

    fn apply(&self, change: &Change) {
        let existing = |number: u8| {
            let path = self.root().join(path(number));
            path.symlink_metadata().ok().map(|stat| (path, stat))
        };
        let file = |number: u8| existing(number).filter(|(_, stat)| stat.is_file()).map(|(path, _)| path);
        match *change {
            Change::Put { path, seed, len } => fs::write(self.cleared(path), noise(seed.into(), len)).unwrap(),
            Change::Append { path, len } => {
                if let Some(path) = file(path) {
                    let mut content = fs::read(&path).unwrap();
                    content.extend(noise(9, len));
                    fs::write(path, content).unwrap();
                }
            }
            Change::Remove { path } => Self::remove(&self.root().join(self::path(path))),
            Change::Directory { path } => fs::create_dir(self.cleared(path)).unwrap(),
            Change::Link { path, target } => symlink(format!("target {target}"), self.cleared(path)).unwrap(),
            Change::Pipe { path } => {
                mknodat(rustix::fs::CWD, self.cleared(path), FileType::Fifo, Permissions::RUSR, 0).unwrap();
            }
            Change::HardLink { from, to } => {
                if let Some(from) = file(from).filter(|from| !self.root().join(path(to)).starts_with(from)) {
                    // Making way for the new name may take the old one away.
                    let aside = self.root().join("aside");
                    fs::hard_link(from, &aside).unwrap();
                    fs::rename(aside, self.cleared(to)).unwrap();
                }
            }
            Change::Rename { from, to } => {
                if let Some((from, _)) = existing(from) {
                    let aside = self.root().join("aside");
                    fs::rename(from, &aside).unwrap();
                    fs::rename(aside, self.cleared(to)).unwrap();
                }
            }
            Change::Mode { path, mode } => {
                if let Some((path, stat)) = existing(path).filter(|(_, stat)| !stat.is_symlink()) {
                    let mode = if stat.is_dir() { mode | 0o700 } else { mode };
                    fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
                }
            }
            Change::Time { path, time } => {
                if let Some((path, _)) = existing(path).filter(|(_, stat)| stat.is_file() || stat.is_dir()) {
                    let time = SystemTime::UNIX_EPOCH + Duration::new(u64::from(time) * 1_000, u32::from(time));
                    File::open(path).unwrap().set_modified(time).unwrap();
                }
            }
            Change::Attribute { path, value } => {
                if let Some((path, _)) = existing(path).filter(|(_, stat)| stat.is_file() || stat.is_dir()) {
                    lsetxattr(path, "user.test", &[value], XattrFlags::empty()).unwrap();
                }
            }
            Change::GoBack { to } => {
                if self.copies > 0 {
                    let copy = self.dir.path().join(format!("copy-{}", usize::from(to) % self.copies));
                    fs::remove_dir_all(self.root()).unwrap();
                    Self::copy(&copy, &self.root());
                }
            }
        }
    }
}

/// What a point holds, as [`look`] would see it.
fn shown(reader: &Reader, point: &Point) -> Tree {
    let tree = reader.tree(point).unwrap();
    let mut seen = BTreeMap::new();
    let root = tree.root().unwrap();
    walk(reader, &tree, &root, Vec::new(), &mut seen);
    let mut first_of: BTreeMap<Birth, Vec<u8>> = BTreeMap::new();
    for (path, (_, birth)) in &seen {
        first_of.entry(*birth).or_insert_with(|| path.clone());
    }
    let named = |path: Vec<u8>, entry: Entry, birth: Birth| {
        // A directory is one of a kind, whatever its birth.
        let is_directory = entry.kind() == libc::S_IFDIR;
        let first_name = if is_directory { path.clone() } else { first_of[&birth].clone() };
        (path, Entry { first_name, ..entry })
    };
    seen.into_iter().map(|(path, (entry, birth))| named(path, entry, birth)).collect()
}

fn walk(
    reader: &Reader,
    tree: &PointTree,
    node: &dbakfs::overlay::Node,
    path: Vec<u8>,
    seen: &mut BTreeMap<Vec<u8>, (Entry, Birth)>,
) {
    let record = *node.entry.record();
    let meta = record.meta;
    let mut content = Vec::new();
    match meta.kind {
        Kind::Symlink => content = node.entry.inline().to_vec(),
        Kind::File => {
            let mut bytes = Vec::new();
            let len = usize::try_from(meta.size).unwrap();
            reader.read(tree.catalog(node.layer), &node.entry, 0, len, &mut bytes).unwrap();
            content = blake3::hash(&bytes).as_bytes().to_vec();
        }
        _ => {}
    }
    let entry = Entry {
        mode: meta.kind.mode_bits() | meta.mode,
        uid: meta.uid,
        gid: meta.gid,
        rdev: meta.rdev,
        size: meta.size,
        mtime: (meta.mtime.secs, meta.mtime.nanos.into()),
        content,
        xattrs: xattrs(node.entry.xattrs()).map(|(name, value)| (name.to_vec(), value.to_vec())).collect(),
        first_name: Vec::new(),
        nlink: meta.nlink.into(),
        allocated_bytes: 0,
    };
    assert!(seen.insert(path.clone(), (entry, record.birth)).is_none(), "listed twice: {path:?}");
    if node.is_directory() {
        let mut entries = tree.entries(tree.directory(node).unwrap());
        while let Some(child) = entries.next_node().unwrap() {
            let mut below = path.clone();
            if !below.is_empty() {
                below.push(b'/');
            }
            below.extend_from_slice(child.entry.name());
            walk(reader, tree, &child, below, seen);
        }
    }
}

/// What a tree is apart from where its bytes lie.
fn kept(tree: &Tree) -> Tree {
    tree.iter().map(|(path, entry)| (path.clone(), Entry { allocated_bytes: 0, ..entry.clone() })).collect()
}

/// Checks that a differential lists what differs from its base and nothing else.
fn lists_what_differs(tree: &PointTree, base: &Tree, now: &Tree) {
    let mut counts = [0_u64; 3];
    let mut waiting = vec![(Vec::new(), tree.directory(&tree.root().unwrap()).unwrap())];
    let root = tree.root().unwrap();
    assert_eq!(root.entry.record().status == Status::Updated, base[&Vec::new()] != now[&Vec::new()], "the root");
    counts[1] += u64::from(root.entry.record().status == Status::Updated);
    while let Some((prefix, directory)) = waiting.pop() {
        // Only what the differential itself lists.
        let own = Directory { base: None, ..directory };
        let mut entries = tree.entries(own);
        while let Some(pair) = entries.next_pair().unwrap() {
            let record = pair.own.as_ref().unwrap().record();
            let mut path: Vec<u8> = prefix.clone();
            if !path.is_empty() {
                path.push(b'/');
            }
            path.extend_from_slice(pair.name());
            let text = String::from_utf8_lossy(&path);
            let (before, after) = (base.get(&path), now.get(&path));
            let is_same_kind = before.zip(after).is_some_and(|(before, after)| before.kind() == after.kind());
            match record.status {
                Status::New => assert!(!is_same_kind && after.is_some(), "{text} is not new"),
                Status::Updated => assert!(is_same_kind && before != after, "{text} is not updated"),
                Status::Deleted => assert!(before.is_some() && after.is_none(), "{text} is not gone"),
                Status::Unchanged => {
                    assert!(before == after && record.meta.kind == Kind::Directory, "{text} is not unchanged");
                }
                Status::Unread => panic!("{text} was read"),
            }
            match record.status {
                Status::New => counts[0] += 1,
                Status::Updated => counts[1] += 1,
                Status::Deleted => counts[2] += 1,
                _ => {}
            }
            if let Some(node) = pair.seen().filter(dbakfs::overlay::Node::is_directory) {
                let below = tree.directory(&node).unwrap();
                assert!(
                    record.status != Status::Unchanged || below.own.is_some_and(|children| children.count > 0),
                    "{text} leads nowhere"
                );
                waiting.push((path, below));
            }
        }
    }
    let point = tree.point().counts;
    assert_eq!([point.new, point.updated, point.deleted], counts);
}

/// What the source was at each point.
type Past = Vec<(Point, Tree)>;

fn check_all(store: &Store, past: &Past) {
    let reader = Reader::open(store.clone(), CacheBytes::of_total(8 << 20)).unwrap();
    let points = reader.points().unwrap();
    assert!(points.problems.is_empty());
    let listed: Vec<u32> = points.points.iter().map(|point| point.number.0).collect();
    assert_eq!(listed, past.iter().map(|(point, _)| point.number.0).collect::<Vec<_>>());
    let mut families: BTreeMap<_, u32> = BTreeMap::new();
    for (point, original) in past {
        let shown = shown(&reader, point);
        for (path, entry) in original {
            let text = String::from_utf8_lossy(path);
            assert_eq!(shown.get(path), Some(entry), "point {} shows another {text}", point.number);
        }
        let extra: BTreeSet<_> = shown.keys().filter(|path| !original.contains_key(*path)).collect();
        assert!(extra.is_empty(), "point {} shows {extra:?}", point.number);
        let tree = reader.tree(point).unwrap();
        if !point.is_full() {
            let base = &past.iter().find(|(base, _)| base.number == point.series()).unwrap().1;
            lists_what_differs(&tree, base, original);
        }
        let layer = if point.is_full() { Layer::Full } else { Layer::Differential };
        tree.catalog(layer).check().unwrap();
        for pack in tree.catalog(layer).packs() {
            let family = *families.entry(pack.id).or_insert(point.family);
            assert_eq!(family, point.family, "families share a pack");
        }
        let files = original.values().filter(|entry| entry.kind() == libc::S_IFREG).count();
        assert_eq!(point.counts.files, files as u64);
    }
}

fn history(rounds: &[Round]) {
    let mut source = Source { dir: tempfile::tempdir().unwrap(), copies: 0 };
    fs::create_dir(source.root()).unwrap();
    let store = Store::init(&source.dir.path().join("store"), Chunking::default()).unwrap();
    let name = SourceName::new("src").unwrap();
    let mut past = Past::new();
    for (number, round) in rounds.iter().enumerate() {
        for change in &round.changes {
            source.apply(change);
        }
        if round.settle {
            std::thread::sleep(Duration::from_millis(2_100));
        }
        let now = kept(&look(&source.root()));
        let cancel = Arc::new(AtomicBool::new(false));
        let subject = Subject::Tree { path: source.root(), walk: source::Options::default() };
        let options = Options { mode: round.mode, force: round.force, checksum: round.checksum, ..Options::default() };
        let session = Session::begin(&store, Wait::Never).unwrap();
        let done = session.back_up(&name, subject, &options, &Progress::default(), &|_| {}, &cancel).unwrap();
        drop(session);
        let has_changed = past.last().is_none_or(|(_, before)| *before != now);
        match done.outcome {
            Outcome::Made(made) => {
                let is_wanted = round.force || round.mode == (Mode::Full { independent: true });
                assert!(has_changed || is_wanted, "round {number}: a point although nothing has changed");
                past.push((made.point, now));
            }
            Outcome::Unchanged(newest) => {
                assert!(!has_changed && !round.force, "round {number}: a change was missed");
                assert_eq!(newest.number, past.last().unwrap().0.number);
            }
            Outcome::Tried { .. } => panic!("it was no trial"),
        }
        source.keep_copy();
        check_all(&store, &past);
    }
}

#[test]
fn each_point_is_what_the_source_was() {
    let cases = std::env::var("DBAKFS_CASES").map_or(32, |cases| cases.parse().unwrap());
    const THREADS: u32 = 8;
    // Most of the time is waiting: for the disk, and for times to settle.
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            let config =
                Config { failure_persistence: None, max_shrink_time: 60_000, ..Config::with_cases(cases / THREADS) };
            scope.spawn(move || {
                let answer = TestRunner::new(config).run(&rounds(), |rounds| {
                    history(&rounds);
                    Ok(())
                });
                assert!(answer.is_ok(), "{}", answer.unwrap_err());
            });
        }
    });
}
