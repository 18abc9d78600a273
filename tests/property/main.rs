//! Random trees, changed at random between backups of random modes: each point is what the source was, lists only what differs from its
//! base, and is made only where something differs.
//!
//! `DBAKFS_CASES` sets how many histories are tried.

#![allow(clippy::unwrap_used, reason = "a helper that fails is a test that fails")]
#![allow(clippy::print_stderr, reason = "a test explains itself on standard error")]

#[path = "../support/mod.rs"]
mod support;

mod seen;
mod source;
mod unread;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use dbakfs::backup::{Done, Mode, Options, Outcome, Progress, Session, Subject};
use dbakfs::format::record::Status;
use dbakfs::format::{Kind, Point, Timestamp};
use dbakfs::overlay::{Directory, Layer, Node, PointTree};
use dbakfs::policy::decision::DecisionRules;
use dbakfs::policy::surge::SurgeRules;
use dbakfs::prune;
use dbakfs::repository::config::Chunking;
use dbakfs::repository::{CacheBytes, Points, Reader, ReaderWait, SourceName, Store, WriterLock, forgetting};
use dbakfs::storage::Wait;
use dbakfs::verify::{self, Depth};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use seen::{kept, shown};
use source::{Change, Source, changes};
use support::tree::{Tree, look};

/// What happens between two backups, and the backup after it.
#[derive(Clone, Debug)]
struct Round {
    changes: Vec<Change>,
    mode: Mode,
    force: bool,
    checksum: bool,
    /// Wait until the times of what was written may be trusted.
    settle: bool,
    /// Then forget a point, and what stands on it, and prune; packs of which less than the percentage is needed are rewritten.
    drop: Option<(prop::sample::Index, u8)>,
}

fn rounds() -> impl Strategy<Value = Vec<Round>> {
    let mode = prop_oneof![
        6 => Just(Mode::Auto),
        2 => Just(Mode::Differential),
        2 => Just(Mode::Full { independent: false }),
        1 => Just(Mode::Full { independent: true }),
    ];
    let rare = || prop::bool::weighted(0.15);
    let drop = prop::option::weighted(0.3, (any::<prop::sample::Index>(), 0_u8..=100));
    let round = (vec(changes(), 0..14), mode, rare(), rare(), rare(), drop);
    let round = round.prop_map(|(changes, mode, force, checksum, settle, drop)| Round {
        changes,
        mode,
        force,
        checksum,
        settle,
        drop,
    });
    vec(round, 4..7)
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
            if let Some(node) = pair.seen().filter(Node::is_directory) {
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

fn back_up(store: &Store, source: &Source, options: &Options) -> Done {
    let cancel = Arc::new(AtomicBool::new(false));
    let name = SourceName::new("src").unwrap();
    let subject = Subject::Tree { path: source.root(), walk: dbakfs::source::Options::default() };
    let session = Session::begin(store, Wait::Never).unwrap();
    session.back_up(&name, subject, options, &Progress::default(), &|_| {}, &cancel).unwrap()
}

fn history(rounds: &[Round]) {
    let mut source = Source::new();
    let store = Store::init(&source.dir.path().join("store"), Chunking::default()).unwrap();
    let mut past = Past::new();
    for (number, round) in rounds.iter().enumerate() {
        for change in &round.changes {
            source.apply(change);
        }
        if round.settle {
            std::thread::sleep(Duration::from_millis(2_100));
        }
        let now = kept(&look(&source.root()));
        let options = Options {
            mode: round.mode,
            rules: DecisionRules::lasting(),
            // What happens at random is no habit.
            alarm: SurgeRules::NEVER,
            force: round.force,
            checksum: round.checksum,
            ..Options::default()
        };
        let done = back_up(&store, &source, &options);
        let has_changed = past.last().is_none_or(|(_, before)| *before != now);
        match done.outcome {
            Outcome::Made(made) => {
                let is_wanted = round.force || matches!(round.mode, Mode::Full { .. });
                assert!(has_changed || is_wanted, "round {number}: a point although nothing has changed");
                past.push((made.point, now));
            }
            Outcome::Unchanged(newest) => {
                assert!(
                    !has_changed && !round.force && !matches!(round.mode, Mode::Full { .. }),
                    "round {number}: a change was missed"
                );
                assert_eq!(newest.number, past.last().unwrap().0.number);
            }
            Outcome::Tried { .. } => panic!("it was no trial"),
        }
        source.keep_copy();
        check_all(&store, &past);
        if let (Some((which, repack_below)), false) = (&round.drop, past.is_empty()) {
            drop_point(&store, &mut past, *which, *repack_below);
            check_all(&store, &past);
        }
    }
}

/// Forgets a point and what stands on it, and prunes: nothing is left that no point needs.
fn drop_point(store: &Store, past: &mut Past, which: prop::sample::Index, repack_below: u8) {
    let lock = WriterLock::take(store, Wait::Never).unwrap();
    let wanted = BTreeSet::from([past[which.index(past.len())].0.number]);
    let points = Points::list(store.storage()).unwrap();
    let order = forgetting::forget(&points, &wanted, true).unwrap();
    let now = Timestamp::now();
    forgetting::write(store, &lock, &order, Some(now)).unwrap();
    past.retain(|(point, _)| !order.contains(&point.number));
    let options = prune::Options {
        forgotten_before: prune::Deadlines::all(now),
        repack_below,
        dry_run: false,
        sole_host: false,
        readers: ReaderWait(Duration::ZERO),
    };
    let again = |repack_below| {
        let mut problems = Vec::new();
        let options = prune::Options { repack_below, ..options.clone() };
        let report = prune::prune(store, &lock, &options, &|| false, &mut |event| {
            if let prune::Event::Problem(text) = event {
                problems.push(text.to_owned());
            }
        });
        let report = report.unwrap();
        assert!(problems.is_empty(), "{problems:?}");
        assert_eq!(report.left, prune::Left::default());
        report
    };
    let report = again(repack_below);
    assert_eq!(report.plan.expired.len(), order.len());
    assert!(again(0).plan.is_empty(), "a second prune finds something to do");
    let reader = Reader::open(store.clone(), CacheBytes::of_total(8 << 20)).unwrap();
    let found = verify::verify(&reader, Depth::Data, &|_| (), &mut |_| ()).unwrap();
    assert!(found.is_whole(), "{:?}", found.damages);
    assert_eq!(found.orphan_packs, 0);
    if repack_below == 100 {
        let live: u64 = again(100).plan.repacks.iter().map(|repack| repack.dead_bytes).sum();
        assert_eq!(live, 0, "packs were rewritten, and something in them is of no use");
    }
}

/// Tries `DBAKFS_CASES` values, or `cases`, several at a time: most of the time is waiting, for the disk and for times to settle.
fn try_all<S: Strategy>(cases: u32, strategy: impl Fn() -> S + Sync, test: impl Fn(S::Value) + Sync)
where
    S::Value: Debug,
{
    const THREADS: u32 = 8;
    let cases = std::env::var("DBAKFS_CASES").map_or(cases, |cases| cases.parse().unwrap());
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                let config = Config::with_cases(cases.div_ceil(THREADS));
                let config = Config { failure_persistence: None, max_shrink_time: 60_000, ..config };
                let answer = TestRunner::new(config).run(&strategy(), |value| {
                    test(value);
                    Ok(())
                });
                assert!(answer.is_ok(), "{}", answer.unwrap_err());
            });
        }
    });
}

#[test]
fn each_point_is_what_the_source_was() {
    try_all(16, rounds, |rounds| history(&rounds));
}
