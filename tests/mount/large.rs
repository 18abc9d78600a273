//! Large files, large directories and deep trees come out whole.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;

use rustix::fs::{Mode, OFlags, mkdirat, openat};
use rustix::process::{Resource, getrlimit, setrlimit};

use crate::support::cli::Place;
use crate::support::process::limited;

/// A small generator; the same numbers at each run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    fn bytes(&mut self, len: usize) -> Vec<u8> {
        (0..len.div_ceil(8)).flat_map(|_| self.next().to_le_bytes()).take(len).collect()
    }
}

#[test]
fn random_reads_of_several_threads_equal_the_source() {
    const LEN: usize = 30_000_001;
    let place = Place::with_store();
    let mut random = Random(0x1234_5678_9abc_def1);
    // Half of it does not compress, half does.
    let mut dense = random.bytes(LEN / 2);
    dense.extend((0..LEN - LEN / 2).map(|at| u8::try_from(at / 1000 % 251).unwrap()));
    let mut sparse = vec![0; LEN];
    for at in [0, 4_096_000, 9_999_999, LEN - 100_000] {
        let island = random.bytes(100_000);
        sparse[at..at + island.len()].copy_from_slice(&island);
    }
    fs::write(place.src().join("dense"), &dense).unwrap();
    let file = File::create(place.src().join("sparse")).unwrap();
    for at in [0, 4_096_000, 9_999_999, LEN - 100_000] {
        file.write_all_at(&sparse[at..at + 100_000], at as u64).unwrap();
    }
    place.backup(&[]);
    // A second version, which shares most of its chunks with the first.
    dense[7_000_000..7_000_010].copy_from_slice(b"new bytes!");
    File::options()
        .write(true)
        .open(place.src().join("dense"))
        .unwrap()
        .write_all_at(b"new bytes!", 7_000_000)
        .unwrap();
    place.backup(&[]);
    let Some(mount) = place.mount(&["--cache", "4"]) else { return };
    std::thread::scope(|scope| {
        for thread in 0..4_u64 {
            let (dense, sparse, place) = (&dense, &sparse, &place);
            scope.spawn(move || {
                let mut random = Random(0xfeed_0000 + thread);
                let files = [("dense", dense), ("sparse", sparse)]
                    .map(|(name, bytes)| (File::open(place.shown("latest").join(name)).unwrap(), bytes));
                for _ in 0..150 {
                    let (file, bytes) = &files[usize::try_from(random.below(2)).unwrap()];
                    let from = usize::try_from(random.below(LEN as u64 + 10)).unwrap();
                    let longest = if random.below(10) == 0 { 3_000_000 } else { 70_000 };
                    let mut buffer = vec![0xee; usize::try_from(random.below(longest)).unwrap()];
                    let mut filled = 0;
                    while filled < buffer.len() {
                        match file.read_at(&mut buffer[filled..], (from + filled) as u64).unwrap() {
                            0 => break,
                            read => filled += read,
                        }
                    }
                    let wanted = &bytes[from.min(LEN)..(from + buffer.len()).min(LEN)];
                    assert!(buffer[..filled] == *wanted, "{} bytes from {from}, {filled} came", buffer.len());
                }
            });
        }
    });
    mount.end();
}

#[test]
fn directory_of_20_000_entries_is_listed_whole_and_once() {
    const COUNT: usize = 20_000;
    let place = Place::with_store();
    let crowd = place.src().join("crowd");
    fs::create_dir(&crowd).unwrap();
    for number in 0..COUNT {
        fs::write(crowd.join(format!("an entry with number {number}")), "").unwrap();
    }
    place.backup(&[]);
    // Half of the listing comes from the full, the rest is new or gone.
    for number in (0..COUNT).step_by(4) {
        fs::remove_file(crowd.join(format!("an entry with number {number}"))).unwrap();
        fs::write(crowd.join(format!("a new one with number {number}")), "").unwrap();
    }
    place.backup(&[]);
    let Some(mount) = place.mount(&[]) else { return };
    let listed = |path: std::path::PathBuf| -> Vec<std::ffi::OsString> {
        fs::read_dir(path).unwrap().map(|entry| entry.unwrap().file_name()).collect()
    };
    let source: BTreeSet<_> = listed(crowd).into_iter().collect();
    // Twice: from the store, and from whatever the kernel has kept.
    for _ in 0..2 {
        let shown = listed(place.shown("latest/crowd"));
        assert_eq!(shown.len(), COUNT);
        assert!(shown.into_iter().collect::<BTreeSet<_>>() == source);
    }
    let count = limited(
        std::process::Command::new("sh").arg("-c").arg("ls -U \"$0\" | wc -l").arg(place.shown("latest/crowd")),
    );
    assert_eq!(count.stdout.trim(), COUNT.to_string());
    mount.end();
}

#[test]
fn tree_of_2_000_levels_can_be_walked_to_its_end() {
    const LEVELS: usize = 2_000;
    // Whoever removes such a tree holds a descriptor for each level.
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit).unwrap();

    let place = Place::with_store();
    let open =
        |dir: &OwnedFd, name: &str, flags| openat(dir, name, flags | OFlags::CLOEXEC, Mode::from_raw_mode(0o644));
    let mut at: OwnedFd = File::open(place.src()).unwrap().into();
    for level in 0..LEVELS {
        let name = format!("level-{level}");
        mkdirat(&at, &name, Mode::RWXU).unwrap();
        at = open(&at, &name, OFlags::RDONLY | OFlags::DIRECTORY).unwrap();
    }
    let file = open(&at, "bottom", OFlags::CREATE | OFlags::WRONLY).unwrap();
    rustix::io::write(&file, b"the bottom").unwrap();
    place.backup(&[]);
    let Some(mount) = place.mount(&[]) else { return };
    let mut at: OwnedFd = File::open(place.shown("latest")).unwrap().into();
    for level in 0..LEVELS {
        at = open(&at, &format!("level-{level}"), OFlags::RDONLY | OFlags::DIRECTORY)
            .unwrap_or_else(|error| panic!("level {level}: {error}"));
    }
    let file = open(&at, "bottom", OFlags::RDONLY).unwrap();
    let mut bytes = [0; 100];
    let read = rustix::io::read(&file, &mut bytes).unwrap();
    assert_eq!(&bytes[..read], b"the bottom");
    drop((at, file));
    mount.end();
}
