//! `dbakfs rebuild-index`.

use dbakfs::backup::{self, Notice};
use dbakfs::storage::Wait;
use serde_json::json;

use super::{Exit, Global, Result, output, signals, store};

/// Make the index anew from the packs
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
The index only saves work: a backup that finds it missing or damaged makes it anew by itself, and no point depends on it.

Example:
  dbakfs rebuild-index")]
pub(crate) struct Args {
    /// Wait while another writer is busy
    #[arg(long)]
    wait: bool,
}

pub(crate) fn run(global: &Global, args: &Args) -> Result<Exit> {
    store::close_to_others();
    let store = store::open(global)?;
    let cancel = signals::stop_flag()?;
    let damaged = std::cell::Cell::new(false);
    let say = |notice| {
        if let Notice::Problem(text) = notice {
            damaged.set(true);
            output::complain(&format!("warning: {text}"));
        }
    };
    let packs = store::waiting(args.wait, &cancel, || Ok(backup::rebuild_index(&store, Wait::Never, &say)?))?;
    if global.json {
        output::json(&json!({ "packs": packs }))?;
    } else {
        output::line(&format!("the index was rebuilt from {packs} packs"))?;
    }
    Ok(if damaged.get() { Exit::Damage } else { Exit::Done })
}
