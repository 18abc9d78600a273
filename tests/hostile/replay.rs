//! Every input that was ever worth keeping, again.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use crate::fuzz::{TARGETS, run};

pub(crate) fn corpora() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus")
}

/// The inputs of a target, with their names, sorted.
pub(crate) fn corpus(target: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let mut inputs: Vec<_> = fs::read_dir(corpora().join(target))
        .unwrap_or_else(|error| panic!("{target} has no corpus: {error}"))
        .map(|entry| entry.unwrap().path())
        .map(|path| (path.clone(), fs::read(path).unwrap()))
        .collect();
    inputs.sort();
    inputs
}

#[test]
fn every_input_of_every_corpus_does_no_harm() {
    for target in TARGETS {
        let inputs = corpus(target.name);
        assert!(!inputs.is_empty() && target.weight > 0, "{} has no inputs, or no share of a run", target.name);
        for (path, input) in inputs {
            // What fails says in the output of the test which input it was.
            println!("{}", path.display());
            run(target.name, &input);
        }
    }
}

#[test]
fn every_target_has_a_corpus_and_a_program_and_none_is_left_over() {
    let named: BTreeSet<String> = TARGETS.iter().map(|target| target.name.to_owned()).collect();
    let listed = |directory: PathBuf| -> BTreeSet<String> {
        let entries = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
        entries.map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned()).collect()
    };
    assert_eq!(listed(corpora()), named);
    assert_eq!(listed(corpora().with_file_name("fuzz_targets")), named);
    let manifest = fs::read_to_string(corpora().with_file_name("Cargo.toml")).unwrap();
    for name in &named {
        assert!(manifest.contains(&format!("\nname = \"{name}\"\n")), "{name} is no program of fuzz/Cargo.toml");
    }
}

#[test]
fn corpora_stay_small() {
    let sizes = TARGETS.iter().flat_map(|target| corpus(target.name)).map(|(_, input)| input.len());
    let (mut count, mut bytes) = (0, 0);
    for size in sizes {
        (count, bytes) = (count + 1, bytes + size);
    }
    assert!(bytes < 1 << 20 && count < 1500, "{count} inputs of {bytes} bytes: minimise them");
}
