//! Counts the messages that the kernel sends, by kind; knows nothing of what they mean.
//!
//! Invariant: every message that reached the mount is counted exactly once, answered or not.

use std::sync::atomic::{AtomicU64, Ordering};

macro_rules! messages {
    ($($kind:ident $name:literal $doc:literal,)*) => {
        /// A kind of message.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Message { $(#[doc = $doc] $kind,)* }

        impl Message {
            /// Every kind, in the order of the counters.
            pub const ALL: [Self; [$($name),*].len()] = [$(Self::$kind),*];

            /// The name of the kind, as the protocol has it.
            pub fn name(self) -> &'static str {
                match self { $(Self::$kind => $name,)* }
            }
        }
    };
}

messages! {
    Lookup "lookup" "A name in a directory.",
    Forget "forget" "The kernel dropped a node; batches count each of theirs.",
    GetAttr "getattr" "The attributes of a node.",
    ReadLink "readlink" "The target of a symbolic link.",
    Open "open" "A file is opened.",
    Read "read" "Data of a file.",
    Release "release" "A file is closed for the last time.",
    OpenDir "opendir" "A directory is opened.",
    ReadDir "readdir" "Names of a directory.",
    ReadDirPlus "readdirplus" "Names and attributes of a directory.",
    ReleaseDir "releasedir" "A directory is closed.",
    Lseek "lseek" "The next data or hole.",
    GetXattr "getxattr" "An extended attribute.",
    ListXattr "listxattr" "The names of the extended attributes.",
    StatFs "statfs" "The size of the file system.",
    Other "other" "Anything else, such as an attempt to write.",
}

/// Counters that many threads add to.
#[derive(Debug, Default)]
pub(crate) struct Counters([AtomicU64; Message::ALL.len()]);

impl Counters {
    /// Counts one message.
    pub(crate) fn add(&self, kind: Message) {
        self.0[kind as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// The counters as they stand.
    pub(crate) fn snapshot(&self) -> Counts {
        Counts(std::array::from_fn(|at| self.0[at].load(Ordering::Relaxed)))
    }
}

/// How many messages of each kind came so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counts([u64; Message::ALL.len()]);

impl Counts {
    /// The number of messages of one kind.
    pub fn get(&self, kind: Message) -> u64 {
        self.0[kind as usize]
    }

    /// All messages.
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }

    /// Every kind with its number.
    pub fn iter(&self) -> impl Iterator<Item = (Message, u64)> + '_ {
        Message::ALL.into_iter().map(|kind| (kind, self.get(kind)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_has_a_counter_of_its_own() {
        let counters = Counters::default();
        for (times, kind) in (1..).zip(Message::ALL) {
            for _ in 0..times {
                counters.add(kind);
            }
        }
        let counts = counters.snapshot();
        assert!(counts.iter().map(|(_, number)| number).eq(1..=Message::ALL.len() as u64));
        assert_eq!(counts.get(Message::Lookup), 1);
    }
}
