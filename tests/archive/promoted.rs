//! A differential that became a full is what it was, needs nobody, and is nobody's base.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use crate::support::awkward;
use crate::support::cli::Place;
use crate::support::points::{noise, same};
use crate::support::process::limited;
use crate::support::tree::look;

fn restored(place: &Place, point: &str, into: &str) -> crate::support::tree::Tree {
    place.run(["restore", point, into]).exits(0);
    look(&place.path(into))
}

#[test]
fn promoted_point_outlives_its_full_and_its_differential() {
    let place = Place::with_store();
    for dir in ["links/deep", "equal/a", "crowd"] {
        fs::create_dir_all(place.src().join(dir)).unwrap();
    }
    for (seed, size) in [(1, 256), (2, 4_096), (3, 65_537), (4, 1_000_000)] {
        fs::write(place.src().join(format!("size-{size}")), noise(seed, size)).unwrap();
    }
    for file in ["links/one", "equal/a/b", "crowd/7"] {
        fs::write(place.src().join(file), file).unwrap();
    }
    for link in ["links/two", "links/deep/three"] {
        fs::hard_link(place.src().join("links/one"), place.src().join(link)).unwrap();
    }
    std::os::unix::fs::symlink("nowhere", place.src().join("dangling")).unwrap();
    let sparse = fs::File::create(place.src().join("sparse")).unwrap();
    sparse.set_len(50_000_000).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&sparse, &noise(5, 10_000), 20_000_000).unwrap();
    rustix::fs::setxattr(place.src().join("crowd"), "user.dir", b"value", rustix::fs::XattrFlags::empty()).unwrap();
    place.backup(&[]);
    fs::remove_dir_all(place.src().join("equal/a")).unwrap();
    fs::write(place.src().join("size-65537"), "changed").unwrap();
    fs::remove_file(place.src().join("links/two")).unwrap();
    fs::create_dir(place.src().join("new")).unwrap();
    fs::hard_link(place.src().join("links/one"), place.src().join("new/one")).unwrap();
    let differential = place.backup(&["--tag", "kept"]);
    let original = look(&place.src());
    let packs = place.packs();

    let tried = place.run(["promote", "src/kept", "-n", "--json"]).exits(0).json().remove(0);
    assert_eq!((tried["outcome"].as_str(), place.points().len()), (Some("dry-run"), 2));
    let made = place.run(["promote", "src/kept", "--json"]).exits(0).json().remove(0);
    assert_eq!(place.packs(), packs, "nothing is stored again");
    assert_eq!(made["counts"]["files"], differential["counts"]["files"]);
    assert_eq!(made["counts"]["read_bytes"], 0);
    let listed = place.points();
    assert_eq!(listed[2]["type"], "full");
    assert_eq!(listed[1]["tags"][0], "kept", "tags stay where they are");

    // What was unchanged keeps its inode number at all three.
    if let Some(mount) = place.mount(&[]) {
        use std::os::unix::fs::MetadataExt;
        let ino = |number: usize, file: &str| {
            let at = listed[number]["point"].as_str().unwrap();
            fs::symlink_metadata(place.mnt().join(at).join(file)).unwrap().ino()
        };
        for file in ["size-4096", "sparse", "crowd/7", "links/one", "dangling"] {
            assert_eq!(ino(1, file), ino(2, file), "{file}");
        }
        assert_eq!(ino(0, "size-4096"), ino(2, "size-4096"));
        mount.end();
    }

    let number = made["number"].to_string();
    place.run(["forget", "1", "--with-differentials"]).exits(0);
    place.run(["prune", "--grace", "0"]).exits(0);
    place.run(["verify", "--data"]).exits(0);
    assert_eq!(place.points().len(), 1);
    same("promoted", &original, &restored(&place, &number, "out"));
    // It can be promoted no further, and without the index it is all the same.
    place.run(["promote", &number]).exits(1).says("is a full already");
    fs::remove_dir_all(place.store().join("index")).unwrap();
    same("without an index", &original, &restored(&place, &number, "again"));
}

#[test]
fn no_backup_builds_on_a_promoted_point_or_finds_itself_changed_by_it() {
    let place = Place::with_store();
    fs::write(place.src().join("a"), "a").unwrap();
    place.backup(&[]);
    fs::write(place.src().join("b"), "b").unwrap();
    place.backup(&[]);
    Place::settle();
    assert_eq!(place.backup(&[])["outcome"], "unchanged");
    place.run(["promote", "2"]).exits(0);
    assert_eq!(place.backup(&[])["outcome"], "unchanged");
    fs::write(place.src().join("c"), "c").unwrap();
    let next = place.backup(&[]);
    assert_eq!((next["base"].as_u64(), next["counts"]["new"].as_u64()), (Some(1), Some(2)));
    // Without a full of its own the source gets one, whatever was promoted.
    place.run(["forget", "1", "--with-differentials"]).exits(0);
    assert_eq!(place.backup(&[])["type"], "full");
}

#[test]
fn what_could_not_be_read_is_said_of_the_promoted_point_too() {
    if !awkward::is_root() {
        return;
    }
    let place = Place::with_store();
    let src = place.src();
    fs::create_dir(src.join("closed")).unwrap();
    for file in ["a", "once", "closed/inside"] {
        fs::write(src.join(file), file).unwrap();
    }
    place.backup(&[]);
    fs::write(src.join("never"), "never").unwrap();
    fs::write(src.join("a"), "a again").unwrap();
    fs::write(src.join("once"), "once again").unwrap();
    for (path, mode) in [("never", 0o000), ("once", 0o000), ("closed", 0o000)] {
        fs::set_permissions(src.join(path), PermissionsExt::from_mode(mode)).unwrap();
    }
    // Root without what lets it read everything.
    let mut command = Command::new("setpriv");
    command.args(["--bounding-set", "-dac_override,-dac_read_search", "--inh-caps", "-all"]);
    command.arg(env!("CARGO_BIN_EXE_dbakfs")).args(["backup", "src", "--json"]).current_dir(place.path(""));
    let incomplete = limited(command.env("DBAKFS_STORE", place.store()).env("DBAKFS_CONFIG", "/dev/null")).exits(3);
    assert_eq!(incomplete.json()[0]["counts"]["unread"], 3);
    let made = place.run(["promote", "2", "--json"]).exits(3).json().remove(0);
    assert_eq!(made["counts"]["unread"], 3);
    place.run(["forget", "1", "--with-differentials"]).exits(0);
    place.run(["prune", "--grace", "0"]).exits(0);
    place.run(["verify", "--data"]).exits(0);
    let statuses = place.statuses("3");
    let unread: Vec<&str> =
        statuses.iter().filter(|(_, status)| *status == "unread").map(|(path, _)| &**path).collect();
    assert_eq!(unread, ["closed", "never", "once"]);
    let restored = place.run(["restore", "3", "out"]).exits(3);
    restored.says("never is not restored").says("once is an older version").says("closed may lack entries");
    assert_eq!(fs::read(place.path("out/once")).unwrap(), b"once", "the newest version that was ever read");
    assert_eq!(fs::read(place.path("out/closed/inside")).unwrap(), b"closed/inside");
    let exported = place.run(["export", "3", "-o", "out.tar"]).exits(3);
    exported.says("never is left out").says("once is an older version").says("closed may lack entries");
}
