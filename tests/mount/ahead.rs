//! What lies beside something that was read is in the page cache before it is asked for, and is what it should be.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::time::Duration;

use crate::counts::Logged;
use crate::support::cli::Place;

/// Time for what is pushed to arrive. It is a favour of a thread that may be late: whoever counts has some tries.
const ARRIVES: Duration = Duration::from_millis(300);

/// Runs `act` on fresh mounts until it took no more than `most` messages for data.
fn takes_at_most(place: &Place, most: u64, act: impl Fn()) -> bool {
    let mut took = Vec::new();
    for _ in 0..5 {
        let Some(mount) = Logged::mount(place, &[]) else { return true };
        let before = mount.counts()["read"];
        act();
        took.push(mount.counts()["read"] - before);
        mount.guard.end();
        if took.last().is_some_and(|took| *took <= most) {
            return true;
        }
    }
    eprintln!("messages for data: {took:?}");
    false
}

#[test]
fn small_files_of_a_directory_that_was_listed_come_with_the_first() {
    let place = Place::with_store();
    let sub = place.src().join("sub");
    fs::create_dir(&sub).unwrap();
    // Some lie in the catalog, some in one block, one in a block of large files.
    let content = |number: usize| format!("{number:03} ").repeat([3, 700, 9_000, 40_000][number % 4]);
    for number in 0..20 {
        fs::write(sub.join(format!("{number:03}")), content(number)).unwrap();
    }
    place.backup(&[]);
    let spared = takes_at_most(&place, 4, || {
        let shown = place.shown("latest/sub");
        let names: Vec<_> = fs::read_dir(&shown).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names.len(), 20);
        assert_eq!(fs::read_to_string(shown.join("000")).unwrap(), content(0));
        std::thread::sleep(ARRIVES);
        for number in 1..20 {
            assert_eq!(fs::read_to_string(shown.join(format!("{number:03}"))).unwrap(), content(number));
        }
    });
    assert!(spared, "each file was asked for");
}

#[test]
fn pages_around_a_random_read_come_with_it_and_so_does_a_hole() {
    const RUN: usize = 200_000;
    let place = Place::with_store();
    let mut bytes = vec![0; 3_000_000];
    for (at, byte) in bytes[..RUN].iter_mut().enumerate() {
        *byte = u8::try_from(at * at / 7 % 251).unwrap();
    }
    let file = File::create(place.src().join("image")).unwrap();
    file.write_all_at(&bytes[..RUN], 0).unwrap();
    file.set_len(3_000_000).unwrap();
    place.backup(&[]);
    let spared = takes_at_most(&place, 40, || {
        let file = File::open(place.shown("latest/image")).unwrap();
        rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::Random).unwrap();
        let mut page = [0; 4096];
        let mut read = |number: usize| {
            file.read_exact_at(&mut page, number as u64 * 4096).unwrap();
            assert_eq!(page, bytes[number * 4096..][..4096], "page {number}");
        };
        for first in [10, 300, 500, 650] {
            read(first);
        }
        std::thread::sleep(ARRIVES);
        (0..732).rev().for_each(read);
    });
    assert!(spared, "each page was asked for");
}
