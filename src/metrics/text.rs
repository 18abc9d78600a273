//! The text of the metrics: Prometheus's exposition format, version 0.0.4.
//!
//! Owns which families there are. Refuses to read anything: a [`State`] goes in. Invariant: each family stands once, with its help and its type, and no two of its samples
//! have the same labels.

use std::fmt::Write as _;

use crate::format::Timestamp;
use crate::report::state::{SourceState, State, StoredPoint, Verification};
use crate::repository::runs::{BUCKETS_SECS, BackupType, Totals};
use crate::repository::when;

/// A family of metrics.
#[derive(Clone, Copy, Debug)]
pub struct Family {
    /// Its name.
    pub name: &'static str,
    /// Its type.
    pub kind: Kind,
    /// What it says.
    pub help: &'static str,
}

/// The type of a family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It only grows.
    Counter,
    /// It goes up and down.
    Gauge,
    /// How many lie below each of some bounds.
    Histogram,
}

const fn family(name: &'static str, kind: Kind, help: &'static str) -> Family {
    Family { name, kind, help }
}

const DURATION: Family = family("backup_duration_seconds", Kind::Histogram, "How long backups took.");
const SIZE: Family = family(
    "backup_size_bytes",
    Kind::Gauge,
    "Size of the newest full, and of the newest differential on it, before deduplication and compression.",
);
const FILES: Family =
    family("backup_files_count", Kind::Gauge, "Files at the newest full, and at the newest differential on it.");
const STORED: Family = family(
    "backup_stored_bytes",
    Kind::Gauge,
    "Bytes that the newest full, and the newest differential on it, added to the store.",
);
const POINTS: Family = family("backup_points", Kind::Gauge, "Points in time that are not forgotten.");
const SUCCESS: Family =
    family("backup_success_total", Kind::Counter, "Backups that ended well, unchanged sources included.");
const FAILURE: Family = family("backup_failure_total", Kind::Counter, "Backups that failed.");
const LAST_SUCCESS: Family = family(
    "backup_last_success_timestamp",
    Kind::Gauge,
    "When a backup last ended well, in seconds since 1970; 0 for a source that never had such a full.",
);
const JOB: Family = family("backup_job_status", Kind::Gauge, "Whether the last backup ended well: 1, or 0.");
const VERIFICATION: Family = family(
    "backup_verification_status",
    Kind::Gauge,
    "Whether what was written was found whole: 1; 0 where it was not, or where the check did not run.",
);
const RPO: Family = family("backup_rpo_seconds", Kind::Gauge, "The most time that may pass between two successes.");
const RTO: Family = family("backup_rto_seconds", Kind::Gauge, "The most time that a full restore may take.");
const RESTORE: Family =
    family("backup_restore_seconds", Kind::Gauge, "How long a full restore would take, as last rehearsed.");
const ALARM: Family = family(
    "backup_alarm",
    Kind::Gauge,
    "Whether a change far beyond the habit of the source waits to be acknowledged: 1, or 0.",
);
const UNREADABLE: Family =
    family("backup_unreadable_files", Kind::Gauge, "Files of the store that could not be read for these metrics.");

/// All families, in the order in which they are rendered.
pub const FAMILIES: [Family; 15] = [
    DURATION,
    SIZE,
    FILES,
    STORED,
    POINTS,
    SUCCESS,
    FAILURE,
    LAST_SUCCESS,
    JOB,
    VERIFICATION,
    RPO,
    RTO,
    RESTORE,
    ALARM,
    UNREADABLE,
];

const TYPES: [(BackupType, &str); 2] = [(BackupType::Full, "full"), (BackupType::Differential, "differential")];

/// The text of all metrics of a store.
#[must_use]
pub fn render(state: &State) -> String {
    let mut page = Page(String::new());
    page.head(&DURATION);
    page.per_type(state, |page, labels, source, of| page.histogram(labels, source.ledger.totals.get(&of)));
    page.newest(state, &SIZE, |stored| {
        let name = format!("{}/{}", stored.point.source.name, when::format_point_time(stored.point.time));
        (label("backup_name", &name), stored.point.counts.size_bytes)
    });
    page.newest(state, &FILES, |stored| (String::new(), stored.point.counts.files));
    page.newest(state, &STORED, |stored| (String::new(), stored.stored_bytes()));
    page.typed(state, &POINTS, |source, of| {
        Some(source.points.iter().filter(|stored| stored.backup_type() == of).count())
    });
    let total =
        |source: &SourceState, of, count: fn(&Totals) -> u64| Some(source.ledger.totals.get(&of).map_or(0, count));
    page.typed(state, &SUCCESS, |source, of| total(source, of, |totals| totals.success));
    page.typed(state, &FAILURE, |source, of| total(source, of, |totals| totals.failure));
    page.typed(state, &LAST_SUCCESS, |source, of| match source.last_success(of) {
        Some(time) => Some(seconds(time)),
        // A source that never had a full has one that is too old.
        None => (of == BackupType::Full).then(|| "0".to_owned()),
    });
    page.typed(state, &JOB, |source, of| source.is_job_well(of).map(u8::from));
    page.typed(state, &VERIFICATION, |source, of| {
        source.verification(of).map(|found| u8::from(found == Verification::Passed))
    });
    page.per_source(state, &RPO, |source| source.wanted.rpo.map(|rpo| rpo.0.to_string()));
    page.per_source(state, &RTO, |source| source.wanted.rto.map(|rto| rto.0.to_string()));
    page.per_source(state, &RESTORE, |source| source.restore_secs().map(number));
    page.per_source(state, &ALARM, |source| Some(u8::from(source.alarm.is_some()).to_string()));
    page.head(&UNREADABLE);
    page.sample(UNREADABLE.name, "", &state.problems.len().to_string());
    page.0
}

struct Page(String);

impl Page {
    fn head(&mut self, family: &Family) {
        let kind = match family.kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        };
        let _ = writeln!(self.0, "# HELP {0} {1}\n# TYPE {0} {kind}", family.name, family.help);
    }

    /// `labels` end in a comma, each.
    fn sample(&mut self, name: &str, labels: &str, value: &str) {
        let labels = labels.trim_end_matches(',');
        let _ = match labels {
            "" => writeln!(self.0, "{name} {value}"),
            labels => writeln!(self.0, "{name}{{{labels}}} {value}"),
        };
    }

    fn per_type(&mut self, state: &State, mut each: impl FnMut(&mut Self, &str, &SourceState, BackupType)) {
        for (name, source) in &state.sources {
            for (of, word) in TYPES {
                let labels = label("source", name) + &label("backup_type", word);
                each(self, &labels, source, of);
            }
        }
    }

    fn typed<V: ToString>(
        &mut self,
        state: &State,
        family: &Family,
        value: impl Fn(&SourceState, BackupType) -> Option<V>,
    ) {
        self.head(family);
        self.per_type(state, |page, labels, source, of| {
            if let Some(value) = value(source, of) {
                page.sample(family.name, labels, &value.to_string());
            }
        });
    }

    /// Of the newest full and of the newest differential on it, never of a differential of an older series: so the two can be held against each other.
    fn newest(&mut self, state: &State, family: &Family, value: impl Fn(&StoredPoint) -> (String, u64)) {
        self.head(family);
        self.per_type(state, |page, labels, source, of| {
            if let Some((more, value)) = source.newest(of).map(&value) {
                page.sample(family.name, &format!("{labels}{more}"), &value.to_string());
            }
        });
    }

    fn per_source(&mut self, state: &State, family: &Family, value: impl Fn(&SourceState) -> Option<String>) {
        self.head(family);
        for (name, source) in &state.sources {
            if let Some(value) = value(source) {
                self.sample(family.name, &label("source", name), &value);
            }
        }
    }

    fn histogram(&mut self, labels: &str, totals: Option<&Totals>) {
        let buckets = totals.map_or(&[][..], |totals| &totals.buckets);
        let mut below = 0_u64;
        let name = format!("{}_bucket", DURATION.name);
        for (at, bound) in BUCKETS_SECS.iter().map(ToString::to_string).chain(["+Inf".to_owned()]).enumerate() {
            below = below.saturating_add(buckets.get(at).copied().unwrap_or(0));
            self.sample(&name, &format!("{labels}le=\"{bound}\""), &below.to_string());
        }
        self.sample(&format!("{}_sum", DURATION.name), labels, &number(totals.map_or(0.0, |totals| totals.secs)));
        self.sample(&format!("{}_count", DURATION.name), labels, &below.to_string());
    }
}

/// `name="value",`, with what would end the value or its line escaped.
pub(super) fn label(name: &str, value: &str) -> String {
    let mut text = format!("{name}=\"");
    for letter in value.chars() {
        match letter {
            '\\' => text.push_str("\\\\"),
            '"' => text.push_str("\\\""),
            '\n' => text.push_str("\\n"),
            letter => text.push(letter),
        }
    }
    text.push_str("\",");
    text
}

fn seconds(time: Timestamp) -> String {
    time.secs.to_string()
}

/// A damaged store may hold what is no number.
fn number(value: f64) -> String {
    if value.is_finite() { value.to_string() } else { "0".to_owned() }
}
