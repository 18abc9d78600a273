//! What the commands say of points, in the words of tests, and a source that remembers how it looked at each of them.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use serde_json::Value;

use super::cli::{Place, Ran};
use super::tree::{Tree, compare, look};

impl Place {
    /// Backs up `src` with `--json` and further arguments, however that ends.
    pub(crate) fn try_backup(&self, more: &[&str]) -> Ran {
        let mut args = vec!["backup", "src", "--json"];
        args.extend(more);
        self.run(args)
    }

    /// Every point of the store.
    #[track_caller]
    pub(crate) fn points(&self) -> Vec<Value> {
        self.run(["list", "--json"]).exits(0).json()
    }

    /// Every name at and below `point`, with its status.
    #[track_caller]
    pub(crate) fn statuses(&self, point: &str) -> BTreeMap<String, String> {
        let ran = self.run(["ls", "--json", "--recursive", point]).exits(0);
        let text = |value: &Value, key: &str| value[key].as_str().unwrap().to_owned();
        ran.json().iter().map(|entry| (text(entry, "path"), text(entry, "status"))).collect()
    }

    /// `path status` of every name that the point lists as other than in its base.
    #[track_caller]
    pub(crate) fn differing(&self, point: &str) -> Vec<String> {
        let all = self.statuses(point).into_iter();
        all.filter(|(_, status)| status != "unchanged").map(|(path, status)| format!("{path} {status}")).collect()
    }

    /// The packs of the store.
    pub(crate) fn packs(&self) -> Vec<PathBuf> {
        let mut packs = Vec::new();
        for directory in fs::read_dir(self.store().join("packs")).unwrap() {
            // What is no directory is a pack that is not finished.
            let Ok(files) = fs::read_dir(directory.unwrap().path()) else { continue };
            packs.extend(files.map(|file| file.unwrap().path()));
        }
        packs.sort();
        packs
    }

    /// The files below the store that only a writer at work may have.
    pub(crate) fn temporaries(&self) -> Vec<PathBuf> {
        let known = |path: &PathBuf| {
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            [".pack", ".catalog", ".toml", ".toml.copy", ".lock"].iter().any(|suffix| name.ends_with(suffix))
        };
        let in_index = |path: &PathBuf| path.starts_with(self.store().join("index"));
        let files = super::cli::snapshot(&self.store()).into_iter().map(|(path, _)| path);
        files.filter(|path| !path.is_dir() && !in_index(path) && !known(path)).collect()
    }
}

/// The counts of new, updated and deleted entries of a backup's `--json`.
pub(crate) fn changes(done: &Value) -> [u64; 3] {
    ["new", "updated", "deleted"].map(|key| done["counts"][key].as_u64().unwrap())
}

/// A count of a backup's `--json`.
pub(crate) fn count(done: &Value, key: &str) -> u64 {
    done["counts"][key].as_u64().unwrap()
}

/// How a source looked at each of its points.
#[derive(Default)]
pub(crate) struct History {
    seen: Vec<(String, Tree)>,
}

impl History {
    /// Backs up `src` and remembers how it looks; the backup must make a point.
    #[track_caller]
    pub(crate) fn backup(&mut self, place: &Place, more: &[&str]) -> Value {
        let done = place.backup(more);
        assert_eq!(done["outcome"], "made", "{done}");
        self.seen.push((done["point"].as_str().unwrap().to_owned(), look(&place.src())));
        done
    }

    /// Forgets how the source looked before the last `keep` points.
    pub(crate) fn keep_last(&mut self, keep: usize) {
        self.seen.drain(..self.seen.len() - keep);
    }

    /// Mounts the store and checks that each point is what the source was; says so loudly where there is no FUSE.
    #[track_caller]
    pub(crate) fn check(&self, place: &Place) {
        let Some(mount) = place.mount(&[]) else { return };
        for (point, original) in &self.seen {
            same(point, original, &look(&place.mnt().join(point)));
        }
        mount.end();
    }
}

/// Checks that two trees are the same in all that a backup keeps, counts of links included.
#[track_caller]
pub(crate) fn same(what: &str, original: &Tree, copy: &Tree) {
    for (claim, holds) in compare(original, copy) {
        assert!(holds, "{what}: {claim}");
    }
    for (path, entry) in original {
        assert_eq!(copy[path].nlink, entry.nlink, "{what}: links of {}", String::from_utf8_lossy(path));
    }
}

/// Bytes that no compressor shrinks; another `seed`, other bytes.
pub(crate) fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut bytes);
    bytes
}

/// Three points: a full tagged `one`, and two differentials, the second tagged `three`. Their times differ.
pub(crate) fn shelf() -> (Place, Vec<String>) {
    let place = Place::with_store();
    fs::create_dir_all(place.src().join("dir/below")).unwrap();
    for name in ["kept", "changed", "gone", "dir/below/deep", "touched"] {
        fs::write(place.src().join(name), format!("{name} one")).unwrap();
    }
    let mut points = vec![place.backup(&["--tag", "one"])];
    fs::write(place.src().join("changed"), "changed two").unwrap();
    points.push(place.backup(&[]));
    fs::write(place.src().join("changed"), "changed three").unwrap();
    fs::remove_file(place.src().join("gone")).unwrap();
    fs::write(place.src().join("dir/come"), "come three").unwrap();
    let old = fs::FileTimes::new().set_modified(std::time::UNIX_EPOCH);
    fs::File::options().write(true).open(place.src().join("touched")).unwrap().set_times(old).unwrap();
    points.push(place.backup(&["--tag", "three"]));
    let points = points.iter().map(|made| made["point"].as_str().unwrap().to_owned()).collect();
    (place, points)
}
