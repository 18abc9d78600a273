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

impl Notify {
    pub(super) fn check(&self) -> Result<(), String> {
        if let Some(url) = &self.webhook {
            let is_web = ["http://", "https://"].iter().any(|scheme| url.starts_with(scheme));
            if !is_web || url.chars().any(|letter| letter.is_control() || letter.is_whitespace()) {
                return Err(format!("webhook: {url:?} is no http:// or https:// address"));
            }
        }
        for address in &self.mail {
            // What stands in a header must not begin another, nor add an address that nobody reads here.
            let is_plain = |letter: char| letter.is_ascii_graphic() && !"<>(),;:\\\"".contains(letter);
            if address.is_empty() || address.starts_with('-') || !address.chars().all(is_plain) {
                return Err(format!("mail: {address:?} is no plain address like admin@example.org"));
            }
        }
        Ok(())
    }
}
