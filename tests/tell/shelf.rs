//! A store whose points and runs are made up: the facts that a test needs, and no data.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use dbakfs::catalog::CatalogWriter;
use dbakfs::format::record::{Birth, Content, Flags, NewRecord, Record, Status};
use dbakfs::format::table::Children;
use dbakfs::format::{CatalogId, Counts, Kind, Meta, Number, Origin, Point, PointKind, SourceId, Timestamp};
use dbakfs::report::{Beside, State};
use dbakfs::repository::runs::{BackupType, Check, CheckEnd, CheckKind, Run, RunEnd, RunNotes};
use dbakfs::repository::{Alarm, PointNotes, Points, SourceName, SourceNotes, Store, WriterLock};
use dbakfs::storage::Wait;

use crate::support::cli::{Place, Ran};
use crate::support::process::limited;

pub(crate) const HOUR: i64 = 3_600;
pub(crate) const DAY: i64 = 24 * HOUR;

/// The store of a place.
pub(crate) struct Shelf {
    pub(crate) place: Place,
    store: Store,
    highest: u32,
    pub(crate) now: Timestamp,
}

pub(crate) fn run(began: Timestamp, of: BackupType, end: RunEnd) -> Run {
    Run {
        began,
        secs: 60.0,
        r#type: of,
        end,
        reason: "because".to_owned(),
        number: None,
        size_bytes: 0,
        stored_bytes: 0,
        files: 0,
    }
}

pub(crate) fn check(began: Timestamp, kind: CheckKind, end: CheckEnd, of: BackupType) -> Check {
    Check {
        began,
        secs: 5.0,
        kind,
        end,
        number: None,
        r#type: (kind != CheckKind::Full).then_some(of),
        findings: Vec::new(),
        bytes: 0,
        full_restore_secs: None,
    }
}

impl Shelf {
    pub(crate) fn new() -> Self {
        let place = Place::with_store();
        let store = Store::open(&place.store()).unwrap();
        Self { place, store, highest: 0, now: Timestamp::now() }
    }

    /// The moment so many seconds ago.
    pub(crate) const fn ago(&self, secs: i64) -> Timestamp {
        Timestamp::new(self.now.secs - secs, 0)
    }

    /// A full of so many bytes.
    pub(crate) fn full(&mut self, name: &str, time: Timestamp, size_bytes: u64) -> Number {
        self.point(name, time, size_bytes, None, Origin::Backup)
    }

    /// A differential of so many bytes.
    pub(crate) fn differential(&mut self, name: &str, base: Number, time: Timestamp, size_bytes: u64) -> Number {
        self.point(name, time, size_bytes, Some(base), Origin::Backup)
    }

    /// A catalog that lists an empty root.
    pub(crate) fn point(
        &mut self,
        name: &str,
        time: Timestamp,
        size_bytes: u64,
        base: Option<Number>,
        origin: Origin,
    ) -> Number {
        self.highest += 1;
        let number = Number(self.highest);
        let id = |number: Number| CatalogId(u128::from(number.0).to_be_bytes());
        let mut writer = CatalogWriter::create(self.store.storage(), number, id(number), 3).unwrap();
        let row = writer.push_directory(Children { first: 0, count: 0 }).unwrap();
        let meta = Meta { kind: Kind::Directory, mode: 0o755, uid: 0, gid: 0, nlink: 2, rdev: 0, size: 0, mtime: time };
        let record = Record {
            meta,
            status: if base.is_some() { Status::Updated } else { Status::New },
            flags: Flags::default(),
            ctime: time,
            ino: 1,
            birth: Birth { number, record: 0 },
            base: base.map(|_| 0),
            data_bytes: 0,
            content: Content::Children(row),
        };
        writer.push(&NewRecord { record, name: b"", inline: b"", xattrs: b"" }).unwrap();
        let counts =
            Counts { files: 34, directories: 1, size_bytes, stored_bytes: size_bytes / 2, ..Counts::default() };
        let point = Point {
            number,
            id: id(number),
            source: SourceId { name: name.to_owned(), host: "h".to_owned(), path: b"/srv".to_vec() },
            origin,
            kind: base.map_or(PointKind::Full, |base| PointKind::Differential { base, base_id: id(base) }),
            family: 0,
            time,
            clock: time,
            finished: time,
            previous: None,
            counts,
            has_xattrs: false,
            program: "test".to_owned(),
        };
        writer.finish(&point, Vec::new()).unwrap();
        number
    }

    fn lock(&self) -> WriterLock {
        WriterLock::take(&self.store, Wait::Never).unwrap()
    }

    /// Changes what is noted about the runs of a source, as a process of its own would: read, change, write.
    pub(crate) fn note(&self, name: &str, change: impl FnOnce(&mut RunNotes)) {
        let mut notes = RunNotes::read(self.store.storage(), &SourceName::new(name).unwrap()).unwrap();
        change(&mut notes);
        notes.write(&self.store, &self.lock()).unwrap();
    }

    pub(crate) fn ran(&self, name: &str, run: Run) {
        self.note(name, |notes| notes.push_run(run));
    }

    pub(crate) fn checked(&self, name: &str, check: Check) {
        self.note(name, |notes| notes.push_check(check));
    }

    pub(crate) fn forget(&self, number: Number) {
        let notes = PointNotes { forgotten: Some(self.now), ..PointNotes::default() };
        notes.write(&self.store, &self.lock(), number).unwrap();
    }

    pub(crate) fn alarm(&self, name: &str, reason: &str) {
        let source = SourceId { name: name.to_owned(), host: "h".to_owned(), path: b"/srv".to_vec() };
        let alarm = Alarm { point: Number(1), since: self.now, reason: reason.to_owned() };
        let notes = SourceNotes { alarm: Some(alarm), ..SourceNotes::new(source) };
        notes.write(&self.store, &self.lock()).unwrap();
    }

    /// What the library reads of it.
    pub(crate) fn state(&self, beside: &Beside) -> State {
        State::read(self.store.storage(), &Points::default(), beside, self.now).unwrap().0
    }

    /// The metrics, as the command prints them.
    #[track_caller]
    pub(crate) fn metrics(&self) -> Metrics {
        Metrics(self.place.run(["metrics"]).exits(0).stdout)
    }

    /// Writes a configuration; answers the arguments that name it.
    pub(crate) fn config(&self, text: &str) -> [String; 2] {
        let path = self.place.path("config.toml");
        std::fs::write(&path, text).unwrap();
        ["--config".to_owned(), path.to_str().unwrap().to_owned()]
    }
}

/// A text of metrics.
pub(crate) struct Metrics(pub(crate) String);

impl Metrics {
    /// The value of the one sample of this name whose labels hold all of these.
    pub(crate) fn value(&self, name: &str, labels: &[&str]) -> Option<f64> {
        let is_of = |line: &&str| {
            let rest = line.strip_prefix(name).filter(|rest| rest.starts_with(['{', ' ']));
            rest.is_some_and(|rest| labels.iter().all(|label| rest.contains(label)))
        };
        let mut found = self.0.lines().filter(is_of);
        let value = found.next()?.rsplit(' ').next().unwrap().parse().unwrap();
        assert_eq!(found.next(), None, "{name} {labels:?} is not one sample");
        Some(value)
    }

    #[track_caller]
    pub(crate) fn is(&self, name: &str, labels: &[&str], value: f64) {
        assert_eq!(self.value(name, labels), Some(value), "{name} {labels:?} in:\n{}", self.0);
    }
}

pub(crate) const FULL: &str = "backup_type=\"full\"";
pub(crate) const DIFFERENTIAL: &str = "backup_type=\"differential\"";
pub(crate) const WWW: &str = "source=\"www\"";

/// Asks over HTTP; the head of the answer, and its body.
pub(crate) fn get(addr: SocketAddr, path: &str) -> (String, String) {
    // 1.0: an answer in one piece.
    send(addr, format!("GET {path} HTTP/1.0\r\nHost: {addr}\r\n\r\n").as_bytes())
}

/// Sends bytes; what comes back until the other side closes, at the blank line.
pub(crate) fn send(addr: SocketAddr, bytes: &[u8]) -> (String, String) {
    let mut stream = TcpStream::connect(addr).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    // Whoever is refused early may not take all of it.
    let _ = stream.write_all(bytes);
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    (head.to_owned(), body.to_owned())
}

/// Runs a tool that a test cannot do without; none, said loudly, where it is missing.
pub(crate) fn tool(name: &str, args: &[&str], stdin: Option<&Path>) -> Option<Ran> {
    if !has_tool(name) {
        return None;
    }
    let mut command = Command::new("sh");
    // `limited` gives no input of its own.
    let script = if stdin.is_some() { "input=$1; shift; exec \"$@\" <\"$input\"" } else { "shift; exec \"$@\"" };
    command.args(["-c", script, "sh"]).arg(stdin.unwrap_or(Path::new(""))).arg(name).args(args);
    Some(limited(&mut command))
}

pub(crate) fn has_tool(name: &str) -> bool {
    let is_there = std::env::split_paths(&std::env::var_os("PATH").unwrap()).any(|dir| dir.join(name).exists());
    if !is_there {
        eprintln!("\n*** NOT TESTED: {name} is missing on this machine; .ci/run installs it ***\n");
    }
    is_there
}

/// A file of the repository.
pub(crate) fn contrib(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("contrib").join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}
