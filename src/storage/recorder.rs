//! Watches every change of the medium below one directory, and can make the disk fail from then on as if the process had been killed. Tests only.
//!
//! Owns the log. Refuses to know what a power cut does with it. Its invariant: the log has the order in which the changes were made, since each is made while the log is locked.

use std::{
    collections::HashMap,
    fs::File,
    os::unix::fs::MetadataExt,
    path::Path,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread::{self, ThreadId},
};

use rustix::{
    fd::AsFd,
    fs::{AtFlags, fstat, statat},
    io::Errno,
};

use super::{
    beneath::split,
    disk::{Change, Place},
    new_file::TEMPORARY_PREFIX,
};
use crate::format::layout;

/// A file or a directory, by the order in which it was first seen. The directory that is watched is 0.
pub(crate) type Object = usize;

/// A name in a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Name {
    pub(crate) directory: Object,
    pub(crate) name: String,
}

/// One change of the medium.
#[derive(Clone, Debug)]
pub(crate) enum Event {
    /// A new file or directory, with its name.
    Made { at: Name, object: Object, is_directory: bool },
    /// A file that lay at one name lies at another, in one step.
    Renamed { from: Name, to: Name, object: Object },
    /// A file has one more name.
    Linked { at: Name, object: Object },
    /// A name is gone.
    Unlinked { at: Name, object: Object },
    /// Bytes were written into a file.
    Written { file: Object, at: u64, bytes: Vec<u8> },
    /// A file was given a length.
    Cut { file: Object, len: u64 },
    /// The medium itself gave a file other bytes, and these stay.
    Damaged { file: Object, bytes: Vec<u8> },
    /// A file, or the names in a directory, were made durable: the site.
    Synced { object: Object, what: String },
}

/// The log of what happens below one directory.
#[derive(Debug)]
pub(crate) struct Recorder {
    recording: Arc<Mutex<Recording>>,
}

#[derive(Debug, Default)]
struct Recording {
    log: Vec<Event>,
    ids: HashMap<(u64, u64), Object>,
    objects: Vec<Known>,
    entries: HashMap<(Object, String), Object>,
    /// The disk fails from the sync that this names on.
    fails_before: Option<String>,
    has_failed: bool,
    /// Which change of a directory's names each thread made last: what its next sync of that directory is for.
    last: HashMap<(ThreadId, Object), String>,
}

#[derive(Debug, Default)]
struct Known {
    /// Relative to the watched directory.
    path: String,
    len: u64,
    /// The last sync, which gets its name from that of the file.
    synced: Option<usize>,
}

static WATCHING: Mutex<Vec<Arc<Mutex<Recording>>>> = Mutex::new(Vec::new());
static COUNT: AtomicUsize = AtomicUsize::new(0);

impl Recorder {
    /// Watches the directory at `path`, which is empty, until it is dropped.
    pub(crate) fn watch(path: &Path) -> Self {
        let stat = std::fs::metadata(path).unwrap();
        let mut recording = Recording::default();
        recording.enter((stat.dev(), stat.ino()), String::new());
        let recording = Arc::new(Mutex::new(recording));
        locked(&WATCHING).push(Arc::clone(&recording));
        COUNT.fetch_add(1, Ordering::SeqCst);
        Self { recording }
    }

    /// How many changes there were.
    pub(crate) fn len(&self) -> usize {
        locked(&self.recording).log.len()
    }

    /// The changes.
    pub(crate) fn log(&self) -> Vec<Event> {
        locked(&self.recording).log.clone()
    }

    /// Lets every change fail from the first sync of the site `before` on, as for a process that is killed there; `None`: no more.
    pub(crate) fn fail_before(&self, before: Option<&str>) {
        let mut recording = locked(&self.recording);
        recording.fails_before = before.map(str::to_owned);
        recording.has_failed = false;
        // What a killed process was about to sync, nobody remembers.
        recording.last.clear();
    }

    /// Lets the file at `path` go bad: from now on it has these bytes, and they need no sync.
    pub(crate) fn damage(&self, path: &Path, bytes: Vec<u8>) {
        std::fs::write(path, &bytes).unwrap();
        let mut recording = locked(&self.recording);
        let file =
            recording.open(File::open(path).unwrap()).expect("what is damaged was made below the watched directory");
        recording.objects[file].len = bytes.len() as u64;
        recording.log.push(Event::Damaged { file, bytes });
    }

    /// Whether that sync was met.
    pub(crate) fn has_failed(&self) -> bool {
        locked(&self.recording).has_failed
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        locked(&WATCHING).retain(|recording| !Arc::ptr_eq(recording, &self.recording));
        COUNT.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Makes a change, and notes it where somebody watches.
pub(super) fn watched<T, E: From<Errno> + PartialEqErrno>(
    change: Change<'_>,
    call: impl FnOnce() -> Result<T, E>,
) -> Result<T, E> {
    if COUNT.load(Ordering::SeqCst) == 0 {
        return call();
    }
    let watching = locked(&WATCHING).clone();
    let Some(recording) = watching.iter().find(|recording| locked(recording).knows(change).is_some()) else {
        return call();
    };
    let mut recording = locked(recording);
    if let (Change::Sync(fd), Some(before)) = (change, &recording.fails_before) {
        recording.has_failed |= recording.open(fd).is_some_and(|object| recording.site(object) == *before);
    }
    if recording.has_failed {
        return Err(Errno::IO.into());
    }
    let answer = call();
    match &answer {
        Ok(_) => recording.note(change),
        Err(error) if error.is(Errno::EXIST) => recording.met(change),
        Err(_) => {}
    }
    answer
}

/// Errors that may be one of the system's.
pub(super) trait PartialEqErrno {
    fn is(&self, errno: Errno) -> bool;
}

impl PartialEqErrno for Errno {
    fn is(&self, errno: Errno) -> bool {
        *self == errno
    }
}

impl PartialEqErrno for std::io::Error {
    fn is(&self, errno: Errno) -> bool {
        self.raw_os_error() == Some(errno.raw_os_error())
    }
}

impl Recording {
    fn enter(&mut self, id: (u64, u64), path: String) -> Object {
        self.objects.push(Known { path, ..Known::default() });
        self.ids.insert(id, self.objects.len() - 1);
        self.objects.len() - 1
    }

    fn open(&self, fd: impl AsFd) -> Option<Object> {
        let stat = fstat(fd).ok()?;
        self.ids.get(&(stat.st_dev, stat.st_ino)).copied()
    }

    /// The directory in which a change is made, or the file that it changes.
    fn knows(&self, change: Change<'_>) -> Option<Object> {
        match change {
            Change::MakePath(path) => self.open(File::open(path.parent()?).ok()?),
            Change::Create(at) => {
                let above = if split(at.name).0.is_empty() { "." } else { split(at.name).0 };
                let stat = statat(at.directory, above, AtFlags::empty()).ok()?;
                self.ids.get(&(stat.st_dev, stat.st_ino)).copied()
            }
            Change::MakeDirectory(at) | Change::Unlink(at) => self.open(at.directory),
            Change::Rename { to, .. } | Change::Link { to, .. } => self.open(to.directory),
            Change::Write { file, .. } | Change::SetLen { file, .. } => self.open(file),
            Change::Sync(fd) => self.open(fd),
        }
    }

    fn id_of(at: Place<'_>) -> (u64, u64) {
        let stat = statat(at.directory, at.name, AtFlags::SYMLINK_NOFOLLOW).unwrap();
        (stat.st_dev, stat.st_ino)
    }

    /// Gives a name to an object; another that had it loses it.
    fn give(&mut self, at: &Name, object: Object) {
        self.take(at);
        self.entries.insert((at.directory, at.name.clone()), object);
    }

    /// Takes a name from whatever has it. What has no name left is forgotten: another file may get its inode number.
    fn take(&mut self, at: &Name) -> Option<Object> {
        let object = self.entries.remove(&(at.directory, at.name.clone()))?;
        if !self.entries.values().any(|named| *named == object) {
            self.ids.retain(|_, known| *known != object);
        }
        Some(object)
    }

    fn has(&self, at: &Name) -> bool {
        self.entries.contains_key(&(at.directory, at.name.clone()))
    }

    fn at(&self, directory: Object, name: &str) -> Name {
        Name { directory, name: split(name).1.to_owned() }
    }

    fn path(&self, at: &Name) -> String {
        let above = &self.objects[at.directory].path;
        if above.is_empty() { at.name.clone() } else { format!("{above}/{}", at.name) }
    }

    fn made(&mut self, at: Name, id: (u64, u64), is_directory: bool) {
        let path = self.path(&at);
        self.says(&at, "made");
        // sled's files are nobody's business here, and its directory is replaced unseen.
        let object = if is_directory && at.name == layout::INDEX {
            self.objects.push(Known::default());
            self.objects.len() - 1
        } else {
            self.enter(id, path)
        };
        self.entries.insert((at.directory, at.name.clone()), object);
        self.log.push(Event::Made { at, object, is_directory });
    }

    /// Remembers what the next sync of the directory is for.
    fn says(&mut self, at: &Name, what: &str) {
        let text = format!("{} {what}", class(&self.path(at)));
        self.last.insert((thread::current().id(), at.directory), text);
    }

    fn met(&mut self, change: Change<'_>) {
        if let (Change::MakeDirectory(place), Some(directory)) = (change, self.knows(change)) {
            let at = self.at(directory, place.name);
            self.says(&at, "made");
        }
    }

    fn note(&mut self, change: Change<'_>) {
        let known = self.knows(change).expect("it was known before the call");
        match change {
            Change::MakePath(path) => {
                let at = self.at(known, path.file_name().unwrap().to_str().unwrap());
                if !self.has(&at) {
                    let stat = std::fs::metadata(path).unwrap();
                    self.made(at, (stat.dev(), stat.ino()), true);
                }
            }
            Change::MakeDirectory(place) => self.made(self.at(known, place.name), Self::id_of(place), true),
            Change::Create(place) => {
                let at = self.at(known, place.name);
                if !self.has(&at) {
                    self.made(at, Self::id_of(place), false);
                }
            }
            Change::Write { at, bytes, .. } => {
                let len = &mut self.objects[known].len;
                let at = at.unwrap_or(*len);
                *len = (*len).max(at + bytes.len() as u64);
                self.log.push(Event::Written { file: known, at, bytes: bytes.to_vec() });
            }
            Change::SetLen { len, .. } => {
                self.objects[known].len = len;
                self.log.push(Event::Cut { file: known, len });
            }
            Change::Sync(_) => {
                let what = self.site(known);
                self.last.remove(&(thread::current().id(), known));
                self.objects[known].synced = Some(self.log.len());
                self.log.push(Event::Synced { object: known, what });
            }
            Change::Rename { from, to } => {
                let from = self.at(self.open(from.directory).unwrap(), from.name);
                let to = self.at(known, to.name);
                let object = self.entries[&(from.directory, from.name.clone())];
                self.give(&to, object);
                self.take(&from);
                self.comes_to(object, &to);
                self.log.push(Event::Renamed { from, to, object });
            }
            Change::Link { from, to } => {
                let from = self.at(self.open(from.directory).unwrap(), from.name);
                let at = self.at(known, to.name);
                let object = self.entries[&(from.directory, from.name)];
                self.give(&at, object);
                self.comes_to(object, &at);
                self.log.push(Event::Linked { at, object });
            }
            Change::Unlink(place) => {
                let at = self.at(known, place.name);
                self.says(&at, "removed");
                let object = self.take(&at).expect("what is removed was made below the watched directory");
                self.log.push(Event::Unlinked { at, object });
            }
        }
    }

    /// What a sync of a directory by this thread is for.
    fn site(&self, directory: Object) -> String {
        let said = self.last.get(&(thread::current().id(), directory));
        let path = class(&self.objects[directory].path);
        format!("names in {path}/: {}", said.map_or("as found", String::as_str))
    }

    fn comes_to(&mut self, object: Object, to: &Name) {
        self.says(to, "named");
        let path = self.path(to);
        let synced = self.objects[object].synced.take().map(|at| &mut self.log[at]);
        if let Some(Event::Synced { what, .. }) = synced {
            *what = format!("content of {}", class(&path));
        }
        self.objects[object].path = path;
    }
}

/// A path without what differs from one run to the next, and without the store's own name.
fn class(path: &str) -> String {
    let mut parts = Vec::new();
    for part in path.split('/') {
        let (stem, kind) = part.split_once('.').unwrap_or((part, ""));
        let is_numbered = stem.len() >= 8 && stem.bytes().all(|byte| byte.is_ascii_hexdigit());
        parts.push(match part {
            _ if part.starts_with(TEMPORARY_PREFIX) => "temporary".to_owned(),
            _ if is_numbered => format!("N.{kind}"),
            _ if parts.last().is_some_and(|above| above == layout::PACKS) => "xx".to_owned(),
            _ => part.to_owned(),
        });
    }
    parts.join("/")
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
