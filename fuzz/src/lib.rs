//! Everything that reads bytes which somebody else may have written, each as one function that takes bytes.
//!
//! Owns the list of these targets and what must hold of each whatever the bytes are: no panic, no more memory than [`Target::most_bytes`], and what
//! is accepted is what an encoder writes. Refuses to know where the bytes come from: the fuzzer makes them up, `tests/hostile` replays and
//! mutates the corpora. Its invariant: both call the same functions, so what one finds the other keeps.

pub mod allocation;
pub mod archives;
pub mod decoders;
pub mod shape;
pub mod stage;
pub mod texts;
pub mod trees;
pub mod views;

/// One decoder, or a few that belong together.
pub struct Target {
    /// The name: of the fuzzer's program and of the corpus.
    pub name: &'static str,
    /// Its share of a long run: the more it does for one input, the less.
    pub weight: u32,
    /// Bytes of memory that one input may take at the same time, at most; what zstd takes for itself is not counted.
    pub most_bytes: usize,
    /// Panics where something does not hold.
    pub run: fn(&[u8]),
}

const MIB: usize = 1 << 20;

const fn target(name: &'static str, weight: u32, most_mib: usize, run: fn(&[u8])) -> Target {
    Target { name, weight, most_bytes: most_mib * MIB, run }
}

/// All of them.
pub const TARGETS: &[Target] = &[
    target("address", 10, 1, texts::address),
    target("archive", 5, 64, archives::archive),
    target("catalog", 2, 64, trees::catalog),
    target("columns", 10, 1, decoders::columns),
    target("exclude", 1, 32, texts::exclude),
    target("feet", 10, 1, decoders::feet),
    target("head", 10, 1, decoders::head),
    target("index", 10, 1, decoders::index),
    target("layout", 10, 1, texts::layout),
    target("lease", 10, 1, texts::lease),
    target("notes", 5, 1, texts::notes),
    target("overlay", 2, 64, trees::overlay),
    target("pack", 2, 64, trees::pack),
    target("pack_tables", 10, 4, decoders::pack_tables),
    target("point", 10, 1, decoders::point),
    target("records", 10, 4, decoders::records),
    target("restore", 1, 64, trees::restored),
    target("seal", 5, 40, decoders::seal),
    target("sections", 10, 4, decoders::sections),
    target("store_toml", 5, 1, texts::store_toml),
    target("tables", 10, 4, decoders::tables),
    target("verify", 1, 64, trees::verified),
    target("view", 1, 64, views::shown),
    target("xattrs", 10, 1, decoders::xattrs),
];

/// Runs the target of this name on `data`.
///
/// # Panics
/// Where something does not hold, or there is no such target.
pub fn run(name: &str, data: &[u8]) {
    let target = TARGETS.iter().find(|target| target.name == name).expect("a target of that name");
    let peak = allocation::peak_of(|| (target.run)(data));
    assert!(peak <= target.most_bytes, "{name}: {peak} bytes of memory for {} bytes of input", data.len());
}
