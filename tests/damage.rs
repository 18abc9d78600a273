//! What damage takes with it, and what it leaves: everything else, and the next backup.

#![allow(clippy::unwrap_used, reason = "a helper that fails is a test that fails")]
#![allow(clippy::print_stderr, reason = "a test explains itself on standard error")]

mod support;

use std::fs;
use std::path::{Path, PathBuf};

use support::cli::{Place, Ran};
use support::process::{limited, watch};

/// Files large enough that each has blocks of its own.
const LARGE: [&str; 4] = ["large-0", "large-1", "large-2", "large-3"];

/// Bytes that no compressor shrinks.
fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64 ^ (seed + 1).wrapping_mul(0x1000_0000_01b3);
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}

/// A full, tagged `one`, and a differential, tagged `two`, which has `large-3` in another version.
fn shelf() -> Place {
    let place = Place::with_store();
    for (seed, name) in (0..).zip(LARGE) {
        fs::write(place.src().join(name), noise(seed, 900_000)).unwrap();
    }
    fs::write(place.src().join("tiny"), "inside the catalog").unwrap();
    place.backup(&["--tag", "one"]);
    fs::write(place.src().join("large-3"), noise(99, 900_000)).unwrap();
    place.backup(&["--tag", "two"]);
    place
}

fn packs(place: &Place) -> Vec<PathBuf> {
    let directories = fs::read_dir(place.store().join("packs")).unwrap();
    let files = directories.flat_map(|directory| fs::read_dir(directory.unwrap().path()).unwrap());
    let mut packs: Vec<_> = files.map(|file| file.unwrap().path()).collect();
    packs.sort_by_key(|pack| fs::metadata(pack).unwrap().modified().unwrap());
    packs
}

fn catalog(place: &Place, number: u32) -> PathBuf {
    place.store().join(format!("catalogs/{number:08}.catalog"))
}

/// Changes one byte, also of a file that is read-only.
fn flip(path: &Path, at: usize) {
    let mut bytes = fs::read(path).unwrap();
    bytes[at] ^= 1;
    replace(path, &bytes);
}

fn replace(path: &Path, bytes: &[u8]) {
    fs::remove_file(path).unwrap();
    fs::write(path, bytes).unwrap();
}

fn name_of(pack: &Path) -> String {
    pack.file_stem().unwrap().to_str().unwrap().to_owned()
}

/// Flips the byte in the middle of the full's pack.
fn flip_pack(place: &Place) -> String {
    let packs = packs(place);
    assert_eq!(packs.len(), 2);
    flip(&packs[0], usize::try_from(fs::metadata(&packs[0]).unwrap().len()).unwrap() / 2);
    name_of(&packs[0])
}

/// Reads a file of the mount in a process of its own, which cannot hang.
fn cat(path: &Path) -> Ran {
    limited(std::process::Command::new("timeout").args(["20", "md5sum"]).arg(path).env("LC_ALL", "C"))
}

/// What reads right, and what ends with EIO, of a point in the mount.
fn readable(place: &Place, tag: &str) -> (Vec<&'static str>, Vec<&'static str>) {
    let versions = if tag == "one" { 3 } else { 99 };
    LARGE.iter().partition(|name| {
        let ran = cat(&place.shown("tags").join(tag).join(name));
        if ran.code != 0 {
            assert!(ran.stderr.contains("Input/output error"), "{ran:#?}");
            return false;
        }
        let seed = if **name == "large-3" { versions } else { u64::from(name.as_bytes()[6] - b'0') };
        let shown = fs::read(place.shown("tags").join(tag).join(name)).unwrap();
        assert!(shown == noise(seed, 900_000), "{tag}: {name} reads wrongly");
        true
    })
}

#[test]
fn flipped_byte_in_a_pack_is_eio_for_its_file_alone() {
    let place = shelf();
    let pack = flip_pack(&place);
    let log = place.path("mount.log");
    let Some(mount) = place.mount(&["--log", log.to_str().unwrap()]) else { return };
    let (_, hurt) = readable(&place, "one");
    assert_eq!(hurt.len(), 1, "{hurt:?}");
    let hurt = hurt[0];
    assert_ne!(hurt, "large-3", "the byte was to lie in what both points share");
    assert_eq!(readable(&place, "two").1, [hurt]);
    for tag in ["one", "two"] {
        assert_eq!(fs::read_to_string(place.shown("tags").join(tag).join("tiny")).unwrap(), "inside the catalog");
        assert_eq!(fs::read_dir(place.shown("tags").join(tag).join(".")).unwrap().count(), 5);
    }
    mount.end();
    let told = fs::read_to_string(&log).unwrap();
    let line = told.lines().find(|line| line.contains("cannot read")).unwrap_or_else(|| panic!("{told}"));
    assert!(line.contains(hurt) && line.contains(&pack) && line.contains("block "), "{line}");
}

#[test]
fn verify_data_names_file_points_and_pack() {
    let place = shelf();
    place.run(["verify"]).exits(0).prints("no damage");
    place.run(["verify", "--data"]).exits(0).prints("no damage");
    let pack = flip_pack(&place);
    let ran = place.run(["verify", "--data"]).exits(4);
    let hurt: Vec<&str> = LARGE.into_iter().filter(|name| ran.stdout.contains(name)).collect();
    assert_eq!(hurt.len(), 1, "{ran:#?}");
    let damaged = |line: &&str| line.starts_with("damaged: ") && line.contains(&pack);
    assert_eq!(ran.stdout.lines().filter(damaged).count(), 1, "{ran:#?}");
    for number in ["(1)", "(2)"] {
        let touched =
            |line: &&str| line.starts_with("unreadable: src/") && line.contains(number) && line.contains(hurt[0]);
        assert_eq!(ran.stdout.lines().filter(touched).count(), 1, "{number}: {ran:#?}");
    }
    let json = place.run(["verify", "--data", "--json"]).exits(4).json();
    let summary = json.last().unwrap();
    assert_eq!((&summary["whole"], &summary["points_whole"]), (&false.into(), &serde_json::json!([])));
    assert_eq!(summary["points_hurt"].as_array().unwrap().len(), 2);
    let touched = json.iter().filter(|event| event["event"] == "touched" && event["path"] == hurt[0]).count();
    assert_eq!(touched, 2);
}

#[test]
fn restore_of_a_damaged_pack_writes_all_the_rest_and_is_code_4() {
    let place = shelf();
    let pack = flip_pack(&place);
    let ran = place.run(["restore", "src/one", "dest"]).exits(4);
    let errors: Vec<&str> = ran.stderr.lines().filter(|line| line.starts_with("error: ")).collect();
    assert_eq!(errors.len(), 1, "{ran:#?}");
    assert!(errors[0].contains(&pack), "{ran:#?}");
    let hurt = LARGE.into_iter().find(|name| errors[0].contains(name)).unwrap();
    for (seed, name) in (0..).zip(LARGE) {
        let restored = fs::read(place.path("dest").join(name));
        match name == hurt {
            // Half a file under the right name would be taken for the file.
            true => assert!(restored.is_err(), "{name} stands there"),
            false => assert!(restored.unwrap() == noise(seed, 900_000), "{name}"),
        }
    }
}

#[test]
fn backup_after_a_damaged_pack_succeeds_and_is_whole() {
    let place = shelf();
    flip_pack(&place);
    fs::write(place.src().join("more"), noise(5, 300_000)).unwrap();
    assert_eq!(place.backup(&[])["outcome"], "made");
    // What cannot be read any more is stored anew where nothing older is shared.
    assert_eq!(place.backup(&["--full", "--independent", "--tag", "three"])["type"], "full");
    place.run(["restore", "src/three", "dest"]).exits(0);
    for name in LARGE.into_iter().chain(["more", "tiny"]) {
        assert!(
            fs::read(place.src().join(name)).unwrap() == fs::read(place.path("dest").join(name)).unwrap(),
            "{name}"
        );
    }
}

#[test]
fn missing_pack_is_said_and_takes_only_its_files() {
    let place = shelf();
    let lost = packs(&place).pop().unwrap();
    fs::remove_file(&lost).unwrap();
    for depth in [&["verify"][..], &["verify", "--data"]] {
        let ran = place.run(depth).exits(4);
        assert!(ran.stdout.contains(&format!("pack {} is missing", name_of(&lost))), "{ran:#?}");
    }
    place.run(["restore", "src/one", "one"]).exits(0);
    let ran = place.run(["restore", "src/two", "two"]).exits(4);
    assert!(ran.stderr.contains("large-3"), "{ran:#?}");
    assert!(fs::read(place.path("two/large-0")).unwrap() == noise(0, 900_000) && !place.path("two/large-3").exists());
    // The next full sees that the pack is gone, and stores what was in it.
    let made = place.backup(&["--full"]);
    assert!(made["stored_bytes"].as_u64().unwrap() > 900_000, "{made}");
    place.run(["restore", "src/latest", "three"]).exits(0);
    assert!(fs::read(place.path("three/large-3")).unwrap() == noise(99, 900_000));
}

#[test]
fn missing_base_takes_its_differentials_and_no_other_series() {
    let place = shelf();
    place.backup(&["--full", "--tag", "three"]);
    fs::remove_file(catalog(&place, 1)).unwrap();
    let ran = place.run(["verify"]).exits(4);
    assert!(ran.stdout.contains("catalog 1 is missing: differentials stand on it"), "{ran:#?}");
    assert!(ran.stdout.lines().any(|line| line.starts_with("whole: ") && line.contains("(3)")), "{ran:#?}");
    let ran = place.run(["restore", "2", "two"]);
    assert!(matches!(ran.code, 1 | 4), "{ran:#?}");
    assert_eq!(ran.stderr.lines().filter(|line| line.starts_with("error: ")).count(), 1, "{ran:#?}");
    place.run(["restore", "src/three", "three"]).exits(0);
    let Some(_mount) = place.mount(&[]) else { return };
    assert!(fs::read(place.shown("tags/three/large-0")).unwrap() == noise(0, 900_000));
    fs::write(place.src().join("more"), "more").unwrap();
    let made = place.backup(&[]);
    assert_eq!((&made["type"], &made["base"]), (&"differential".into(), &3.into()));
}

#[test]
fn flipped_byte_anywhere_in_a_catalog_is_found_by_the_quick_verify() {
    let place = shelf();
    let path = catalog(&place, 1);
    let whole = fs::read(&path).unwrap();
    for at in (0..whole.len()).step_by(whole.len() / 12 + 1).chain([whole.len() - 1]) {
        flip(&path, at);
        let ran = place.run(["verify"]).exits(4);
        assert!(ran.stdout.contains("catalog 1"), "byte {at}: {ran:#?}");
        replace(&path, &whole);
    }
    place.run(["verify"]).exits(0);
}

#[test]
fn truncated_catalog_hides_no_other_point() {
    let place = shelf();
    place.backup(&["--full", "--tag", "three"]);
    fs::write(place.src().join("more"), "more").unwrap();
    place.backup(&["--tag", "four"]);
    let path = catalog(&place, 3);
    let whole = fs::read(&path).unwrap();
    replace(&path, &whole[..whole.len() - 100]);
    let ran = place.run(["list", "--json"]).exits(0).says("warning: catalog 3 is damaged");
    let numbers: Vec<_> = ran.json().iter().map(|point| point["number"].as_u64().unwrap()).collect();
    assert_eq!(numbers, [1, 2, 4]);
    for number in ["3", "4"] {
        let ran = place.run(["restore", number, "dest"]);
        assert!(matches!(ran.code, 1 | 4), "{ran:#?}");
    }
    let Some(_mount) = place.mount(&[]) else { return };
    for (tag, seed) in [("one", 3), ("two", 99)] {
        assert!(fs::read(place.shown("tags").join(tag).join("large-3")).unwrap() == noise(seed, 900_000), "{tag}");
    }
    assert_eq!(cat(&place.shown("tags/four/large-3")).code, 1);
}

#[test]
fn backup_after_a_damaged_full_makes_a_full_of_its_own_and_says_why() {
    for how in ["truncated", "flipped", "missing"] {
        let place = shelf();
        let path = catalog(&place, 1);
        match how {
            "truncated" => fs::File::options().write(true).open(&path).unwrap().set_len(1_000).unwrap(),
            "flipped" => flip(&path, usize::try_from(fs::metadata(&path).unwrap().len()).unwrap() / 2),
            _ => fs::remove_file(&path).unwrap(),
        }
        fs::write(place.src().join("more"), "more").unwrap();
        let ran = place.run(["backup", "src", "--json"]).exits(0);
        let made = ran.json().remove(0);
        assert_eq!((&made["outcome"], &made["type"]), (&"made".into(), &"full".into()), "{how}: {ran:#?}");
        assert!(ran.stderr.lines().any(|line| line.starts_with("warning: ")), "{how}: nothing was said: {ran:#?}");
        // The data is there still: no byte of it is stored again.
        assert!(made["stored_bytes"].as_u64().unwrap() < 100_000, "{how}: {made}");
        place.run(["restore", "src/latest", "dest"]).exits(0);
        assert!(fs::read(place.path("dest/large-0")).unwrap() == noise(0, 900_000), "{how}");
        // And the next one builds on it.
        fs::write(place.src().join("more"), "yet more").unwrap();
        let next = place.backup(&[]);
        assert_eq!((&next["type"], &next["base"]), (&"differential".into(), &made["number"]), "{how}");
    }
}

#[test]
fn lost_marks_are_made_anew_and_no_number_comes_twice() {
    for rubbish in [None, Some(&b"rubbish"[..]), Some(b""), Some(b"highest = -1"), Some(&[0xff; 9_000])] {
        let place = shelf();
        let marks = place.store().join("marks.toml");
        match rubbish {
            None => fs::remove_file(&marks).unwrap(),
            Some(bytes) => fs::write(&marks, bytes).unwrap(),
        }
        assert_eq!(place.run(["list", "--json"]).exits(0).json().len(), 2);
        let ran = place.run(["backup", "src", "--force", "--json"]).exits(0).says("marks.toml is damaged");
        assert_eq!(ran.json()[0]["number"], 3);
        let ran = place.run(["backup", "src", "--force", "--json"]).exits(0);
        assert_eq!((ran.json()[0]["number"].as_u64(), ran.stderr.as_str()), (Some(4), ""));
        place.run(["verify", "--data"]).exits(0);
    }
}

#[test]
fn damaged_notes_cost_the_tags_of_their_point_alone() {
    let place = shelf();
    fs::write(place.store().join("points/00000001.toml"), "tags = 7").unwrap();
    let ran = place.run(["list", "--json"]).exits(0).says("points/00000001.toml is damaged");
    let points = ran.json();
    assert_eq!((&points[0]["tags"], &points[1]["tags"]), (&serde_json::json!([]), &serde_json::json!(["two"])));
    place.run(["verify"]).exits(4).prints("points/00000001.toml is damaged");
    place.run(["restore", "1", "dest"]).exits(0);
    fs::write(place.src().join("more"), "more").unwrap();
    assert_eq!(place.backup(&["--tag", "three"])["outcome"], "made");
    let Some(_mount) = place.mount(&[]) else { return };
    let _watch = watch(&place.mnt());
    assert_eq!(fs::read_dir(place.shown("tags")).unwrap().count(), 2);
    assert_eq!(fs::read_dir(place.mnt().join("src")).unwrap().count(), 5);
}
