//! A catalog that no backup wrote does no harm.

use std::fs;

use dbakfs::format::Kind;
use dbakfs::restore::Notice;

use crate::shelf::{Shelf, dir, file, item, link};
use crate::support::awkward::is_root;

#[test]
fn impossible_metadata_are_refused_one_by_one() {
    let root = dir(
        "",
        vec![
            file("owner", b"x").with(|item| (item.meta.uid, item.meta.gid) = (u32::MAX, u32::MAX)),
            file("huge", b"").with(|item| item.meta.size = u64::MAX),
            file("attribute", b"x").with(|item| {
                let attribute = |name: &[u8]| (name.to_vec(), b"v".to_vec());
                item.xattrs = [&b"system.odd"[..], b"user.\0", b"", b"user.good"].map(attribute).to_vec();
            }),
            item("empty-link", Kind::Symlink, 0o777),
            link("nul", b"a\0b"),
            file("time", b"x").with(|item| item.meta.mtime.secs = i64::MAX),
            file("good", b"x"),
        ],
    );
    let shelf = Shelf::of(&root);
    let dest = tempfile::tempdir().unwrap();
    let (report, notices) = shelf.restore(dest.path(), false);
    let lost = |name: &str| {
        let path = dest.path().join(name);
        let is_told = notices.iter().any(
            |notice| matches!(notice, Notice::Failed { path: told, .. } | Notice::Damaged { path: told, .. } if *told == path),
        );
        is_told && fs::symlink_metadata(path).is_err()
    };
    assert!(lost("huge") && lost("empty-link") && lost("nul"), "{notices:?}");
    assert_eq!(fs::read(dest.path().join("good")).unwrap(), b"x");
    assert_eq!(fs::read(dest.path().join("owner")).unwrap(), b"x");
    assert_eq!((report.owners.count, report.attributes.count), (1, 1));
    assert_eq!(report.owners.first, Some(dest.path().join("owner")));
    assert_eq!(fs::read_dir(dest.path()).unwrap().count(), 4);
}

#[test]
fn owner_that_cannot_be_given_takes_the_set_id_bits_with_it() {
    if !is_root() {
        return;
    }
    let setuid = file("setuid", b"x").with(|item| {
        item.meta.mode = 0o6755;
        item.meta.uid = u32::MAX;
    });
    let shelf = Shelf::of(&dir("", vec![setuid]));
    let dest = tempfile::tempdir().unwrap();
    let (report, _) = shelf.restore(dest.path(), false);
    use std::os::unix::fs::MetadataExt;
    assert_eq!(fs::metadata(dest.path().join("setuid")).unwrap().mode() & 0o7777, 0o2755);
    assert_eq!((report.owners.count, report.modes.count), (1, 1));
    assert!(report.is_complete() && !report.is_exact());
}
