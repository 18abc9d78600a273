//! What an import or a promotion has written is read back, and what the rules would do with it is said.

use std::fs;
use std::process::Command;

use serde_json::{Value, json};

use crate::support::cli::{Place, Ran};
use crate::support::points::noise;
use crate::support::process::limited;

/// A place with the archives of a full and a differential.
fn with_archives() -> Place {
    let place = Place::with_store();
    for (file, seed) in [("full_2020-01-01.tar", 1), ("diff_2020-01-02.tar", 2)] {
        fs::write(place.src().join("file"), noise(seed, 50_000)).unwrap();
        limited(Command::new("tar").arg("-C").arg(place.src()).arg("-cf").arg(place.path(file)).arg(".")).exits(0);
    }
    place
}

const IMPORT: [&str; 5] = ["import", "full_2020-01-01.tar", "diff_2020-01-02.tar", "--name", "src"];

fn import(place: &Place, more: &[&str]) -> Ran {
    place.run([&IMPORT, more].concat())
}

/// The checks that are noted of `src`: kind, end, number and type.
fn noted(place: &Place) -> Vec<(String, String, i64, String)> {
    let text = fs::read_to_string(place.store().join("runs/src.toml")).unwrap_or_default();
    let notes: toml::Table = toml::from_str(&text).unwrap();
    let checks = notes.get("checks").and_then(|checks| checks.as_array()).cloned().unwrap_or_default();
    let word = |check: &toml::Value, key: &str| check[key].as_str().unwrap().to_owned();
    let of = |check: &toml::Value| {
        (word(check, "kind"), word(check, "end"), check["number"].as_integer().unwrap(), word(check, "type"))
    };
    checks.iter().map(of).collect()
}

fn pass(kind: &str, number: i64, of: &str) -> (String, String, i64, String) {
    (kind.to_owned(), "pass".to_owned(), number, of.to_owned())
}

#[test]
fn what_is_imported_or_promoted_is_checked_and_the_verdict_shown_and_kept() {
    let place = with_archives();
    let ran = import(&place, &[]).exits(0);
    let lines: Vec<&str> = ran.stdout.lines().collect();
    assert!(lines.len() == 2 && lines.iter().all(|line| line.ends_with("; check: PASS")), "{ran:#?}");
    place.run(["promote", "2"]).exits(0).prints("; check: PASS");
    let promoted = place.run(["promote", "2", "--json", "--verify", "sample"]).exits(0).json().remove(0);
    assert_eq!((&promoted["check"]["end"], &promoted["check"]["kind"]), (&json!("pass"), &json!("sample")));
    let expected = [
        pass("written", 1, "full"),
        pass("written", 2, "differential"),
        pass("written", 3, "full"),
        pass("sample", 4, "full"),
    ];
    assert_eq!(noted(&place), expected);
    let imported = import(&place, &["--json", "--verify", "full"]).exits(0).json();
    assert!(imported.iter().all(|made| made["check"]["end"] == "pass" && made["check"]["kind"] == "full"));
}

#[test]
fn nothing_is_checked_where_nobody_asks_for_it() {
    let place = with_archives();
    let nothing = |ran: Ran| assert!(ran.exits(0).json().iter().all(|made| made["check"] == Value::Null));
    nothing(import(&place, &["--json", "--verify", "off"]));
    nothing(import(&place, &["--json", "--dry-run"]));
    nothing(place.run(["promote", "2", "--json", "--verify", "off"]));
    nothing(place.run(["promote", "2", "--json", "--dry-run"]));
    // As the configuration says of the name, and the command line before it.
    fs::write(place.path("dbakfs.toml"), format!("[sources.src]\npath = {:?}\nverify = 'off'\n", place.src())).unwrap();
    nothing(import(&place, &["--json"]));
    nothing(place.run(["promote", "2", "--json"]));
    assert_eq!(noted(&place), []);
    import(&place, &["--verify", "written"]).exits(0).prints("; check: PASS");
}

#[test]
fn damage_is_the_exit_code_of_both() {
    let place = with_archives();
    import(&place, &[]).exits(0);
    let pack = place.packs().remove(0);
    let whole = fs::read(&pack).unwrap();
    let mut damaged = whole.clone();
    let middle = damaged.len() / 2;
    damaged[middle] ^= 1;
    fs::write(&pack, &damaged).unwrap();
    // Nothing of it is written by these, but all of the store is asked for.
    let promoted = place.run(["promote", "2", "--json", "--verify", "full"]).exits(4);
    assert_eq!(promoted.json()[0]["check"]["end"], "fail");
    promoted.says("error: check of src: ").says("hint: ");
    import(&place, &["--verify", "full"]).exits(4).prints("; check: FAIL");
    fs::write(&pack, &whole).unwrap();
}

#[test]
fn import_says_which_points_the_rules_would_forget_at_once() {
    let place = with_archives();
    let rules = |text: &str| {
        let config = format!("[sources.src]\npath = {:?}\n{text}\n", place.src());
        fs::write(place.path("dbakfs.toml"), config).unwrap();
    };
    rules("keep_days = 30");
    fs::write(place.src().join("now"), "now").unwrap();
    place.backup(&[]);
    let ran = import(&place, &[]).exits(0);
    for (number, time) in [(2, "2020-01-01"), (3, "2020-01-02")] {
        let line = ran.stderr.lines().find(|line| line.contains(&format!("note: src/{time}"))).unwrap();
        assert!(line.contains("the rules of src would forget it"), "{line}");
        assert!(line.ends_with(&format!("`dbakfs pin {number}` keeps it")), "{line}");
    }
    // Just that is what it does, and pinning is what keeps it.
    place.run(["pin", "2"]).exits(0);
    place.run(["forget", "--policy", "src"]).exits(0);
    let left: Vec<Value> = place.points().iter().map(|point| point["number"].clone()).collect();
    assert_eq!(left.len(), 2, "{left:?}");
    assert!(left.contains(&json!(1)) && left.contains(&json!(2)), "{left:?}");

    rules("keep_days = 30\nkeep_yearly = 50");
    let ran = import(&place, &[]).exits(0);
    assert!(!ran.stderr.contains("would forget it; `dbakfs pin 5`"), "the newest of its year: {ran:#?}");
    // Nobody's rules: nobody forgets.
    let ran = place.run(["import", "full_2020-01-01.tar", "--name", "elsewhere"]).exits(0);
    assert!(!ran.stderr.contains("would forget"), "{ran:#?}");
}
