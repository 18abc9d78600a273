//! What runs by itself: `run` with its hooks and messages, the ledger, the daemon, and what `contrib/` offers around it.

#![allow(clippy::unwrap_used, reason = "a helper that fails is a test that fails")]
#![allow(clippy::print_stderr, reason = "a test that is left out says so")]

#[path = "../support/mod.rs"]
mod support;

mod after;
mod contrib;
mod daemon;
mod hooks;
mod ledger;
mod tell;

use std::ffi::OsStr;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use support::cli::{Place, Ran};
use support::process::limited;

/// A place with a store, a source `src` with one file, and a configuration.
pub(crate) struct Site {
    pub(crate) place: Place,
}

impl Site {
    /// `top` stands before all tables; `source` are the keys of the source `src`.
    pub(crate) fn new(top: &str, source: &str) -> Self {
        let site = Self { place: Place::with_store() };
        fs::write(site.place.src().join("file"), "content").unwrap();
        site.configure(top, source);
        site
    }

    pub(crate) fn configure(&self, top: &str, source: &str) {
        let src = self.place.src();
        let text = format!("{top}\n[sources.src]\npath = {src:?}\n{source}\n");
        fs::write(self.config(), text).unwrap();
    }

    pub(crate) fn config(&self) -> PathBuf {
        self.place.path("config.toml")
    }

    /// `dbakfs` with the configuration; hooks find this place in `PLACE` and the program in `DBAKFS`.
    pub(crate) fn command(&self) -> Command {
        let mut command = self.place.command();
        command.env("DBAKFS_CONFIG", self.config()).env("PLACE", self.place.path(""));
        command.env("DBAKFS", env!("CARGO_BIN_EXE_dbakfs"));
        for proxy in ["http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"] {
            command.env_remove(proxy);
        }
        command
    }

    pub(crate) fn run<I: IntoIterator<Item = S>, S: AsRef<OsStr>>(&self, args: I) -> Ran {
        limited(self.command().args(args))
    }

    /// A file that a hook wrote; empty if there is none.
    pub(crate) fn written(&self, name: &str) -> String {
        fs::read_to_string(self.place.path(name)).unwrap_or_default()
    }

    /// What the store has noted of the runs of a source.
    pub(crate) fn noted(&self, name: &str) -> toml::Table {
        let path = self.place.store().join("runs").join(format!("{name}.toml"));
        toml::from_str(&fs::read_to_string(path).unwrap_or_default()).unwrap()
    }

    /// Runs of a type that ended well, and that did not, as counted.
    pub(crate) fn totals(&self, name: &str, kind: &str) -> (i64, i64) {
        let notes = self.noted(name);
        let of = |key: &str| {
            let total = notes.get("totals").and_then(|totals| totals.get(kind)?.get(key)?.as_integer());
            total.unwrap_or(0)
        };
        (of("success"), of("failure"))
    }

    /// The `end` of every run that is kept, oldest first.
    pub(crate) fn ends(&self, name: &str) -> Vec<String> {
        let notes = self.noted(name);
        let runs = notes.get("runs").and_then(|runs| runs.as_array()).cloned().unwrap_or_default();
        runs.iter().map(|run| run["end"].as_str().unwrap().to_owned()).collect()
    }
}
