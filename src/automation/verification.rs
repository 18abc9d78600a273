//! `verify --data` as a task: every byte of the store, noted for every source that has points there.

use std::collections::BTreeSet;
use std::time::Instant;

use super::record::Entry;
use super::run::RunError;
use crate::format::Timestamp;
use crate::repository::runs::{Check, CheckEnd, CheckKind};
use crate::repository::{CacheBytes, Reader, RepositoryError, SourceName, Store, sources};
use crate::verify::{self, Depth, Progress};

/// Memory for what is read of the store, in bytes.
const CACHE_BYTES: usize = 48 << 20;
/// Findings that are kept.
const FINDINGS: usize = 10;

/// What came of a verification.
pub(super) struct Found {
    pub(super) store: Store,
    pub(super) check: Check,
    pub(super) entries: Vec<Entry>,
}

/// Reads all of the store. The source that it was asked for is noted, too, if it has no points yet.
pub(super) fn of_store(
    open: &dyn Fn() -> Result<Store, RepositoryError>,
    asked_for: &SourceName,
    progress: &(dyn Fn(Progress) + Sync),
    say: &dyn Fn(String),
) -> Result<Found, RunError> {
    let (began, begun) = (Timestamp::now(), Instant::now());
    let store = open()?;
    let reader = Reader::open(store.clone(), CacheBytes::of_total(CACHE_BYTES))?;
    if let Some(reason) = reader.missing_lease() {
        say(format!("reading without a lease, a prune elsewhere would not wait: {reason}"));
    }
    let report = verify::verify(&reader, Depth::Data, progress, &mut |_| {})?;
    let mut findings: Vec<String> = report.damages.iter().take(FINDINGS).map(ToString::to_string).collect();
    if report.damages.len() > FINDINGS {
        findings.push(format!("and {} more", report.damages.len() - FINDINGS));
    }
    let check = Check {
        began,
        secs: begun.elapsed().as_secs_f64(),
        kind: CheckKind::Full,
        end: if report.is_whole() { CheckEnd::Pass } else { CheckEnd::Fail },
        number: None,
        r#type: None,
        findings,
        bytes: report.pack_bytes,
        full_restore_secs: None,
    };
    let (known, _) = sources::read_all(store.storage()).map_err(RepositoryError::from)?;
    let mut names: BTreeSet<SourceName> =
        known.iter().filter_map(|notes| SourceName::new(&notes.source.name).ok()).collect();
    names.insert(asked_for.clone());
    let entries = names.iter().map(|name| Entry::check(name, check.clone())).collect();
    Ok(Found { store, check, entries })
}

/// A verification that could not be made, which is no pass.
pub(super) fn not_run(name: &SourceName, began: Timestamp, secs: f64, reason: String) -> Entry {
    let check = Check {
        began,
        secs,
        kind: CheckKind::Full,
        end: CheckEnd::NotRun,
        number: None,
        r#type: None,
        findings: vec![reason],
        bytes: 0,
        full_restore_secs: None,
    };
    Entry::check(name, check)
}
