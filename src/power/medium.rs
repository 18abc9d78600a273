//! What a disk may hold after the power is cut: as little as POSIX promises, not as much as some file system keeps.
//!
//! Owns the rules. Refuses to know what the files are. Its invariant: what was synced is never lost; of the rest each change of a name, and each piece of
//! data, may be there or not, in any order. A file that was synced may still have no name; a rename is there wholly or not at all, but one from
//! one directory to another may leave the old name, too.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use crate::storage::recorder::{Event, Object};

/// Bytes that a disk writes at once.
const BLOCK_BYTES: usize = 512;

/// What the medium knows after a number of changes.
pub(super) struct Medium<'a> {
    directories: BTreeMap<Object, Directory<'a>>,
    files: BTreeMap<Object, File<'a>>,
}

#[derive(Default)]
struct Directory<'a> {
    durable: BTreeMap<&'a str, Object>,
    pending: Vec<Pending<'a>>,
}

#[derive(Clone, Copy)]
struct Pending<'a> {
    /// Its place in the log.
    at: usize,
    change: NameChange<'a>,
}

#[derive(Clone, Copy)]
enum NameChange<'a> {
    Gives(&'a str, Object),
    Takes(&'a str, Object),
    Moves(&'a str, &'a str, Object),
    /// The other half of a rename to this directory, which must not be there without the first.
    Leaves(&'a str, Object, Object),
}

#[derive(Default)]
struct File<'a> {
    changes: Vec<&'a Event>,
    /// So many of them are durable.
    durable: usize,
}

/// Which of the changes that were not synced are there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Survival {
    /// None.
    Nothing,
    /// All.
    Everything,
    /// All names and no data.
    Names,
    /// In each directory the last change of a name, and none before it; all data.
    Latest,
    /// Some, by this seed.
    Some(u64),
}

/// What lies on the medium, by path: a file's bytes, nothing for a directory.
pub(super) type Image = BTreeMap<String, Option<Vec<u8>>>;

impl<'a> Medium<'a> {
    /// The medium after `log`, whose places are given with the changes. Syncs that `is_dropped` names are as if they had not been made.
    pub(super) fn after(log: &'a [Event], is_dropped: &dyn Fn(usize) -> bool) -> Self {
        let mut medium = Self { directories: BTreeMap::from([(0, Directory::default())]), files: BTreeMap::new() };
        for (at, event) in log.iter().enumerate() {
            match event {
                Event::Made { at: name, object, is_directory } => {
                    if *is_directory {
                        medium.directories.insert(*object, Directory::default());
                    } else {
                        medium.files.insert(*object, File::default());
                    }
                    medium.pend(name.directory, at, NameChange::Gives(&name.name, *object));
                }
                Event::Renamed { from, to, object } if from.directory == to.directory => {
                    medium.pend(to.directory, at, NameChange::Moves(&from.name, &to.name, *object));
                }
                Event::Renamed { from, to, object } => {
                    medium.pend(to.directory, at, NameChange::Gives(&to.name, *object));
                    medium.pend(from.directory, at, NameChange::Leaves(&from.name, *object, to.directory));
                }
                Event::Linked { at: name, object } => {
                    medium.pend(name.directory, at, NameChange::Gives(&name.name, *object));
                }
                Event::Unlinked { at: name, object } => {
                    medium.pend(name.directory, at, NameChange::Takes(&name.name, *object));
                }
                Event::Written { file, .. } | Event::Cut { file, .. } => {
                    medium.files.get_mut(file).expect("a file is made first").changes.push(event);
                }
                Event::Damaged { file, .. } => {
                    let file = medium.files.get_mut(file).expect("a file is made first");
                    file.changes.push(event);
                    file.durable = file.changes.len();
                }
                Event::Synced { object, .. } if !is_dropped(at) => medium.sync(*object),
                Event::Synced { .. } => {}
            }
        }
        medium
    }

    fn pend(&mut self, directory: Object, at: usize, change: NameChange<'a>) {
        self.directories.get_mut(&directory).expect("a directory is made first").pending.push(Pending { at, change });
    }

    fn sync(&mut self, object: Object) {
        if let Some(file) = self.files.get_mut(&object) {
            file.durable = file.changes.len();
            return;
        }
        let directory = self.directories.get_mut(&object).expect("what is synced was made");
        let pending = std::mem::take(&mut directory.pending);
        for Pending { at, change } in &pending {
            // A rename is one step: with its second half the first is durable.
            if let NameChange::Leaves(_, _, to) = change {
                let to = self.directories.get_mut(to).expect("it was made");
                if let Some(found) = to.pending.iter().position(|pending| pending.at == *at) {
                    to.pending.remove(found).change.apply(&mut to.durable);
                }
            }
        }
        let directory = self.directories.get_mut(&object).expect("it was there just above");
        pending.iter().for_each(|pending| pending.change.apply(&mut directory.durable));
    }

    /// One of the states in which the medium may be found.
    pub(super) fn image(&self, survival: Survival) -> Image {
        let mut dice = Dice::new(survival);
        let mut there = BTreeSet::new();
        for (object, directory) in &self.directories {
            let from = if survival == Survival::Latest { directory.pending.len().saturating_sub(1) } else { 0 };
            let late = directory.pending.iter().skip(from);
            there.extend(late.filter(|_| dice.keeps_name()).map(|pending| (*object, pending.at)));
        }
        let mut image = Image::new();
        self.draw(0, "", &there, &mut dice, &mut image);
        image
    }

    fn draw(&self, object: Object, path: &str, there: &BTreeSet<(Object, usize)>, dice: &mut Dice, image: &mut Image) {
        let directory = &self.directories[&object];
        let mut names = directory.durable.clone();
        for Pending { at, change } in &directory.pending {
            let is_there = match change {
                NameChange::Leaves(_, _, to) => {
                    let came = there.contains(&(*to, *at));
                    let is_pending = self.directories[to].pending.iter().any(|pending| pending.at == *at);
                    there.contains(&(object, *at)) && (came || !is_pending)
                }
                _ => there.contains(&(object, *at)),
            };
            if is_there {
                change.apply(&mut names);
            }
        }
        for (name, object) in names {
            let path = if path.is_empty() { name.to_owned() } else { format!("{path}/{name}") };
            if self.directories.contains_key(&object) {
                image.insert(path.clone(), None);
                self.draw(object, &path, there, dice, image);
            } else {
                image.insert(path, Some(self.files[&object].bytes(dice)));
            }
        }
    }
}

impl<'a> NameChange<'a> {
    fn apply(self, names: &mut BTreeMap<&'a str, Object>) {
        let mut take = |name, object| {
            if names.get(name) == Some(&object) {
                names.remove(name);
            }
        };
        match self {
            Self::Takes(name, object) | Self::Leaves(name, object, _) => take(name, object),
            Self::Gives(name, object) => _ = names.insert(name, object),
            Self::Moves(from, to, object) => {
                take(from, object);
                names.insert(to, object);
            }
        }
    }
}

impl File<'_> {
    fn bytes(&self, dice: &mut Dice) -> Vec<u8> {
        let old = written(&self.changes[..self.durable]);
        if self.durable == self.changes.len() {
            return old;
        }
        let new = written(&self.changes);
        match dice.data() {
            Fate::Old => old,
            Fate::New => new,
            Fate::Begun(part) => {
                let least = old.len().min(new.len());
                let most = new.len() - least;
                new[..least + usize::try_from(part % (most as u64 + 1)).unwrap()].to_vec()
            }
            Fate::Patches => {
                let mut patched = new;
                for (block, bytes) in patched.chunks_mut(BLOCK_BYTES).enumerate() {
                    if dice.keeps_name() {
                        continue;
                    }
                    for (at, byte) in bytes.iter_mut().enumerate() {
                        *byte = old.get(block * BLOCK_BYTES + at).copied().unwrap_or(0);
                    }
                }
                patched
            }
        }
    }
}

fn written(changes: &[&Event]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for change in changes {
        match change {
            Event::Written { at, bytes: more, .. } => {
                let (at, len) = (usize::try_from(*at).unwrap(), bytes.len());
                bytes.resize(len.max(at + more.len()), 0);
                bytes[at..at + more.len()].copy_from_slice(more);
            }
            Event::Cut { len, .. } => bytes.resize(usize::try_from(*len).unwrap(), 0),
            Event::Damaged { bytes: other, .. } => bytes.clone_from(other),
            _ => unreachable!("only writing changes a file"),
        }
    }
    bytes
}

/// What becomes of data that was not synced.
enum Fate {
    Old,
    New,
    /// A first part of it, by this number.
    Begun(u64),
    /// Some blocks of it.
    Patches,
}

struct Dice {
    survival: Survival,
    state: u64,
    /// Of 8 names so many survive.
    share: u64,
}

impl Dice {
    fn new(survival: Survival) -> Self {
        let state = if let Survival::Some(seed) = survival { seed } else { 0 };
        let mut dice = Self { survival, state, share: 0 };
        dice.share = 1 + dice.roll() % 7;
        dice
    }

    /// splitmix64: short, and the same everywhere.
    fn roll(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn keeps_name(&mut self) -> bool {
        match self.survival {
            Survival::Nothing => false,
            Survival::Everything | Survival::Names | Survival::Latest => true,
            Survival::Some(_) => self.roll() % 8 < self.share,
        }
    }

    fn data(&mut self) -> Fate {
        match self.survival {
            Survival::Nothing | Survival::Names => Fate::Old,
            Survival::Everything | Survival::Latest => Fate::New,
            Survival::Some(_) => match self.roll() % 4 {
                0 => Fate::Old,
                1 => Fate::New,
                2 => Fate::Begun(self.roll()),
                _ => Fate::Patches,
            },
        }
    }
}

/// Writes an image out below `root`.
pub(super) fn write(image: &Image, root: &Path) {
    for (path, bytes) in image {
        let path = root.join(path);
        match bytes {
            None => fs::DirBuilder::new().mode(0o700).create(path).unwrap(),
            Some(bytes) => {
                let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).unwrap();
                std::io::Write::write_all(&mut file, bytes).unwrap();
            }
        }
    }
}
