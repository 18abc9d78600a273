//! What damage takes with it, and what it leaves: everything else, and the next backup.

#![allow(clippy::unwrap_used, reason = "a helper that fails is a test that fails")]
#![allow(clippy::print_stderr, reason = "a test explains itself on standard error")]

mod support;

use std::fs;
use std::path::{Path, PathBuf};

use support::cli::{Place, Ran};
use support::process::{limited, watch};

/// The files, by name, and how long they are. In the order of their names they come into the pack: its middle lies in
/// the largest, and in a block that holds nothing else.
const FILES: [(&str, usize); 4] =
    [("a-before", 300_000), (LARGEST, 6_000_000), ("m-after", 300_000), ("z-changed", 300_000)];
const LARGEST: &str = "large";

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

/// What a file holds in the point of that tag.
fn content(name: &str, tag: &str) -> Vec<u8> {
    let seed = FILES.iter().position(|(other, _)| *other == name).unwrap();
    let seed = if name == "z-changed" && tag != "one" { 99 } else { seed as u64 };
    noise(seed, FILES.iter().find(|(other, _)| *other == name).unwrap().1)
}

/// A full, tagged `one`, and a differential, tagged `two`, which has `z-changed` in another version.
fn shelf() -> Place {
    let place = Place::with_store();
    for (name, _) in FILES {
        fs::write(place.src().join(name), content(name, "one")).unwrap();
    }
    fs::write(place.src().join("tiny"), "inside the catalog").unwrap();
    place.backup(&["--tag", "one"]);
    fs::write(place.src().join("z-changed"), content("z-changed", "two")).unwrap();
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

/// What ends with EIO of a point in the mount; everything else reads right.
fn unreadable(place: &Place, tag: &str) -> Vec<&'static str> {
    let directory = place.shown("tags").join(tag);
    let is_hurt = |name: &&str| {
        let ran = cat(&directory.join(name));
        if ran.code != 0 {
            assert!(ran.stderr.contains("Input/output error"), "{ran:#?}");
            return true;
        }
        assert!(fs::read(directory.join(name)).unwrap() == content(name, tag), "{tag}: {name} reads wrongly");
        false
    };
    FILES.into_iter().map(|(name, _)| name).filter(is_hurt).collect()
}

#[test]
fn flipped_byte_in_a_pack_is_eio_for_its_file_alone() {
    let place = shelf();
    let pack = flip_pack(&place);
    let log = place.path("mount.log");
    let Some(mount) = place.mount(&["--log", log.to_str().unwrap()]) else { return };
    assert_eq!(unreadable(&place, "one"), [LARGEST]);
    assert_eq!(unreadable(&place, "two"), [LARGEST]);
    for tag in ["one", "two"] {
        assert_eq!(fs::read_to_string(place.shown("tags").join(tag).join("tiny")).unwrap(), "inside the catalog");
        assert_eq!(fs::read_dir(place.shown("tags").join(tag).join(".")).unwrap().count(), 5);
    }
    mount.end();
    let told = fs::read_to_string(&log).unwrap();
    let line = told.lines().find(|line| line.contains("cannot read")).unwrap_or_else(|| panic!("{told}"));
    assert!(line.contains(LARGEST) && line.contains(&pack) && line.contains("block "), "{line}");
}

#[test]
fn verify_data_names_file_points_and_pack() {
    let place = shelf();
    place.run(["verify"]).exits(0).prints("no damage");
    place.run(["verify", "--data"]).exits(0).prints("no damage");
    let pack = flip_pack(&place);
    let ran = place.run(["verify", "--data"]).exits(4);
    assert!(FILES.iter().all(|(name, _)| *name == LARGEST || !ran.stdout.contains(name)), "{ran:#?}");
    let damaged = |line: &&str| line.starts_with("damaged: ") && line.contains(&pack);
    assert_eq!(ran.stdout.lines().filter(damaged).count(), 1, "{ran:#?}");
    for number in ["(1)", "(2)"] {
        let touched =
            |line: &&str| line.starts_with("unreadable: src/") && line.contains(number) && line.contains(LARGEST);
        assert_eq!(ran.stdout.lines().filter(touched).count(), 1, "{number}: {ran:#?}");
    }
    let json = place.run(["verify", "--data", "--json"]).exits(4).json();
    let summary = json.last().unwrap();
    assert_eq!((&summary["whole"], &summary["points_whole"]), (&false.into(), &serde_json::json!([])));
    assert_eq!(summary["points_hurt"].as_array().unwrap().len(), 2);
    let touched = json.iter().filter(|event| event["event"] == "touched" && event["path"] == LARGEST).count();
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
    assert!(errors[0].contains(LARGEST), "{ran:#?}");
    for (name, _) in FILES {
        let restored = fs::read(place.path("dest").join(name));
        match name == LARGEST {
            // Half a file under the right name would be taken for the file.
            true => assert!(restored.is_err(), "{name} stands there"),
            false => assert!(restored.unwrap() == content(name, "one"), "{name}"),
        }
    }
}

#[test]
fn a_point_whose_full_is_gone_is_damage_that_names_it() {
    let place = shelf();
    fs::write(place.src().join("more"), noise(5, 300_000)).unwrap();
    let differential = place.backup(&["--differential"]);
    let full = format!("catalogs/{:08}.catalog", differential["base"].as_u64().unwrap());
    fs::remove_file(place.store().join(full)).unwrap();
    place.run(["restore", "src/latest", "dest"]).exits(4).says("the full that it stands on is gone");
    place.run(["ls", "src/latest"]).exits(4).says("the full that it stands on is gone");
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
    for name in FILES.map(|(name, _)| name).into_iter().chain(["more", "tiny"]) {
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
    assert!(ran.stderr.contains("z-changed"), "{ran:#?}");
    assert!(
        fs::read(place.path("two/a-before")).unwrap() == content("a-before", "one")
            && !place.path("two/z-changed").exists()
    );
    assert!(fs::read(place.path("two").join(LARGEST)).unwrap() == content(LARGEST, "two"));
}

#[test]
fn backup_after_a_lost_pack_reads_again_what_lay_in_it() {
    // The full's pack or the differential's, and whichever kind of backup comes next.
    for (lost, name) in [(0, LARGEST), (1, "z-changed")] {
        for more in [&[][..], &["--full"]] {
            let place = shelf();
            let lost = packs(&place).remove(lost);
            fs::remove_file(&lost).unwrap();
            let ran = place.run([&["backup", "src", "--json"], more].concat()).exits(0);
            let said = format!("warning: pack {} is gone: what lay in it is read again", name_of(&lost));
            assert_eq!(ran.stderr.matches(&said).count(), 1, "{ran:#?}");
            let made = ran.json().remove(0);
            let len = FILES.iter().find(|(file, _)| *file == name).unwrap().1 as u64;
            assert_eq!(made["outcome"], "made", "{made}");
            assert!(made["stored_bytes"].as_u64().unwrap() >= len, "{made}");
            place.run(["restore", "src/latest", "dest"]).exits(0);
            for (name, _) in FILES {
                assert!(fs::read(place.path("dest").join(name)).unwrap() == content(name, "two"), "{name}");
            }
            // Once is enough.
            assert_eq!(place.backup(&[])["outcome"], "unchanged");
        }
    }
}

#[test]
fn missing_base_takes_its_differentials_and_no_other_series() {
    let place = shelf();
    place.backup(&["--full", "--force", "--tag", "three"]);
    fs::remove_file(catalog(&place, 1)).unwrap();
    let ran = place.run(["verify"]).exits(4);
    assert!(ran.stdout.contains("catalog 1 is missing: differentials stand on it"), "{ran:#?}");
    assert!(ran.stdout.lines().any(|line| line.starts_with("whole: ") && line.contains("(3)")), "{ran:#?}");
    let ran = place.run(["restore", "2", "two"]);
    assert!(matches!(ran.code, 1 | 4), "{ran:#?}");
    assert_eq!(ran.stderr.lines().filter(|line| line.starts_with("error: ")).count(), 1, "{ran:#?}");
    place.run(["restore", "src/three", "three"]).exits(0);
    let Some(_mount) = place.mount(&[]) else { return };
    assert!(fs::read(place.shown("tags/three/a-before")).unwrap() == content("a-before", "one"));
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
    place.backup(&["--full", "--force", "--tag", "three"]);
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
    for tag in ["one", "two"] {
        assert!(
            fs::read(place.shown("tags").join(tag).join("z-changed")).unwrap() == content("z-changed", tag),
            "{tag}"
        );
    }
    assert_eq!(cat(&place.shown("tags/four/z-changed")).code, 1);
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
        assert!(fs::read(place.path("dest/a-before")).unwrap() == content("a-before", "one"), "{how}");
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
        assert_eq!(ran.json()[0]["number"], 4);
        assert!(!ran.stderr.contains("marks"), "{ran:#?}");
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

#[test]
fn an_unchanged_file_is_read_though_the_catalog_of_its_birth_is_damaged() {
    let place = Place::with_store();
    for number in 0..2000 {
        fs::write(place.src().join(format!("file-{number}")), noise(number, 400)).unwrap();
    }
    place.backup(&[]);
    place.backup(&["--full", "--force"]);
    // A record block of the first full; its head and foot stay whole, so that it opens.
    flip(&catalog(&place, 1), 100);
    let Some(mount) = place.mount(&[]) else { return };
    let seen = [3, 1999].map(|number| fs::read(place.shown("latest").join(format!("file-{number}"))));
    mount.end();
    assert_eq!(seen.map(Result::unwrap), [noise(3, 400), noise(1999, 400)]);
}

#[test]
fn damaged_notes_are_not_written_over_by_a_tag() {
    let place = Place::with_store();
    fs::write(place.src().join("file"), "content").unwrap();
    place.backup(&["--tag", "one"]);
    let notes = place.store().join("points/00000001.toml");
    fs::write(&notes, "tags = [").unwrap();
    place.run(["backup", "src", "--tag", "two"]).exits(1).says("points/00000001.toml is damaged");
    assert_eq!(fs::read_to_string(&notes).unwrap(), "tags = [");
    place.run(["backup", "src", "--force", "--tag", "two"]).exits(0);
    assert_eq!(fs::read_to_string(&notes).unwrap(), "tags = [");
}

#[test]
fn what_a_lost_catalog_needs_is_not_pruned_until_its_point_is_given_up() {
    let place = shelf();
    place.backup(&["--full", "--independent", "--tag", "three"]);
    let path = catalog(&place, 3);
    let len = usize::try_from(fs::metadata(&path).unwrap().len()).unwrap();
    flip(&path, len - 5);
    let before = packs(&place);
    place.run(["repair"]).exits(4).prints("points have lost something");
    place.run(["verify"]).exits(4).prints("catalog 3 was set aside");
    place.run(["prune", "--grace", "0"]).exits(4).says("what backup 3 needs is not known");
    assert_eq!(packs(&place), before);
    place.run(["forget", "3"]).exits(0);
    place.run(["prune", "--grace", "0"]).exits(0);
    assert!(packs(&place).len() < before.len());
    place.run(["verify", "--data"]).exits(0);
    place.run(["restore", "src/two", "dest"]).exits(0);
}

#[test]
fn a_repair_tells_forgotten_points_that_are_hurt_from_those_that_are_whole() {
    let place = shelf();
    let before = packs(&place);
    place.backup(&["--full", "--independent", "--tag", "three"]);
    place.run(["forget", "3"]).exits(0);
    let own = packs(&place)
        .into_iter()
        .find(|pack| !before.contains(pack))
        .expect("an independent full has packs of its own");
    flip(&own, 1_000);
    let said = "every point that is not forgotten is whole; 1 forgotten is not\n";
    place.run(["repair"]).exits(0).prints(&format!("mended: {said}"));
    let summary = place.run(["repair", "--json"]).exits(0).json().pop().unwrap();
    assert_eq!((&summary["points_hurt"], &summary["forgotten_hurt"]), (&0.into(), &1.into()));
}

#[test]
fn a_store_that_lost_all_its_catalogs_is_not_pruned_to_nothing() {
    let place = shelf();
    let before = packs(&place);
    fs::rename(place.store().join("catalogs"), place.path("away")).unwrap();
    place.run(["prune", "--grace", "0"]).exits(4).says("not one catalog");
    assert_eq!(packs(&place), before);
    let _ = fs::remove_dir(place.store().join("catalogs"));
    fs::rename(place.path("away"), place.store().join("catalogs")).unwrap();
    place.run(["prune", "--grace", "0"]).exits(0);
    place.run(["restore", "src/two", "dest"]).exits(0);
}

#[test]
fn files_that_a_killed_repair_took_away_are_put_back_by_the_next() {
    let place = shelf();
    place.backup(&["--full", "--independent", "--tag", "three"]);
    let (one, three) = (catalog(&place, 1), catalog(&place, 3));
    // As if it had been killed between taking both away and putting them back, which were swapped.
    fs::rename(&one, place.store().join("catalogs/00000003.catalog.damaged")).unwrap_or_else(|error| panic!("{error}"));
    fs::rename(&three, place.store().join("catalogs/00000001.catalog.damaged")).unwrap();
    let packs = packs(&place);
    let aside = |pack: &Path, as_pack: &Path| fs::rename(pack, as_pack.with_extension("pack.damaged")).unwrap();
    aside(&packs[0], &packs[1]);
    aside(&packs[1], &packs[0]);
    place.run(["repair"]).exits(0).prints("put catalogs/00000001.catalog back");
    place.run(["verify", "--data"]).exits(0);
    for tag in ["one", "two", "three"] {
        place.run(["restore", &format!("src/{tag}"), tag]).exits(0);
    }
}

#[test]
fn a_good_file_under_a_wrong_name_takes_the_place_of_a_damaged_one() {
    let place = shelf();
    place.backup(&["--full", "--force", "--tag", "three"]);
    fs::copy(catalog(&place, 3), catalog(&place, 2)).unwrap();
    replace(&catalog(&place, 3), b"");
    place.run(["repair"]).exits(4).prints("put catalogs/00000003.catalog back");
    place.run(["restore", "src/three", "three"]).exits(0);
}

#[test]
fn repair_leaves_the_store_of_a_newer_program_alone() {
    let place = shelf();
    let path = place.store().join("store.toml");
    let text = fs::read_to_string(&path).unwrap().split_once('\n').unwrap().1.replace("format = 1", "format = 2");
    fs::write(&path, &text).unwrap();
    place.run(["repair"]).exits(1).says("written by a newer dbakfs");
    assert_eq!(fs::read_to_string(&path).unwrap(), text);
}

#[test]
fn a_block_that_gives_nothing_any_more_costs_only_what_lies_in_it() {
    let place = Place::with_store();
    // Each fills a block, and is compressed: what is left of a damaged block unpacks to nothing.
    let text = |seed: u64| -> Vec<u8> {
        let words: Vec<String> = noise(seed, 250_000).iter().map(|byte| format!("{byte} ")).collect();
        words.concat().into_bytes()[..600_000].to_vec()
    };
    for file in 0..4 {
        let parts: Vec<u8> = text(file);
        for (number, part) in parts.chunks(50_000).enumerate() {
            fs::write(place.src().join(format!("{file}-{number:02}")), part).unwrap();
        }
    }
    place.backup(&[]);
    let pack = packs(&place).remove(0);
    let len = usize::try_from(fs::metadata(&pack).unwrap().len()).unwrap();
    let mut bytes = fs::read(&pack).unwrap();
    // The head of the second block's frame: nothing of it unpacks.
    let magic = [0x28, 0xb5, 0x2f, 0xfd];
    let at = bytes[len / 4..].windows(4).position(|window| window == magic).unwrap() + len / 4;
    bytes[at] ^= 0xff;
    replace(&pack, &bytes);
    place.run(["repair"]).exits(4).prints("what can be read of it was copied");
    place.run(["restore", "1", "dest"]).exits(4);
    let restored = fs::read_dir(place.path("dest")).unwrap().count();
    assert!((20..48).contains(&restored), "{restored} of 48 files came back");
    // What is still there is stored anew.
    place.run(["backup", "src"]).exits(0);
    place.run(["restore", "src/latest", "again"]).exits(0);
    for entry in fs::read_dir(place.src()).unwrap() {
        let entry = entry.unwrap();
        let again = place.path("again").join(entry.file_name());
        assert!(fs::read(entry.path()).unwrap() == fs::read(again).unwrap(), "{:?}", entry.file_name());
    }
}
