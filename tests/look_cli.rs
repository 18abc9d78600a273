//! `ls`, `diff`, `list`, `verify` and `rebuild-index` as they are typed.

#![allow(clippy::unwrap_used, reason = "a helper that fails is a test that fails")]
#![allow(clippy::print_stderr, reason = "a test explains itself on standard error")]

mod support;

use std::fs;
use std::path::Path;

use serde_json::json;
use support::awkward;
use support::cli::{Place, snapshot};
use support::points::shelf;
use support::process::limited;
use support::tree::look;

#[test]
fn ls_shows_what_became_of_each_entry() {
    let (place, _) = shelf();
    let statuses = |args: &[&str]| -> Vec<(String, String)> {
        let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
        let ran = place.run([args, &["--json"]].concat()).exits(0).json();
        ran.iter().map(|entry| (text(&entry["path"]), text(&entry["status"]))).collect()
    };
    let pairs = |pairs: &[(&str, &str)]| -> Vec<(String, String)> {
        pairs.iter().map(|(path, status)| ((*path).to_owned(), (*status).to_owned())).collect()
    };
    let top = [
        ("changed", "updated"),
        ("dir", "updated"),
        ("gone", "deleted"),
        ("kept", "unchanged"),
        ("touched", "updated"),
    ];
    assert_eq!(statuses(&["ls", "3"]), pairs(&top));
    let below = [("dir/below", "unchanged"), ("dir/come", "new"), ("dir/below/deep", "unchanged")];
    assert_eq!(statuses(&["ls", "src/three", "-R"]), pairs(&[&top[..], &below].concat()));
    assert_eq!(statuses(&["ls", "3:dir"]), pairs(&[("below", "unchanged"), ("come", "new")]));
    assert_eq!(statuses(&["ls", "3:dir/come"]), pairs(&[("come", "new")]));
    assert!(statuses(&["ls", "1", "-R"]).iter().all(|(_, status)| status == "-"));

    let plain = place.run(["ls", "3"]).exits(0).stdout;
    let first_and_last = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        (words[words.len() - 1].to_owned(), words[0].to_owned())
    };
    assert_eq!(plain.lines().map(first_and_last).collect::<Vec<_>>(), pairs(&top));
    assert!(plain.lines().nth(3).unwrap().contains(" -rw-"), "{plain}");
    let entry = place.run(["ls", "3:changed", "--json"]).json().remove(0);
    assert_eq!((&entry["type"], &entry["size_bytes"], &entry["nlink"]), (&json!("file"), &json!(13), &json!(1)));
    assert!(entry["mode"].is_string() && entry["mtime"]["secs"].is_i64() && entry["xattrs"].is_array(), "{entry}");
}

#[test]
fn ls_shows_what_could_not_be_read() {
    use std::os::unix::process::CommandExt;
    if !awkward::is_root() {
        return;
    }
    // Another user's backup of a file that only root may read.
    let place = Place::new();
    let program = place.path("dbakfs");
    fs::copy(env!("CARGO_BIN_EXE_dbakfs"), &program).unwrap();
    let everybody =
        |path: &Path, mode| fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(mode)).unwrap();
    fs::write(place.src().join("secret"), "secret").unwrap();
    fs::write(place.src().join("open"), "open").unwrap();
    everybody(&place.src().join("secret"), 0o600);
    everybody(&place.path(""), 0o777);
    everybody(&program, 0o755);
    let run = |args: &[&str]| {
        let mut command = std::process::Command::new(&program);
        command.env("DBAKFS_STORE", place.store()).env("TZ", "UTC").current_dir(place.path("")).args(args);
        limited(command.uid(12_345).gid(12_345))
    };
    run(&["init"]).exits(0);
    let ran = run(&["backup", "src"]).exits(3).says("warning: cannot read ");
    assert!(ran.stderr.contains("secret") && ran.stdout.contains("1 could not be read"), "{ran:#?}");
    let list = run(&["ls", "1", "--json"]).exits(0).json();
    let status = |name: &str| list.iter().find(|entry| entry["path"] == name).unwrap()["status"].clone();
    assert_eq!((status("secret"), status("open")), ("unread".into(), "-".into()));
    assert_eq!(run(&["list", "--json"]).json()[0]["complete"], false);
    run(&["list"]).exits(0).prints("(incomplete)");
    run(&["restore", "1", "dest"]).exits(3).says("secret is not restored: it could not be read");
    assert!(place.path("dest/open").exists() && !place.path("dest/secret").exists());
}

#[test]
fn diff_lists_each_entry_once_with_its_sign() {
    let (place, _) = shelf();
    let ran = place.run(["diff", "src/one", "src/three"]).exits(0);
    let mut lines: Vec<&str> = ran.stdout.lines().collect();
    lines.sort_unstable();
    // The directories' own times have changed.
    assert_eq!(lines, ["+ dir/come", "- gone", "M changed", "U /", "U dir/", "U touched"], "{ran:#?}");
    let back = place.run(["diff", "3", "1"]).exits(0).stdout;
    assert!(back.contains("- dir/come\n") && back.contains("+ gone\n"), "{back}");
    assert_eq!(place.run(["diff", "2", "2"]).exits(0).stdout, "");
    let json = place.run(["diff", "1", "3", "--json"]).exits(0).json();
    let of = |path: &str| json.iter().find(|change| change["path"] == path).unwrap();
    assert_eq!(json.len(), 6);
    assert_eq!(
        of("dir/come"),
        &json!({"change": "new", "data": true, "metadata": true, "directory": false, "path": "dir/come"})
    );
    assert_eq!((&of("changed")["change"], &of("changed")["data"]), (&"updated".into(), &true.into()));
    assert_eq!((&of("touched")["data"], &of("touched")["metadata"]), (&false.into(), &true.into()));
    assert_eq!((&of("gone")["change"], &of("dir")["directory"]), (&"deleted".into(), &true.into()));
}

#[test]
fn list_shows_all_that_is_known_of_a_point() {
    let (place, points) = shelf();
    place.backup(&["--full", "--force"]);
    let list = place.run(["list"]).exits(0).stdout;
    let head: Vec<&str> = list.lines().next().unwrap().split_whitespace().collect();
    assert_eq!(head, ["NUMBER", "NAME", "TIME", "TYPE", "SERIES", "BASE", "FILES", "SIZE", "STORED", "TAGS"]);
    let rows: Vec<Vec<&str>> = list.lines().skip(1).map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(rows.len(), 4);
    let time = |at: usize| points[at].split_once('/').unwrap().1;
    assert_eq!(rows[0][..7], ["1", "src", time(0), "full", "1.1", "-", "5"]);
    assert_eq!(rows[1][..7], ["2", "src", time(1), "differential", "1.2", "1", "5"]);
    assert_eq!((rows[0].last(), rows[2].last()), (Some(&"one"), Some(&"three")));
    assert_eq!(rows[3][3..6], ["full", "4.1", "-"]);

    let json = place.run(["list", "src", "--json"]).exits(0).json();
    let third = json[2].as_object().unwrap();
    for (field, value) in [
        ("number", json!(3)),
        ("name", json!("src")),
        ("time", json!(time(2))),
        ("point", json!(points[2])),
        ("type", json!("differential")),
        ("series", json!(1)),
        ("position", json!(3)),
        ("base", json!(1)),
        ("tags", json!(["three"])),
        ("complete", json!(true)),
        ("files", json!(5)),
        ("directories", json!(3)),
        ("size_bytes", json!(look(&place.src()).values().map(|entry| entry.size).sum::<u64>())),
        ("new", json!(1)),
        ("deleted", json!(1)),
        ("unread", json!(0)),
        ("path", json!(place.src().canonicalize().unwrap().to_str().unwrap())),
    ] {
        assert_eq!(third[field], value, "{field}");
    }
    assert!(third["stored_bytes"].as_u64().unwrap() > 0);
    assert_eq!((&json[3]["base"], &json[3]["position"]), (&json!(null), &json!(1)));
    // A reader that has seen enough is no failure.
    let mut shell = std::process::Command::new("sh");
    shell.args(["-c", "\"$0\" list | head -n 1; \"$0\" ls -R 1 | true"]).arg(env!("CARGO_BIN_EXE_dbakfs"));
    assert_eq!(limited(shell.env("DBAKFS_STORE", place.store())).exits(0).stderr, "");
}

#[test]
fn verify_of_a_whole_store_is_code_0_and_changes_nothing() {
    let (place, _) = shelf();
    // The verdict of `--data` is kept, in `runs/`.
    let of_store = || {
        let mut files = snapshot(&place.store());
        files.retain(|(path, _)| !path.starts_with(place.store().join("runs")));
        files
    };
    let (before, all_before) = (of_store(), snapshot(&place.store()));
    place.run(["verify"]).exits(0).prints("checked the structure of 3 points").prints("no damage");
    assert!(all_before == snapshot(&place.store()), "the store has changed");
    place.run(["verify", "--data"]).exits(0).prints("read 3 points").prints("no damage");
    let summary = place.run(["verify", "--data", "--json"]).exits(0).json().pop().unwrap();
    assert_eq!(
        (&summary["event"], &summary["whole"], &summary["depth"]),
        (&json!("summary"), &json!(true), &json!("data"))
    );
    assert_eq!(summary["points_whole"], json!([1, 2, 3]));
    assert!(before == of_store(), "the store has changed");
}

#[test]
fn lost_or_rubbish_index_is_made_anew_and_nothing_is_stored_twice() {
    let (place, _) = shelf();
    let data: String = (0..40_000).map(|number| number.to_string()).collect();
    fs::write(place.src().join("data"), &data).unwrap();
    place.backup(&[]);
    let packs = fs::read_dir(place.store().join("packs")).unwrap().count();
    place.run(["rebuild-index"]).exits(0).prints(&format!("the index was rebuilt from {packs} packs"));
    for how in ["gone", "rubbish", "rebuilt"] {
        let index = place.store().join("index");
        match how {
            "gone" => fs::remove_dir_all(&index).unwrap(),
            "rubbish" => {
                fs::remove_dir_all(&index).unwrap();
                fs::create_dir(&index).unwrap();
                for name in ["conf", "db", "snap.0000000000000001"] {
                    fs::write(index.join(name), [0xa5; 5_000]).unwrap();
                }
            }
            _ => drop(place.run(["rebuild-index", "--json"]).exits(0)),
        }
        fs::write(place.src().join(format!("copy-{how}")), &data).unwrap();
        let ran = place.run(["backup", "src", "--json"]).exits(0);
        assert_eq!(ran.stderr.contains("note: the index was rebuilt from"), how != "rebuilt", "{how}: {ran:#?}");
        assert_eq!(ran.json()[0]["counts"]["stored_bytes"], 0, "{how}: {ran:#?}");
    }
    let tags: Vec<_> = place.run(["list", "--json"]).json().iter().map(|point| point["tags"].clone()).collect();
    assert_eq!(tags[..3], [json!(["one"]), json!([]), json!(["three"])]);
    place.run(["verify", "--data"]).exits(0);
}
