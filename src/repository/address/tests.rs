use proptest::prelude::*;

use super::*;
use crate::{
    format::{Counts, Origin, PointKind, SourceId, Timestamp, point::CatalogId},
    repository::PointNotes,
};

/// 2026-11-20T10:05:00Z.
const T: i64 = 1_795_169_100;

/// A full of the source `name`, named by `secs`.
pub(in crate::repository) fn point(number: u32, name: &str, secs: i64) -> Point {
    let time = Timestamp::new(secs, 0);
    Point {
        number: Number(number),
        id: CatalogId([0; 16]),
        source: SourceId { name: name.to_owned(), host: "host".to_owned(), path: b"/srv".to_vec() },
        origin: Origin::Backup,
        kind: PointKind::Full,
        family: 0,
        time,
        clock: time,
        finished: time,
        previous: None,
        counts: Counts::default(),
        has_xattrs: false,
        program: String::new(),
    }
}

fn points() -> Vec<Point> {
    vec![
        point(1, "www", T),
        point(2, "db", T + 1),
        point(3, "www", T + 3600),
        // Imported later, and older: time decides, not the number.
        point(4, "www", T - 86_400),
        point(5, "gone", T),
    ]
}

fn notes() -> Notes {
    let tagged = |tag: &str| PointNotes { tags: [Tag::new(tag).unwrap()].into(), ..PointNotes::default() };
    let forgotten = PointNotes { forgotten: Some(Timestamp::new(T, 0)), ..PointNotes::default() };
    Notes::from([(Number(1), tagged("deploy-42")), (Number(2), tagged("nightly")), (Number(5), forgotten)])
}

fn resolved(text: &str, exactness: Exactness) -> Result<(u32, bool), ResolveError> {
    let address = parse_point(text.as_bytes(), &TimeZone::UTC).unwrap_or_else(|error| panic!("{error}"));
    let points = points();
    resolve(&points, &notes(), &address, exactness).map(|found| (found.point.number.0, found.is_exact))
}

#[test]
fn points_are_found_by_every_form() {
    for (text, number, is_exact) in [
        ("1", 1, true),
        ("00000003", 3, true),
        ("www/latest", 3, true),
        ("db/latest", 2, true),
        ("www/deploy-42", 1, true),
        ("www/2026-11-20T10-05-00Z", 1, true),
        ("www/2026-11-20T10:05:00Z", 1, true),
        ("www/2026-11-20T11:05:00+01:00", 1, true),
        ("www/@1795169100", 1, true),
        ("www/2026-11-20T10-05-01Z", 1, false),
        ("www/2026-11-20T10:05", 1, false),
        ("www/2026-11-20", 3, false),
        ("www/2026-11-19", 4, false),
        ("www/2030-01-01", 3, false),
    ] {
        assert_eq!(resolved(text, Exactness::NotAfter), Ok((number, is_exact)), "{text}");
        assert_eq!(resolved(text, Exactness::Exact).is_ok(), is_exact, "{text}");
    }
}

#[test]
fn what_is_not_found_says_what_there_is() {
    for (text, message) in [
        ("9", "there is no point with the number 9; `list` shows all"),
        ("5", "the point with the number 5 has been forgotten"),
        ("mail/latest", "the store has no points of a source \"mail\"; it has db, www"),
        ("gone/latest", "the store has no points of a source \"gone\"; it has db, www"),
        ("www/nightly", "www has no tag nightly; its tags are deploy-42"),
        ("www/2020-01-01", "www has no point as old as 2020-01-01; its oldest is www/2026-11-19T10-05-00Z"),
    ] {
        assert_eq!(resolved(text, Exactness::NotAfter).unwrap_err().to_string(), message);
    }
    assert_eq!(
        resolved("www/2026-11-20T10:06:00Z", Exactness::Exact).unwrap_err().to_string(),
        "www has no point at exactly 2026-11-20T10:06:00Z; the newest before it is www/2026-11-20T10-05-00Z"
    );
    let address = parse_point(b"www/latest", &TimeZone::UTC).unwrap();
    let error = resolve(&[], &Notes::new(), &address, Exactness::NotAfter).unwrap_err();
    assert_eq!(error.to_string(), "the store has no points of a source \"www\"; it has none at all");
}

#[test]
fn paths_are_split_from_points_even_where_times_hold_colons() {
    for (text, point, path) in [
        ("42:/etc/passwd", "42", "etc/passwd"),
        ("42", "42", ""),
        ("42:", "42", ""),
        ("42:/", "42", ""),
        ("www/latest:etc//./x/", "www/latest", "etc/x"),
        ("www/latest:a:b", "www/latest", "a:b"),
        ("www/latest:2026-11-20T10:05", "www/latest", "2026-11-20T10:05"),
        ("www/deploy-42:/a:/b", "www/deploy-42", "a:/b"),
        ("www/2026-11-20T10:05:00Z:/etc", "www/2026-11-20T10:05:00Z", "etc"),
        ("www/2026-11-20T10-05-00Z:etc", "www/2026-11-20T10-05-00Z", "etc"),
        ("www/2026-11-20T10:05:00+01:00:/etc", "www/2026-11-20T10:05:00+01:00", "etc"),
        ("www/2026-11-20T10:05:00+01:/etc", "www/2026-11-20T10:05:00+01", "etc"),
        ("www/2026-11-20 10:05:/etc", "www/2026-11-20 10:05", "etc"),
        ("www/2026-11-20:/etc", "www/2026-11-20", "etc"),
        ("www/2026-11-20:10", "www/2026-11-20", "10"),
        ("www/2026-11-20T10:05:30", "www/2026-11-20T10:05:30", ""),
        ("www/2026-11-20T10:05:/30", "www/2026-11-20T10:05", "30"),
        ("www/2026-11-20T10:05:00Z:a:12:b", "www/2026-11-20T10:05:00Z", "a:12:b"),
        ("www/@5:/etc", "www/@5", "etc"),
        ("2026-11-20/latest", "2026-11-20/latest", ""),
    ] {
        let address = parse(text.as_bytes(), &TimeZone::UTC).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(address.point, parse_point(point.as_bytes(), &TimeZone::UTC).unwrap(), "{text}");
        assert_eq!(address.path, path.as_bytes(), "{text}");
    }
    let address = parse(b"www/latest:/\xff\n/x", &TimeZone::UTC).unwrap();
    assert_eq!(address.path, b"\xff\n/x");
}

#[test]
fn other_texts_name_no_point() {
    for text in [
        "",
        "www",
        "/latest",
        "www/",
        "www/:etc",
        "www:/etc",
        ":/etc",
        "www/latest/etc",
        "42/../x",
        "a:b/latest",
        "www/.",
        "www/2026-13-01",
        "www/2026-11-20T10",
        "www/@",
        "www/@x:/etc",
        "-1",
        "+1",
        "www/42",
        "42:..",
        "www/latest:a/../b",
    ] {
        assert!(parse(text.as_bytes(), &TimeZone::UTC).is_err(), "{text:?} was read");
    }
    let error = parse(b"99999999999", &TimeZone::UTC).unwrap_err().to_string();
    assert_eq!(error, "no backup has the number 99999999999: they end at 67108863");
    assert!(parse(b"\xff/latest", &TimeZone::UTC).is_err());
    assert!(parse_point(b"www/latest:etc", &TimeZone::UTC).is_err());
    let error = parse(b"www/2026-11-20T10", &TimeZone::UTC).unwrap_err().to_string();
    assert!(
        error.starts_with("\"www/2026-11-20T10\" names no point: \"2026-11-20T10\" is not a time: write "),
        "{error}"
    );
    assert_eq!(
        parse(b"www/42", &TimeZone::UTC).unwrap_err().to_string(),
        "\"www/42\" names no point: \"42\" cannot be a tag: a number is the number of a backup"
    );
}

proptest! {
    #[test]
    fn no_bytes_make_the_reader_panic(text in prop::collection::vec(any::<u8>(), 0..80)) {
        let _ = parse(&text, &TimeZone::UTC);
    }

    #[test]
    fn every_point_is_found_by_its_own_name(secs in -100_000_000_000_i64..300_000_000_000, path in "(/[a-z0-9:]{1,5}){0,3}") {
        let points = [point(1, "www", secs)];
        let text = format!("www/{}:{path}", when::format_point_time(points[0].time));
        let address = parse(text.as_bytes(), &TimeZone::UTC).unwrap();
        let found = resolve(&points, &Notes::new(), &address.point, Exactness::Exact).unwrap();
        prop_assert!(found.is_exact);
        prop_assert_eq!(address.path, path.trim_start_matches('/').as_bytes());
    }
}
