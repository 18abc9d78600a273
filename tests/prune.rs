//! Forgetting points and giving their space back, by the real binary.

#![allow(clippy::unwrap_used, reason = "a helper that fails is a test that fails")]

mod support;

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::process::Stdio;

use support::cli::{Place, snapshot};
use support::points::{noise, same};
use support::tree::{Tree, look};

/// Many files that nothing compresses, so that packs hold much that a later version does not need.
fn fill(place: &Place, seed: u64, files: std::ops::Range<u64>) {
    for file in files {
        fs::write(place.src().join(format!("{file:03}")), noise(seed * 1_000 + file, 40_000)).unwrap();
    }
}

fn point(done: &serde_json::Value) -> String {
    done["point"].as_str().unwrap().to_owned()
}

fn pack_bytes(place: &Place) -> u64 {
    place.packs().iter().map(|pack| pack.metadata().unwrap().len()).sum()
}

/// Restores a point and holds it against how the source was.
fn check(place: &Place, point: &str, original: &Tree) {
    let into = place.path(format!("restored-{}", point.replace('/', "-")));
    place.run(["restore".into(), point.into(), into.clone().into_os_string()]).exits(0);
    same(point, original, &look(&into));
    fs::remove_dir_all(into).unwrap();
}

/// The files of the store but for the index, which is no part of what is promised, and the lock's note.
fn files(place: &Place) -> Vec<(PathBuf, Vec<u8>)> {
    let mut all = snapshot(&place.store());
    all.retain(|(path, _)| !path.starts_with(place.store().join("index")) && !path.ends_with("writer.lock"));
    all
}

/// A full of 60 files and a differential in which 50 of them are others; then another full of what there is now.
struct Shelf {
    place: Place,
    full: String,
    differential: String,
    newest: String,
    now: Tree,
}

fn shelf() -> Shelf {
    let place = Place::with_store();
    fill(&place, 1, 0..60);
    let full = point(&place.backup(&[]));
    Place::settle();
    fill(&place, 2, 0..50);
    let differential = point(&place.backup(&["--tag", "second"]));
    let newest = point(&place.backup(&["--full", "--force"]));
    let now = look(&place.src());
    Shelf { place, full, differential, newest, now }
}

#[test]
fn a_full_is_not_forgotten_while_differentials_stand_on_it() {
    let Shelf { place, full, differential, .. } = shelf();
    let before = files(&place);
    let refused = place.run(["forget", &full]).exits(1);
    refused.says("backup 1 is the full of a differential that would be lost with it: 2").says("--with-differentials");
    assert!(files(&place) == before, "a refused forget changed the store");
    place
        .run(["forget", "--dry-run", "--with-differentials", &full])
        .exits(0)
        .prints(&format!("would forget {differential}"));
    assert!(files(&place) == before, "a dry run changed the store");
    let done = place.run(["forget", "--json", "--with-differentials", &full]).exits(0).json();
    let numbers: Vec<u64> = done.iter().map(|one| one["number"].as_u64().unwrap()).collect();
    assert_eq!(numbers, [2, 1], "the differential goes first");
    assert_eq!(place.points().len(), 1);
}

#[test]
fn a_forgotten_point_is_gone_from_all_commands_and_comes_back() {
    let Shelf { place, differential, now, .. } = shelf();
    place.run(["forget", &differential]).exits(0).prints(&format!("forgot {differential} (2, differential)"));
    place.run(["forget", "2"]).exits(1).says("backup 2 is forgotten already");
    place.run(["ls", "2"]).exits(1).says("backup 2 is forgotten").says("dbakfs unforget 2");
    place.run(["ls", "src/second"]).exits(1).says("no tag second");
    let shown = place.run(["list", "--forgotten", "--json"]).exits(0).json();
    assert_eq!(shown.len(), 1);
    assert_eq!((&shown[0]["number"], shown[0]["forgotten"].is_string()), (&2.into(), true));
    // Nothing of it is used while it is gone, and its number stays its own.
    fs::write(place.src().join("new"), "x").unwrap();
    assert_eq!(place.backup(&[])["number"], 4);
    fs::remove_file(place.src().join("new")).unwrap();
    place.run(["unforget", "src/second"]).exits(0).prints(&format!("brought back {differential}"));
    place.run(["unforget", "2"]).exits(1).says("list --forgotten");
    check(&place, "src/second", &now);
}

#[test]
fn forgetting_needs_a_time_that_is_a_points_own() {
    let Shelf { place, .. } = shelf();
    let refused = place.run(["forget", "src/2099-01-01"]).exits(1);
    refused.says("has no point at exactly");
    assert_eq!(place.points().len(), 3);
}

#[test]
fn space_comes_back_and_what_stays_reads_the_same() {
    let Shelf { place, full, differential, newest, now } = shelf();
    let all = pack_bytes(&place);
    place.run(["forget", "--with-differentials", &full]).exits(0);
    // The time of grace.
    let young = place.run(["prune", "--json"]).exits(0).json().remove(0);
    assert_eq!(
        (&young["points"], &young["waiting"], &young["removed_packs"]),
        (&serde_json::json!([]), &serde_json::json!([1, 2]), &0.into())
    );
    assert_eq!(pack_bytes(&place), all);
    check(&place, &newest, &now);

    let before = files(&place);
    let plan = place.run(["prune", "--grace", "0", "--dry-run", "--json"]).exits(0).json();
    assert!(files(&place) == before, "a dry run changed the store");
    let of = |action: &str, object: &str| {
        plan.iter().filter(|line| line["action"] == action && line["object"] == object).count()
    };
    assert_eq!((of("remove", "point"), of("rewrite", "pack"), of("revise", "catalog")), (2, 1, 1));
    let promised = plan.last().unwrap()["freed_bytes"].as_u64().unwrap();

    let report = place.run(["prune", "--grace", "0", "--json"]).exits(0).json().remove(0);
    assert_eq!(report["points"], serde_json::json!([1, 2]));
    let freed = report["removed_bytes"].as_u64().unwrap() - report["written_bytes"].as_u64().unwrap();
    // 50 of 110 versions of 40,000 bytes are needed no more.
    assert!(all - pack_bytes(&place) > 49 * 40_000, "{report}");
    assert!(freed.abs_diff(promised) < promised / 5, "{promised} were promised, {freed} came back");
    place.run(["verify", "--data"]).exits(0);
    check(&place, &newest, &now);
    for gone in [&full, &differential] {
        place.run(["unforget", gone]).exits(1);
    }
    assert!(fs::read_dir(place.store().join("points")).unwrap().next().is_none(), "notes of points that are gone");
    assert!(place.temporaries().is_empty());
    // The next backup needs no help, and deduplicates against what was rewritten.
    fs::write(place.src().join("copy"), noise(2_007, 40_000)).unwrap();
    let done = place.backup(&[]);
    assert!(done["counts"]["stored_bytes"].as_u64().unwrap() < 10_000, "{done}");
    let nothing = place.run(["prune", "--grace", "0", "--json"]).exits(0).json().remove(0);
    assert_eq!((&nothing["removed_bytes"], &nothing["rewritten_packs"]), (&0.into(), &0.into()));
}

#[test]
fn only_what_is_worth_it_is_rewritten() {
    let Shelf { place, full, newest, now, .. } = shelf();
    place.run(["forget", "--with-differentials", &full]).exits(0);
    let report = place.run(["prune", "--grace", "0", "--repack-below", "0", "--json"]).exits(0).json().remove(0);
    assert_eq!((&report["written_packs"], &report["removed_packs"]), (&0.into(), &0.into()));
    check(&place, &newest, &now);
    let report = place.run(["prune", "--grace", "0", "--repack-below", "100", "--json"]).exits(0).json().remove(0);
    assert_eq!((&report["rewritten_packs"], &report["written_packs"]), (&1.into(), &1.into()));
    check(&place, &newest, &now);
    place.run(["verify", "--data"]).exits(0).prints("no damage");
}

#[test]
fn families_stay_apart_when_packs_are_rewritten() {
    let place = Place::with_store();
    fill(&place, 1, 0..40);
    let first = point(&place.backup(&[]));
    fill(&place, 2, 0..30);
    let second = point(&place.backup(&["--full", "--independent"]));
    fill(&place, 3, 0..20);
    place.backup(&["--full"]);
    let third = point(&place.backup(&["--full", "--independent"]));
    let now = look(&place.src());
    place.run(["forget", &first, &second]).exits(0);
    place.run(["prune", "--grace", "0", "--repack-below", "100"]).exits(0);
    place.run(["verify", "--data"]).exits(0);
    check(&place, &third, &now);
    // Destroying every pack but those of the third leaves it whole: no pack holds data of two families.
    let needed: Vec<u64> = place.points().iter().map(|point| point["number"].as_u64().unwrap()).collect();
    assert_eq!(needed, [3, 4]);
    place.run(["forget", "3"]).exits(0);
    place.run(["prune", "--grace", "0", "--repack-below", "0"]).exits(0);
    check(&place, &third, &now);
    let left: u64 = pack_bytes(&place);
    assert!(left < 41 * 40_000 + 100_000, "{left} bytes of packs hold 40 files of 40,000");
}

#[test]
fn what_a_reader_may_still_see_stays_until_it_has_ended() {
    let Shelf { place, full, newest, now, .. } = shelf();
    // A reader of which the test knows when it has taken its lease: it holds one for as long as its output is not read.
    let lease = place.store().join("leases/00000000deadbeef.lease");
    fs::write(&lease, "00000000000000000001").unwrap();
    let mut reader = std::process::Command::new("flock")
        .arg("--no-fork")
        .arg(&lease)
        .args(["sh", "-c", "echo held; exec cat"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("util-linux has flock");
    std::io::Read::read_exact(reader.stdout.as_mut().unwrap(), &mut [0; 5]).unwrap();
    place.run(["forget", "--with-differentials", &full]).exits(0);
    let before: Vec<_> = place.packs();
    let ran = place.run(["prune", "--grace", "0", "--json"]).exits(0);
    let report = ran.json().remove(0);
    assert_eq!((&report["left_readers"], &report["removed_packs"]), (&1.into(), &0.into()));
    assert!(report["left_bytes"].as_u64().unwrap() > 50 * 40_000, "{report}");
    assert!(before.iter().all(|pack| pack.exists()), "a pack went that the reader may need");
    assert_eq!(place.points().len(), 1);
    assert!(place.store().join("catalogs/00000001.removed").exists());
    check(&place, &newest, &now);
    place.run(["prune", "--grace", "0"]).exits(0).says("a reader may still see what was removed");
    drop(reader.stdin.take());
    reader.wait().unwrap();
    let report = place.run(["prune", "--grace", "0", "--json"]).exits(0).json().remove(0);
    assert_eq!(report["left_readers"], 0);
    // All of what the differential added is what is there now.
    assert_eq!(before.iter().filter(|pack| pack.exists()).count(), 1);
    assert!(place.temporaries().is_empty(), "{:?}", place.temporaries());
    place.run(["verify", "--data"]).exits(0);
    check(&place, &newest, &now);
}

#[test]
fn nothing_goes_while_a_catalog_that_stays_cannot_be_read() {
    let Shelf { place, full, newest, now, .. } = shelf();
    fs::write(place.store().join("catalogs/00000002.catalog"), "rubbish").unwrap();
    place.run(["forget", &full]).exits(0);
    let packs = place.packs();
    place.run(["prune", "--grace", "0"]).exits(4).says("what backup 2 needs is not known");
    assert_eq!(place.packs(), packs);
    // It may stand on the full, which stays for the day when it can be read again.
    assert!(place.store().join("catalogs/00000001.catalog").exists());
    // By its number it can be forgotten, and then the way is free.
    place.run(["forget", "2"]).exits(0).prints("backup 2, whose catalog cannot be read");
    place.run(["prune", "--grace", "0"]).exits(0);
    assert_ne!(place.packs(), packs);
    check(&place, &newest, &now);
}

#[test]
fn a_pack_that_is_damaged_is_not_rewritten() {
    let Shelf { place, full, newest, now, .. } = shelf();
    let largest = place.packs().into_iter().max_by_key(|pack| pack.metadata().unwrap().len()).unwrap();
    // Inside the only version of file 055, which the newest point needs.
    let mut bytes = fs::read(&largest).unwrap();
    let wanted = noise(1_055, 40_000);
    let at = bytes.windows(64).position(|window| window == &wanted[1_000..1_064]).expect("noise is stored as it is");
    bytes[at] ^= 1;
    fs::remove_file(&largest).unwrap();
    fs::write(&largest, &bytes).unwrap();
    place.run(["forget", "--with-differentials", &full]).exits(0);
    place.run(["prune", "--grace", "0", "--repack-below", "100"]).exits(4).says("it is left as it is");
    assert_eq!(largest.metadata().unwrap().size(), bytes.len() as u64);
    // Exactly what was damaged before is damaged now.
    let ran = place.run(["restore".into(), newest.into(), place.path("out").into_os_string()]);
    assert_ne!(ran.code, 0);
    assert_eq!(fs::read(place.path("out/001")).unwrap(), fs::read(place.src().join("001")).unwrap());
    drop(now);
}
