use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt, symlink},
};

use super::*;

fn store() -> (tempfile::TempDir, Storage) {
    let dir = tempfile::tempdir().unwrap();
    let storage = Storage::open_root(dir.path()).unwrap();
    (dir, storage)
}

#[test]
fn put_file_is_read_back_listed_and_private() {
    let (dir, storage) = store();
    storage.put("packs/91/91c0.pack", b"hello", Replace::Never).unwrap();
    assert_eq!(storage.read_small("packs/91/91c0.pack", 5).unwrap(), b"hello");
    assert_eq!(storage.list("packs/91").unwrap(), [("91c0.pack".to_owned(), 5)]);
    assert_eq!(storage.list_dirs("packs").unwrap(), ["91"]);
    assert_eq!(storage.len("packs/91/91c0.pack").unwrap(), Some(5));
    assert!(!storage.exists("packs/92/91c0.pack").unwrap());
    assert_eq!(fs::metadata(dir.path().join("packs/91/91c0.pack")).unwrap().mode() & 0o7777, 0o600);
    assert_eq!(fs::metadata(dir.path().join("packs/91")).unwrap().mode() & 0o7777, 0o700);
}

#[test]
fn taken_name_is_refused_and_its_file_unharmed() {
    let (dir, storage) = store();
    storage.put("catalogs/00000001.catalog", b"first", Replace::Never).unwrap();
    let error = storage.put("catalogs/00000001.catalog", b"second", Replace::Never).unwrap_err();
    assert!(matches!(&error, StorageError::AlreadyExists { name } if name == "catalogs/00000001.catalog"));
    assert_eq!(error.to_string(), "cannot create catalogs/00000001.catalog: it exists already");
    assert_eq!(storage.read_small("catalogs/00000001.catalog", 9).unwrap(), b"first");
    assert_eq!(fs::read_dir(dir.path().join("catalogs")).unwrap().count(), 1, "the temporary is gone");
}

#[test]
fn replacing_put_replaces() {
    let (_dir, storage) = store();
    storage.put("marks.toml", b"first", Replace::Always).unwrap();
    storage.put("marks.toml", b"2", Replace::Always).unwrap();
    assert_eq!(storage.read_small("marks.toml", 9).unwrap(), b"2");
}

#[test]
fn unfinished_file_is_never_listed_and_leaves_nothing() {
    let (dir, storage) = store();
    let mut file = storage.create("packs").unwrap();
    file.write_all(&[7; 100_000]).unwrap();
    file.start_writeback().unwrap();
    file.write_all(&[7; 10]).unwrap();
    file.start_writeback().unwrap();
    assert_eq!(file.len(), 100_010);
    assert_eq!(storage.list("packs").unwrap(), []);
    assert_eq!(fs::read_dir(dir.path().join("packs")).unwrap().count(), 1);
    drop(file);
    assert_eq!(fs::read_dir(dir.path().join("packs")).unwrap().count(), 0);
}

#[test]
fn file_may_be_finished_into_a_directory_that_is_not_there_yet() {
    let (dir, storage) = store();
    let mut file = storage.create("packs").unwrap();
    file.write_all(b"block").unwrap();
    file.finish("packs/91/91c0.pack", Replace::Never).unwrap();
    assert_eq!(storage.read_small("packs/91/91c0.pack", 5).unwrap(), b"block");
    assert_eq!(fs::read_dir(dir.path().join("packs")).unwrap().count(), 1);
}

#[test]
fn stale_temporaries_are_removed_and_nothing_else() {
    let (dir, storage) = store();
    storage.put("packs/91/91c0.pack", b"x", Replace::Never).unwrap();
    fs::write(dir.path().join("packs/91/.tmp-1"), "rest").unwrap();
    fs::write(dir.path().join("packs/.tmp-2"), "rest").unwrap();
    assert_eq!(storage.remove_stale_temporaries("packs").unwrap(), 2);
    assert_eq!(fs::read_dir(dir.path().join("packs/91")).unwrap().count(), 1);
    assert!(storage.exists("packs/91/91c0.pack").unwrap());
}

#[test]
fn no_access_follows_a_symbolic_link_inside_the_store() {
    let (dir, storage) = store();
    let outside = tempfile::tempdir().unwrap();
    fs::write(outside.path().join("passwd"), "secret").unwrap();
    fs::create_dir(dir.path().join("packs")).unwrap();
    symlink(outside.path(), dir.path().join("packs/91")).unwrap();
    symlink(outside.path().join("passwd"), dir.path().join("marks.toml")).unwrap();
    assert!(storage.open("packs/91/passwd").is_err());
    assert!(storage.read_small("marks.toml", 99).is_err());
    assert!(storage.list("packs/91").is_err());
    assert!(storage.put("packs/91/new", b"x", Replace::Always).is_err());
    assert!(storage.remove("packs/91/passwd").is_err());
    assert!(storage.lock("packs/91/lock", LockKind::Exclusive, Wait::Never).is_err());
    assert!(storage.lock("marks.toml", LockKind::Exclusive, Wait::Never).is_err());
    assert_eq!(storage.list_dirs("packs").unwrap(), Vec::<String>::new());
    assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 1);
    assert_eq!(fs::read(outside.path().join("passwd")).unwrap(), b"secret");
    // Replacing the link itself is right: the name is the store's.
    storage.put("marks.toml", b"mark", Replace::Always).unwrap();
    assert_eq!(fs::read(outside.path().join("passwd")).unwrap(), b"secret");
}

#[test]
fn pipe_in_place_of_a_file_is_refused_without_waiting_for_a_writer() {
    let (dir, storage) = store();
    let fd = File::open(dir.path()).unwrap();
    rustix::fs::mkfifoat(&fd, "pipe", Mode::from_raw_mode(0o600)).unwrap();
    assert_eq!(storage.open("pipe").unwrap_err().to_string(), "cannot open pipe: it is not a regular file");
}

#[test]
fn read_past_the_end_names_the_file() {
    let (_dir, storage) = store();
    storage.put("a", b"0123456789", Replace::Never).unwrap();
    let file = storage.open("a").unwrap();
    assert_eq!(file.len(), 10);
    let mut buffer = [0; 4];
    file.read_exact_at(&mut buffer, 6).unwrap();
    assert_eq!(&buffer, b"6789");
    let error = file.read_exact_at(&mut buffer, 7).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    assert_eq!(error.to_string(), "cannot read a: it ends before byte 11");
}

#[test]
fn large_file_is_not_read_as_a_small_one() {
    let (_dir, storage) = store();
    storage.put("a", &[0; 11], Replace::Never).unwrap();
    let error = storage.read_small("a", 10).unwrap_err();
    assert!(matches!(error, StorageError::TooLarge { len_bytes: 11, limit_bytes: 10, .. }));
}

#[test]
fn exclusive_lock_keeps_others_out_until_it_is_dropped() {
    let (dir, storage) = store();
    let other = Storage::open_root(dir.path()).unwrap();
    let held = storage.lock("writer.lock", LockKind::Exclusive, Wait::Never).unwrap().unwrap();
    assert!(other.lock("writer.lock", LockKind::Exclusive, Wait::Never).unwrap().is_none());
    assert!(other.lock("writer.lock", LockKind::Shared, Wait::Never).unwrap().is_none());
    drop(held);
    let one = other.lock("writer.lock", LockKind::Shared, Wait::Never).unwrap();
    let two = storage.lock("writer.lock", LockKind::Shared, Wait::Never).unwrap();
    assert!(one.is_some() && two.is_some());
}

#[test]
fn copy_of_the_descriptor_does_not_keep_a_dropped_lock() {
    let (_dir, storage) = store();
    let held = storage.lock("lock", LockKind::Exclusive, Wait::Never).unwrap().unwrap();
    let copy = held.file().try_clone().unwrap();
    drop(held);
    assert!(storage.lock("lock", LockKind::Exclusive, Wait::Never).unwrap().is_some());
    drop(copy);
}

#[test]
fn waiting_for_a_lock_whose_file_is_replaced_ends_with_the_new_file_locked() {
    let (dir, storage) = store();
    let held = storage.lock("lock", LockKind::Exclusive, Wait::Never).unwrap().unwrap();
    let waiting = {
        let storage = storage.clone();
        std::thread::spawn(move || storage.lock("lock", LockKind::Exclusive, Wait::Forever).unwrap().unwrap())
    };
    std::thread::sleep(std::time::Duration::from_millis(50));
    fs::remove_file(dir.path().join("lock")).unwrap();
    assert!(!storage.is_current(&held).unwrap());
    drop(held);
    let lock = waiting.join().unwrap();
    assert!(storage.is_current(&lock).unwrap());
}

#[test]
fn note_in_a_lock_is_replaced_whole() {
    let (_dir, storage) = store();
    let lock = storage.lock("lock", LockKind::Exclusive, Wait::Never).unwrap().unwrap();
    lock.write_note(b"a longer note").unwrap();
    lock.write_note(b"short").unwrap();
    assert_eq!(storage.read_small("lock", 99).unwrap(), b"short");
}

#[test]
fn missing_directory_holds_nothing_and_missing_root_is_an_error() {
    let (dir, storage) = store();
    assert_eq!(storage.list("packs").unwrap(), []);
    assert_eq!(storage.list_dirs("packs").unwrap(), Vec::<String>::new());
    assert!(Storage::open_root(&dir.path().join("none")).unwrap_err().is_not_found());
}

#[test]
fn root_is_made_private_with_what_is_missing_above_it() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a/b/store");
    Storage::create_root(&path).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o700);
    Storage::create_root(&path).unwrap();
}

#[test]
fn directory_that_somebody_removed_is_made_again() {
    let (dir, storage) = store();
    storage.put("packs/91/a", b"x", Replace::Never).unwrap();
    fs::remove_dir_all(dir.path().join("packs")).unwrap();
    storage.put("packs/91/b", b"x", Replace::Never).unwrap();
    assert_eq!(storage.list("packs/91").unwrap().len(), 1);
}

#[test]
fn writable_directory_is_said_to_be_so() {
    let (_dir, storage) = store();
    storage.create_dir("leases").unwrap();
    storage.check_writable("leases").unwrap();
    assert!(storage.check_writable("none").unwrap_err().is_not_found());
}
