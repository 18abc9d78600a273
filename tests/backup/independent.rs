//! `--full --independent`: a second physical copy, and a series that needs nothing older.

use std::fs;

use crate::support::cli::Place;
use crate::support::points::{History, count, noise};

#[test]
fn an_independent_full_and_its_series_need_no_older_pack() {
    let place = Place::with_store();
    let (src, mut history) = (place.src(), History::default());
    fs::create_dir(src.join("dir")).unwrap();
    fs::write(src.join("large"), noise(1, 3_000_000)).unwrap();
    fs::write(src.join("dir/middle"), noise(2, 100_000)).unwrap();
    fs::write(src.join("changing"), noise(3, 100_000)).unwrap();
    fs::hard_link(src.join("large"), src.join("dir/linked")).unwrap();
    Place::settle();
    let first = history.backup(&place, &[]);
    fs::write(src.join("changing"), noise(4, 100_000)).unwrap();
    history.backup(&place, &[]);
    let old = place.packs();

    // Nothing has changed, and yet everything is read and stored again: that is what was asked for.
    let independent = history.backup(&place, &["--full", "--independent"]);
    assert_eq!(independent["type"], "full");
    assert_eq!(count(&independent, "read_bytes"), count(&first, "read_bytes"));
    assert!(count(&independent, "stored_bytes") > 3_000_000, "{independent}");
    assert_eq!(place.backup(&[])["outcome"], "unchanged");

    // Content that only the old family has is stored in the new one; content of the new one is not stored again.
    fs::write(src.join("changing"), noise(3, 100_000)).unwrap();
    fs::copy(src.join("large"), src.join("copy")).unwrap();
    let next = history.backup(&place, &[]);
    assert_eq!(next["base"], independent["number"]);
    assert!((100_000..200_000).contains(&count(&next, "stored_bytes")), "{next}");
    fs::write(src.join("changing"), "tiny").unwrap();
    let full = history.backup(&place, &["--full"]);
    assert_eq!((full["type"].as_str(), count(&full, "stored_bytes")), (Some("full"), 0));
    fs::remove_file(src.join("copy")).unwrap();
    history.backup(&place, &[]);
    history.check(&place);

    // Without the old packs the new series is whole, and so is what is built on it.
    for pack in &old {
        fs::remove_file(pack).unwrap();
    }
    history.keep_last(4);
    history.check(&place);
    fs::write(src.join("changing"), noise(5, 100_000)).unwrap();
    history.backup(&place, &[]);
    history.check(&place);
    let Some(mount) = place.mount(&[]) else { return };
    let lost = place.mnt().join(first["point"].as_str().unwrap()).join("large");
    assert_eq!(fs::read(lost).unwrap_err().raw_os_error(), Some(libc::EIO));
    mount.end();
}
