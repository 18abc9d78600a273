//! `dbakfs report`.

use std::path::{Path, PathBuf};

use dbakfs::format::Timestamp;
use dbakfs::report::file::{self, FileError};
use dbakfs::report::html;

use super::{Exit, Failure, Global, Result, output, store, told};

/// Draw how the backups stand, as a page for a browser
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
One page that holds all it needs: the status of each source, and charts of the series over time, the growth of the differentials against \
diff_threshold and the durations of the runs. It fetches nothing and runs no script, so it can be mailed or served as it is. A file that stands there is \
replaced in one step.

Example:
  dbakfs report --html /var/www/html/backups.html")]
pub(crate) struct Args {
    /// Where the page is written; - is standard output
    #[arg(long, value_name = "FILE")]
    html: PathBuf,
    /// Only the source of this name
    name: Option<String>,
}

pub(crate) fn run(global: &Global, args: &Args) -> Result<Exit> {
    let state = told::state(global)?;
    let all = told::statuses(&state, args.name.as_deref())?;
    let page = html::page(&state, &all, &output::path(&store::chosen(global)?), Timestamp::now());
    if args.html == Path::new("-") {
        output::bytes(page.as_bytes())?;
    } else {
        file::replace(&args.html, page.as_bytes())?;
    }
    Ok(Exit::Done)
}

impl From<FileError> for Failure {
    fn from(error: FileError) -> Self {
        match error {
            FileError::NotProm { .. } => Self::of(Exit::Usage, &error).hint("name it like dbakfs.prom"),
            FileError::NoName { .. } => Self::of(Exit::Usage, &error),
            FileError::Write { .. } => Self::of(Exit::Failed, &error),
        }
    }
}
