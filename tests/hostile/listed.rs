//! What becomes of trees that no backup writes, when they are listed, read and restored.

use std::fs;

use dbakfs::compare::compare;
use dbakfs::format::record::{Content, Place};
use dbakfs::format::table::Extent;
use dbakfs::restore::{Notice, Options, Progress, restore};
use dbakfs::verify::{Depth, verify};

use crate::fuzz::stage::{DIFFERENTIAL, FULL, on_stage, point};
use crate::fuzz::{shape, trees};
use crate::seeds::{circle, cut_short, differential, doubling, full, full_with};

/// What a walk over the tree of a shape comes to: its entries, `Err` where the root itself cannot be listed.
#[track_caller]
fn entries(data: &[u8]) -> usize {
    let mut entries = None;
    on_stage(|stage| entries = Some(trees::overlaid(stage, data).unwrap().entries));
    entries.unwrap()
}

#[test]
fn shapes_get_past_every_checksum() {
    assert_eq!(entries(&shape::of_two(&full(), &differential())), 6, "a, a/kept, b, d, e, f");
}

#[test]
fn directory_that_holds_itself_is_not_entered() {
    let bare = |shape: &[u8]| {
        let mut entries = None;
        on_stage(|stage| entries = Some(trees::opened(stage, shape).unwrap().entries));
        entries.unwrap()
    };
    assert_eq!(bare(&circle([b"a", b"b"])), 2, "the root is listed, what would hold itself is not");
    assert_eq!(bare(&circle([b"b", b"b"])), 1, "a name is not listed twice");
    assert_eq!(bare(&circle([b"b", b"a"])), 1, "names that do not rise are not listed");
}

#[test]
fn directories_that_are_listed_again_and_again_are_restored_once() {
    on_stage(|stage| {
        let walked = trees::opened(stage, &doubling()).unwrap();
        assert!(!walked.is_all, "2^40 entries, as far as anybody can see who does not keep count");
        let reader = stage.reader();
        let tree = reader.tree(&point(FULL)).unwrap();
        let dest = stage.beside().join("doubled");
        let mut told = Vec::new();
        let mut tell = |notice| told.push(notice);
        let report = restore(&reader, &tree, b"", &dest, &Options::default(), &Progress::default(), &mut tell).unwrap();
        assert_eq!((report.made, report.is_complete()), (81, false));
        assert_eq!(told.len(), 78, "every second meeting is told, and that is all");
        assert!(told.iter().all(|notice| matches!(notice, Notice::Damaged { .. })), "{told:?}");
        let verified = verify(&reader, Depth::Structure, &|_| {}, &mut |_| {}).unwrap();
        assert!(!verified.is_whole(), "verify sees it, too");
        fs::remove_dir_all(dest).unwrap();
    });
}

#[test]
fn directories_that_are_listed_again_and_again_end_a_comparison() {
    on_stage(|stage| {
        stage.put_catalog(FULL, &doubling());
        stage.put_catalog(DIFFERENTIAL, &cut_short());
        let reader = stage.reader();
        let [full, differential] = [FULL, DIFFERENTIAL].map(|number| reader.tree(&point(number)).unwrap());
        let mut told = 0;
        let error = compare(&reader, &full, &differential, &mut |_| told += 1).unwrap_err();
        assert!(error.to_string().contains("directory in two places"), "{error}");
        assert!((1..100).contains(&told), "{told}");
    });
}

/// Whether the file `e` is read, is restored, and is sound, if it lies in these extents.
fn outcomes(extents: &[Extent]) -> [bool; 3] {
    let mut outcomes = [false; 3];
    on_stage(|stage| {
        stage.put_catalog(FULL, &full_with(extents));
        let reader = stage.reader();
        let tree = reader.tree(&point(FULL)).unwrap();
        let node = tree.resolve(b"e").unwrap().unwrap();
        assert!(matches!(node.entry.record().content, Content::Many { .. }));
        let mut bytes = Vec::new();
        let read = reader.read(tree.catalog(node.layer), &node.entry, 0, 1 << 20, &mut bytes);
        let dest = stage.beside().join("runs");
        let report =
            restore(&reader, &tree, b"e", &dest, &Options::default(), &Progress::default(), &mut |_| {}).unwrap();
        let is_there = fs::read(dest.join("e")).is_ok_and(|found| found == bytes && found.len() == 30_000);
        assert_eq!(report.is_complete(), is_there, "what is not whole is not there");
        let verified = verify(&reader, Depth::Structure, &|_| {}, &mut |_| {}).unwrap();
        let _ = fs::remove_dir_all(&dest);
        let is_told = verified.damages.iter().any(|damage| damage.to_string().contains("extent"));
        outcomes = [read.is_ok(), is_there, !is_told];
    });
    outcomes
}

#[test]
fn extents_that_overlap_fall_or_leave_the_file_are_no_content() {
    let run = |at, len| Extent { at, len, place: Place { pack: 0, block: 1, offset: 0 } };
    assert_eq!(outcomes(&[run(0, 100), run(5000, 20_000)]), [true; 3]);
    // Not one byte of these is taken for the file's.
    for wrong in [[run(0, 100), run(99, 20_001)], [run(5000, 20_000), run(0, 100)], [run(7, 9), run(7, 9)]] {
        assert_eq!(outcomes(&wrong), [false; 3], "{wrong:?}");
    }
    // A reader stops at the end of the file; what writes a file does not begin with one that would be longer.
    assert_eq!(outcomes(&[run(0, 100), run(20_000, 20_000)])[1..], [false; 2]);
    assert_eq!(outcomes(&[run(0, 100), run(1 << 62, 20_000)])[1..], [false; 2]);
}

#[test]
fn place_outside_of_its_block_is_no_content() {
    let run = |block, offset| Extent { at: 5000, len: 20_000, place: Place { pack: 0, block, offset } };
    let first = Extent { at: 0, len: 100, place: Place { pack: 0, block: 1, offset: 0 } };
    for wrong in [run(1, 10_001), run(1, u32::MAX), run(2, 0), run(u32::MAX, 0)] {
        assert_eq!(outcomes(&[first, wrong])[..2], [false; 2], "{wrong:?}");
    }
    let of_another_pack = |pack| Extent { place: Place { pack, ..first.place }, ..run(1, 0) };
    // The pack that is not there, and one that the catalog does not name.
    for pack in [1, 2, u32::MAX] {
        assert_eq!(outcomes(&[first, of_another_pack(pack)])[..2], [false; 2], "pack {pack}");
    }
}
