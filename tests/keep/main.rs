//! Keeping by rules, pins and alarms: the real binary on real stores.

#![allow(clippy::unwrap_used, reason = "a helper that fails is a test that fails")]
#![allow(clippy::print_stderr, reason = "a test explains itself on standard error")]

#[path = "../support/mod.rs"]
mod support;

mod alarms;
mod pins;
mod reclaimed;
mod rules;
mod seasons;

use std::ffi::OsString;
use std::fs;
use std::path::PathBuf;

use serde_json::Value;

use support::cli::{Place, Ran, snapshot};
use support::points::noise;

/// Runs a command with this text as its configuration, where `SRC` stands for the path of the source. Trees of a few files change by more than half all the time:
/// no differential is too large.
pub(crate) fn with(place: &Place, config: &str, args: &[&str]) -> Ran {
    let path = place.path("config.toml");
    let lasting = "[defaults]\ndiff_threshold = 4294967295\n";
    let config = if config.contains("[defaults]\n") {
        config.replace("[defaults]\n", lasting)
    } else {
        format!("{config}\n{lasting}")
    };
    fs::write(&path, config.replace("SRC", place.src().to_str().unwrap())).unwrap();
    let mut all: Vec<OsString> = vec!["--config".into(), path.into_os_string()];
    all.extend(args.iter().map(OsString::from));
    place.run(all)
}

/// Makes a point in which one more file of so many bytes is new.
pub(crate) fn grow(place: &Place, config: &str, bytes: usize, more: &[&str]) -> u64 {
    let next = fs::read_dir(place.src()).unwrap().count() as u64;
    fs::write(place.src().join(format!("file-{next:03}")), noise(next, bytes)).unwrap();
    let args = [&["backup", "src", "--json"][..], more].concat();
    with(place, config, &args).exits(0).json()[0]["number"].as_u64().unwrap()
}

/// The numbers of the points there are.
pub(crate) fn numbers(place: &Place) -> Vec<u64> {
    place.points().iter().map(|point| point["number"].as_u64().unwrap()).collect()
}

/// `number verdict rule` of each point that a dry run lists.
pub(crate) fn verdicts(lines: &[Value]) -> Vec<String> {
    let of = |line: &Value| {
        let text = |key: &str| line[key].as_str().unwrap().to_owned();
        Some(format!("{} {} {}", line["number"].as_u64()?, text("verdict"), text("rule")))
    };
    lines.iter().filter_map(of).collect()
}

/// The files of the store but for the index, which is no part of what is promised, and the lock's note.
pub(crate) fn files(place: &Place) -> Vec<(PathBuf, Vec<u8>)> {
    let mut all = snapshot(&place.store());
    all.retain(|(path, _)| !path.starts_with(place.store().join("index")) && !path.ends_with("writer.lock"));
    all
}
