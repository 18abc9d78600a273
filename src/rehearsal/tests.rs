//! What a rehearsal compares is told apart when it is wrong: a sample is restored, changed behind the rehearsal's back, and judged.

use std::fs::{self, File, FileTimes};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

use super::*;
use crate::format::Number;
use crate::overlay::model::{Item, ModelStore, tree};

fn noise(seed: u32, len: usize) -> Vec<u8> {
    let mut noise = vec![0; len];
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut noise);
    noise
}

/// A tree with something of each kind that a model has, owned by whoever runs the test.
fn model() -> Item {
    let mut root = Item::dir([("dir", Item::dir([("deep", Item::dir([]))])), ("link", Item::link("dir/deep"))]);
    root.names_mut().insert(b"tiny".to_vec(), Item::file("in the catalog"));
    root.names_mut().insert(b"empty".to_vec(), Item::file(""));
    for number in 0..30 {
        let dir = ["", "dir", "dir/deep"][number as usize % 3];
        let len = 50 * (number as usize + 1);
        root.at(dir).names_mut().insert(format!("f{number}").into_bytes(), Item::file(noise(number, len)));
    }
    root.at("").mode = 0o755;
    root.at("dir").mode = 0o755;
    root.at("dir/deep").mode = 0o700;
    root.at("dir/f1").xattrs.insert(b"user.mood".to_vec(), b"good".to_vec());
    root
}

fn sample(tree: &PointTree, size: SampleSize, seed: u64) -> Sample {
    Sample::draw(tree, size, seed, u64::MAX, &AtomicBool::new(false)).unwrap()
}

fn paths(group: &Group) -> Vec<Vec<u8>> {
    group.entries.iter().map(|chosen| chosen.path.clone()).collect()
}

/// Restores all of the point, has `tamper` change it, and judges it.
fn judged(store: &ModelStore, number: Number, tamper: impl FnOnce(&Path)) -> Vec<String> {
    let reader = store.reader();
    let tree = tree(&reader, number);
    let temp = tempfile::tempdir().unwrap();
    let (mut findings, cancel) = (Vec::new(), Arc::new(AtomicBool::new(false)));
    let all = sample(&tree, SampleSize::Percent(100.0), 1);
    let entries = all.small.entries.into_iter().chain(all.large.entries).collect();
    let group = Group { name: sample::SMALL, entries };
    let dest = temp.path().join("dest");
    let only = Some(Arc::new(group.records(&tree).unwrap()));
    let how = restore::Options { only, ..restore::Options::default() };
    let progress = Progress::default();
    let mut notify = |notice| panic!("{notice:?}");
    let report = restore::restore(&reader, &tree, b"", &dest, &how, &progress, &mut notify).unwrap();
    tamper(&dest);
    let live = Live::of(tree.point(), "elsewhere");
    let mut judge = Judge::new(&reader, &tree, &dest, &report, BTreeSet::new(), &live, &cancel).unwrap();
    judge.group(&group).unwrap();
    findings.append(&mut judge.findings);
    findings
}

fn store() -> (ModelStore, Number) {
    let mut store = ModelStore::new();
    store.piece_bytes = 300;
    let full = store.full(&model());
    (store, full)
}

#[test]
fn what_was_restored_rightly_is_found_to_be_right() {
    let (store, full) = store();
    assert_eq!(judged(&store, full, |_| ()), [""; 0]);
}

#[test]
fn each_thing_that_is_wrong_is_found_and_nothing_else() {
    let (store, full) = store();
    let set = |path: &Path, mode| fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
    let touch = |path: &Path, secs| {
        let time = FileTimes::new().set_modified(UNIX_EPOCH + Duration::from_secs(secs));
        File::open(path).unwrap().set_times(time).unwrap();
    };
    // The model's time, so that a change of content shows in nothing else.
    let rewrite = |path: &Path, change: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = fs::read(path).unwrap();
        change(&mut bytes);
        fs::write(path, bytes).unwrap();
        touch(path, 1_700_000_000);
    };
    type Tamper<'a> = &'a dyn Fn(&Path);
    let cases: [(Tamper<'_>, &str); 13] = [
        (&|dest| rewrite(&dest.join("f3"), &|bytes| bytes[100] ^= 1), "f3: its content differs"),
        (&|dest| rewrite(&dest.join("dir/f28"), &|bytes| bytes[1_400] ^= 1), "dir/f28: its content differs"),
        (&|dest| rewrite(&dest.join("tiny"), &|bytes| bytes[0] ^= 1), "tiny: its content is not what"),
        (&|dest| rewrite(&dest.join("f3"), &|bytes| bytes.push(0)), "f3: it has 201 bytes instead of 200"),
        (&|dest| rewrite(&dest.join("empty"), &|bytes| bytes.push(7)), "empty: it has 1 bytes instead of 0"),
        (&|dest| set(&dest.join("dir/f1"), 0o640), "dir/f1: its mode is 0640 instead of 0644"),
        (&|dest| set(&dest.join("dir/deep"), 0o711), "dir/deep: its mode is 0711 instead of 0700"),
        (&|dest| touch(&dest.join("f6"), 5), "f6: its time is not the one"),
        (&|dest| touch(&dest.join("dir"), 5), "dir: its time is not the one"),
        (
            &|dest| rustix::fs::setxattr(dest.join("f6"), "user.more", b"x", rustix::fs::XattrFlags::empty()).unwrap(),
            "f6: its extended attributes",
        ),
        (&|dest| rustix::fs::removexattr(dest.join("dir/f1"), "user.mood").unwrap(), "dir/f1: its extended attributes"),
        (&|dest| set(dest, 0o777), "the root: its mode is 0777"),
        (
            &|dest| {
                let time = fs::metadata(dest.join("dir")).unwrap().modified().unwrap();
                fs::remove_file(dest.join("dir/f4")).unwrap();
                File::open(dest.join("dir")).unwrap().set_modified(time).unwrap();
            },
            "dir/f4: it was not restored",
        ),
    ];
    for (tamper, expected) in cases {
        let findings = judged(&store, full, tamper);
        assert!(
            !findings.is_empty()
                && findings.iter().all(|finding| finding.starts_with(expected.split(':').next().unwrap())),
            "{expected}: {findings:?}"
        );
        assert!(findings.iter().any(|finding| finding.starts_with(expected)), "{expected}: {findings:?}");
    }
    let findings = judged(&store, full, |dest| {
        fs::remove_file(dest.join("link")).unwrap();
        symlink("elsewhere", dest.join("link")).unwrap();
    });
    assert!(findings.iter().any(|finding| finding.starts_with("link: it leads elsewhere")), "{findings:?}");
}

#[test]
fn the_same_seed_draws_the_same_sample_and_another_another() {
    let (store, full) = store();
    let reader = store.reader();
    let tree = tree(&reader, full);
    let draw = |seed| {
        let sample = sample(&tree, SampleSize::Files(12), seed);
        [&sample.small, &sample.large, &sample.spread].map(paths)
    };
    assert_eq!(draw(7), draw(7));
    let drawn: BTreeSet<_> = (0..10).map(draw).collect();
    assert!(drawn.len() >= 8, "{} of 10 seeds draw differently", drawn.len());
    for seed in 0..10 {
        let spread = draw(seed)[2].clone();
        let dirs = |wanted: &[u8]| spread.iter().filter(|path| path.starts_with(wanted)).count();
        assert!(spread.len() >= 3 && dirs(b"dir/") < spread.len(), "spread over directories: {spread:?}");
    }
}

#[test]
fn a_sample_is_no_larger_than_asked_for_and_all_is_all() {
    let (store, full) = store();
    let reader = store.reader();
    let tree = tree(&reader, full);
    for files in [1, 4, 10] {
        let sample = sample(&tree, SampleSize::Files(files), 3);
        let drawn = sample.small.entries.len() + sample.large.entries.len() + sample.spread.entries.len();
        assert!(drawn > 0 && drawn as u64 <= files + 6, "{drawn} of {files}");
    }
    let all = sample(&tree, SampleSize::Percent(100.0), 3);
    assert_eq!(all.small.entries.len() + all.large.entries.len(), 33);
    assert_eq!(all.all_small, 33 - all.large.entries.len() as u64 + 3, "three directories");
    // With little room, little is drawn, but something always.
    let draw = |room| Sample::draw(&tree, SampleSize::Percent(100.0), 3, room, &AtomicBool::new(false)).unwrap();
    let few = draw(4_000);
    assert!(few.small.entries.len() + few.large.entries.len() < 33);
    assert!(!draw(0).small.entries.is_empty());
}

#[test]
fn files_that_differ_from_the_source_are_told_with_the_byte() {
    let temp = tempfile::tempdir().unwrap();
    let file = |name: &str, bytes: &[u8]| {
        fs::write(temp.path().join(name), bytes).unwrap();
        File::open(temp.path().join(name)).unwrap()
    };
    let bytes = noise(1, 3_000_000);
    let mut other = bytes.clone();
    other[2_345_678] ^= 1;
    let (one, same, other) = (file("one", &bytes), file("same", &bytes), file("other", &other));
    assert_eq!(live::first_difference(&one, &same, 3_000_000).unwrap(), None);
    assert_eq!(live::first_difference(&one, &other, 3_000_000).unwrap(), Some(2_345_678));
    assert!(live::first_difference(&one, &same, 3_000_001).is_err(), "too short is no equality");
}

#[test]
fn scratch_is_closed_to_others_goes_with_its_rehearsal_and_what_a_killed_one_left_goes_with_the_next() {
    let temp = tempfile::tempdir().unwrap();
    let left = temp.path().join("dbakfs-rehearsal-0123456789abcdef");
    fs::create_dir_all(left.join("sealed/below")).unwrap();
    fs::write(left.join("sealed/below/file"), "x").unwrap();
    fs::set_permissions(left.join("sealed"), PermissionsExt::from_mode(0o000)).unwrap();
    fs::create_dir(temp.path().join("another-thing")).unwrap();
    let first = Scratch::make(temp.path()).unwrap();
    assert!(!left.exists() && temp.path().join("another-thing").exists());
    assert_eq!(fs::metadata(first.path()).unwrap().permissions().mode() & 0o7777, 0o700);
    // One that is in use stays.
    let second = Scratch::make(temp.path()).unwrap();
    assert!(first.path().exists() && second.path() != first.path());
    fs::write(first.path().join("file"), "x").unwrap();
    first.remove().unwrap();
    drop(second);
    let names: Vec<_> = fs::read_dir(temp.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["another-thing"]);
}
