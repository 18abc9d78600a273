//! Which part may use which. The folder names are the design; here it is held.
//!
//! A new arrow fails here and names its line. Draw it in `MAY_USE` only if it points down.

#![allow(clippy::unwrap_used, reason = "a helper that fails is a test that fails")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Each part of the library, from the ground up, and the parts that it may use.
const MAY_USE: [(&str, &[&str]); 31] = [
    // The ground: values in, values out.
    ("format", &[]),
    ("chunker", &[]),
    ("bits", &[]),
    ("causes", &[]),
    ("progress", &[]),
    ("cache", &[]),
    ("random", &[]),
    ("policy", &["format"]),
    // One resource each.
    ("storage", &["format"]),
    ("index", &["format"]),
    ("source", &["format"]),
    // Of no store: tar, and what is around it.
    ("archive", &["format"]),
    ("pack", &["format", "storage", "cache", "random"]),
    ("catalog", &["format", "storage", "cache"]),
    // The store as a whole.
    ("overlay", &["catalog", "bits", "format"]),
    ("repository", &["overlay", "catalog", "pack", "index", "storage", "cache", "policy", "format"]),
    // What a person wrote about sources.
    ("settings", &["repository", "policy"]),
    // It copies chunks from pack to pack and writes catalogs anew.
    ("compaction", &["repository", "catalog", "pack", "storage", "cache", "bits", "format"]),
    // What is done with it. These stand side by side: none may use another.
    (
        "backup",
        &[
            "repository",
            "overlay",
            "catalog",
            "pack",
            "index",
            "chunker",
            "storage",
            "source",
            "archive",
            "cache",
            "random",
            "policy",
            "format",
        ],
    ),
    // It makes what the source reads: attributes, names and descriptors are handled by the same few calls.
    ("restore", &["repository", "overlay", "catalog", "source", "random", "progress", "format"]),
    // It looks at packs and catalogs below the repository, since it doubts both.
    ("verify", &["repository", "overlay", "catalog", "pack", "storage", "cache", "bits", "causes", "format"]),
    // It has a sample restored, and looks at what came of it.
    ("rehearsal", &["restore", "repository", "overlay", "catalog", "source", "random", "format"]),
    ("prune", &["compaction", "repository", "pack", "storage", "format"]),
    // It mends what verification finds.
    ("repair", &["verify", "compaction", "repository", "catalog", "pack", "storage", "cache", "format"]),
    ("compare", &["repository", "overlay", "catalog", "format"]),
    ("view", &["repository", "overlay", "catalog", "format"]),
    ("export", &["archive", "repository", "overlay", "catalog", "progress", "format"]),
    // How all of it stands, for people, and for Prometheus.
    ("report", &["settings", "repository", "policy", "storage", "random", "format"]),
    ("metrics", &["report", "repository", "format"]),
    // It does at its time what those above do, and goes out to others.
    (
        "automation",
        &[
            "backup",
            "verify",
            "rehearsal",
            "prune",
            "metrics",
            "report",
            "settings",
            "repository",
            "storage",
            "source",
            "policy",
            "causes",
            "format",
        ],
    ),
    ("cli", &[]),
];

/// Crates and calls that belong to one place: the text, and where it may stand.
const AT_HOME: [(&str, &[&str]); 24] = [
    ("sled::", &["src/index/"]),
    ("zstd::", &["src/format/seal.rs", "src/archive/compression.rs"]),
    ("tar::", &["src/archive/"]),
    ("flate2::", &["src/archive/compression.rs"]),
    ("sha2::", &["src/archive/input.rs"]),
    ("fastcdc::", &["src/chunker.rs"]),
    ("ignore::", &["src/source/exclude.rs"]),
    ("dbakfs_mount::", &["src/view/", "src/cli/mount.rs"]),
    ("fuser::", &["mount/src/"]),
    ("cronexpr::", &["src/policy/cron.rs"]),
    ("ureq::", &["src/automation/webhook.rs"]),
    ("httparse::", &["src/metrics/http.rs"]),
    // What comes from other machines.
    ("TcpListener", &["src/metrics/server.rs"]),
    ("clap", &["src/cli/"]),
    ("indicatif", &["src/cli/"]),
    ("println!", &[]),
    ("eprintln!", &[]),
    ("stdout()", &["src/cli/output.rs"]),
    ("stderr()", &["src/cli/output.rs", "src/cli/progress.rs"]),
    ("process::exit", &["src/cli/output.rs"]),
    // What the power cut is tried on is what stands in these files, and no other.
    // The mount has a request of that name, which it answers for the kernel.
    ("fsync(", &["src/storage/disk.rs", "mount/src/adapter.rs"]),
    // An archive is no file of a store.
    ("sync_all(", &["src/archive/output.rs"]),
    ("sync_data(", &[]),
    // No file of a store is opened but through `storage`; sled opens its own, and `index` moves them aside.
    (
        "std::fs",
        &[
            "src/storage/",
            "src/index/",
            "src/settings/mod.rs",
            // Archives, and the names of users and groups.
            "src/archive/",
            // Patterns that a person wrote, and the list of mounts.
            "src/source/exclude.rs",
            "src/source/mounts.rs",
            // The directory that is restored into.
            "src/restore/destination.rs",
            // The store's own directory, which no backup enters.
            "src/automation/run.rs",
            // What was restored there for a rehearsal, and the source as it is now.
            "src/rehearsal/compare.rs",
            "src/rehearsal/live.rs",
            // A page and a textfile, outside the store.
            "src/report/file.rs",
            // The log, the null device; the scratch store of a dry run.
            "src/cli/mount.rs",
            "src/cli/backup.rs",
            // The kernel's tables and settings.
            "mount/src/",
        ],
    ),
];

/// A file of the sources without comments and tests, with the lines still in their places.
struct Source {
    /// Relative to the repository.
    path: String,
    /// The modules that lead to it, from the root of its crate.
    modules: Vec<String>,
    text: String,
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The sources of a crate that are no tests.
fn sources(of: &str) -> Vec<Source> {
    let mut waiting = vec![root().join(of)];
    let (mut found, mut tests) = (Vec::new(), Vec::new());
    while let Some(path) = waiting.pop() {
        if path.is_dir() {
            waiting.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let below = path.strip_prefix(root().join(of)).unwrap().with_extension("");
            let mut modules: Vec<String> =
                below.iter().map(|part| part.to_str().unwrap().to_owned()).filter(|part| part != "lib").collect();
            modules.pop_if(|last| last == "mod");
            let (text, test_modules) = without_tests(&fs::read_to_string(&path).unwrap());
            tests.extend(test_modules.into_iter().map(|name| [&modules[..], &[name]].concat()));
            let path = path.strip_prefix(root()).unwrap().to_str().unwrap().to_owned();
            found.push(Source { path, modules, text });
        }
    }
    assert!(found.len() > 10, "the sources of {of} were not found");
    found.retain(|source| !tests.iter().any(|test| source.modules.starts_with(test)));
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found
}

/// Blanks comments and test modules; answers the names of test modules that have files of their own.
fn without_tests(text: &str) -> (String, Vec<String>) {
    let (mut kept, mut names) = (String::new(), Vec::new());
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let code = if line.trim_start().starts_with("//") { "" } else { line };
        if code != "#[cfg(test)]" {
            kept.push_str(code.split(" // ").next().unwrap());
            kept.push('\n');
            continue;
        }
        kept.push('\n');
        for line in lines.by_ref() {
            kept.push('\n');
            if let Some(name) = line.strip_suffix(';').and_then(|line| line.rsplit_once("mod ")) {
                names.push(name.1.to_owned());
            }
            if line.ends_with(';') && !line.starts_with(' ') || line == "}" {
                break;
            }
        }
    }
    (kept, names)
}

/// The number of the line at a place.
fn line_of(text: &str, at: usize) -> usize {
    text[..at].matches('\n').count() + 1
}

fn word(text: &str) -> &str {
    &text[..text.find(|letter: char| !letter.is_alphanumeric() && letter != '_').unwrap_or(text.len())]
}

/// The parts of the crate that a source names, each with its line: after `crate::`, or after as many `super::` as lead there.
fn uses(source: &Source) -> Vec<(String, usize)> {
    let mut roots: Vec<usize> = source.text.match_indices("crate::").map(|(at, found)| at + found.len()).collect();
    let supers = "super::".repeat(source.modules.len());
    if !source.modules.is_empty() {
        let starts = source.text.match_indices(&supers);
        roots.extend(
            starts.filter(|(at, _)| !source.text[..*at].ends_with("super::")).map(|(at, found)| at + found.len()),
        );
    }
    let mut uses = Vec::new();
    for at in roots {
        let rest = &source.text[at..];
        if !rest.starts_with('{') {
            uses.push((word(rest).to_owned(), line_of(&source.text, at)));
            continue;
        }
        // The first word of each item of the outermost list.
        let (mut depth, mut is_first) = (0, false);
        for (offset, letter) in rest.char_indices() {
            match letter {
                '{' => depth += 1,
                '}' => depth -= 1,
                _ => {}
            }
            if depth == 0 {
                break;
            }
            if depth == 1 && matches!(letter, '{' | ',') {
                is_first = true;
            } else if is_first && letter.is_alphabetic() {
                uses.push((word(&rest[offset..]).to_owned(), line_of(&source.text, at + offset)));
                is_first = false;
            }
        }
    }
    uses
}

#[track_caller]
fn none_of(broken: &[String], rule: &str) {
    assert!(broken.is_empty(), "{rule}:\n  {}", broken.join("\n  "));
}

#[test]
fn every_arrow_between_parts_points_down() {
    let may_use: BTreeMap<&str, &[&str]> = MAY_USE.into_iter().collect();
    let mut broken = Vec::new();
    let mut seen = BTreeSet::new();
    for source in sources("src") {
        let Some(part) = source.modules.first().map(String::as_str).filter(|part| *part != "main") else { continue };
        let Some(allowed) = may_use.get(part) else {
            broken.push(format!("{}: the part {part} has no place in MAY_USE", source.path));
            continue;
        };
        for (used, line) in uses(&source).into_iter().filter(|(used, _)| used != part) {
            if !allowed.contains(&used.as_str()) {
                broken.push(format!("{}:{line}: {part} must not use {used}", source.path));
            }
            seen.insert((part.to_owned(), used));
        }
    }
    none_of(&broken, "a part uses what is not below it");
    // What is allowed and not done would hide a new arrow.
    let idle: Vec<String> = MAY_USE
        .iter()
        .flat_map(|(part, allowed)| allowed.iter().map(move |used| ((*part).to_owned(), (*used).to_owned())))
        .filter(|arrow| !seen.contains(arrow))
        .map(|(part, used)| format!("{part} may use {used} and does not: take it out of MAY_USE"))
        .collect();
    none_of(&idle, "the table allows more than is needed");
}

#[test]
fn the_table_itself_goes_in_no_circle() {
    let mut below: BTreeSet<&str> = BTreeSet::new();
    for (part, allowed) in [
        "format",
        "chunker",
        "bits",
        "causes",
        "progress",
        "cache",
        "random",
        "storage",
        "index",
        "source",
        "archive",
        "pack",
        "catalog",
        "overlay",
        "policy",
        "repository",
        "settings",
        "compaction",
        "backup",
        "restore",
        "verify",
        "rehearsal",
        "prune",
        "repair",
        "compare",
        "view",
        "export",
        "report",
        "metrics",
        "automation",
        "cli",
    ]
    .map(|part| MAY_USE.into_iter().find(|(name, _)| *name == part).unwrap())
    {
        for used in allowed {
            assert!(below.contains(used), "{part} may use {used}, which does not stand below it");
        }
        below.insert(part);
    }
    for side_by_side in ["backup", "restore", "verify", "rehearsal", "prune", "repair", "compare", "view", "export"] {
        // What verification finds is what is mended; what is rehearsed is a restore; automation stands above all of them.
        let meant = [("repair", "verify"), ("rehearsal", "restore")];
        let users = MAY_USE.iter().filter(|(user, allowed)| {
            allowed.contains(&side_by_side) && !meant.contains(&(*user, side_by_side)) && *user != "automation"
        });
        assert_eq!(users.count(), 0, "{side_by_side} is used");
    }
}

#[test]
fn each_crate_and_call_stays_at_home() {
    let mut broken = Vec::new();
    for source in sources("src").into_iter().chain(sources("mount/src")) {
        for (text, homes) in AT_HOME {
            let is_home = homes.iter().any(|home| source.path.starts_with(home));
            let foreign = source.text.match_indices(text).filter(|(at, _)| {
                let before = source.text[..*at].chars().next_back();
                !before.is_some_and(|letter| letter.is_alphanumeric() || letter == '_')
            });
            if !is_home {
                let line = |at| line_of(&source.text, at);
                broken.extend(foreign.map(|(at, _)| format!("{}:{}: {text} is not for here", source.path, line(at))));
            }
        }
    }
    none_of(&broken, "something is used away from its home");
}

#[test]
fn decoders_and_the_chunker_do_no_input_or_output() {
    let mut broken = Vec::new();
    for source in sources("src").into_iter().filter(|source| {
        source.path.starts_with("src/format/") || source.path == "src/chunker.rs" || source.path == "src/bits.rs"
    }) {
        for (number, line) in (1..).zip(source.text.lines()) {
            // zstd reports its failures as `io::Error`, a type; `S_IFMT` and its kind are numbers; the clock is asked once.
            let harmless = [
                ("src/format/seal.rs", "-> std::io::Result<Self>"),
                ("src/format/entry.rs", "libc::S_IF"),
                ("src/format/time.rs", "rustix::time::clock_gettime"),
            ];
            if harmless.iter().any(|(path, text)| source.path == *path && line.contains(text)) {
                continue;
            }
            let does = ["std::fs", "std::io", "std::net", "std::process", "std::thread", "rustix::", "libc::"];
            if let Some(what) = does.iter().find(|what| line.contains(**what)) {
                broken.push(format!("{}:{number}: {what}", source.path));
            }
        }
    }
    none_of(&broken, "format and chunker work on bytes in memory");
}

#[test]
fn the_mount_knows_no_store() {
    let mut broken = Vec::new();
    for source in sources("mount/src") {
        for (number, line) in (1..).zip(source.text.lines()) {
            let names_us = line.replace("dbakfs_mount", "").replace("is_dbakfs_", "").contains("dbakfs::");
            let names_a_store = ["Catalog", "Pack", "Reader", "Repository", "Overlay"]
                .iter()
                .any(|noun| line.split(|letter: char| !letter.is_alphanumeric()).any(|word| word == *noun));
            if names_us || names_a_store {
                broken.push(format!("{}:{number}: {}", source.path, line.trim()));
            }
        }
    }
    none_of(&broken, "the mount crate names the store");
    let manifest: PathBuf = root().join("mount/Cargo.toml");
    let text = fs::read_to_string(manifest).unwrap();
    let depends =
        text.lines().any(|line| line.starts_with("dbakfs ") || line.starts_with("dbakfs.") || line.contains("\"..\""));
    assert!(!depends, "mount/Cargo.toml depends on the main crate:\n{text}");
}

#[test]
fn the_command_line_reaches_the_library_only_by_its_public_name() {
    let mut broken = Vec::new();
    for source in sources("src").into_iter().filter(|source| source.path.starts_with("src/cli/")) {
        for (used, line) in uses(&source) {
            broken.push(format!("{}:{line}: crate::{used}", source.path));
        }
    }
    broken.retain(|line| !line.contains("crate::cli"));
    none_of(&broken, "cli is a crate of its own in all but name");
}
