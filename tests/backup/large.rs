//! Large files from backup to backup: what is stored anew, and that it is what any other way of looking at them would have stored.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;

use rustix::fs::{FallocateFlags, fallocate};
use serde_json::Value;

use crate::support::cli::Place;
use crate::support::points::{History, count, noise};

/// More than is read by one thread alone.
const LEN: usize = 24 << 20;

/// Backs up, and then again under a name that has no earlier version to go by: there must be nothing in it that is not known.
#[track_caller]
fn backup_both_ways(place: &Place, history: &mut History, number: usize) -> Value {
    let done = history.backup(place, &[]);
    let again = place.run(["backup", "src", "--json", "--name", &format!("again-{number}")]).exits(0).json().remove(0);
    assert_eq!(
        (&again["type"], count(&again, "stored_bytes")),
        (&"full".into(), 0),
        "cut as without an earlier version"
    );
    done
}

#[test]
fn a_large_file_is_cut_alike_whatever_happened_to_it() {
    let place = Place::with_store();
    let path = place.src().join("image");
    let mut history = History::default();
    let mut content = noise(1, LEN);
    // Bytes that are cut at the greatest length, and bytes that repeat.
    content[3_000_000..6_000_000].fill(0);
    content.copy_within(8_000_000..9_000_000, 12_345_678);
    fs::write(&path, &content).unwrap();
    let full = backup_both_ways(&place, &mut history, 0);
    assert!(count(&full, "stored_bytes") > 15_000_000, "{full}");

    let file = File::options().write(true).open(&path).unwrap();
    let mut step = 0;
    let mut next = |most_stored: u64| {
        step += 1;
        let done = backup_both_ways(&place, &mut history, step);
        assert!(count(&done, "stored_bytes") < most_stored, "step {step}: {done}");
        assert_eq!(done["type"], "differential");
    };
    // Small changes at many places; a page each, and single bytes.
    for at in (100_000..LEN as u64).step_by(2_000_000) {
        file.write_all_at(&noise(at, 4_096), at).unwrap();
        file.write_all_at(b"x", at + 1_000_000).unwrap();
    }
    next(3_000_000);
    // It grows, by little and by much; it is cut off at an odd place, and grows again.
    file.write_all_at(b"y", LEN as u64).unwrap();
    next(300_000);
    file.write_all_at(&noise(3, 1_000_000), LEN as u64 + 1).unwrap();
    next(1_500_000);
    file.set_len(LEN as u64 - 5_555_555).unwrap();
    next(300_000);
    file.write_all_at(b"z", LEN as u64 - 5_555_555).unwrap();
    next(300_000);
    // A hole in the middle of data, and data in the middle of it.
    fallocate(&file, FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE, 9_000_000, 4_000_000).unwrap();
    next(500_000);
    file.write_all_at(&noise(4, 10_000), 11_000_000).unwrap();
    next(300_000);
    // Everything moves by some bytes.
    let mut content = fs::read(&path).unwrap();
    content.splice(1_000..1_000, *b"some bytes more");
    file.write_all_at(&content, 0).unwrap();
    next(600_000);
    history.check(&place);
}

#[test]
fn what_is_read_again_and_is_the_same_is_no_new_version() {
    let place = Place::with_store();
    fs::write(place.src().join("image"), noise(1, LEN)).unwrap();
    place.backup(&[]);
    let read = place.backup(&["--checksum"]);
    assert_eq!((&read["outcome"], count(&read, "read_bytes")), (&"unchanged".into(), LEN as u64));
}

#[test]
fn an_independent_full_takes_cuts_but_no_data_from_before() {
    let place = Place::with_store();
    fs::write(place.src().join("image"), noise(1, LEN)).unwrap();
    place.backup(&[]);
    let independent = place.backup(&["--full", "--independent"]);
    assert!(count(&independent, "stored_bytes") >= LEN as u64, "{independent}");
    // Cut in the same way, so that each chunk of the new family is found in it again.
    let again = place.backup(&["--full", "--force"]);
    assert_eq!(count(&again, "stored_bytes"), 0, "{again}");
}
