//! Full or differential, and the sizes that decide it.

use std::fs;
use std::os::unix::fs::FileExt;

use serde_json::Value;

use crate::support::cli::{Place, Ran};
use crate::support::points::{count, noise};
use crate::support::tree::look;

const MIB: usize = 1 << 20;

/// Rules that never ask for a full.
const LASTING: [&str; 2] = ["--auto", "--max-full-age=9999d"];

/// What the backup held, what it changed against the one before, and what was gone since.
fn sizes(done: &Value) -> [u64; 3] {
    ["size_bytes", "changed_bytes", "gone_bytes"].map(|name| count(done, name))
}

fn write(place: &Place, name: &str, bytes: &[u8]) {
    fs::write(place.src().join(name), bytes).unwrap();
}

fn kind(done: &Value) -> &str {
    done["type"].as_str().unwrap()
}

#[test]
fn a_full_holds_all_data_once_for_each_inode_and_no_holes() {
    let place = Place::with_store();
    write(&place, "tiny", b"tiny");
    write(&place, "small", &noise(1, 10_000));
    write(&place, "same", &noise(1, 10_000));
    fs::hard_link(place.src().join("small"), place.src().join("link")).unwrap();
    let sparse = fs::File::create(place.src().join("sparse")).unwrap();
    sparse.write_all_at(&noise(2, 4_096), 8 << 20).unwrap();
    sparse.set_len(64 << 20).unwrap();
    assert_eq!(sizes(&place.backup(&[])), [4 + 10_000 + 10_000 + 4_096, 0, 0]);
    // Before deduplication: the same again, though nothing is stored.
    let again = place.backup(&["--full"]);
    assert_eq!((sizes(&again), count(&again, "new")), ([24_100, 0, 0], 6));
}

#[test]
fn a_differential_holds_what_the_bases_versions_do_not() {
    let place = Place::with_store();
    let large = noise(1, 4 * MIB);
    write(&place, "large", &large);
    write(&place, "small", &noise(2, 10_000));
    write(&place, "goes", &noise(3, 30_000));
    write(&place, "tiny", b"tiny");
    assert_eq!(sizes(&place.backup(&[])), [(4 * MIB + 40_004) as u64, 0, 0]);

    // A few bytes in the middle: the chunks they lie in, and no more.
    let file = fs::OpenOptions::new().write(true).open(place.src().join("large")).unwrap();
    file.write_all_at(b"changed", 2 << 20).unwrap();
    fs::remove_file(place.src().join("goes")).unwrap();
    let done = place.backup(&LASTING);
    let [size, changed, gone] = sizes(&done);
    assert!((7..=3 * 131_072).contains(&size), "{size}");
    assert_eq!((kind(&done), changed, gone), ("differential", size, 30_000));

    // The same stays in each differential that follows; what is new since the last is counted apart.
    write(&place, "small", &noise(4, 12_000));
    write(&place, "tiny", b"tinier");
    assert_eq!(sizes(&place.backup(&LASTING)), [size + 12_006, 12_006, 0]);

    // A copy under another name is a file that the base does not have.
    write(&place, "copy", &noise(4, 12_000));
    assert_eq!(sizes(&place.backup(&LASTING)), [size + 24_006, 12_000, 0]);

    // As it was in the full.
    write(&place, "large", &large);
    fs::remove_file(place.src().join("copy")).unwrap();
    let [back, changed, gone] = sizes(&place.backup(&LASTING));
    assert_eq!((back, gone), (12_006, 12_000));
    assert!((7..=3 * 131_072).contains(&changed), "{changed}");
}

#[test]
fn what_is_gone_is_counted_to_the_bottom() {
    let place = Place::with_store();
    fs::create_dir_all(place.src().join("a/b/c")).unwrap();
    for (name, bytes) in [("a/one", 1_000), ("a/b/two", 2_000), ("a/b/c/three", 3_000), ("stays", 50_000)] {
        write(&place, name, &noise(9, bytes));
    }
    fs::hard_link(place.src().join("stays"), place.src().join("a/name")).unwrap();
    place.backup(&[]);
    fs::remove_dir_all(place.src().join("a")).unwrap();
    write(&place, "a", b"a file now");
    // A name of two that goes takes its half with it.
    assert_eq!(sizes(&place.backup(&LASTING)), [10, 10, 6_000 + 25_000]);
    // The emptied mount.
    fs::remove_file(place.src().join("stays")).unwrap();
    fs::remove_file(place.src().join("a")).unwrap();
    assert_eq!(sizes(&place.backup(&LASTING)), [0, 0, 50_010]);
}

#[test]
fn a_dry_run_counts_as_the_run_does() {
    let place = Place::with_store();
    write(&place, "large", &noise(1, 4 * MIB));
    write(&place, "small", &noise(2, 10_000));
    place.backup(&[]);
    let file = fs::OpenOptions::new().write(true).open(place.src().join("large")).unwrap();
    file.write_all_at(b"changed", 2 << 20).unwrap();
    write(&place, "small", &noise(3, 9_000));
    write(&place, "new", b"new");
    let dry = place.backup(&["--dry-run"]);
    assert_eq!(sizes(&dry), sizes(&place.backup(&[])));
}

#[test]
fn a_differential_that_grows_too_large_becomes_a_full_and_stores_nothing_twice() {
    let place = Place::with_store();
    for number in 0..16 {
        write(&place, &format!("file-{number:02}"), &noise(number, 200_000));
    }
    let full = place.backup(&[]);
    for number in 0..8 {
        write(&place, &format!("file-{number:02}"), &noise(100 + number, 200_000));
    }
    // Half is not more than half.
    let half = place.backup(&["--diff-threshold=50"]);
    assert_eq!((kind(&half), sizes(&half)), ("differential", [1_600_000, 1_600_000, 0]));
    write(&place, "file-08", &noise(108, 200_000));
    let ran = place.try_backup(&["--diff-threshold=50"]).exits(0).says("making a full instead");
    let more = ran.json().remove(0);
    assert_eq!((kind(&more), count(&more, "size_bytes")), ("full", 3_200_000));
    let reason = more["reason"].as_str().unwrap();
    assert!(reason.contains("1800000 bytes or more, above 50 % of the full's 3200000"), "{reason}");
    // What had been packed when it was clear is part of the full.
    let stored = count(&more, "stored_bytes");
    assert!((200_000..300_000).contains(&stored), "{more}");
    assert_eq!(place.run(["verify", "--data", "--json"]).exits(0).json()[0]["orphan_packs"], 0);
    place.run(["restore", "src/latest", "out"]).exits(0);
    assert!(look(&place.path("out")) == look(&place.src()), "the full shows something else than the source");
    assert_ne!(full["number"], more["number"]);
    // It is what the next one builds on.
    write(&place, "file-09", &noise(109, 200_000));
    assert_eq!(place.backup(&["--diff-threshold=50"])["base"], more["number"]);
}

#[test]
fn a_dry_run_that_would_become_a_full_says_so_and_touches_nothing() {
    let place = Place::with_store();
    write(&place, "a", &noise(1, 400_000));
    place.backup(&[]);
    write(&place, "a", &noise(2, 400_000));
    let before = crate::support::cli::snapshot(&place.store());
    let dry = place.try_backup(&["--dry-run", "--diff-threshold=50"]).exits(0).json().remove(0);
    assert_eq!((kind(&dry), &dry["outcome"]), ("full", &"dry-run".into()));
    assert!(crate::support::cli::snapshot(&place.store()) == before, "a dry run changed the store");
}

#[test]
fn what_a_first_attempt_stored_counts_as_stored() {
    let place = Place::with_store();
    let files = |salt: u64| (0..40).for_each(|file| write(&place, &format!("{file:02}"), &noise(salt + file, 50_000)));
    files(0);
    place.backup(&[]);
    let packs = || -> u64 { place.packs().iter().map(|pack| pack.metadata().unwrap().len()).sum() };
    let before = packs();
    files(100);
    let full = place.backup(&["--diff-threshold=50"]);
    assert_eq!((kind(&full), count(&full, "stored_bytes")), ("full", packs() - before));
}

#[test]
fn an_explicit_differential_stays_one_and_warns() {
    let place = Place::with_store();
    write(&place, "a", &noise(1, 100_000));
    place.backup(&[]);
    write(&place, "a", &noise(2, 100_000));
    let ran = place.try_backup(&["--differential", "--diff-threshold=50"]).exits(0);
    assert_eq!(kind(&ran.json()[0]), "differential");
    ran.says("a new full would be better");
}

#[test]
fn an_image_of_which_little_changes_stays_a_differential() {
    let place = Place::with_store();
    write(&place, "image", &noise(1, 32 * MIB));
    place.backup(&[]);
    let file = fs::OpenOptions::new().write(true).open(place.src().join("image")).unwrap();
    for at in [1_u64, 9, 17, 25] {
        file.write_all_at(&noise(at, 100_000), at << 20).unwrap();
    }
    let done = place.backup(&["--diff-threshold=50"]);
    let size = count(&done, "size_bytes");
    assert_eq!(kind(&done), "differential");
    assert!((400_000..1_500_000).contains(&size), "{size}");
    // Before it is read all that is known is that the image has changed.
    write(&place, "image", &noise(2, 32 * MIB));
    let plan = place.run(["plan", "src", "--json", "--diff-threshold=50"]).exits(0).json().remove(0);
    assert_eq!((&plan["type"], &plan["settled"]), (&"differential".into(), &false.into()));
    assert_eq!(plan["most_bytes"], 32 << 20);
    assert_eq!(kind(&place.backup(&["--diff-threshold=50"])), "full");
}

#[test]
fn a_stream_is_settled_when_it_has_been_read() {
    let place = Place::with_store();
    let back_up = |bytes: &[u8]| {
        fs::write(place.path("dump"), bytes).unwrap();
        let mut command = place.command();
        command.args(["backup", "--stdin", "dump.sql", "--name", "db", "--json", "--diff-threshold=50"]);
        let ran = Ran::of(command.stdin(fs::File::open(place.path("dump")).unwrap()).output().unwrap());
        ran.exits(0).json().remove(0)
    };
    let mut dump = noise(1, 3 * MIB);
    let full = back_up(&dump);
    dump[MIB] ^= 1;
    let differential = back_up(&dump);
    assert_eq!((kind(&full), kind(&differential)), ("full", "differential"));
    let other = back_up(&noise(2, 3 * MIB));
    assert_eq!((kind(&other), count(&other, "size_bytes")), ("full", 3 << 20));
    assert!(other["reason"].as_str().unwrap().contains("above 50 %"), "{other}");
    place.run(["verify", "--data"]).exits(0);
}

#[test]
fn a_full_that_is_due_is_made_even_if_nothing_changed() {
    let place = Place::with_store();
    write(&place, "a", b"a");
    let first = place.backup(&[]);
    assert_eq!(place.backup(&[])["outcome"], "unchanged");
    let due = place.backup(&["--max-series-length=1"]);
    assert_eq!((&due["outcome"], kind(&due)), (&"made".into(), "full"));
    assert_eq!(due["reason"], "the series has 1 points, which is max_series_length");
    assert_ne!(first["number"], due["number"]);
    let due = place.backup(&["--max-full-age=0"]);
    assert!(due["reason"].as_str().unwrap().contains("max_full_age is 0s"), "{due}");
    // Independent fulls share nothing with what is there.
    write(&place, "b", &noise(1, 50_000));
    place.backup(&["--full"]);
    let apart = place.backup(&["--max-full-age=0", "--independent-full=every"]);
    assert!(count(&apart, "stored_bytes") > 50_000, "{apart}");
    let same_month = place.backup(&["--max-full-age=0", "--independent-full=monthly"]);
    assert!(count(&same_month, "stored_bytes") < 10_000, "{same_month}");
}

#[test]
fn a_plan_says_what_the_next_backup_makes_and_writes_nothing() {
    let place = Place::with_store();
    place.run(["plan", "src"]).exits(1).says("nothing is known of a source named src");
    write(&place, "a", &noise(1, 100_000));
    Place::settle();
    place.backup(&[]);
    let before = crate::support::cli::snapshot(&place.store());
    place.run(["plan", "src"]).exits(0).prints("src: a differential on 1").prints("nothing has changed");
    place.run(["plan", "src", "--max-series-length=1"]).exits(0).prints("src: a full: the series has 1 points");
    write(&place, "b", &noise(2, 10_000));
    let plan = place.run(["plan", "src", "--json"]).exits(0).json().remove(0);
    let rules: Vec<_> = plan["rules"].as_array().unwrap().iter().map(|rule| rule["rule"].as_str().unwrap()).collect();
    assert_eq!(rules, ["full_day", "full", "max_full_age", "max_series_length", "diff_threshold"]);
    assert_eq!((&plan["settled"], &plan["most_bytes"], &plan["base"]), (&true.into(), &10_000.into(), &1.into()));
    assert!(crate::support::cli::snapshot(&place.store()) == before, "a plan changed the store");
    place.run(["plan", "src", "--full-day", "Sonntag"]).exits(2).says("no day of the week");
}

#[test]
fn the_configuration_gives_the_rules_and_the_command_line_has_the_last_word() {
    let place = Place::with_store();
    write(&place, "a", b"a");
    let config = place.path("config.toml");
    let src = place.src();
    fs::write(&config, format!("[sources.src]\npath = {src:?}\nmax_series_length = 1\n")).unwrap();
    let config = config.to_str().unwrap();
    place.backup(&[]);
    let ran = place.run(["--config", config, "backup", "src", "--json"]).exits(0).json().remove(0);
    assert_eq!(ran["reason"], "the series has 1 points, which is max_series_length");
    let args = ["--config", config, "backup", "src", "--json", "--max-series-length=9"];
    assert_eq!(place.run(args).exits(0).json()[0]["outcome"], "unchanged");
    // What the configuration leaves out is left out by hand, too, and days begin where it says.
    write(&place, "x.tmp", b"x");
    fs::write(config, format!("timezone = 'Pacific/Kiritimati'\n[sources.src]\npath = {src:?}\nexclude = ['*.tmp']\n"))
        .unwrap();
    let ran =
        place.run(["--config", config, "backup", "src", "--json", "--full", "--exclude=b"]).exits(0).json().remove(0);
    assert_eq!(count(&ran, "files"), 1);
    fs::write(config, "[sources.src]\nmax_serie_length = 1\n").unwrap();
    place.run(["--config", config, "backup", "src"]).exits(2).says("unknown field `max_serie_length`");
    place.run(["--config", "nowhere.toml", "backup", "src"]).exits(2).says("cannot read the configuration");
}
