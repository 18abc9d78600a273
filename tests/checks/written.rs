//! What a backup has just written is read back, and nothing that is wrong with it passes.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use dbakfs::format::Number;
use dbakfs::repository::WriterLock;
use dbakfs::repository::runs::{BackupType, CheckEnd, CheckKind};
use dbakfs::storage::Wait;
use dbakfs::verify::written::{self, KEPT_FINDINGS, Level, Wrote};

use super::shelf::{catalog, check, file_of, filled, flip, kept, open, packs, reader, src, verdict};
use super::support::cli::Place;
use super::support::points::{noise, same};
use super::support::tree::look;

#[test]
fn each_backup_is_checked_and_its_verdict_shown_and_kept() {
    let place = filled(20);
    let ran = place.run(["backup", "src"]).exits(0).prints("; check: PASS");
    assert_eq!(ran.stderr, "");
    fs::write(place.src().join("new"), noise(7, 50_000)).unwrap();
    let done = place.backup(&["--verify", "sample"]);
    assert_eq!((&done["check"]["end"], &done["check"]["kind"]), (&"pass".into(), &"sample".into()));
    let done = place.backup(&["--force", "--verify", "full"]);
    assert_eq!((&done["check"]["end"], &done["check"]["kind"]), (&"pass".into(), &"full".into()));
    let checks = kept(&place);
    let of = |kind, number, of_type| (kind, CheckEnd::Pass, Some(Number(number)), Some(of_type));
    let shown: Vec<_> = checks.iter().map(|check| (check.kind, check.end, check.number, check.r#type)).collect();
    let expected = [
        of(CheckKind::Written, 1, BackupType::Full),
        of(CheckKind::Sample, 2, BackupType::Differential),
        of(CheckKind::Full, 3, BackupType::Differential),
    ];
    assert_eq!(shown, expected);
    assert!(checks.iter().all(|check| check.findings.is_empty() && check.bytes > 0));
}

#[test]
fn nothing_is_checked_where_nothing_was_written_or_asked_for() {
    let place = filled(3);
    assert_eq!(place.backup(&["--verify", "off"])["check"], serde_json::Value::Null);
    Place::settle();
    place.backup(&["--force", "--verify", "off"]);
    let done = place.backup(&[]);
    assert_eq!((&done["outcome"], &done["check"]["end"]), (&"unchanged".into(), &"nothing-written".into()));
    place.run(["backup", "src"]).exits(0).prints("nothing was written, so nothing is checked");
    assert_eq!(place.backup(&["--dry-run"])["check"], serde_json::Value::Null);
    assert_eq!(kept(&place), []);
}

#[test]
fn configuration_says_how_a_source_is_checked_and_the_command_line_more_so() {
    let place = filled(3);
    let config = format!("[sources.src]\npath = {:?}\nverify = \"sample\"\n", place.src());
    fs::write(place.path("config.toml"), config).unwrap();
    let kind = |more: &[&str]| {
        let ran =
            place.run(["--config", "config.toml", "backup", "src", "--json", "--force"].iter().chain(more)).exits(0);
        ran.json()[0]["check"]["kind"].clone()
    };
    assert_eq!(kind(&[]), "sample");
    assert_eq!(kind(&["--verify", "written"]), "written");
}

#[test]
fn a_changed_byte_anywhere_in_what_was_written_is_found() {
    let place = filled(60);
    place.backup(&["--verify", "off"]);
    let written = packs(&place);
    assert_eq!(written.len(), 1);
    let (pack, catalog) = (file_of(&place, &written[0]), catalog(&place, 1));
    assert_eq!(verdict(&check(&place, 1, &written, Level::Written)), (CheckEnd::Pass, String::new()));
    for file in [&pack, &catalog] {
        let len = usize::try_from(fs::metadata(file).unwrap().len()).unwrap();
        // The head, the foot, and places between them.
        let places = (0..40).map(|step| step * (len - 1) / 39);
        for at in places {
            flip(file, at);
            let outcome = check(&place, 1, &written, Level::Written);
            assert_eq!(outcome.check.end, CheckEnd::Fail, "{}, byte {at}: {outcome:?}", file.display());
            assert!(!outcome.check.findings.is_empty() && outcome.check.findings.len() <= KEPT_FINDINGS + 1);
            flip(file, at);
        }
    }
    assert_eq!(check(&place, 1, &written, Level::Written).check.end, CheckEnd::Pass, "the flips were taken back");
}

#[test]
fn what_is_missing_or_too_short_is_found_and_named() {
    let place = filled(10);
    place.backup(&["--verify", "off"]);
    let written = packs(&place);
    let (pack, catalog) = (file_of(&place, &written[0]), catalog(&place, 1));
    let name = written[0].id.to_string();
    for (file, name) in [(&pack, name.as_str()), (&catalog, "00000001.catalog")] {
        let whole = fs::read(file).unwrap();
        for kept in [0, 1, whole.len() / 2, whole.len() - 1] {
            fs::write(file, &whole[..kept]).unwrap();
            for level in [Level::Written, Level::Sample] {
                let (end, findings) = verdict(&check(&place, 1, &written, level));
                assert_eq!(end, CheckEnd::Fail, "{} cut at {kept}: {findings}", file.display());
            }
        }
        fs::remove_file(file).unwrap();
        let (end, findings) = verdict(&check(&place, 1, &written, Level::Written));
        assert!(end == CheckEnd::Fail && findings.contains(name), "{findings}");
        fs::write(file, &whole).unwrap();
    }
    assert_eq!(check(&place, 1, &written, Level::Written).check.end, CheckEnd::Pass);
}

#[test]
fn a_check_that_cannot_read_or_is_stopped_is_no_pass() {
    let place = filled(10);
    place.backup(&["--verify", "off"]);
    let written = packs(&place);
    let wrote = Wrote { number: Number(1), packs: &written };
    let stopped = written::check(&reader(&place), wrote, Level::Written, &|| true, &|_| ());
    assert_eq!(verdict(&stopped), (CheckEnd::NotRun, "it could not be checked: it was stopped".to_owned()));

    // Stopped after some files were read, or while one is.
    for after in 1..6 {
        let asked = AtomicUsize::new(0);
        let is_stopped = || asked.fetch_add(1, Ordering::Relaxed) >= after;
        let end = written::check(&reader(&place), wrote, Level::Written, &is_stopped, &|_| ()).check.end;
        assert_eq!(end, CheckEnd::NotRun, "after {after} questions");
    }
    let pack = file_of(&place, &written[0]);
    let aside = place.path("aside");
    fs::rename(&pack, &aside).unwrap();
    std::os::unix::fs::symlink(&aside, &pack).unwrap();
    let (end, findings) = verdict(&check(&place, 1, &written, Level::Written));
    assert!(
        end == CheckEnd::NotRun && findings.starts_with("it could not be checked: cannot open packs/"),
        "{findings}"
    );
    // What is known to be damaged is so, whatever cannot be read besides.
    flip(&catalog(&place, 1), 100);
    assert_eq!(check(&place, 1, &written, Level::Written).check.end, CheckEnd::Fail);
}

#[test]
fn a_sample_is_the_same_each_time_and_has_a_block_of_each_pack() {
    let place = filled(20);
    place.backup(&["--verify", "off"]);
    let first = packs(&place);
    fs::write(place.src().join("image"), noise(5, 6 << 20)).unwrap();
    place.backup(&["--verify", "off"]);
    let second: Vec<_> = packs(&place).into_iter().filter(|pack| !first.contains(pack)).collect();
    assert_eq!((first.len(), second.len()), (1, 1));
    let bytes = |level| check(&place, 2, &second, level).check.bytes;
    let sampled = bytes(Level::Sample);
    assert_eq!((bytes(Level::Sample), bytes(Level::Sample)), (sampled, sampled));
    assert!(sampled < bytes(Level::Written), "{sampled}");

    // All blocks are rubbish, head, tables and foot are not: whichever block is read, it is found.
    for (number, packs) in [(1, &first), (2, &second)] {
        let file = file_of(&place, &packs[0]);
        let whole = fs::read(&file).unwrap();
        let mut rubbish = whole.clone();
        let end = whole.len() - 4_096;
        rubbish[64..end].fill(7);
        fs::write(&file, &rubbish).unwrap();
        let outcome = check(&place, number, packs, Level::Sample);
        assert_eq!(outcome.check.end, CheckEnd::Fail, "{outcome:?}");
        fs::write(&file, whole).unwrap();
    }
}

#[test]
fn older_packs_are_not_read_but_must_be_there() {
    let place = filled(30);
    place.backup(&["--verify", "off"]);
    let old = packs(&place)[0];
    fs::write(place.src().join("new"), noise(77, 40_000)).unwrap();
    let middle = usize::try_from(old.file_len / 2).unwrap();
    flip(&file_of(&place, &old), middle);
    let done = place.backup(&[]);
    assert_eq!(done["check"]["end"], "pass", "the check of what was written says nothing of what was not");
    assert!(done["check"]["bytes"].as_u64().unwrap() < 200_000, "{done}");
    let new: Vec<_> = packs(&place).into_iter().filter(|pack| *pack != old).collect();
    fs::remove_file(file_of(&place, &old)).unwrap();
    let (end, findings) = verdict(&check(&place, 2, &new, Level::Written));
    assert_eq!((end, findings), (CheckEnd::Fail, format!("pack {} is missing", old.id)));
}

/// What another program left: packs, and no catalog that names them, as a backup does that is broken off.
fn broken_off(place: &Place) -> dbakfs::format::catalog::PackRef {
    place.backup(&["--verify", "off"]);
    fs::remove_file(catalog(place, 1)).unwrap();
    packs(place)[0]
}

#[test]
fn packs_of_a_backup_that_was_broken_off_are_checked_by_the_one_that_takes_them_over() {
    let place = filled(30);
    let pack = broken_off(&place);
    let middle = usize::try_from(pack.file_len / 2).unwrap();
    flip(&file_of(&place, &pack), middle);
    let ran = place.try_backup(&[]).exits(4);
    let done = ran.json().remove(0);
    assert_eq!((&done["outcome"], &done["check"]["end"]), (&"made".into(), &"fail".into()), "{done}");
    assert_eq!(packs(&place), [pack], "it stored nothing twice");
    assert!(ran.stderr.contains(&format!("error: check of src: pack {}", pack.id)) && ran.stderr.contains("hint: "));
    let checks = kept(&place);
    assert_eq!((checks.len(), checks[0].end), (1, CheckEnd::Fail));
    let point = place.points().remove(0);
    assert!(!point["damaged"].as_array().unwrap().is_empty(), "{point}");

    // Nothing at the source has changed; what lies in the damaged pack is read and stored again all the same.
    let before = look(&place.src());
    let ran = place.try_backup(&[]).exits(0).says("is damaged: what lay in it is read again");
    let done = ran.json().remove(0);
    assert_eq!((&done["outcome"], &done["check"]["end"]), (&"made".into(), &"pass".into()), "{done}");
    place.run(["restore", "src/latest", "dest"]).exits(0);
    same("the point after the damage", &before, &look(&place.path("dest")));
    // From then on there is nothing to be read again.
    assert_eq!(place.packs().len(), 2);
    assert_eq!(place.backup(&[])["outcome"], "unchanged");

    // A repair saves the rest of the older point, and trusts what is left.
    place.run(["repair"]);
    let ran = place.try_backup(&["--force"]).exits(0);
    assert!(!ran.stderr.contains("is damaged"), "{ran:?}");
    place.run(["restore", "src/latest", "again"]).exits(0);
    same("the point after the repair", &before, &look(&place.path("again")));
}

#[test]
fn full_check_finds_what_is_damaged_elsewhere_and_the_next_backup_heals_it() {
    let place = filled(30);
    place.backup(&[]);
    let old = packs(&place)[0];
    flip(&file_of(&place, &old), usize::try_from(old.file_len / 2).unwrap());
    fs::write(place.src().join("new"), "of some length, but not of many bytes").unwrap();
    let done = place.try_backup(&["--verify", "full"]).exits(4).json().remove(0);
    assert_eq!((&done["check"]["end"], &done["check"]["kind"]), (&"fail".into(), &"full".into()));
    place.run(["backup", "src"]).exits(0).prints("; check: PASS");
    let verified = place.run(["verify", "--data", "--json"]).exits(4).json();
    let summary = verified.last().unwrap();
    // A differential stands on its full, but reads nothing of the damaged block.
    assert_eq!(summary["points_whole"], serde_json::json!([3]), "{summary}");
}

#[test]
fn verdict_of_verify_data_is_kept_with_each_source() {
    let place = filled(3);
    fs::create_dir(place.path("other")).unwrap();
    place.run(["backup", "src", "other", "--verify", "off"]).exits(0);
    place.run(["verify"]).exits(0);
    assert_eq!(kept(&place), [], "without --data not all is read");
    place.run(["verify", "--data"]).exits(0);
    flip(&file_of(&place, &packs(&place)[0]), 5_000);
    place.run(["verify", "--data"]).exits(4);
    let ends = |checks: Vec<dbakfs::repository::runs::Check>| -> Vec<_> {
        checks.into_iter().map(|check| (check.kind, check.end, check.number)).collect()
    };
    let expected = [(CheckKind::Full, CheckEnd::Pass, None), (CheckKind::Full, CheckEnd::Fail, None)];
    assert_eq!(ends(kept(&place)), expected);
    let (all, _) = dbakfs::repository::runs::read_all(open(&place).storage()).unwrap();
    assert_eq!(all.iter().map(|notes| notes.name.as_str()).collect::<Vec<_>>(), ["other", "src"]);
    assert!(all.into_iter().all(|notes| ends(notes.checks) == expected));
}

#[test]
fn a_damaged_ledger_is_said_and_begun_anew_and_changes_nothing_else() {
    let place = filled(3);
    place.backup(&["--verify", "off"]);
    fs::write(place.store().join("runs/src.toml"), "rubbish").unwrap();
    let said = "runs/src.toml is damaged";
    place.run(["verify", "--data"]).exits(0).prints("no damage").says(said);
    fs::write(place.store().join("runs/src.toml"), "rubbish").unwrap();
    place.run(["rehearse", "src"]).exits(0).prints("rehearsal: PASS").says(said);
    fs::write(place.store().join("runs/src.toml"), "rubbish").unwrap();
    // Marks of damage do not depend on it.
    let written = packs(&place);
    flip(&file_of(&place, &written[0]), 5_000);
    let outcome = check(&place, 1, &written, Level::Written);
    let store = open(&place);
    let lock = WriterLock::take(&store, Wait::Never).unwrap();
    assert!(WriterLock::take_within(&open(&place), Duration::ZERO).is_err(), "one writer");
    assert!(outcome.keep(&store, &lock, &src()).unwrap().is_some());
    drop(lock);
    assert!(place.points()[0]["damaged"][0].as_str().unwrap().contains("is lost or damaged"));
    assert!(fs::metadata(place.store().join("points/00000001.toml")).unwrap().permissions().mode() & 0o077 == 0);
}
