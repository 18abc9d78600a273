//! The power is cut, at every change that a store's life makes on the medium, and what may be left is held against what was promised. Tests only.
//!
//! Owns the search. Refuses to know how a store works: it runs the engine that everybody runs, and `storage` tells it each change of the medium. Its invariant: a
//! failure names the step, the cut and the seed that make it come again.

mod look;
mod medium;
mod mending;
mod oracle;
mod script;
mod search;
mod tests;
mod world;
mod wounds;
