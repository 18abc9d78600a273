//! `--stdin`.

use std::fs::{self, File};
use std::io::Write;
use std::process::Stdio;

use serde_json::Value;

use crate::support::cli::Place;
use crate::support::points::{count, noise};

fn pipe(place: &Place, bytes: &[u8], args: &[&str]) -> Value {
    let mut command = place.command();
    command.args(["backup", "--json", "--stdin"]).args(args).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(bytes).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn a_stream_becomes_a_file_of_its_name() {
    let place = Place::with_store();
    let large = noise(1, 7_000_000);
    let contents: [&[u8]; 5] = [b"select 1;", &large, b"", &large[..3_000_000], &large];
    let mut points = Vec::new();
    for (number, content) in contents.iter().enumerate() {
        let more: &[&str] = if number == 1 { &["shop.sql", "--tag", "large"] } else { &["shop.sql"] };
        let done = pipe(&place, content, more);
        assert_eq!((&done["name"], &done["outcome"]), (&"shop.sql".into(), &"made".into()));
        assert_eq!((count(&done, "read_bytes"), count(&done, "files")), (content.len() as u64, 1));
        assert_eq!(done["type"], if number == 0 { "full" } else { "differential" });
        if number > 2 {
            // All but the end of a cut stream is known.
            assert!(count(&done, "stored_bytes") < 1_000_000, "{done}");
        }
        points.push(done["point"].as_str().unwrap().to_owned());
    }
    // A file as standard input is a stream like any other, and so is an input that is closed.
    fs::write(place.path("dump"), &large).unwrap();
    let mut command = place.command();
    command.args(["backup", "--stdin", "x", "--name", "from-file"]).stdin(File::open(place.path("dump")).unwrap());
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");

    let Some(mount) = place.mount(&[]) else { return };
    for (point, content) in points.iter().zip(contents) {
        assert!(fs::read(place.mnt().join(point).join("shop.sql")).unwrap() == content, "{point}");
        assert_eq!(fs::read_dir(place.mnt().join(point)).unwrap().count(), 1);
    }
    assert!(fs::read(place.mnt().join("shop.sql/tags/large/shop.sql")).unwrap() == large);
    assert!(fs::read(place.mnt().join("from-file/latest/x")).unwrap() == large);
    mount.end();
}

#[test]
fn another_file_name_under_the_same_name_takes_the_place_of_the_first() {
    let place = Place::with_store();
    pipe(&place, b"one", &["first.sql", "--name", "shop"]);
    pipe(&place, b"two", &["second.sql", "--name", "shop"]);
    assert_eq!(place.differing("shop/latest"), ["first.sql deleted", "second.sql new"]);
    pipe(&place, b"three", &["first.sql", "--name", "shop"]);
    assert_eq!(place.differing("shop/latest"), ["first.sql updated"]);
}

#[test]
fn a_dry_stream_is_read_and_not_kept() {
    let place = Place::with_store();
    let before = crate::support::cli::snapshot(&place.store());
    let done = pipe(&place, &noise(1, 100_000), &["x", "--dry-run"]);
    assert_eq!((&done["outcome"], count(&done, "read_bytes")), (&"dry-run".into(), 100_000));
    assert!(crate::support::cli::snapshot(&place.store()) == before);
}
