//! `dbakfs metrics`.

use std::net::SocketAddr;
use std::path::PathBuf;

use dbakfs::metrics::{self, ServeError};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use super::{Exit, Failure, Global, Result, output, store, told};

/// Tell Prometheus how the backups stand
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Prints the metrics of all sources; with --textfile replaces a file for node_exporter's textfile collector in one step; with --listen answers GET \
/metrics until a signal comes. All of them come from the store, so counters go on across processes and restarts. `dbakfs schedule run` does both by itself. \
Alerts and a dashboard are in contrib/; docs/monitoring.md says what each metric means.

Examples:
  dbakfs metrics
  dbakfs metrics --textfile /var/lib/prometheus/node-exporter/dbakfs.prom
  dbakfs metrics --listen 127.0.0.1:9188")]
pub(crate) struct Args {
    /// Replace this file; its name ends in .prom
    #[arg(long, value_name = "FILE", conflicts_with = "listen")]
    textfile: Option<PathBuf>,
    /// Answer there; with port 0 the system chooses one
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen: Option<SocketAddr>,
}

pub(crate) fn run(global: &Global, args: &Args) -> Result<Exit> {
    if let Some(addr) = args.listen {
        return listen(global, addr);
    }
    let text = metrics::render(&told::state(global)?);
    match &args.textfile {
        Some(path) => metrics::write_textfile(path, &text)?,
        None => output::bytes(text.as_bytes())?,
    }
    Ok(Exit::Done)
}

fn listen(global: &Global, addr: SocketAddr) -> Result<Exit> {
    // Before the server: a signal that comes early must end it, too.
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP])?;
    let (global, mut beside) = (global.clone(), told::beside(global)?);
    let server = metrics::serve(addr, store::open(&global)?, move || {
        // A configuration that is just being changed is read at the next scrape.
        if let Ok(now) = told::beside(&global) {
            beside = now;
        }
        beside.clone()
    })?;
    output::line(&format!("http://{}/metrics", server.addr()))?;
    signals.forever().next();
    Ok(Exit::Done)
}

impl From<ServeError> for Failure {
    fn from(error: ServeError) -> Self {
        Self::of(Exit::Failed, &error)
    }
}
