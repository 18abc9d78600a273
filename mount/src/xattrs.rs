//! Decides, once for a connection, whether the kernel's questions for extended attributes are answered or refused for good.
//!
//! A kernel that was answered `ENOSYS` never asks again on that connection: what has attributes would silently be shown without.
//! Invariant: a connection that has refused never admits nodes with attributes, and one that has admitted them never refuses.

use std::sync::atomic::{AtomicU8, Ordering};

const UNDECIDED: u8 = 0;
const ANSWERING: u8 = 1;
const REFUSING: u8 = 2;

/// The decision of one connection. It is taken by whoever comes first: a question, or a node with attributes.
#[derive(Debug)]
pub(crate) struct Xattrs(AtomicU8);

impl Xattrs {
    /// Answers, and always will.
    pub(crate) const fn answering() -> Self {
        Self(AtomicU8::new(ANSWERING))
    }

    /// Refuses the first question, unless nodes with attributes are admitted before it comes.
    pub(crate) const fn undecided() -> Self {
        Self(AtomicU8::new(UNDECIDED))
    }

    /// A question has come: whether it is to be refused.
    pub(crate) fn refuses(&self) -> bool {
        // Decided once and for ever, so that the usual case is one load.
        match self.0.load(Ordering::Acquire) {
            UNDECIDED => self.decide(REFUSING) == REFUSING,
            decided => decided == REFUSING,
        }
    }

    /// Nodes with attributes wait to be shown: whether this connection may show them. To be asked *before* they are.
    pub(crate) fn admits(&self) -> bool {
        self.decide(ANSWERING) == ANSWERING
    }

    /// Decides, if nobody has; gives what holds from now on.
    fn decide(&self, wanted: u8) -> u8 {
        match self.0.compare_exchange(UNDECIDED, wanted, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => wanted,
            Err(decided) => decided,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_question_is_refused_and_then_nothing_is_admitted() {
        let xattrs = Xattrs::undecided();
        assert!(xattrs.refuses());
        assert!(!xattrs.admits());
        assert!(xattrs.refuses() && !xattrs.admits());
    }

    #[test]
    fn what_was_admitted_is_answered_for_ever() {
        let xattrs = Xattrs::undecided();
        assert!(xattrs.admits());
        assert!(!xattrs.refuses() && xattrs.admits() && !xattrs.refuses());
    }

    #[test]
    fn who_answers_from_the_start_never_refuses() {
        let xattrs = Xattrs::answering();
        assert!(!xattrs.refuses() && xattrs.admits() && !xattrs.refuses());
    }

    #[test]
    fn question_and_node_at_once_agree_on_one_decision() {
        for _ in 0..2000 {
            let xattrs = Xattrs::undecided();
            let (refused, admitted) = std::thread::scope(|scope| {
                let refused = scope.spawn(|| xattrs.refuses());
                let admitted = scope.spawn(|| xattrs.admits());
                (refused.join().unwrap(), admitted.join().unwrap())
            });
            assert_ne!(refused, admitted);
            assert_eq!((xattrs.refuses(), xattrs.admits()), (refused, admitted));
        }
    }
}
