//! The `dbakfs` command.
fn main() {}
