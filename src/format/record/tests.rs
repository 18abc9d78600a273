//! Records come back as they were given, and nothing else is taken for a record.

use proptest::prelude::*;

use super::*;

const NUMBER: Number = Number(9);
const FIRST: u32 = 100;

fn limits() -> Limits {
    Limits { number: NUMBER, records: 5000, directories: 50, extents: 3000, packs: 7, based: true }
}

#[derive(Clone, Debug)]
struct Given {
    record: Record,
    name: Vec<u8>,
    inline: Vec<u8>,
    xattrs: Vec<u8>,
}

fn timestamp() -> impl Strategy<Value = Timestamp> {
    (any::<i64>(), 0..1_000_000_000_u32).prop_map(|(secs, nanos)| Timestamp::new(secs, nanos))
}

fn name() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        prop::collection::vec(any::<u8>(), 1..20),
        Just(vec![0xff; 255]),
        Just(b"\n".to_vec()),
        Just(b"...".to_vec()),
    ]
    .prop_filter("no name", |name| is_name(name))
}

fn content() -> impl Strategy<Value = (Kind, u64, Content, Vec<u8>)> {
    let other = prop::sample::select(vec![Kind::File, Kind::Fifo, Kind::Socket, Kind::CharDevice, Kind::BlockDevice]);
    let inline = prop::collection::vec(any::<u8>(), 1..40);
    let place = (0..7_u32, any::<u32>(), any::<u32>()).prop_map(|(pack, block, offset)| Place { pack, block, offset });
    prop_oneof![
        other.prop_map(|kind| (kind, 0, Content::None, Vec::new())),
        inline.clone().prop_map(|bytes| (Kind::File, bytes.len() as u64, Content::Inline, bytes)),
        inline.prop_map(|bytes| (Kind::Symlink, 0, Content::Inline, bytes)),
        (1..=u64::from(MAX_RAW_BYTES), place).prop_map(|(size, place)| (
            Kind::File,
            size,
            Content::One(place),
            Vec::new()
        )),
        (any::<u64>(), 0..1000_u32, 1..2000_u32).prop_map(|(size, first, count)| (
            Kind::File,
            size,
            Content::Many { first, count },
            Vec::new()
        )),
        (0..50_u32).prop_map(|row| (Kind::Directory, 0, Content::Children(row), Vec::new())),
    ]
}

prop_compose! {
    fn given()(
        (kind, size, content, inline) in content(),
        name in name(),
        xattrs in prop::collection::vec(any::<u8>(), 0..30),
        numbers in any::<[u32; 4]>(),
        (rdev, ino) in any::<(u64, u64)>(),
        mode in 0..=0o7777_u32,
        (mtime, ctime) in (timestamp(), timestamp()),
        status in prop::sample::select(vec![Status::Unchanged, Status::New, Status::Updated, Status::Unread]),
        flags in 0..=Flags::ALL,
        born in prop::option::of((1..9_u32, any::<u32>())),
        base in prop::option::of(any::<u32>()),
        (hole_parts, is_whiteout) in (0..=4_u64, prop::bool::weighted(0.1)),
    ) -> Given {
        let [uid, gid, nlink, _] = numbers;
        let (birth, record) = born.unwrap_or((9, 0));
        let data_bytes = match content {
            Content::None => 0,
            Content::Many { .. } => size / 4 * (4 - hole_parts),
            _ => size,
        };
        let mut given = Given {
            record: Record {
                meta: Meta { kind, mode, uid, gid, nlink, rdev, size, mtime },
                status,
                flags: Flags(flags),
                ctime,
                ino,
                birth: Birth { number: Number(birth), record },
                base,
                data_bytes,
                content,
            },
            name,
            inline,
            xattrs,
        };
        if is_whiteout {
            given.record = Record {
                status: Status::Deleted, base: Some(base.unwrap_or(3)), content: Content::None, data_bytes: 0, ..given.record
            };
            (given.inline, given.xattrs) = (Vec::new(), Vec::new());
        }
        given
    }
}

fn encode(all: &[Given]) -> Vec<u8> {
    let mut builder = RecordBlockBuilder::default();
    for Given { record, name, inline, xattrs } in all {
        builder.push(&NewRecord { record: *record, name, inline, xattrs });
    }
    let mut raw = Vec::new();
    builder.encode(NUMBER, FIRST, &mut raw);
    assert!(builder.is_empty());
    raw
}

fn one() -> Given {
    let meta = Meta {
        kind: Kind::File,
        mode: 0o600,
        uid: 0,
        gid: 0,
        nlink: 1,
        rdev: 0,
        size: 0,
        mtime: Timestamp::new(-1, 999_999_999),
    };
    let record = Record {
        meta,
        status: Status::New,
        flags: Flags::default(),
        ctime: Timestamp::default(),
        ino: 0,
        birth: Birth { number: NUMBER, record: FIRST },
        base: None,
        data_bytes: 0,
        content: Content::None,
    };
    Given { record, name: b"name".to_vec(), inline: Vec::new(), xattrs: Vec::new() }
}

fn refused(given: &Given, limits: &Limits) -> bool {
    RecordBlock::decode(&encode(std::slice::from_ref(given)), FIRST, limits).is_err()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    #[test]
    fn records_come_back(all in prop::collection::vec(given(), 1..60)) {
        let raw = encode(&all);
        let block = RecordBlock::decode(&raw, FIRST, &limits()).unwrap();
        prop_assert_eq!(block.len(), all.len());
        for (row, given) in all.iter().enumerate() {
            prop_assert_eq!(block.record(row), &given.record);
            prop_assert_eq!(block.name(row), &given.name[..]);
            prop_assert_eq!(block.inline(row), &given.inline[..]);
            prop_assert_eq!(block.xattrs(row), &given.xattrs[..]);
        }
    }

    #[test]
    fn a_cut_block_is_refused_and_a_changed_one_harms_nobody(
        all in prop::collection::vec(given(), 1..6),
        flips in prop::collection::vec((any::<prop::sample::Index>(), 1..=255_u8), 60),
    ) {
        let raw = encode(&all);
        for len in 0..raw.len() {
            prop_assert!(RecordBlock::decode(&raw[..len], FIRST, &limits()).is_err(), "cut to {} bytes", len);
        }
        for (at, flip) in flips {
            let mut wrong = raw.clone();
            wrong[at.index(raw.len())] ^= flip;
            // It may decode to something else, but to nothing out of bounds: all of it can be looked at.
            if let Ok(block) = RecordBlock::decode(&wrong, FIRST, &limits()) {
                prop_assert!(block.memory_bytes() < 100 * wrong.len() + 4096);
                for row in 0..block.len() {
                    prop_assert!(is_name(block.name(row)));
                    let _ = (block.inline(row), xattrs(block.xattrs(row)).count(), block.record(row));
                }
            }
        }
    }

    #[test]
    fn rubbish_is_no_block(raw in prop::collection::vec(any::<u8>(), 0..400)) {
        let _ = RecordBlock::decode(&raw, FIRST, &limits());
        let _ = xattrs(&raw).count();
    }
}

#[test]
fn names_that_no_directory_can_hold_are_refused() {
    assert!(!refused(&one(), &limits()));
    for name in [&b""[..], b".", b"..", b"a/b", b"/", b"a\0", &[b'x'; 256]] {
        assert!(refused(&Given { name: name.to_vec(), ..one() }, &limits()), "{name:?}");
    }
}

#[test]
fn root_alone_has_no_name_and_is_a_directory() {
    let limits = Limits { records: FIRST + 1, ..limits() };
    let mut root = Given { name: Vec::new(), ..one() };
    assert!(refused(&root, &limits), "a file");
    root.record.meta.kind = Kind::Directory;
    root.record.content = Content::Children(0);
    assert!(!refused(&root, &limits));
    assert!(refused(&Given { name: b"name".to_vec(), ..root.clone() }, &limits));
    root.record.status = Status::Deleted;
    root.record.base = Some(0);
    root.record.content = Content::None;
    assert!(refused(&root, &limits), "a whiteout of everything");
    assert!(refused(&one(), &Limits { records: FIRST, ..limits }), "a record after the root");
}

#[test]
fn births_from_the_future_and_from_before_the_first_backup_are_refused() {
    for (number, record, is_fine) in
        [(9, FIRST, true), (9, 0, true), (9, FIRST + 1, false), (10, 0, false), (8, u32::MAX, true), (0, 0, false)]
    {
        let mut given = one();
        given.record.birth = Birth { number: Number(number), record };
        assert_eq!(!refused(&given, &limits()), is_fine, "born {number}, {record}");
    }
}

#[test]
fn references_past_the_limits_are_refused() {
    let place = Place { pack: 6, block: 0, offset: 0 };
    let file = |size: u64, content: Content| {
        let mut given = one();
        given.record.meta.size = size;
        (given.record.data_bytes, given.record.content) = (size, content);
        given
    };
    let dir = |row: u32| {
        let mut given = file(0, Content::Children(row));
        given.record.meta.kind = Kind::Directory;
        given
    };
    for (given, is_fine) in [
        (file(9, Content::One(place)), true),
        (file(0, Content::One(place)), false),
        (file((16 << 20) + 1, Content::One(place)), false),
        (file(9, Content::One(Place { pack: 7, ..place })), false),
        (file(9, Content::Many { first: 2999, count: 1 }), true),
        (file(9, Content::Many { first: 2999, count: 2 }), false),
        (file(9, Content::Many { first: 1, count: u32::MAX }), false),
        (file(9, Content::Many { first: 1, count: 0 }), false),
        (file(9, Content::Children(0)), false),
        (file(9, Content::Inline), false),
        (dir(49), true),
        (dir(50), false),
    ] {
        assert_eq!(!refused(&given, &limits()), is_fine, "{given:?}");
    }
    let mut based = one();
    based.record.base = Some(0);
    assert!(!refused(&based, &limits()));
    assert!(refused(&based, &Limits { based: false, ..limits() }), "a full has no base");
}

#[test]
fn a_whiteout_is_bare_and_names_what_is_gone() {
    let mut whiteout = one();
    whiteout.record.status = Status::Deleted;
    assert!(refused(&whiteout, &limits()), "of nothing");
    whiteout.record.base = Some(u32::MAX);
    assert!(!refused(&whiteout, &limits()));
    assert!(refused(&Given { xattrs: vec![1], ..whiteout.clone() }, &limits()));
    assert!(refused(&Given { inline: vec![1], ..whiteout }, &limits()));
}

#[test]
fn counts_that_the_bytes_do_not_bear_out_are_refused() {
    let raw = encode(&[one()]);
    for rows in [0, 2, 512, 513, u32::MAX] {
        let mut wrong = raw.clone();
        wrong[..4].copy_from_slice(&rows.to_le_bytes());
        assert!(RecordBlock::decode(&wrong, FIRST, &limits()).is_err(), "{rows} rows");
    }
}

#[test]
fn attributes_come_back_sorted_as_given() {
    let value = vec![7; 65536];
    let given = [(&b"security.selinux"[..], &b""[..]), (b"user.\xff", &value)];
    let encoded = encode_xattrs(given);
    assert!(xattrs(&encoded).eq(given));
    for len in 0..encoded.len() {
        assert!(xattrs(&encoded[..len]).count() < 2, "cut to {len} bytes");
    }
}
