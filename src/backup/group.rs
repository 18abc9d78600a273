//! The listing of one directory while it is put together: records that have no numbers yet.

use super::links::{LinkId, Links};
use crate::catalog::{CatalogWriter, Result};
use crate::format::record::{Birth, Content, Flags, NewRecord, Record, Status};
use crate::format::table::Children;
use crate::format::{Kind, Meta, Number, Timestamp};

/// Where the birth of a pending record comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Born {
    /// It is born with the record itself.
    Here,
    /// It was born earlier.
    Earlier(Birth),
    /// It has the birth of its group of names.
    Linked(LinkId),
}

/// One version of an entry: everything about it but its name and its relation to the base.
#[derive(Clone, Debug)]
pub(super) struct Version {
    pub(super) meta: Meta,
    pub(super) flags: Flags,
    pub(super) ctime: Timestamp,
    pub(super) ino: u64,
    pub(super) born: Born,
    pub(super) data_bytes: u64,
    pub(super) content: Content,
    pub(super) inline: Vec<u8>,
    pub(super) xattrs: Vec<u8>,
}

/// A whiteout or an entry as it will be listed.
struct Pending {
    record: Record,
    born: Born,
    /// Where its bytes begin in the arena.
    start: usize,
    /// Their lengths: name, inline bytes, attributes.
    lengths: [u32; 3],
    /// A directory that is listed only if something below it is.
    is_passage: bool,
}

/// What becomes of a directory that was listed and is gone when it is entered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Vanished {
    /// How it was listed.
    pub(super) was: Status,
    /// Whether the base has it, so that a whiteout has taken its place.
    pub(super) is_whiteout: bool,
}

/// The record that hides the base's record `base`: bare, but for the name that comes with it.
fn whiteout(kind: Kind, base: u32) -> Record {
    let meta = Meta { kind, mode: 0, uid: 0, gid: 0, nlink: 1, rdev: 0, size: 0, mtime: Timestamp::default() };
    Record {
        meta,
        status: Status::Deleted,
        flags: Flags::default(),
        ctime: Timestamp::default(),
        ino: 0,
        birth: Birth { number: Number(0), record: 0 },
        base: Some(base),
        data_bytes: 0,
        content: Content::None,
    }
}

/// The children of one directory that will be listed, in order.
#[derive(Default)]
pub(super) struct Group {
    pending: Vec<Pending>,
    arena: Vec<u8>,
}

/// A place in a group.
#[derive(Clone, Copy, Debug)]
pub(super) struct Slot(usize);

impl Group {
    /// Lists an entry after those before.
    pub(super) fn push(&mut self, name: &[u8], version: &Version, status: Status, base: Option<u32>) -> Slot {
        let record = Record {
            meta: version.meta,
            status,
            flags: version.flags,
            ctime: version.ctime,
            ino: version.ino,
            birth: Birth { number: Number(0), record: 0 },
            base,
            data_bytes: version.data_bytes,
            content: version.content,
        };
        self.push_record(record, version.born, [name, &version.inline, &version.xattrs])
    }

    /// Lists a whiteout for the base's record `base`, which `gone` describes.
    pub(super) fn push_whiteout(&mut self, name: &[u8], gone: &Meta, base: u32) {
        self.push_record(whiteout(gone.kind, base), Born::Here, [name, b"", b""]);
    }

    fn push_record(&mut self, record: Record, born: Born, parts: [&[u8]; 3]) -> Slot {
        let start = self.arena.len();
        let lengths = parts.map(|part| {
            self.arena.extend_from_slice(part);
            u32::try_from(part.len()).expect("a record's bytes are bounded where they are read")
        });
        self.pending.push(Pending { record, born, start, lengths, is_passage: false });
        Slot(self.pending.len() - 1)
    }

    /// Makes a listed directory one that is listed only if something below it is.
    pub(super) fn make_passage(&mut self, slot: Slot) {
        self.pending[slot.0].is_passage = true;
    }

    /// Gives a directory the row of its children; a passage is then listed for good.
    pub(super) fn set_children(&mut self, slot: Slot, row: u32) {
        let pending = &mut self.pending[slot.0];
        pending.record.content = Content::Children(row);
        pending.is_passage = false;
    }

    /// Whether a slot is a passage that nothing below has asked for yet.
    pub(super) fn is_passage(&self, slot: Slot) -> bool {
        self.pending[slot.0].is_passage
    }

    /// Marks a listed directory as one that could not be read to its end.
    pub(super) fn mark_unread(&mut self, slot: Slot) {
        let pending = &mut self.pending[slot.0];
        pending.record.status = Status::Unread;
        pending.is_passage = false;
    }

    /// Marks a listed directory as one that is recorded empty on purpose.
    pub(super) fn mark_left_out(&mut self, slot: Slot) {
        let flags = &mut self.pending[slot.0].record.flags;
        *flags = flags.with(Flags::LEFT_OUT);
    }

    /// Takes back a listed directory that has vanished.
    pub(super) fn vanish(&mut self, slot: Slot) -> Vanished {
        let pending = &mut self.pending[slot.0];
        let was = if pending.is_passage { Status::Unchanged } else { pending.record.status };
        pending.is_passage = pending.record.base.is_none();
        if let Some(base) = pending.record.base {
            pending.record = whiteout(pending.record.meta.kind, base);
            pending.born = Born::Here;
            pending.lengths = [pending.lengths[0], 0, 0];
        }
        Vanished { was, is_whiteout: pending.record.base.is_some() }
    }

    /// Whether nothing will be listed.
    pub(super) fn is_empty(&self) -> bool {
        self.pending.iter().all(|pending| pending.is_passage)
    }

    /// Writes the records, but for passages that lead nowhere.
    pub(super) fn write(self, number: Number, links: &mut Links, writer: &mut CatalogWriter) -> Result<Children> {
        let first = writer.next_record();
        for Pending { mut record, born, start, lengths, is_passage } in self.pending {
            if is_passage {
                continue;
            }
            let mut at = start;
            let [name, inline, xattrs] = lengths.map(|len| {
                at += len as usize;
                &self.arena[at - len as usize..at]
            });
            let own = Birth { number, record: writer.next_record() };
            record.birth = match born {
                Born::Here => own,
                Born::Earlier(birth) => birth,
                Born::Linked(id) => links.birth_or(id, own),
            };
            writer.push(&NewRecord { record, name, inline, xattrs })?;
        }
        Ok(Children { first, count: writer.next_record() - first })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::cache::ByteCache;
    use crate::catalog::Catalog;
    use crate::format::record::encode_xattrs;
    use crate::format::{CatalogId, Counts, Point, PointKind, SourceId};
    use crate::storage::Storage;

    #[test]
    fn a_vanished_directory_with_attributes_leaves_a_bare_whiteout() {
        let dir = tempfile::tempdir().unwrap();
        let storage = Storage::create_root(dir.path()).unwrap();
        let (number, id) = (Number(2), CatalogId([7; 16]));
        let mut writer = CatalogWriter::create(&storage, number, id, 3).unwrap();
        let mut links = Links::default();
        let meta = whiteout(Kind::Directory, 0).meta;
        let directory = Version {
            xattrs: encode_xattrs([(&b"user.a"[..], &b"value"[..])]),
            content: Content::Children(0),
            ..Version::bare(meta, Flags::default())
        };
        let file = Version::bare(Meta { kind: Kind::File, ..meta }, Flags::default());
        let mut group = Group::default();
        group.push(b"a", &file, Status::New, None);
        let slot = group.push(b"gone", &directory, Status::Updated, Some(3));
        group.push(b"z", &file, Status::New, None);
        assert_eq!(group.vanish(slot), Vanished { was: Status::Updated, is_whiteout: true });
        let children = group.write(number, &mut links, &mut writer).unwrap();
        let row = writer.push_directory(children).unwrap();
        let mut root = Group::default();
        let slot = root.push(b"", &directory, Status::Updated, Some(9));
        root.set_children(slot, row);
        root.write(number, &mut links, &mut writer).unwrap();
        let time = Timestamp::default();
        let point = Point {
            origin: crate::format::Origin::Backup,
            number,
            id,
            source: SourceId { name: "s".to_owned(), host: String::new(), path: Vec::new() },
            kind: PointKind::Differential { base: Number(1), base_id: CatalogId([1; 16]) },
            family: 0,
            time,
            clock: time,
            finished: time,
            previous: None,
            counts: Counts::default(),
            has_xattrs: true,
            program: String::new(),
        };
        writer.finish(&point, Vec::new()).unwrap();
        let catalog = Catalog::open(&storage, number, Arc::new(ByteCache::new(1 << 20))).unwrap();
        let names: Vec<(Vec<u8>, Status)> = (0..3)
            .map(|record| catalog.entry(record).unwrap())
            .map(|entry| (entry.name().to_vec(), entry.record().status))
            .collect();
        let expected = [(&b"a"[..], Status::New), (b"gone", Status::Deleted), (b"z", Status::New)];
        assert_eq!(names, expected.map(|(name, status)| (name.to_vec(), status)));
        assert!(catalog.entry(1).unwrap().xattrs().is_empty());
    }
}
