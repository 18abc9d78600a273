//! Every kind of file in a store, damaged in every way, and what is done next: never wrong bytes, nothing that is whole is lost, and what is damaged is named.
//!
//! `DBAKFS_MATRIX=all` flips a byte in forty places of each file instead of three.

#![allow(clippy::unwrap_used, reason = "a helper that fails is a test that fails")]
#![allow(clippy::print_stderr, reason = "a test explains itself on standard error")]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

use support::cli::{Place, Ran};
use support::points::noise;
use support::process::limited;

/// Name and bytes of each file.
type Files = BTreeMap<String, Vec<u8>>;

/// A store with some of everything, and an older copy of it.
struct Fixture {
    place: Place,
    /// What each point holds.
    points: BTreeMap<u64, Files>,
    /// What the source holds now.
    now: Files,
}

const SINGLE: &str = "src/latest";

fn write(place: &Place, files: &Files) {
    for (name, bytes) in files {
        fs::write(place.src().join(name), bytes).unwrap();
    }
}

fn fixture() -> Fixture {
    let place = Place::with_store();
    let mut files = Files::new();
    for file in 0..6_u64 {
        files.insert(format!("small-{file}"), noise(file, 20_000));
    }
    // Of what is compressed a damaged block may give nothing at all.
    for file in 0..4_u64 {
        let words: Vec<String> = noise(file + 70, 9_000).iter().map(|byte| format!("word-{byte} ")).collect();
        files.insert(format!("text-{file}"), words.concat().into_bytes());
    }
    files.insert("large".to_owned(), noise(50, 700_000));
    files.insert("tiny".to_owned(), b"inside the catalog".to_vec());
    let mut points = BTreeMap::new();
    let mut back_up = |files: &Files, more: &[&str]| {
        write(&place, files);
        let done = place.backup(more);
        points.insert(done["number"].as_u64().unwrap(), files.clone());
    };
    back_up(&files, &["--tag", "one"]);
    copy(&place.store(), &place.path("older"));
    Place::settle();
    files.insert("small-1".to_owned(), noise(101, 20_000));
    files.insert("text-1".to_owned(), b"another line of text\n".repeat(2_000));
    files.insert("added".to_owned(), noise(102, 20_000));
    back_up(&files, &["--tag", "two"]);
    files.insert("small-2".to_owned(), noise(103, 20_000));
    back_up(&files, &["--full", "--independent", "--tag", "three"]);
    files.insert("small-3".to_owned(), noise(104, 20_000));
    back_up(&files, &["--tag", "four"]);
    // A second source, so that there are two of its kind of file; and a second store.
    fs::create_dir(place.path("other")).unwrap();
    fs::write(place.path("other/file"), noise(200, 30_000)).unwrap();
    let done = place.run(["backup", "other", "--json"]).exits(0).json().remove(0);
    points.insert(done["number"].as_u64().unwrap(), Files::from([("file".to_owned(), noise(200, 30_000))]));
    limited(place.command().env("DBAKFS_STORE", place.path("elsewhere")).arg("init")).exits(0);
    Fixture { place, points, now: files }
}

fn copy(from: &Path, to: &Path) {
    let done = Command::new("cp").arg("-a").arg(from).arg(to).status().unwrap();
    assert!(done.success());
}

/// A copy of the store of a fixture, to be damaged.
struct Case<'a> {
    fixture: &'a Fixture,
    store: PathBuf,
    what: String,
}

impl Drop for Case<'_> {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.store);
    }
}

impl Case<'_> {
    fn run(&self, args: &[&str]) -> Ran {
        limited(self.fixture.place.command().env("DBAKFS_STORE", &self.store).args(args))
    }

    /// Restores every point that is listed: each file is right or missing. Answers the points that came back whole.
    fn read(&self, points: &BTreeMap<u64, Files>) -> BTreeSet<u64> {
        let listed = self.run(&["list", "--json"]).exits(0).json();
        let mut whole = BTreeSet::new();
        for number in listed.iter().map(|point| point["number"].as_u64().unwrap()) {
            let out = self.store.with_extension("out");
            let ran = self.run(&["restore", &number.to_string(), out.to_str().unwrap()]);
            let expected =
                points.get(&number).unwrap_or_else(|| panic!("{}: point {number} came from nowhere", self.what));
            let mut found = BTreeSet::new();
            for entry in fs::read_dir(&out).into_iter().flatten() {
                let entry = entry.unwrap();
                let name = entry.file_name().into_string().unwrap();
                let right = expected.get(&name).unwrap_or_else(|| panic!("{}: {name} came from nowhere", self.what));
                assert!(
                    fs::read(entry.path()).unwrap() == *right,
                    "{}: point {number}: {name} has wrong bytes",
                    self.what
                );
                found.insert(name);
            }
            let is_all = expected.keys().all(|name| found.contains(name));
            assert_eq!(ran.code == 0, is_all, "{}: point {number}: {ran:#?}", self.what);
            assert!(is_all || ran.stderr.contains("error: "), "{}: nothing is said: {ran:#?}", self.what);
            if is_all {
                whole.insert(number);
            }
            let _ = fs::remove_dir_all(&out);
        }
        whole
    }

    /// The points that verification calls whole, which really are; and whether it found anything.
    fn verify(&self, whole: &BTreeSet<u64>) -> bool {
        let ran = self.run(&["verify", "--data", "--json"]);
        assert!(matches!(ran.code, 0 | 4), "{}: {ran:#?}", self.what);
        let summary = ran.json().pop().unwrap();
        let called: BTreeSet<u64> =
            summary["points_whole"].as_array().unwrap().iter().map(|number| number.as_u64().unwrap()).collect();
        let listed: BTreeSet<u64> =
            self.run(&["list", "--json"]).json().iter().map(|p| p["number"].as_u64().unwrap()).collect();
        for number in called.intersection(&listed) {
            assert!(whole.contains(number), "{}: point {number} is called whole: {ran:#?}", self.what);
        }
        for number in listed.difference(whole) {
            assert_eq!(ran.code, 4, "{}: point {number} is not whole, and nothing was found", self.what);
        }
        ran.code == 4
    }

    /// Restores one point; it must be what the source is.
    fn is_now(&self, point: &str) {
        let out = self.store.with_extension("out");
        self.run(&["restore", point, out.to_str().unwrap()]).exits(0);
        for (name, bytes) in &self.fixture.now {
            assert!(fs::read(out.join(name)).unwrap() == *bytes, "{}: {name}", self.what);
        }
        fs::remove_dir_all(out).unwrap();
    }
}

/// How a file is damaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum How {
    Missing,
    Empty,
    Truncated,
    /// One bit, at so many thousandths of the file.
    Flipped(usize),
    Swapped,
    Older,
}

fn replace(path: &Path, bytes: &[u8]) {
    let _ = fs::remove_file(path);
    fs::write(path, bytes).unwrap();
}

/// Damages `file` of a copy; `false` where that cannot be done to it.
fn damage(fixture: &Fixture, store: &Path, file: &str, how: How) -> bool {
    let path = store.join(file);
    let bytes = fs::read(&path).unwrap();
    match how {
        How::Missing => fs::remove_file(&path).unwrap(),
        How::Empty => replace(&path, b""),
        How::Truncated => replace(&path, &bytes[..bytes.len() / 2]),
        How::Flipped(thousandths) => {
            let mut bytes = bytes;
            let at = (bytes.len() * thousandths / 1000).min(bytes.len().saturating_sub(1));
            match bytes.get_mut(at) {
                None => return false,
                Some(byte) => *byte ^= 1,
            }
            replace(&path, &bytes);
        }
        How::Swapped => {
            let Some(other) = partner(fixture, store, file) else { return false };
            let others = fs::read(&other).unwrap();
            if others == bytes {
                return false;
            }
            replace(&path, &others);
            // Out of another store nothing is taken away.
            if other.starts_with(store) {
                replace(&other, &bytes);
            }
        }
        How::Older => {
            let older = fixture.place.path("older").join(file);
            match fs::read(older) {
                Ok(older) if older != bytes => replace(&path, &older),
                _ => return false,
            }
        }
    }
    true
}

/// Another file of the same kind.
fn partner(fixture: &Fixture, store: &Path, file: &str) -> Option<PathBuf> {
    let path = store.join(file);
    let (directory, _) = file.split_once('/').unwrap_or(("", file));
    if directory.is_empty() {
        return Some(fixture.place.path("elsewhere").join(file)).filter(|path| path.exists());
    }
    let mut all = files_below(&store.join(directory));
    all.retain(|other| *other != path && !other.starts_with(store.join("index")));
    all.into_iter().next()
}

fn files_below(root: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut waiting = vec![root.to_owned()];
    while let Some(directory) = waiting.pop() {
        for entry in fs::read_dir(&directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { waiting.push(path) } else { files.push(path) }
        }
    }
    files.sort();
    files
}

/// Tries one damage, and each thing that may be done next.
fn try_one(fixture: &Fixture, file: &str, how: How, copy_number: usize) -> bool {
    let case = |next: &str| {
        let store = fixture.place.path(format!("case-{copy_number}-{next}"));
        copy(&fixture.place.store(), &store);
        let what = format!("{file}, {how:?}, then {next}");
        damage(fixture, &store, file, how).then_some(Case { fixture, store, what })
    };
    let Some(reading) = case("read") else { return false };
    if file == "store.toml" {
        return description(reading, fixture, how);
    }
    let whole = reading.read(&fixture.points);
    let is_found = reading.verify(&whole);
    let hurts_data = file.starts_with("packs/") || file.starts_with("catalogs/");
    // A catalog that nothing stands on can vanish unseen, as if it had been pruned.
    if hurts_data && !(how == How::Missing && file.starts_with("catalogs/")) {
        assert!(is_found, "{}: verify found nothing", reading.what);
    }
    if !hurts_data {
        assert_eq!(whole.len(), fixture.points.len(), "{}: data was lost", reading.what);
    }
    drop(reading);

    let mut points = fixture.points.clone();
    points.insert(6, fixture.now.clone());
    points.insert(7, fixture.now.clone());
    let next = case("backup").unwrap();
    let ran = next.run(&["backup", "src", "--force", "--json"]).exits(0);
    assert_eq!(ran.json()[0]["outcome"], "made", "{}", next.what);
    let after = next.read(&points);
    assert!(whole.is_subset(&after), "{}: {whole:?} were whole, {after:?} are", next.what);
    next.verify(&after);
    drop(next);

    let next = case("prune").unwrap();
    let ran = next.run(&["prune", "--grace", "0", "--repack-below", "100"]);
    assert!(matches!(ran.code, 0 | 4), "{}: {ran:#?}", next.what);
    let after = next.read(&fixture.points);
    assert!(whole.is_subset(&after), "{}: {whole:?} were whole, {after:?} are", next.what);
    drop(next);

    let next = case("repair").unwrap();
    let ran = next.run(&["repair"]);
    assert!(matches!(ran.code, 0 | 4), "{}: {ran:#?}", next.what);
    let after = next.read(&fixture.points);
    assert!(whole.is_subset(&after), "{}: {whole:?} were whole, {after:?} are; {ran:#?}", next.what);
    let is_all = after.len() == fixture.points.len();
    // A catalog that nothing stands on can vanish unseen; one may be damaged where no file is concerned.
    if how != How::Missing && !(is_all && file.starts_with("catalogs/")) {
        assert_eq!(ran.code == 4, !is_all, "{}: {after:?} are whole; {ran:#?}", next.what);
    }
    for point in next.run(&["list", "--json"]).json() {
        let number = point["number"].as_u64().unwrap();
        let marks: Vec<&str> = point["damaged"].as_array().unwrap().iter().map(|mark| mark.as_str().unwrap()).collect();
        let is_of_catalogs = !marks.is_empty() && marks.iter().all(|mark| mark.starts_with("catalog "));
        let is_right = marks.is_empty() == after.contains(&number) || is_of_catalogs && file.starts_with("catalogs/");
        assert!(is_right, "{}: point {number}: {point}", next.what);
    }
    // What is lost and still there is stored anew; nothing damaged is taken for it.
    next.run(&["backup", "src", "--force"]).exits(0);
    next.is_now(SINGLE);
    next.run(&["backup", "src", "--full", "--force"]).exits(0);
    next.is_now(SINGLE);
    next.run(&["repair"]);
    assert!(next.read(&points).is_superset(&after), "{}: the next repair lost something", next.what);
    true
}

/// Without its description a store is not opened; the copy of it is as good.
fn description(case: Case<'_>, fixture: &Fixture, how: How) -> bool {
    let opens = how == How::Swapped || case.run(&["list"]).code == 0;
    if !opens {
        let ran = case.run(&["backup", "src"]);
        assert!(matches!(ran.code, 1 | 10) && ran.stderr.contains("store"), "{}: {ran:#?}", case.what);
        case.run(&["repair"]).exits(0).prints("store.toml");
    }
    assert_eq!(case.read(&fixture.points).len(), fixture.points.len(), "{}", case.what);
    true
}

#[test]
fn damage_of_every_kind_costs_what_it_must_and_is_mended_as_far_as_can_be() {
    let fixture = fixture();
    let store = fixture.place.store();
    let is_all = std::env::var("DBAKFS_MATRIX").is_ok_and(|what| what == "all");
    let flips: Vec<usize> = if is_all { (0..40).map(|part| part * 1000 / 39).collect() } else { vec![5, 500, 999] };
    let mut cases = Vec::new();
    for path in files_below(&store) {
        let file = path.strip_prefix(&store).unwrap().to_str().unwrap().to_owned();
        for how in [How::Missing, How::Empty, How::Truncated, How::Swapped, How::Older]
            .into_iter()
            .chain(flips.iter().copied().map(How::Flipped))
        {
            cases.push((file.clone(), how));
        }
    }
    let all = cases.len();
    let cases = Mutex::new(cases.into_iter().enumerate());
    let (tried, failed) = (Mutex::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                loop {
                    let next = cases.lock().unwrap().next();
                    let Some((number, (file, how))) = next else { return };
                    let attempt = AssertUnwindSafe(|| try_one(&fixture, &file, how, number));
                    match catch_unwind(attempt) {
                        Ok(was_tried) => *tried.lock().unwrap() += usize::from(was_tried),
                        // What went wrong is printed already; the others are tried all the same.
                        Err(_) => failed.lock().unwrap().push(format!("{file}, {how:?}")),
                    }
                }
            });
        }
    });
    let tried = *tried.lock().unwrap();
    eprintln!("{tried} of {all} damages could be done and were tried, each with four things to do next");
    let failed = failed.into_inner().unwrap();
    assert!(failed.is_empty(), "{failed:#?}");
    assert!(tried > 60, "{tried}");
}

#[test]
fn an_independent_full_outlives_every_older_pack() {
    let fixture = fixture();
    let place = &fixture.place;
    let families: BTreeSet<PathBuf> = {
        let older = files_below(&place.path("older/packs"));
        older.iter().map(|pack| place.store().join(pack.strip_prefix(place.path("older")).unwrap())).collect()
    };
    assert!(!families.is_empty());
    // The packs of points 1 and 2: all that were there before the independent full was made.
    let report = place.run(["verify", "--json"]).exits(0);
    drop(report);
    let before_three = fs::metadata(place.store().join("catalogs/00000002.catalog")).unwrap().modified().unwrap();
    let older: Vec<PathBuf> = place
        .packs()
        .into_iter()
        .filter(|pack| fs::metadata(pack).unwrap().modified().unwrap() <= before_three)
        .collect();
    assert!(older.len() >= 2, "{older:?}");
    for pack in older {
        fs::remove_file(pack).unwrap();
    }
    let case = Case { fixture: &fixture, store: place.store(), what: "no older pack".to_owned() };
    let whole = case.read(&fixture.points);
    assert!([3, 4, 5].iter().all(|number| whole.contains(number)), "{whole:?}");
}
