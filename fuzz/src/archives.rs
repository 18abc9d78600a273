//! Archives that somebody wants imported: members in any order, of any name, with any map of holes.

use std::io::{self, Read};

use dbakfs::archive::{ArchiveReader, Label, Listing, ROOT};
use dbakfs::format::Kind;
use dbakfs::format::record::{is_name, xattrs};
use jiff::tz::TimeZone;

/// An archive that is not compressed.
pub fn archive(data: &[u8]) {
    let _ = Label::of_name(data, &TimeZone::UTC);
    let mut listing = Listing::default();
    let mut reader = ArchiveReader::new(data, &|_, name| u32::try_from(name.len()).ok());
    let mut number = 0;
    while let Ok(Some(member)) = reader.next_member() {
        assert!(member.data_bytes() <= member.meta.size, "data fits in its file");
        assert!(member.meta.mode <= 0o7777 && member.meta.mtime.nanos < 1_000_000_000);
        for (name, value) in xattrs(&member.xattrs) {
            assert!((1..=255).contains(&name.len()) && value.len() <= 64 << 10);
        }
        if let Some(ranges) = &member.ranges {
            assert!(ranges.iter().all(|range| range.start < range.end && range.end <= member.meta.size));
            assert!(ranges.windows(2).all(|two| two[0].end <= two[1].start), "ranges rise");
        }
        if listing.add(&member, number).is_err() {
            break;
        }
        number += 1;
        // Some are read, some are passed over.
        if number % 2 == 0 {
            let read = io::copy(&mut (&mut reader).take(1 << 20), &mut io::sink());
            let _ = read.is_ok_and(|read| read == member.data_bytes());
        }
    }
    let listing = listing.finish();
    let (mut waiting, mut seen) = (vec![ROOT], 0);
    while let Some(name) = waiting.pop() {
        seen += 1;
        let children = listing.children(name);
        assert!(children.is_empty() || listing.inode(name).meta.kind == Kind::Directory, "only directories hold names");
        assert!(children.windows(2).all(|two| listing.text(two[0]) < listing.text(two[1])), "names rise");
        assert!(children.iter().all(|child| is_name(listing.text(*child))));
        waiting.extend(children);
    }
    assert_eq!(seen, listing.len(), "every name is below the root, once");
}
