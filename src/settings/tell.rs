//! Who is told: metrics and notifications.

use std::net::SocketAddr;
use std::path::PathBuf;

use serde::Deserialize;

/// Prometheus metrics.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Metrics {
    /// A file for node_exporter's textfile collector, replaced after each run; its name must end in `.prom`.
    pub textfile: Option<PathBuf>,
    /// Where the daemon answers `GET /metrics`.
    pub listen: Option<SocketAddr>,
}

/// Notifications.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Notify {
    /// The report is posted here as JSON.
    pub webhook: Option<String>,
    /// The report is mailed to these, by the local sendmail.
    pub mail: Vec<String>,
    /// Of which runs.
    pub on: NotifyOn,
}

/// Of which runs somebody is told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NotifyOn {
    /// Those that failed or found something wrong.
    #[default]
    Failure,
    /// All.
    Always,
}
