//! What the walk tells of trees that hold still: order, verdicts, what is left out.

mod hostile;

use std::fs::File;
use std::os::unix::fs::{MetadataExt, symlink};
use std::os::unix::net::UnixListener;

use proptest::prelude::*;

use super::*;

/// What the walk of a small tree said, directory by directory: its path and its entries' names.
type Told = Vec<(String, Vec<String>)>;

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn start(root: &Path) -> Walk {
    Walk::start(root, Options::default()).unwrap()
}

fn told(walk: Walk) -> Told {
    let mut told = Told::new();
    let mut open = false;
    for listing in walk {
        assert!(listing.error.is_none(), "{}: {:?}", listing.dir.path().display(), listing.error);
        let path = text(&listing.dir.place().relative());
        if !open {
            told.push((path.clone(), Vec::new()));
        }
        let (current, names) = told.last_mut().unwrap();
        assert_eq!(*current, path, "one directory's listings follow each other");
        names.extend(listing.entries.iter().map(|found| text(listing.name(found))));
        open = !listing.last;
    }
    assert!(!open, "the last directory ends with `last`");
    told
}

fn verdict(listing: &Listing, name: &str) -> Descend {
    listing.entries.iter().find(|found| listing.name(found) == name.as_bytes()).unwrap().descend
}

/// The tree as a plain recursion would tell it.
fn model(root: &Path, relative: &str, out: &mut Told) {
    let mut entries: Vec<_> = std::fs::read_dir(root.join(relative)).unwrap().map(Result::unwrap).collect();
    entries.sort_by_key(std::fs::DirEntry::file_name);
    let names = entries.iter().map(|entry| text(entry.file_name().as_bytes())).collect();
    out.push((relative.to_owned(), names));
    for entry in entries.iter().filter(|entry| entry.file_type().unwrap().is_dir()) {
        let name = text(entry.file_name().as_bytes());
        model(root, &if relative.is_empty() { name } else { format!("{relative}/{name}") }, out);
    }
}

fn make(root: &Path, paths: &[&str]) {
    for path in paths {
        let full = root.join(path);
        if path.ends_with('/') {
            std::fs::create_dir_all(full).unwrap();
        } else {
            std::fs::create_dir_all(full.parent().unwrap()).unwrap();
            std::fs::write(full, path).unwrap();
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn random_trees_are_told_in_preorder(
        paths in prop::collection::vec((prop::collection::vec("[ab.-]{1,3}", 1..6), any::<bool>()), 0..40)
    ) {
        let temp = tempfile::tempdir().unwrap();
        for (components, is_dir) in paths {
            let components: Vec<String> =
                components.into_iter().map(|part| if part.trim_matches('.').is_empty() { "z".into() } else { part }).collect();
            let path = temp.path().join(components.join("/"));
            // A path may run into a file that an earlier one made: then the tree simply has less.
            if is_dir {
                let _ = std::fs::create_dir_all(path);
            } else if std::fs::create_dir_all(path.parent().unwrap()).is_ok() {
                let _ = std::fs::write(path, b"");
            }
        }
        let mut expected = Told::new();
        model(temp.path(), "", &mut expected);
        prop_assert_eq!(&told(start(temp.path())), &expected);
        let read_ahead = Some(ReadAhead { most_bytes: 100, since: None });
        let reading = Walk::start(temp.path(), Options { read_ahead, ..Options::default() }).unwrap();
        prop_assert_eq!(told(reading), expected, "in the same order if files are read ahead");
    }
}

#[test]
fn stat_and_kind_of_each_entry_are_told() {
    let temp = tempfile::tempdir().unwrap();
    make(temp.path(), &["dir/", "file"]);
    symlink("dir", temp.path().join("link")).unwrap();
    let _socket = UnixListener::bind(temp.path().join("socket")).unwrap();
    let listing = start(temp.path()).next().unwrap();
    let kinds: Vec<Kind> = listing.entries.iter().map(|found| found.stat.unwrap().meta.kind).collect();
    assert_eq!(kinds, [Kind::Directory, Kind::File, Kind::Symlink, Kind::Socket]);
    let file = listing.entries[1].stat.unwrap();
    assert_eq!((file.meta.size, file.ino), (4, temp.path().join("file").metadata().unwrap().ino()));
    assert!(listing.taken_at.secs >= file.meta.mtime.secs);
}

#[test]
fn large_directory_comes_in_batches_in_order() {
    let temp = tempfile::tempdir().unwrap();
    for number in 0..1_500 {
        File::create(temp.path().join(format!("{}-{number}", number % 7))).unwrap();
    }
    std::fs::create_dir(temp.path().join("3-sub")).unwrap();
    let listings: Vec<Listing> = start(temp.path()).collect();
    let shape: Vec<_> = listings.iter().map(|listing| (listing.entries.len(), listing.last)).collect();
    assert_eq!(shape, [(1_024, false), (477, true), (0, true)]);
    let names: Vec<&[u8]> = listings.iter().flat_map(|l| l.entries.iter().map(|found| l.name(found))).collect();
    assert!(names.is_sorted_by(|a, b| a < b));
}

#[test]
fn directory_of_exactly_one_batch_ends_with_it() {
    let temp = tempfile::tempdir().unwrap();
    for number in 0..BATCH_ENTRIES {
        File::create(temp.path().join(number.to_string())).unwrap();
    }
    let shape: Vec<_> = start(temp.path()).map(|listing| (listing.entries.len(), listing.last)).collect();
    assert_eq!(shape, [(BATCH_ENTRIES, true)]);
}

#[test]
fn symlink_loops_are_not_followed() {
    let temp = tempfile::tempdir().unwrap();
    make(temp.path(), &["a/b/"]);
    symlink("..", temp.path().join("a/b/up")).unwrap();
    symlink(temp.path(), temp.path().join("a/root")).unwrap();
    let told = told(start(temp.path()));
    let dirs: Vec<&str> = told.iter().map(|(dir, _)| dir.as_str()).collect();
    assert_eq!(dirs, ["", "a", "a/b"]);
}

#[test]
fn source_given_as_a_link_is_followed() {
    let temp = tempfile::tempdir().unwrap();
    make(temp.path(), &["real/x"]);
    symlink("real", temp.path().join("link")).unwrap();
    let walk = start(&temp.path().join("link"));
    assert_eq!(walk.root().path, temp.path().canonicalize().unwrap().join("real"));
    assert_eq!(told(walk), [(String::new(), vec!["x".to_owned()])]);
}

#[test]
fn single_file_is_a_tree_of_one_entry() {
    let temp = tempfile::tempdir().unwrap();
    make(temp.path(), &["a", "b", "c/"]);
    let mut exclude = Exclude::builder();
    let exclude = exclude.pattern("b".as_ref()).unwrap().finish().unwrap();
    let walk = Walk::start(&temp.path().join("b"), Options { exclude, ..Options::default() }).unwrap();
    assert_eq!(walk.root().only.as_deref(), Some(&b"b"[..]));
    assert_eq!(walk.root().dir.path(), temp.path().canonicalize().unwrap());
    assert_eq!(told(walk), [(String::new(), vec!["b".to_owned()])]);
}

#[test]
fn source_that_is_no_tree_is_refused() {
    assert!(matches!(Walk::start(Path::new("/dev/null"), Options::default()), Err(StartError::Kind { .. })));
    let missing = Walk::start(Path::new("/nowhere/at/all"), Options::default()).unwrap_err();
    assert_eq!(missing.to_string(), "cannot open the source /nowhere/at/all");
}

#[test]
fn excluded_entries_are_not_told_and_not_entered() {
    let temp = tempfile::tempdir().unwrap();
    make(temp.path(), &["a.o", "keep.o", "target/x", "sub/target/y", "sub/a.o", "sub/b", "logs"]);
    let mut exclude = Exclude::builder();
    for pattern in ["*.o", "!keep.o", "/target", "logs/"] {
        exclude.pattern(pattern.as_ref()).unwrap();
    }
    let options = Options { exclude: exclude.finish().unwrap(), ..Options::default() };
    let told = told(Walk::start(temp.path(), options).unwrap());
    let expected = [("", &["keep.o", "logs", "sub"][..]), ("sub", &["b", "target"]), ("sub/target", &["y"])];
    assert_eq!(told, expected.map(|(dir, names)| (dir.to_owned(), names.iter().map(ToString::to_string).collect())));
}

#[test]
fn tagged_cache_keeps_only_its_tag() {
    let temp = tempfile::tempdir().unwrap();
    make(temp.path(), &["cache/deep/x", "cache/y", "fake/CACHEDIR.TAG", "fake/kept"]);
    let tag = b"Signature: 8a477f597d28d172789f06886806bc55\n# made by a test\n";
    std::fs::write(temp.path().join("cache/CACHEDIR.TAG"), tag).unwrap();
    let options = Options { exclude_caches: true, ..Options::default() };
    let walk: Vec<Listing> = Walk::start(temp.path(), options).unwrap().collect();
    let said: Vec<_> = walk.iter().map(|listing| (listing.entries.len(), listing.cache)).collect();
    assert_eq!(said, [(2, false), (1, true), (2, false)]);
    assert_eq!(walk[1].name(&walk[1].entries[0]), b"CACHEDIR.TAG");
    assert_eq!(told(start(temp.path())).len(), 4, "without the option a cache is like any other directory");
}

#[test]
fn stores_are_told_and_not_entered_unless_they_are_the_source() {
    let temp = tempfile::tempdir().unwrap();
    make(temp.path(), &["in-use/x", "other/store.toml", "other/packs/00/", "other/catalogs/", "almost/store.toml"]);
    make(temp.path(), &["almost/packs/"]);
    let in_use = temp.path().join("in-use").metadata().unwrap();
    let never_enter = vec![FileId { dev: in_use.dev(), ino: in_use.ino() }];
    let options = Options { never_enter, ..Options::default() };
    let listings: Vec<Listing> = Walk::start(temp.path(), options.clone()).unwrap().collect();
    assert_eq!(verdict(&listings[0], "in-use"), Descend::Store);
    assert_eq!(verdict(&listings[0], "other"), Descend::Store);
    assert_eq!(verdict(&listings[0], "almost"), Descend::Yes);
    assert_eq!(listings.len(), 3, "the root, almost and almost/packs");
    for store in ["other", "in-use"] {
        let listing = Walk::start(&temp.path().join(store), options.clone()).unwrap().next().unwrap();
        assert!(!listing.entries.is_empty());
    }
}

#[test]
fn other_file_systems_are_entered_only_if_wanted() {
    let dev = Path::new("/dev").metadata().unwrap().dev();
    if Path::new("/").metadata().unwrap().dev() == dev {
        eprintln!("/dev lies on the root's file system: not tested");
        return;
    }
    for (one_file_system, expected) in [(true, Descend::OtherFilesystem), (false, Descend::Yes)] {
        let options = Options { one_file_system, ..Options::default() };
        let listing = Walk::start(Path::new("/"), options).unwrap().next().unwrap();
        assert_eq!(verdict(&listing, "dev"), expected);
    }
}
