//! Metrics for Prometheus: as text, as a textfile for node_exporter, and over HTTP.
//!
//! Owns names, labels and the exposition format. Refuses to keep a counter of its own: what it says comes from the store each time, so that it
//! accumulates across processes and restarts. Invariant: the same state gives the same text, and a run that failed never looks like a success.

mod http;
mod server;
mod text;

use std::path::Path;

pub use server::{ServeError, Server, serve};
pub use text::{FAMILIES, Family, Kind, render};

use crate::report::file::{self, FileError};

/// A page of metrics as it was, but that the last run of the source `name` failed: for a store that cannot be asked. Counters stay, and with them what alerts go by.
#[must_use]
pub fn with_failed_job(page: &str, name: &str) -> String {
    let label = text::label("source", name);
    let label = label.trim_end_matches(',');
    let failed = |line: &str| match line.rsplit_once(' ') {
        Some((sample, _)) if sample.starts_with("backup_job_status{") && sample.contains(label) => {
            format!("{sample} 0\n")
        }
        _ => format!("{line}\n"),
    };
    page.lines().map(failed).collect()
}

/// Replaces the textfile at `path` in one step, readable by everybody.
///
/// # Errors
/// Its name does not end in `.prom`, or it cannot be written; what stood there stands there still.
pub fn write_textfile(path: &Path, text: &str) -> Result<(), FileError> {
    if path.extension().is_none_or(|extension| extension != "prom") {
        return Err(FileError::NotProm { path: path.to_owned() });
    }
    file::replace(path, text.as_bytes())
}
