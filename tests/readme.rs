//! What the README tells people to type does what it says.

#![allow(clippy::unwrap_used, reason = "a helper that fails is a test that fails")]
#![allow(clippy::print_stderr, reason = "a test explains itself on standard error")]

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use support::cli::{MountGuard, Place, Ran, wait_for};
use support::process::limited;
use support::tree::{Tree, compare, look};

fn readme() -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).unwrap()
}

/// The script under "Snapshot, deploy, roll back".
fn deploy_script() -> String {
    let text = readme();
    let section = text.split("## Snapshot, deploy, roll back").nth(1).expect("the section of the deploy script");
    let script = section.split("```sh\n").nth(1).expect("the script").split("```").next().unwrap();
    assert!(script.starts_with("#!/bin/sh"), "{script}");
    script.to_owned()
}

/// A site, its history mounted, the script, and an installer that writes the release into the site; it fails halfway
/// for releases whose name begins with `bad`.
struct Site {
    /// Goes first: a directory that is mounted on cannot be removed.
    _mount: MountGuard,
    place: Place,
}

impl Site {
    fn new() -> Option<Self> {
        let place = Place::with_store();
        let write = |name: &str, text: &str, mode| {
            fs::write(place.path(name), text).unwrap();
            fs::set_permissions(place.path(name), PermissionsExt::from_mode(mode)).unwrap();
        };
        write("deploy", &deploy_script(), 0o755);
        let installer = "#!/bin/sh -eu
            echo \"release $1\" > \"$2/index.html\"
            rm -rf \"$2/old\"
            case $1 in bad*) chmod 600 \"$2/style.css\"; exit 1;; esac
            echo done > \"$2/installed\"\n";
        write("install-release", installer, 0o755);
        let site = place.path("site");
        fs::create_dir_all(site.join("old/deep")).unwrap();
        fs::write(site.join("index.html"), "release 0").unwrap();
        fs::write(site.join("style.css"), "body {}").unwrap();
        fs::write(site.join("old/deep/page"), "x".repeat(100_000)).unwrap();
        fs::hard_link(site.join("index.html"), site.join("old/index.html")).unwrap();
        std::os::unix::fs::symlink("index.html", site.join("home")).unwrap();
        let mount = place.mount(&[])?;
        Some(Self { place, _mount: mount })
    }

    fn deploy(&self, release: &str) -> Ran {
        let program = Path::new(env!("CARGO_BIN_EXE_dbakfs")).parent().unwrap();
        let path = format!("{}:{}", program.display(), std::env::var("PATH").unwrap());
        let mut command = Command::new("./deploy");
        command.arg(release).arg(self.place.path("site")).arg(self.place.mnt()).current_dir(self.place.path(""));
        let command = command.env("PATH", path).env("DBAKFS_STORE", self.place.store());
        limited(command.env("HOME", self.place.path("home")))
    }

    fn look(&self) -> Tree {
        look(&self.place.path("site"))
    }

    fn points(&self) -> Vec<serde_json::Value> {
        self.place.run(["list", "www", "--json"]).exits(0).json()
    }

    #[track_caller]
    fn is_shown(&self, tag: &str, tree: &Tree) {
        let shown = self.place.mnt().join("www/tags").join(tag);
        wait_for(Duration::from_secs(1), "the tag in the mount", || shown.join(".").exists());
        same(tree, &look(&shown.join(".")));
    }
}

#[track_caller]
fn same(original: &Tree, copy: &Tree) {
    for (claim, holds) in compare(original, copy) {
        assert!(holds, "{claim}");
    }
}

#[test]
fn deploy_makes_a_tagged_point_of_what_was_there_before() {
    let Some(site) = Site::new() else { return };
    let before = site.look();
    site.deploy("1").exits(0);
    let points = site.points();
    assert_eq!(points.len(), 1);
    assert_eq!((&points[0]["tags"], &points[0]["type"]), (&serde_json::json!(["before-1"]), &"full".into()));
    site.is_shown("before-1", &before);
    assert!(site.place.path("site/installed").exists());

    // The tree has changed by now: the next one is a point of its own.
    let before = site.look();
    site.deploy("2").exits(0);
    let points = site.points();
    assert_eq!(points.len(), 2);
    assert_eq!(points[1]["tags"], serde_json::json!(["before-2"]));
    site.is_shown("before-2", &before);
}

#[test]
fn deploy_on_an_unchanged_tree_puts_the_tag_on_the_newest_point() {
    let Some(site) = Site::new() else { return };
    let before = site.look();
    site.place.run(["backup", "site", "--name", "www"]).exits(0);
    let ran = site.deploy("1").exits(0);
    assert!(ran.stdout.contains("nothing changed") && ran.stdout.contains("tagged before-1"), "{ran:#?}");
    let points = site.points();
    assert_eq!(points.len(), 1);
    assert_eq!(points[0]["tags"], serde_json::json!(["before-1"]));
    site.is_shown("before-1", &before);
}

#[test]
fn release_that_fails_is_rolled_back_exactly() {
    let Some(site) = Site::new() else { return };
    site.deploy("1").exits(0);
    let before = site.look();
    let ran = site.deploy("bad-2").exits(1);
    assert!(ran.stderr.contains("deploying bad-2 failed") && ran.stderr.contains("is as it was"), "{ran:#?}");
    same(&before, &site.look());
    assert_eq!(fs::read_to_string(site.place.path("site/index.html")).unwrap(), "release 1\n");
    // What failed is kept aside to be looked at.
    let broken =
        fs::read_dir(site.place.path("")).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let broken: Vec<String> = broken.filter(|name| name.starts_with("site.broken.")).collect();
    assert_eq!(broken.len(), 1);
    assert_eq!(fs::read_to_string(site.place.path(&broken[0]).join("index.html")).unwrap(), "release bad-2\n");

    // After the rollback nothing differs from the point that it came from: the tag goes there.
    let points = site.points().len();
    site.deploy("3").exits(0);
    assert_eq!(site.points().len(), points);
    site.is_shown("before-3", &before);
}

#[test]
fn release_that_fails_first_of_all_is_rolled_back_too() {
    let Some(site) = Site::new() else { return };
    let before = site.look();
    site.deploy("bad").exits(1);
    same(&before, &site.look());
}

#[test]
fn deploying_the_same_release_twice_moves_the_tag_to_what_is_there_now() {
    let Some(site) = Site::new() else { return };
    site.deploy("1").exits(0);
    fs::write(site.place.path("site/index.html"), "edited by hand").unwrap();
    let edited = site.look();
    site.deploy("1").exits(0);
    let tags: Vec<_> = site.points().iter().map(|point| point["tags"].clone()).collect();
    assert_eq!(tags, [serde_json::json!([]), serde_json::json!(["before-1"])]);
    wait_for(Duration::from_secs(1), "the tag to move", || {
        let path = site.place.mnt().join("www/tags/before-1/index.html");
        fs::read_to_string(path).is_ok_and(|text| text == "edited by hand")
    });
    site.is_shown("before-1", &edited);
    // And a failing one goes back to that, not to the first.
    fs::write(site.place.path("site/index.html"), "edited again").unwrap();
    fs::write(site.place.path("install-release"), "#!/bin/sh\nrm -rf \"$2\"/*; exit 1\n").unwrap();
    let edited = site.look();
    site.deploy("1").exits(1);
    same(&edited, &site.look());
}

#[test]
fn every_command_and_option_in_the_readme_exists() {
    let place = Place::new();
    let help = place.run(["--help"]).exits(0).stdout;
    let commands: BTreeSet<&str> = help
        .lines()
        .skip_while(|line| !line.starts_with("Commands:"))
        .skip(1)
        .take_while(|line| line.starts_with("  "))
        .filter_map(|line| line.split_whitespace().next())
        .collect();
    assert!(commands.contains("backup") && commands.len() >= 10, "{help}");
    let text = readme();
    let mut named = BTreeSet::new();
    // In code only: prose may go on with any word.
    for code in text.lines().flat_map(|line| {
        if line.starts_with("    ") || line.starts_with("dbakfs ") {
            vec![line]
        } else {
            line.split('`').skip(1).step_by(2).collect()
        }
    }) {
        let words: Vec<&str> = code.split_whitespace().take_while(|word| *word != "#").collect();
        for (at, _) in words.iter().enumerate().filter(|(_, word)| **word == "dbakfs") {
            let Some(command) = words.get(at + 1).filter(|word| word.chars().all(|letter| letter.is_ascii_lowercase()))
            else {
                continue;
            };
            assert!(commands.contains(command), "the README names `dbakfs {command}`: {code}");
            named.insert(*command);
            if *command == "help" {
                continue;
            }
            let options =
                words[at + 2..].iter().take_while(|word| **word != "&&").filter(|word| word.starts_with("--"));
            let told = place.run([command, "--help"]).exits(0).stdout;
            for option in options {
                assert!(told.contains(option), "the README names `{command} {option}`: {code}");
            }
        }
    }
    let wanted = ["backup", "help", "mount", "restore", "umount", "verify"];
    assert!(wanted.iter().all(|command| named.contains(command)), "found only {named:?}");
}

#[test]
fn help_shows_every_exit_code_and_each_command_an_example() {
    let place = Place::new();
    let help = place.run(["--help"]).exits(0);
    assert_eq!(help.stderr, "");
    let codes: Vec<&str> = help
        .stdout
        .lines()
        .skip_while(|line| *line != "Exit codes:")
        .skip(1)
        .filter_map(|line| line.split_whitespace().next())
        .collect();
    assert_eq!(codes, ["0", "1", "2", "3", "4", "10", "11"]);
    for command in ["init", "backup", "list", "ls", "mount", "umount", "restore", "verify", "diff", "rebuild-index"] {
        let help = place.run([command, "--help"]).exits(0).stdout;
        assert!(help.contains("Example"), "{command}: {help}");
        let short = place.run([command, "-h"]).exits(0).stdout;
        assert!(short.lines().count() < help.lines().count(), "{command}");
    }
    assert!(place.run(["--version"]).exits(0).stdout.starts_with("dbakfs "));
    assert!(!place.store().exists() && !place.path("home").exists(), "help makes nothing");
}
