//! A scratch store in which one file after another is put under the same name.
//!
//! Owns the directory, one for each thread. Refuses to know what is tried in it. Its invariant: besides the files that are put there, the store is whole.

use std::fs;
use std::path::{Path, PathBuf};

use dbakfs::format::catalog::PackRef;
use dbakfs::format::pack::{Foot, PackId};
use dbakfs::format::{CatalogId, Counts, Number, Point, PointKind, SourceId, Timestamp, layout};
use dbakfs::repository::config::Chunking;
use dbakfs::repository::{CacheBytes, Reader, Store};
use tempfile::TempDir;

use super::shape;

/// The number of the full.
pub const FULL: Number = Number(3);
/// The number of the differential.
pub const DIFFERENTIAL: Number = Number(5);

/// A scratch store, with one good pack in it.
pub struct Stage {
    dir: TempDir,
    pack: PackRef,
}

/// Calls `act` with this thread's stage.
pub fn on_stage(act: impl FnOnce(&Stage)) {
    thread_local! {
        static STAGE: Stage = Stage::new();
    }
    STAGE.with(act);
}

/// A point as a writer would describe it.
pub fn point(number: Number) -> Point {
    let id = |number: Number| CatalogId([u8::try_from(number.0).unwrap_or(0); 16]);
    let time = Timestamp::new(1_700_000_000 + i64::from(number.0), 0);
    Point {
        origin: dbakfs::format::Origin::Backup,
        number,
        id: id(number),
        source: SourceId { name: "s".to_owned(), host: "h".to_owned(), path: b"/s".to_vec() },
        kind: if number == FULL { PointKind::Full } else { PointKind::Differential { base: FULL, base_id: id(FULL) } },
        family: 0,
        time,
        clock: time,
        finished: time,
        previous: None,
        counts: Counts::default(),
        has_xattrs: true,
        program: String::new(),
    }
}

impl Stage {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a scratch directory");
        Store::init(&dir.path().join("store"), Chunking::default()).expect("a scratch store");
        let mut blocks = Vec::new();
        for bytes in [vec![b'a'; 900], (0..=255).cycle().take(30_000).collect()] {
            shape::push_part(&mut blocks, shape::BLOCK, &bytes);
        }
        let mut stage = Self { dir, pack: PackRef { id: PackId([0; 32]), file_len: 0 } };
        stage.pack = stage.put_pack(&shape::pack(&blocks));
        stage
    }

    /// The store.
    pub fn path(&self) -> PathBuf {
        self.dir.path().join("store")
    }

    /// A directory beside the store for whatever is written out.
    pub fn beside(&self) -> &Path {
        self.dir.path()
    }

    /// Packs to which catalogs may refer: one that is there, and one that is not.
    pub fn packs(&self) -> [PackRef; 2] {
        [self.pack, PackRef { id: PackId([7; 32]), file_len: 100 }]
    }

    /// Puts a pack where its foot says that it belongs.
    ///
    /// # Panics
    /// Where it has no foot.
    pub fn put_pack(&self, bytes: &[u8]) -> PackRef {
        let file_len = bytes.len() as u64;
        let foot = Foot::decode(&bytes[bytes.len() - Foot::LEN..], file_len).expect("a foot");
        let pack = PackRef { id: foot.name(), file_len };
        let path = self.path().join(layout::pack(&pack.id));
        fs::create_dir_all(path.parent().expect("a pack lies in a directory")).expect("a directory for a pack");
        fs::write(path, bytes).expect("a scratch pack");
        pack
    }

    /// Removes a pack that was put there.
    pub fn remove_pack(&self, pack: &PackRef) {
        if *pack != self.pack {
            fs::remove_file(self.path().join(layout::pack(&pack.id))).expect("a scratch pack");
        }
    }

    /// Puts the catalog of `shape` under its number.
    pub fn put_catalog(&self, number: Number, shape: &[u8]) {
        let bytes = shape::catalog(shape, &point(number), &self.packs());
        fs::write(self.path().join(layout::catalog(number)), bytes).expect("a scratch catalog");
    }

    /// A reader of what is there now.
    pub fn reader(&self) -> Reader {
        let store = Store::open(&self.path()).expect("the scratch store opens");
        Reader::open(store, CacheBytes::of_total(8 << 20)).expect("the scratch store is read")
    }
}
