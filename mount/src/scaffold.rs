//! Names that only one thread sees: the one that is attaching something to them, or making the kernel drop them.
//!
//! The kernel can attach a mount only to a directory that it has looked up, and an answer that the name is not there would make it drop the
//! directory, and with it what was attached. So from the moment on when the grafting thread has found the directory, everybody else
//! is neither told that it is there nor that it is not: "interrupted" is the one answer that leaves the kernel's cache alone.
//!
//! Invariant: nobody but that thread finds a name here, and showing it to all is one step with ending this.

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::tree::{Attr, NodeId};

/// A directory that stands in the tree for what is attached to it.
#[derive(Clone, Debug)]
pub struct Stub {
    /// The directory that it stands in.
    pub parent: NodeId,
    /// Its name there.
    pub name: Vec<u8>,
    /// What it is.
    pub attr: Attr,
}

/// What a look-up of a name that is on the scaffold is answered.
#[derive(Debug)]
pub(crate) enum Seen {
    /// The thread that is at work finds the directory.
    Stub(Attr),
    /// Others find nothing, as long as the thread has not found the directory.
    Absent,
    /// Others are to ask again.
    NotYet,
}

/// The names at which one thread is at work, if one is.
#[derive(Debug, Default)]
pub(crate) struct Scaffold(Mutex<Option<Work>>);

#[derive(Debug)]
struct Work {
    thread: u32,
    stubs: Vec<Stub>,
    is_found: bool,
    /// Nothing is attached: the kernel may drop the directory whenever it likes.
    is_alone: bool,
}

/// The scaffold while it is up; comes down with the value.
#[derive(Debug)]
pub(crate) struct Up<'a>(&'a Scaffold);

impl Scaffold {
    /// Puts `stubs` up for the calling thread alone.
    pub(crate) fn raise(&self, stubs: &[Stub]) -> Up<'_> {
        self.put_up(stubs, false)
    }

    /// As [`Scaffold::raise`], but nothing will be attached or shown: others are told that the names are not there, all the while.
    pub(crate) fn raise_alone(&self, stubs: &[Stub]) -> Up<'_> {
        self.put_up(stubs, true)
    }

    fn put_up(&self, stubs: &[Stub], is_alone: bool) -> Up<'_> {
        // The kernel names the thread, not the process, in its requests.
        let thread = rustix::thread::gettid().as_raw_pid().unsigned_abs();
        *self.lock() = Some(Work { thread, stubs: stubs.to_vec(), is_found: false, is_alone });
        Up(self)
    }

    /// What thread `asker` is answered about `name`, if it is on the scaffold.
    pub(crate) fn seen(&self, asker: u32, parent: NodeId, name: &[u8]) -> Option<Seen> {
        let mut work = self.lock();
        let work = work.as_mut()?;
        let stub = work.stubs.iter().find(|stub| stub.parent == parent && stub.name == name)?;
        if asker == work.thread {
            work.is_found = true;
            return Some(Seen::Stub(stub.attr));
        }
        Some(if work.is_found && !work.is_alone { Seen::NotYet } else { Seen::Absent })
    }

    fn lock(&self) -> MutexGuard<'_, Option<Work>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Up<'_> {
    /// Lets the tree show the names to everybody: `show` is done before any look-up of them is answered again.
    pub(crate) fn reveal(self, show: impl FnOnce()) {
        let mut work = self.0.lock();
        show();
        *work = None;
    }
}

impl Drop for Up<'_> {
    fn drop(&mut self) {
        *self.0.lock() = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::{Lifetime, Time};

    fn stub() -> Stub {
        let time = Time { secs: 0, nanos: 0 };
        let attr = Attr {
            node: NodeId(7),
            mode: libc::S_IFDIR | 0o555,
            uid: 0,
            gid: 0,
            nlink: 1,
            rdev: 0,
            size: 0,
            blocks: 0,
            mtime: time,
            ctime: time,
            lifetime: Lifetime::Forever,
        };
        Stub { parent: NodeId::ROOT, name: b"name".to_vec(), attr }
    }

    fn me() -> u32 {
        rustix::thread::gettid().as_raw_pid().unsigned_abs()
    }

    #[test]
    fn only_the_thread_at_work_finds_the_name() {
        let scaffold = Scaffold::default();
        assert!(scaffold.seen(me(), NodeId::ROOT, b"name").is_none());
        let up = scaffold.raise(&[stub()]);
        assert!(matches!(scaffold.seen(me() + 1, NodeId::ROOT, b"name"), Some(Seen::Absent)));
        assert!(matches!(scaffold.seen(me(), NodeId::ROOT, b"name"), Some(Seen::Stub(attr)) if attr.node == NodeId(7)));
        // Had it been told that there is nothing, the kernel would now drop what the thread has found.
        assert!(matches!(scaffold.seen(me() + 1, NodeId::ROOT, b"name"), Some(Seen::NotYet)));
        assert!(scaffold.seen(me(), NodeId::ROOT, b"other").is_none());
        assert!(scaffold.seen(me(), NodeId(2), b"name").is_none());
        drop(up);
        assert!(scaffold.seen(me(), NodeId::ROOT, b"name").is_none());
    }

    #[test]
    fn a_name_that_is_to_be_dropped_is_never_there_for_others() {
        let scaffold = Scaffold::default();
        let up = scaffold.raise_alone(&[stub()]);
        assert!(matches!(scaffold.seen(me() + 1, NodeId::ROOT, b"name"), Some(Seen::Absent)));
        assert!(matches!(scaffold.seen(me(), NodeId::ROOT, b"name"), Some(Seen::Stub(_))));
        assert!(matches!(scaffold.seen(me() + 1, NodeId::ROOT, b"name"), Some(Seen::Absent)));
        drop(up);
        assert!(scaffold.seen(me(), NodeId::ROOT, b"name").is_none());
    }

    #[test]
    fn a_name_is_shown_and_taken_off_the_scaffold_in_one_step() {
        let scaffold = Scaffold::default();
        let up = scaffold.raise(&[stub()]);
        std::thread::scope(|scope| {
            let (begin, begun) = std::sync::mpsc::channel();
            let scaffold = &scaffold;
            let asking = scope.spawn(move || {
                begun.recv().unwrap();
                scaffold.seen(0, NodeId::ROOT, b"name").is_none()
            });
            up.reveal(|| {
                begin.send(()).unwrap();
                std::thread::sleep(std::time::Duration::from_millis(20));
            });
            assert!(asking.join().unwrap(), "a name is looked up while it is being shown");
        });
    }
}
