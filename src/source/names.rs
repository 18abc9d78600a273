//! The names in one directory, sorted, in as little memory as they need.
//!
//! Owns reading a directory's names and their order. Refuses to look at the entries themselves. Its invariant: names
//! come out strictly ascending bytewise, without `.` and `..`, each once, and none is allocated by itself: a directory
//! of a million files holds one arena and 24 bytes a name.

use std::cmp::Ordering;
use std::ffi::CStr;
use std::mem::MaybeUninit;
use std::os::fd::BorrowedFd;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use rustix::fs::{FileType, RawDir};
use rustix::io::Errno;

use crate::format::record::MAX_NAME_BYTES;

/// Memory that stays allocated for the next directory, in bytes; what a huge directory needed beyond it is given back.
const KEPT_BYTES: usize = 1 << 20;

/// The sorted names of one directory; reused from one to the next.
#[derive(Debug, Default)]
pub(super) struct Names {
    /// The names, each followed by a NUL.
    bytes: Vec<u8>,
    index: Vec<Name>,
    too_long: usize,
}

#[derive(Clone, Copy, Debug)]
struct Name {
    /// The first eight bytes as a number, so that most comparisons stay out of the arena.
    prefix: u64,
    start: usize,
    len: u16,
    is_dir: Option<bool>,
}

impl Names {
    /// Replaces the names by those of `dir`, read through `buffer`.
    ///
    /// # Errors
    /// What `getdents` says; the names read until then are kept. Ends early, without an error, if `cancel` is set.
    pub(super) fn read(
        &mut self,
        dir: BorrowedFd<'_>,
        buffer: &mut [MaybeUninit<u8>],
        cancel: &AtomicBool,
    ) -> Result<(), Errno> {
        self.clear();
        let mut entries = RawDir::new(dir, buffer);
        let mut outcome = Ok(());
        while let Some(entry) = entries.next() {
            match entry {
                Ok(entry) => {
                    let is_dir = match entry.file_type() {
                        FileType::Directory => Some(true),
                        FileType::Unknown => None,
                        _ => Some(false),
                    };
                    if !matches!(entry.file_name().to_bytes(), b"." | b"..") {
                        self.push(entry.file_name(), is_dir);
                    }
                }
                Err(Errno::INTR) => {}
                Err(errno) => {
                    outcome = Err(errno);
                    break;
                }
            }
            if cancel.load(Relaxed) {
                break;
            }
        }
        self.sort();
        outcome
    }

    /// Replaces the names by a single one.
    pub(super) fn set_only(&mut self, name: &CStr) {
        self.clear();
        self.push(name, None);
    }

    /// How many names there are.
    pub(super) const fn len(&self) -> usize {
        self.index.len()
    }

    /// The name at `position`, and whether it is a directory, where the directory itself says so.
    pub(super) fn get(&self, position: usize) -> (&CStr, Option<bool>) {
        let name = &self.index[position];
        let bytes = &self.bytes[name.start..=name.start + usize::from(name.len)];
        (CStr::from_bytes_with_nul(bytes).expect("the arena keeps the NUL after each name"), name.is_dir)
    }

    /// Whether `name` is among the names.
    /// How many names there were that no directory of Linux's own may hold, and that nobody could restore: some foreign file systems have them.
    pub(super) const fn too_long(&self) -> usize {
        self.too_long
    }

    pub(super) fn contains(&self, name: &[u8]) -> bool {
        let sought = prefix(name);
        self.index
            .binary_search_by(|known| known.prefix.cmp(&sought).then_with(|| self.bytes_of(known).cmp(name)))
            .is_ok()
    }

    fn clear(&mut self) {
        self.bytes.clear();
        self.bytes.shrink_to(KEPT_BYTES);
        self.too_long = 0;
        self.index.clear();
        self.index.shrink_to(KEPT_BYTES / size_of::<Name>());
    }

    fn push(&mut self, name: &CStr, is_dir: Option<bool>) {
        let bytes = name.to_bytes();
        let Some(len) = u16::try_from(bytes.len()).ok().filter(|len| usize::from(*len) <= MAX_NAME_BYTES) else {
            self.too_long += 1;
            return;
        };
        self.index.push(Name { prefix: prefix(bytes), start: self.bytes.len(), len, is_dir });
        self.bytes.extend_from_slice(name.to_bytes_with_nul());
    }

    fn sort(&mut self) {
        let Self { bytes, index, .. } = self;
        let of = |name: &Name| &bytes[name.start..name.start + usize::from(name.len)];
        index.sort_unstable_by(|a, b| match a.prefix.cmp(&b.prefix) {
            Ordering::Equal => of(a).cmp(of(b)),
            decided => decided,
        });
        // A directory that changes while it is listed may hand out a name twice.
        index.dedup_by(|a, b| of(a) == of(b));
    }

    fn bytes_of(&self, name: &Name) -> &[u8] {
        &self.bytes[name.start..name.start + usize::from(name.len)]
    }
}

fn prefix(name: &[u8]) -> u64 {
    let mut bytes = [0; 8];
    let len = name.len().min(8);
    bytes[..len].copy_from_slice(&name[..len]);
    u64::from_be_bytes(bytes)
}

#[cfg(test)]
mod tests {
    use std::ffi::CString;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn names_come_out_sorted_bytewise_and_once(
            mut names in prop::collection::vec(prop::collection::vec(1_u8..=255, 1..12), 0..60)
        ) {
            let mut sorted = Names::default();
            for name in &names {
                sorted.push(&CString::new(name.clone()).unwrap(), None);
            }
            sorted.sort();
            names.sort();
            names.dedup();
            let out: Vec<Vec<u8>> = (0..sorted.len()).map(|at| sorted.get(at).0.to_bytes().to_vec()).collect();
            prop_assert_eq!(&out, &names);
            for name in &names {
                prop_assert!(sorted.contains(name));
            }
            prop_assert!(!sorted.contains(b"a name that is longer than twelve"));
        }
    }

    #[test]
    fn memory_of_a_huge_directory_is_given_back() {
        let mut names = Names::default();
        for number in 0..200_000 {
            names.push(&CString::new(format!("a rather long name {number}")).unwrap(), None);
        }
        names.clear();
        assert!(names.bytes.capacity() <= KEPT_BYTES && names.index.capacity() * size_of::<Name>() <= KEPT_BYTES);
    }
}
