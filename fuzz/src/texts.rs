//! Texts: what people type, what lies in a store as TOML, and how its files are called.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use dbakfs::format::layout as names;
use dbakfs::format::point::bytes_as_text;
use dbakfs::repository::marks::Marks;
use dbakfs::repository::{
    Config, PointNotes, SourceName, SourceNotes, Tag, address as addresses, lease as leases, when,
};
use dbakfs::source::Exclude;
use jiff::tz::TimeZone;

/// `POINT[:PATH]`, times, tags and names of sources.
pub fn address(data: &[u8]) {
    let _ = addresses::parse(data, &TimeZone::UTC);
    let _ = addresses::parse_point(data, &TimeZone::UTC);
    if let Ok(name) = SourceName::from_path(data) {
        assert_eq!(SourceName::new(name.as_str()).as_ref(), Ok(&name));
    }
    let Ok(text) = str::from_utf8(data) else { return };
    let _ = when::parse(text, &TimeZone::UTC);
    let _ = when::looks_like_time(text);
    if let Some(time) = when::parse_point_time(text) {
        assert_eq!(when::format_point_time(time), text);
    }
    if let Ok(name) = SourceName::new(text) {
        assert!(!name.as_str().contains(['/', '\0']) && !name.file_stem().contains(['/', '\0']));
        assert!(name.as_str() != "." && name.as_str() != "..");
    }
    if let Ok(tag) = Tag::new(text) {
        assert!(!tag.as_str().contains(['/', '\0']) && tag.as_str() != "." && tag.as_str() != "..");
    }
}

/// Names of files in a store, and byte strings as text.
pub fn layout(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else { return };
    let (directory, name) = text.rsplit_once('/').unwrap_or(("", text));
    if let Some(id) = names::pack_id(directory, name) {
        assert_eq!(names::pack(&id), format!("packs/{text}"));
    }
    for (number, make) in [
        (names::catalog_number(name), names::catalog as fn(_) -> _),
        (names::removed_catalog_number(name), names::removed_catalog),
        (names::point_number(name), names::point),
    ] {
        assert!(number.is_none_or(|number| make(number).rsplit('/').next() == Some(name)));
    }
    if let Some(bytes) = bytes_as_text::decode(text) {
        assert_eq!(bytes_as_text::decode(&bytes_as_text::encode(&bytes)), Some(bytes));
    }
}

/// The note in a lease.
pub fn lease(data: &[u8]) {
    let generation = leases::stated(data);
    assert!(generation == 0 || format!("{generation:020}").as_bytes() == data);
}

/// `marks.toml`, and what is noted about points and sources.
pub fn notes(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else { return };
    let _ = toml::from_str::<Marks>(text);
    if let Ok(notes) = toml::from_str::<PointNotes>(text) {
        let again = toml::to_string(&notes).expect("notes are TOML");
        // Not compared: what later programs keep may hold a NaN.
        assert!(toml::from_str::<PointNotes>(&again).is_ok(), "{again}");
    }
    if let Ok(notes) = toml::from_str::<SourceNotes>(text) {
        let again = toml::to_string(&notes).expect("notes are TOML");
        assert!(toml::from_str::<SourceNotes>(&again).is_ok(), "{again}");
    }
}

/// `store.toml`, as it is and without its first line, which holds a check of all others.
pub fn store_toml(data: &[u8]) {
    let rest = data.iter().position(|byte| *byte == b'\n').map_or(data, |end| &data[end + 1..]);
    for text in [data, rest] {
        if let Ok(config) = Config::parse(text) {
            let again = config.to_toml().expect("a description is TOML");
            assert_eq!(Config::parse(again.as_bytes()).expect("what was written is read"), config);
        }
    }
}

/// Patterns of what is left out: the first line is the path that is asked about.
pub fn exclude(data: &[u8]) {
    let (path, patterns) = data.split_at(data.iter().position(|byte| *byte == b'\n').unwrap_or(data.len()));
    let mut builder = Exclude::builder();
    for pattern in patterns.split(|byte| *byte == b'\n').filter(|pattern| !pattern.is_empty()) {
        if builder.pattern(OsStr::from_bytes(pattern)).is_err() {
            return;
        }
    }
    if let Ok(exclude) = builder.finish() {
        let _ = (exclude.leaves_out(path, true), exclude.leaves_out(path, false));
    }
}
