//! Where each thing lies in a store.
//!
//! Owns all names, in one place. Refuses to open anything. Its invariant: a name is formatted in one way only, and what
//! is formatted in another is not one of ours.

use super::Number;
use super::pack::PackId;

/// Version, features, chunking and secrets.
pub const STORE_TOML: &str = "store.toml";
/// The same text once more, should the first be lost.
pub const STORE_COPY: &str = "store.toml.copy";
/// The file that the one writer locks.
pub const WRITER_LOCK: &str = "writer.lock";
/// The highest number and the generation.
pub const MARKS_TOML: &str = "marks.toml";
/// Data, in 256 directories by the first two digits of the pack's name.
pub const PACKS: &str = "packs";
/// One file per backup.
pub const CATALOGS: &str = "catalogs";
/// What can change about a point.
pub const POINTS: &str = "points";
/// What can change about a source.
pub const SOURCES: &str = "sources";
/// What was run for a source, and how it ended.
pub const RUNS: &str = "runs";
/// One locked file per live reader.
pub const LEASES: &str = "leases";
/// The index, which can be rebuilt.
pub const INDEX: &str = "index";

/// Every directory of a store.
pub const DIRECTORIES: [&str; 7] = [PACKS, CATALOGS, POINTS, SOURCES, RUNS, LEASES, INDEX];

/// The directories in which a writer makes temporaries.
pub const WRITTEN: [&str; 5] = [PACKS, CATALOGS, POINTS, SOURCES, RUNS];

/// How a pack's file is called.
pub const PACK_SUFFIX: &str = ".pack";
/// How a catalog's file is called.
pub const CATALOG_SUFFIX: &str = ".catalog";
/// How the catalog of a point that was pruned is called, until no reader can need it any more.
pub const REMOVED_SUFFIX: &str = ".removed";
/// What is added to the name of a file that was set aside because it is damaged.
pub const DAMAGED_SUFFIX: &str = ".damaged";
/// How the small files are called.
pub const TOML_SUFFIX: &str = ".toml";
/// How a lease is called.
pub const LEASE_SUFFIX: &str = ".lease";

/// `packs/91/91c0….pack`.
#[must_use]
pub fn pack(id: &PackId) -> String {
    format!("{PACKS}/{:02x}/{id}{PACK_SUFFIX}", id.0[0])
}

/// The pack of a file that [`pack`] names, given its directory and its last component; `None` for any other file.
#[must_use]
pub fn pack_id(directory: &str, file_name: &str) -> Option<PackId> {
    let id: PackId = file_name.strip_suffix(PACK_SUFFIX)?.parse().ok()?;
    (format!("{:02x}", id.0[0]) == directory).then_some(id)
}

/// `catalogs/00000042.catalog`.
#[must_use]
pub fn catalog(number: Number) -> String {
    format!("{CATALOGS}/{}{CATALOG_SUFFIX}", digits(number))
}

/// `catalogs/00000042.removed`.
#[must_use]
pub fn removed_catalog(number: Number) -> String {
    format!("{CATALOGS}/{}{REMOVED_SUFFIX}", digits(number))
}

/// The number of a file that [`removed_catalog`] names, given its last component; `None` for any other file.
#[must_use]
pub fn removed_catalog_number(file_name: &str) -> Option<Number> {
    number(file_name.strip_suffix(REMOVED_SUFFIX)?)
}

/// The number of a file in `catalogs/` that is, was, or was meant to be the catalog of a backup, whatever is behind its number; `None` for any other file.
#[must_use]
pub fn any_catalog_number(file_name: &str) -> Option<Number> {
    number(file_name.split_once('.')?.0)
}

/// The file name as it was before it was set aside; `None` for one that was not.
#[must_use]
pub fn before_set_aside(file_name: &str) -> Option<&str> {
    let (before, after) = file_name.rsplit_once(DAMAGED_SUFFIX)?;
    (after.is_empty() || after.starts_with('-')).then_some(before)
}

/// The number of a catalog that was set aside, given its last component; `None` for any other file.
#[must_use]
pub fn set_aside_catalog_number(file_name: &str) -> Option<Number> {
    catalog_number(before_set_aside(file_name)?)
}

/// `points/00000042.toml`.
#[must_use]
pub fn point(number: Number) -> String {
    format!("{POINTS}/{}{TOML_SUFFIX}", digits(number))
}

/// The number of a file that [`catalog`] names, given its last component; `None` for any other file.
#[must_use]
pub fn catalog_number(file_name: &str) -> Option<Number> {
    number(file_name.strip_suffix(CATALOG_SUFFIX)?)
}

/// The number of a file that [`point`] names, given its last component; `None` for any other file.
#[must_use]
pub fn point_number(file_name: &str) -> Option<Number> {
    number(file_name.strip_suffix(TOML_SUFFIX)?)
}

/// Eight digits, more if need be, so that names sort as numbers do.
#[must_use]
pub fn digits(number: Number) -> String {
    format!("{:08}", number.0)
}

/// The number that [`digits`] formats so, and in no other way; never 0.
fn number(text: &str) -> Option<Number> {
    if text.len() < 8 || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let number = Number(text.parse().ok()?);
    (number.0 > 0 && number <= Number::MAX && digits(number) == text).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_one_form() {
        assert_eq!(catalog(Number(42)), "catalogs/00000042.catalog");
        assert_eq!(point(Number(42)), "points/00000042.toml");
        assert_eq!(catalog_number("00000042.catalog"), Some(Number(42)));
        assert_eq!(removed_catalog(Number(42)), "catalogs/00000042.removed");
        assert_eq!(removed_catalog_number("00000042.removed"), Some(Number(42)));
        assert_eq!((catalog_number("00000042.removed"), removed_catalog_number("00000042.catalog")), (None, None));
        assert_eq!(point_number("67108863.toml"), Some(Number::MAX));
        for name in [
            "42.catalog",
            "000000042.catalog",
            "00000000.catalog",
            "+0000042.catalog",
            "00000042.toml",
            "67108864.catalog",
            "00000042.catalog.1",
            "99999999999.catalog",
            ".tmp-00000042.catalog",
            "０００００００４.catalog",
        ] {
            assert_eq!(catalog_number(name), None, "{name}");
        }
    }

    #[test]
    fn packs_are_spread_by_their_first_two_digits() {
        let id = PackId([0x91; 32]);
        let name = pack(&id);
        assert_eq!(name, format!("packs/91/{}.pack", "91".repeat(32)));
        let (_, file_name) = name.rsplit_once('/').unwrap();
        assert_eq!(pack_id("91", file_name), Some(id));
        assert_eq!(pack_id("92", file_name), None);
    }
}
