//! What other programs archived becomes points: all of it, at its own time, and outside the rotation.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::exported::{awkward_source, carried, unpack};
use crate::support::cli::{Place, Ran};
use crate::support::points::{changes, noise, same};
use crate::support::process::limited;
use crate::support::tree::{Tree, look};

/// Archives `what` of the source with GNU tar.
#[track_caller]
fn tar(place: &Place, options: &[&str], file: &str, what: &[&str]) {
    let mut command = Command::new("tar");
    command.arg("-C").arg(place.src()).args(options).arg("-cf").arg(place.path(file)).args(what);
    let ran = limited(command.env("TZ", "UTC"));
    assert!(ran.code == 0, "{ran:#?}");
}

#[track_caller]
fn import(place: &Place, args: &[&str]) -> Vec<Value> {
    let ran = place.run([&["import", "--name", "src", "--json"], args].concat()).exits(0);
    ran.json()
}

#[track_caller]
fn restored(place: &Place, point: &str) -> Tree {
    let into = format!("restored-{}", point.replace('/', "-"));
    place.run(["restore", point, &into]).exits(0);
    look(&place.path(&into))
}

/// What is lost in GNU's own format: attributes, and what is less than a second.
fn whole_seconds(tree: &Tree) -> Tree {
    let mut tree = carried(tree);
    for entry in tree.values_mut() {
        entry.xattrs.clear();
        entry.mtime.1 = 0;
    }
    tree
}

#[test]
fn everything_awkward_that_gnu_tar_carries_is_imported() {
    let place = Place::with_store();
    awkward_source(&place);
    let original = look(&place.src());
    let pax = ["--format=posix", "--xattrs", "--xattrs-include=*", "--acls", "-S", "--exclude=./socket", "--zstd"];
    tar(&place, &pax, "pax.tar.zst", &["."]);
    let made = import(&place, &["pax.tar.zst", "--at", "2020-01-01T00:00:00Z"]).remove(0);
    same("pax", &carried(&original), &restored(&place, "1"));
    let files = carried(&original).values().filter(|entry| entry.kind() == libc::S_IFREG).count();
    assert_eq!(made["counts"]["files"].as_u64(), Some(files as u64));

    // And out again, for whoever reads it next.
    place.run(["export", "1", "-o", "again.tar.zst"]).exits(0);
    unpack(&place.path("again.tar.zst"), &place.path("again"));
    same("again", &carried(&original), &look(&place.path("again")));
    place.run(["verify", "--data"]).exits(0);
}

#[test]
fn every_form_of_sparse_files_and_old_headers_is_understood() {
    let place = Place::with_store();
    let sparse = fs::File::create(place.src().join("sparse")).unwrap();
    for at in 0..40_u64 {
        std::os::unix::fs::FileExt::write_all_at(&sparse, &noise(at, 5_000), at * 1_000_000).unwrap();
    }
    sparse.set_len(60_000_000).unwrap();
    fs::File::create(place.src().join("hole")).unwrap().set_len(1_000_000).unwrap();
    let long = format!("{}/{}", "d".repeat(120), "f".repeat(150));
    fs::create_dir(place.src().join("d".repeat(120))).unwrap();
    fs::write(place.src().join(&long), "long").unwrap();
    std::os::unix::fs::symlink("t".repeat(300), place.src().join("link")).unwrap();
    fs::hard_link(place.src().join("sparse"), place.src().join("zzz")).unwrap();
    let original = whole_seconds(&look(&place.src()));
    let forms: [&[&str]; 5] = [
        &["--format=gnu", "-S", "-z"],
        &["--format=posix", "-S", "--sparse-version=0.0"],
        &["--format=posix", "-S", "--sparse-version=0.1"],
        &["--format=posix", "-S", "--sparse-version=1.0"],
        &["--format=oldgnu", "-S"],
    ];
    let mut packs = None;
    for (number, options) in (1..).zip(forms) {
        tar(&place, options, "form.tar", &["."]);
        import(&place, &["form.tar", "--at", "2020-01-01T00:00:00Z"]);
        same(&format!("{options:?}"), &original, &whole_seconds(&restored(&place, &number.to_string())));
        // However it was archived: the same data is stored once.
        let packs = packs.get_or_insert_with(|| place.packs());
        assert_eq!(*packs, place.packs());
    }
    let times: Vec<Value> = place.points().iter().map(|point| point["time"].clone()).collect();
    assert_eq!(times[..2], ["2020-01-01T00-00-00Z", "2020-01-01T00-00-01Z"], "no two at the same second");
}

#[test]
fn what_was_exported_is_imported_without_being_stored_again() {
    let place = Place::with_store();
    script(&place);
    fs::write(place.src().join("several-pieces"), noise(8, 3_000_000)).unwrap();
    place.backup(&[]);
    let packs = place.packs();
    place.run(["export", "1", "-o", "out.tar.zst"]).exits(0);
    let made = import(&place, &["out.tar.zst", "--at", "2020-01-01T00:00:00Z"]).remove(0);
    assert_eq!(place.packs(), packs, "{made}");
    same("imported", &carried(&look(&place.src())), &restored(&place, "2"));
}

/// A home-made script: a full, and two differentials of what was changed after it.
fn script(place: &Place) -> Tree {
    let src = place.src();
    for dir in ["docs/old", "unchanged", "becomes-a-file"] {
        fs::create_dir_all(src.join(dir)).unwrap();
    }
    for file in ["docs/a", "docs/old/b", "unchanged/c", "becomes-a-file/inside", "gone"] {
        fs::write(src.join(file), noise(1, 3_000)).unwrap();
    }
    fs::write(src.join("large"), noise(2, 400_000)).unwrap();
    fs::write(src.join("name"), "one of two").unwrap();
    fs::hard_link(src.join("name"), src.join("other-name")).unwrap();
    tar(place, &["-z"], "full_2026-11-15.tar.gz", &["."]);
    let full = whole_seconds(&look(&src));
    fs::write(src.join("docs/a"), "changed on the first day").unwrap();
    fs::remove_file(src.join("gone")).unwrap();
    fs::remove_dir_all(src.join("becomes-a-file")).unwrap();
    fs::write(src.join("becomes-a-file"), "a file").unwrap();
    // As `find -newer` would list them, and a few that are as they were.
    let first = ["docs", "docs/a", "becomes-a-file", "unchanged/c", "name"];
    tar(place, &["-z", "--no-recursion"], "diff_2026-11-16_020000.tar.gz", &first);
    let mut large = noise(2, 400_000);
    large[200_000] ^= 1;
    fs::write(src.join("large"), large).unwrap();
    fs::create_dir(src.join("new")).unwrap();
    fs::write(src.join("new/file"), "new").unwrap();
    let second = [&first[..], &["large", "new", "new/file"]].concat();
    tar(place, &["-z", "--no-recursion"], "diff_20261117.tar.gz", &second);
    full
}

#[test]
fn archives_of_a_script_become_a_full_and_its_differentials_at_their_own_dates() {
    let place = Place::with_store();
    let full = script(&place);
    let files = ["diff_20261117.tar.gz", "full_2026-11-15.tar.gz", "diff_2026-11-16_020000.tar.gz"];
    let tried = import(&place, &[&files[..], &["--dry-run"]].concat());
    assert_eq!((tried.len(), place.points().len()), (3, 0));
    let ran = place.run([&["import", "--name", "src"], &files[..]].concat()).exits(0);
    ran.says("archives do not say what was deleted").prints("differential 3 on full 1 from diff_20261117.tar.gz");
    let points = place.points();
    let seen: Vec<(&str, &str, u64)> = points
        .iter()
        .map(|point| {
            (point["time"].as_str().unwrap(), point["type"].as_str().unwrap(), point["series"].as_u64().unwrap())
        })
        .collect();
    let expected = [
        ("2026-11-15T00-00-00Z", "full", 1),
        ("2026-11-16T02-00-00Z", "differential", 1),
        ("2026-11-17T00-00-00Z", "differential", 1),
    ];
    assert_eq!(seen, expected);
    same("full", &full, &whole_seconds(&restored(&place, "1")));

    // Only what differs is listed, whatever the archive holds.
    let listed = ["becomes-a-file new", "docs/a updated"];
    let differing =
        |number: &str| place.differing(number).into_iter().filter(|line| !line.starts_with(" ")).collect::<Vec<_>>();
    assert_eq!(differing("2"), listed);
    assert_eq!(differing("3"), [&listed[..], &["large updated", "new new", "new/file new"]].concat());

    // It is the source as it was then, but for what was deleted.
    let mut shown = whole_seconds(&restored(&place, "3"));
    assert!(shown.remove(&b"gone"[..]).is_some());
    let mut source = whole_seconds(&look(&place.src()));
    for tree in [&mut shown, &mut source] {
        tree.remove(&b""[..]);
    }
    same("differential", &source, &shown);
    let counted = &points[2];
    let files = shown.values().filter(|entry| entry.kind() == libc::S_IFREG).count() + 1;
    assert_eq!(counted["files"].as_u64(), Some(files as u64));
    let bytes: u64 = shown.values().map(|entry| entry.size).sum();
    assert_eq!(counted["size_bytes"].as_u64(), Some(bytes + 3_000));
    place.run(["verify", "--data"]).exits(0);
    fs::remove_dir_all(place.store().join("index")).unwrap();
    assert_eq!(place.points(), points);
}

#[test]
fn size_of_an_imported_differential_is_what_its_full_does_not_hold() {
    let place = Place::with_store();
    script(&place);
    let made = import(&place, &["full_2026-11-15.tar.gz", "diff_2026-11-16_020000.tar.gz", "diff_20261117.tar.gz"]);
    let size = |at: usize| made[at]["counts"]["size_bytes"].as_u64().unwrap();
    assert_eq!(size(0), 5 * 3_000 + 400_000 + 10, "each inode once");
    assert_eq!(size(1), 24 + 6);
    assert!(
        (24 + 6 + 3..24 + 6 + 3 + 2 * 131_072 + 1).contains(&size(2)),
        "{}: a chunk or two of the large file",
        size(2)
    );
    assert_eq!(changes(&made[1]), [1, 1, 0]);
    assert!(made[0]["ratio"].as_f64().unwrap() > 0.9);
}

#[test]
fn differential_goes_on_the_newest_full_before_it_also_one_imported_long_ago() {
    let place = Place::with_store();
    fs::write(place.src().join("a"), "a").unwrap();
    for full in ["full_2026-11-01.tar", "full_2026-11-08.tar"] {
        tar(&place, &[], full, &["."]);
    }
    fs::write(place.src().join("a"), "b").unwrap();
    for diff in ["diff_2026-11-05.tar", "diff_2026-11-09.tar", "diff_2026-10-01.tar"] {
        tar(&place, &[], diff, &["./a"]);
    }
    let none = place.run(["import", "--name", "src", "diff_2026-11-09.tar"]).exits(1);
    none.says("there is no imported full before it").says("hint: give the full's archive, too");
    import(&place, &["full_2026-11-01.tar", "full_2026-11-08.tar"]);
    let bases = |made: &[Value]| made.iter().map(|made| made["base"].as_u64().unwrap()).collect::<Vec<_>>();
    assert_eq!(bases(&import(&place, &["diff_2026-11-09.tar", "diff_2026-11-05.tar"])), [1, 2]);
    // What is written down goes before dates.
    fs::write(place.path("diff_2026-11-09.meta"), "base=/backup/full_2026-11-01.tar\n").unwrap();
    assert_eq!(bases(&import(&place, &["diff_2026-11-09.tar"])), [1]);
    let none = place.run(["import", "--name", "src", "diff_2026-10-01.tar"]).exits(1);
    none.says("there is no imported full before it");
    assert_eq!(place.points().len(), 5);
}

#[test]
fn what_is_written_down_of_an_archive_binds_it() {
    let place = Place::with_store();
    fs::write(place.src().join("a"), "a").unwrap();
    let archive = "full_2026-11-15.tar.gz";
    tar(&place, &["-z"], archive, &["."]);
    let hash = limited(Command::new("sha256sum").arg(place.path(archive))).exits(0).stdout[..64].to_owned();
    let size = fs::metadata(place.path(archive)).unwrap().len();
    let meta = |text: &str| fs::write(place.path("full_2026-11-15.tar.gz.meta"), text).unwrap();
    let refused = |text: &str, why: &str| {
        meta(text);
        // A sound one before it: nothing of either is imported.
        tar(&place, &[], "full_2026-11-14.tar", &["."]);
        let ran = place.run(["import", "--name", "src", "full_2026-11-14.tar", archive]).exits(1);
        ran.says("full_2026-11-15.tar.gz is not imported").says(why);
        assert_eq!((place.points().len(), place.packs().len()), (0, 0));
    };
    refused(&format!("sha256={}\n", "0".repeat(64)), "says another sha256");
    refused(&format!("sha256={hash}\nsize={}\n", size + 1), "says another size");
    refused("size=1k\n", "is damaged: its size");
    refused("{\"sha256\": 7}", "is damaged: its sha256");
    meta(&format!(
        "{{\"sha256\": \"{hash}\", \"size\": {size}, \"type\": \"full\", \"date\": \"2020-02-02_030000\", \"host\": \"a\"}}"
    ));
    let made = import(&place, &[archive]).remove(0);
    assert_eq!((made["checked"].as_bool(), made["point"].as_str()), (Some(true), Some("src/2020-02-02T03-00-00Z")));
}

#[test]
fn archive_without_a_date_is_as_old_as_its_newest_file_and_says_so() {
    let place = Place::with_store();
    fs::write(place.src().join("a"), "a").unwrap();
    let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_600_000_000);
    for path in [place.src().join("a"), place.src()] {
        fs::File::open(path).unwrap().set_modified(time).unwrap();
    }
    tar(&place, &[], "site.tar", &["."]);
    let ran = place.run(["import", "--name", "src", "site.tar"]).exits(0);
    ran.says("bears no date; taken is that of the newest file in it, 2020-09-13T12-26-40Z")
        .prints("src/2020-09-13T12-26-40Z");
    place.run(["import", "--name", "src", "site.tar", "--at", "yesterday"]).exits(2);
    let ran = place.run(["import", "--name", "src", "site.tar", "--at", "2021-01-01T00:00:00Z"]).exits(0);
    ran.prints("src/2021-01-01T00-00-00Z").says_nothing();
}

#[test]
fn imported_points_stand_outside_the_rotation() {
    let place = Place::with_store();
    fs::write(place.src().join("a"), "a").unwrap();
    Place::settle();
    tar(&place, &[], "full_2026-11-15.tar", &["."]);
    import(&place, &["full_2026-11-15.tar"]);
    tar(&place, &[], "full_2099-01-01.tar", &["."]);
    let ran = place.run(["import", "--name", "src", "full_2099-01-01.tar"]).exits(0);
    ran.says("is of the future");
    // The name is not bound to the archive, and the first backup of it is a full of now.
    let made = place.backup(&[]);
    assert_eq!((made["type"].as_str(), made["counts"]["read_bytes"].as_u64()), (Some("full"), Some(1)));
    assert!(made["point"].as_str().unwrap() < "src/2099");
    tar(&place, &[], "full_2026-11-16.tar", &["."]);
    import(&place, &["full_2026-11-16.tar"]);
    assert_eq!(place.backup(&[])["outcome"], "unchanged");
    fs::write(place.src().join("b"), "b").unwrap();
    let made = place.backup(&[]);
    assert_eq!((made["type"].as_str(), made["base"].as_u64()), (Some("differential"), Some(3)));
}

#[test]
fn absolute_paths_are_taken_from_the_root_of_the_point_and_later_members_win() {
    let place = Place::with_store();
    let mut builder = crate::hostile::Builder::new();
    builder.file("/etc/motd", b"absolute").file("./a", b"first").file("a", b"second").dir("etc/");
    fs::write(place.path("x.tar"), builder.finish()).unwrap();
    let ran = place.run(["import", "--name", "src", "x.tar", "--at", "2020-01-01T00:00:00Z"]).exits(0);
    ran.says("1 paths begin with '/'");
    let tree = restored(&place, "1");
    let paths: Vec<&[u8]> = tree.keys().map(Vec::as_slice).collect();
    assert_eq!(paths, [&b""[..], b"a", b"etc", b"etc/motd"]);
    assert_eq!(fs::read(place.path("restored-1/a")).unwrap(), b"second");
}

#[test]
fn acls_in_words_get_the_numbers_of_this_machine() {
    let place = Place::with_store();
    let acl = "user::rw-,user:root:r--,group::r--,mask::r--,other::---";
    let mut builder = crate::hostile::Builder::new();
    builder.pax(&[("SCHILY.acl.access", acl.as_bytes())]).file("known", b"a");
    let unknown = acl.replace("root", "no-such-user");
    builder.pax(&[("SCHILY.acl.access", unknown.as_bytes())]).file("unknown", b"b");
    fs::write(place.path("x.tar"), builder.finish()).unwrap();
    let ran = place.run(["import", "--name", "src", "x.tar", "--at", "2020-01-01T00:00:00Z"]).exits(0);
    ran.says("1 members have ACLs that name users or groups unknown here");
    let tree = restored(&place, "1");
    let raw = &tree[&b"known"[..]].xattrs[&b"system.posix_acl_access"[..]];
    assert_eq!(raw[12..20], [2, 0, 4, 0, 0, 0, 0, 0], "user 0 may read");
    assert!(tree[&b"unknown"[..]].xattrs.is_empty());
}

#[test]
fn hard_links_of_a_differential_are_those_of_its_archive() {
    let place = Place::with_store();
    let src = place.src();
    let link = |from: &str, to: &str| fs::hard_link(src.join(from), src.join(to)).unwrap();
    for (first, second) in [("kept-1", "kept-2"), ("changed-1", "changed-2")] {
        fs::write(src.join(first), noise(1, 2_000)).unwrap();
        link(first, second);
    }
    for alone in ["joined-1", "joined-2"] {
        fs::write(src.join(alone), "alike").unwrap();
        let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_600_000_000);
        fs::File::options().write(true).open(src.join(alone)).unwrap().set_modified(time).unwrap();
    }
    tar(&place, &[], "full_2026-11-15.tar", &["."]);
    fs::write(src.join("changed-1"), noise(2, 2_000)).unwrap();
    fs::remove_file(src.join("joined-2")).unwrap();
    link("joined-1", "joined-2");
    tar(&place, &[], "diff_2026-11-16.tar", &["."]);
    import(&place, &["full_2026-11-15.tar", "diff_2026-11-16.tar"]);
    let expected = ["changed-1 updated", "changed-2 updated", "joined-1 updated", "joined-2 updated"];
    let differing = place.differing("2");
    assert!(expected.iter().all(|line| differing.contains(&(*line).to_owned())), "{differing:?}");
    assert!(!differing.iter().any(|line| line.starts_with("kept")), "{differing:?}");
    same("differential", &whole_seconds(&look(&src)), &whole_seconds(&restored(&place, "2")));
    // Promoted, they still are.
    place.run(["promote", "2"]).exits(0);
    same("promoted", &whole_seconds(&look(&src)), &whole_seconds(&restored(&place, "3")));
    place.run(["verify", "--data"]).exits(0);
}

#[test]
fn imported_points_are_seen_in_the_mount() {
    let place = Place::with_store();
    script(&place);
    import(&place, &["full_2026-11-15.tar.gz", "diff_2026-11-16_020000.tar.gz"]);
    let Some(mount) = place.mount(&[]) else { return };
    for point in ["2026-11-15T00-00-00Z", "2026-11-16T02-00-00Z"] {
        same(point, &restored(&place, &format!("src/{point}")), &look(&place.shown(point)));
    }
    mount.end();
}

/// For tests that look at what was said.
pub(crate) fn import_of(place: &Place, file: &str, bytes: &[u8]) -> Ran {
    fs::File::create(place.path(file)).unwrap().write_all(bytes).unwrap();
    place.run([
        Path::new("import"),
        Path::new("--name"),
        Path::new("x"),
        Path::new("--at"),
        Path::new("2020-01-01T00:00:00Z"),
        Path::new(file),
    ])
}
