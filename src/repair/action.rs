//! What a repair does, as plain data.

use crate::format::Number;

/// Something that was done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// A small file was made anew.
    MadeAnew {
        /// The file, relative to the store.
        name: String,
        /// What was wrong with it.
        why: String,
    },
    /// A file got a name that nothing looks at.
    SetAside {
        /// The file, relative to the store.
        name: String,
        /// Its name now.
        to: String,
        /// Why.
        why: String,
    },
    /// A file that stood elsewhere stands under its own name again.
    PutBack {
        /// That name.
        name: String,
    },
    /// A damaged file stays where it is.
    Left {
        /// The file, relative to the store.
        name: String,
        /// Why.
        why: String,
    },
    /// A point is marked as damaged.
    Marked {
        /// Its number.
        number: Number,
        /// What it lost, one line each.
        damaged: Vec<String>,
    },
    /// A point that was marked is whole.
    Whole {
        /// Its number.
        number: Number,
    },
}
