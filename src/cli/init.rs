//! `dbakfs init`.

use dbakfs::repository::Store;
use dbakfs::repository::config::Chunking;
use serde_json::json;

use super::{Exit, Global, Result, output, store};

/// Make an empty store
#[derive(Debug, clap::Args)]
#[command(after_long_help = "Example:\n  dbakfs --store /backup/store init")]
pub(crate) struct Args {}

pub(crate) fn run(global: &Global, Args {}: &Args) -> Result<Exit> {
    let path = store::chosen(global)?;
    Store::init(&path, Chunking::default())?;
    if global.json {
        output::json(&json!({ "store": path.display().to_string() }))?;
    } else {
        output::line(&format!("made the store {}", output::path(&path)))?;
    }
    Ok(Exit::Done)
}
