//! An index that is gone, rubbish or old, and backups that are killed: the store opens, earlier points are whole, and the next backup is
//! as good as any.

use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::support::cli::Place;
use crate::support::points::{History, count, noise, same};
use crate::support::tree::look;

/// Fills the source with data that is worth deduplicating.
fn fill(src: &Path, seed: u64) {
    for number in 0..20 {
        fs::write(src.join(format!("file {number}")), noise(seed + number, 100_000)).unwrap();
    }
    fs::write(src.join("large"), noise(seed + 100, 3_000_000)).unwrap();
}

/// Touches every file, so that all are read again and looked up.
fn touch(src: &Path) {
    for entry in fs::read_dir(src).unwrap() {
        let file = fs::File::open(entry.unwrap().path()).unwrap();
        let time = file.metadata().unwrap().modified().unwrap() + Duration::from_secs(1);
        file.set_modified(time).unwrap();
    }
}

fn copy(from: &Path, to: &Path) {
    let status = std::process::Command::new("cp").arg("-a").arg(from).arg(to).status().unwrap();
    assert!(status.success());
}

fn files_below(dir: &Path) -> Vec<std::path::PathBuf> {
    let files = crate::support::cli::snapshot(dir).into_iter().map(|(path, _)| path);
    files.filter(|path| path.is_file()).collect()
}

#[test]
fn an_index_that_is_gone_or_rubbish_is_made_anew_and_said() {
    let place = Place::with_store();
    let (src, index) = (place.src(), place.store().join("index"));
    let mut history = History::default();
    fill(&src, 0);
    history.backup(&place, &["--tag", "first"]);
    let harms: [(&str, &dyn Fn()); 6] = [
        ("gone", &|| fs::remove_dir_all(&index).unwrap()),
        ("emptied", &|| {
            fs::remove_dir_all(&index).unwrap();
            fs::create_dir(&index).unwrap();
        }),
        ("rubbish in every file", &|| {
            for file in files_below(&index) {
                fs::write(&file, noise(1, 4_000)).unwrap();
            }
        }),
        ("rubbish of the same length", &|| {
            for file in files_below(&index) {
                let len = file.metadata().unwrap().len();
                fs::write(&file, noise(2, usize::try_from(len).unwrap())).unwrap();
            }
        }),
        ("truncated", &|| {
            for file in files_below(&index) {
                fs::File::options().write(true).open(&file).unwrap().set_len(100).unwrap();
            }
        }),
        ("a file in its place", &|| {
            fs::remove_dir_all(&index).unwrap();
            fs::write(&index, "no directory").unwrap();
        }),
    ];
    for (number, (what, harm)) in harms.iter().enumerate() {
        harm();
        touch(&src);
        let tag = format!("after-{number}");
        let ran = place.try_backup(&["--tag", &tag]);
        assert_eq!(ran.code, 0, "{what}: {ran:#?}");
        assert!(ran.stderr.contains("index was rebuilt from 1 packs"), "{what}: {ran:#?}");
        let done = ran.json().remove(0);
        assert_eq!(
            (count(&done, "stored_bytes"), &done["counts"]["updated"]),
            (0, &(21 + number.min(1)).into()),
            "{what}"
        );
        // Once is enough.
        fs::write(src.join("new"), what).unwrap();
        let ran = place.try_backup(&[]).exits(0);
        assert_eq!(ran.stderr, "", "{what}");
    }
    for number in 0..harms.len() {
        place.run(["ls", &format!("src/after-{number}")]).exits(0);
    }
    place.run(["ls", "src/first"]).exits(0);
    history.check(&place);
}

#[test]
fn an_older_copy_of_the_index_is_set_right() {
    let place = Place::with_store();
    let (src, index) = (place.src(), place.store().join("index"));
    let mut history = History::default();
    fill(&src, 0);
    history.backup(&place, &[]);
    copy(&index, &place.path("old"));
    fill(&src, 1_000);
    history.backup(&place, &[]);
    // The old index does not know the second pack.
    fs::remove_dir_all(&index).unwrap();
    copy(&place.path("old"), &index);
    touch(&src);
    let done = history.backup(&place, &[]);
    assert_eq!(count(&done, "stored_bytes"), 0, "{done}");
    // One that names a pack which is not there any more is not believed.
    copy(&index, &place.path("new"));
    let gone = place.packs().remove(0);
    fs::rename(&gone, place.path("pack")).unwrap();
    fs::remove_dir_all(&index).unwrap();
    copy(&place.path("new"), &index);
    fs::create_dir(place.path("fresh")).unwrap();
    for entry in fs::read_dir(&src).unwrap() {
        fs::copy(entry.as_ref().unwrap().path(), place.path("fresh").join(entry.unwrap().file_name())).unwrap();
    }
    let ran = place.run(["backup", "fresh", "--json"]).exits(0).says("index was set right");
    let stored = count(&ran.json()[0], "stored_bytes");
    let Some(mount) = place.mount(&[]) else { return };
    same("fresh", &look(&place.path("fresh")), &look(&place.mnt().join("fresh/latest")));
    mount.end();
    fs::rename(place.path("pack"), &gone).unwrap();
    assert!(stored == 0 || stored > 4_000_000, "{stored}");
    history.check(&place);
}

#[test]
fn a_pack_whose_table_of_chunks_is_damaged_is_said_and_nothing_is_recognised_in_it() {
    let place = Place::with_store();
    let src = place.src();
    let mut history = History::default();
    fill(&src, 0);
    history.backup(&place, &[]);
    let pack = place.packs().remove(0);
    let mut bytes = fs::read(&pack).unwrap();
    // The last byte before the foot is the table's.
    let at = bytes.len() - dbakfs::format::pack::Foot::LEN - 1;
    bytes[at] ^= 1;
    fs::write(&pack, bytes).unwrap();
    touch(&src);
    let ran = place.try_backup(&[]).exits(0).says("is damaged: table of chunks");
    assert!(count(&ran.json()[0], "stored_bytes") > 5_000_000, "{ran:#?}");
    // Which of the two copies is meant is all the same.
    history.backup(&place, &["--force"]);
    history.check(&place);
}

#[test]
fn a_killed_backup_leaves_the_store_as_good_as_before() {
    let place = Place::with_store();
    let src = place.src();
    fill(&src, 0);
    let mut history = History::default();
    history.backup(&place, &["--tag", "first"]);
    // How long one takes, so that the kills fall everywhere in it.
    fill(&src, 10_000);
    let begun = Instant::now();
    history.backup(&place, &[]);
    let usual = begun.elapsed();
    for round in 1..=10_u32 {
        fill(&src, u64::from(round) * 20_000);
        let mut command = place.command();
        command.args(["backup", "src", "--force"]).stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        std::thread::sleep(usual * round / 9);
        child.kill().unwrap();
        child.wait().unwrap();
        place.run(["list"]).exits(0);
        if round % 5 == 0 {
            history.backup(&place, &["--force"]);
            assert_eq!(place.temporaries(), Vec::<std::path::PathBuf>::new());
        }
    }
    place.run(["ls", "src/first"]).exits(0);
    history.check(&place);
    // Numbers were not used twice.
    let numbers: Vec<u64> = place.points().iter().map(|point| point["number"].as_u64().unwrap()).collect();
    assert!(numbers.is_sorted_by(|one, next| one < next), "{numbers:?}");
}

#[test]
fn a_killed_backup_does_not_lose_what_it_had_stored() {
    let place = Place::with_store();
    let src = place.src();
    fill(&src, 0);
    for number in 0..6 {
        fs::write(src.join(format!("huge {number}")), noise(500 + number, 16_000_000)).unwrap();
    }
    let mut child = {
        let mut command = place.command();
        command.args(["backup", "src"]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
    };
    crate::support::cli::wait_for(Duration::from_secs(20), "a pack", || !place.packs().is_empty());
    child.kill().unwrap();
    child.wait().unwrap();
    let done = place.backup(&[]);
    let all: u64 = 6 * 16_000_000 + 5_000_000;
    assert!(count(&done, "stored_bytes") < all, "{done}");
    assert_eq!(count(&done, "files"), 27);
}
