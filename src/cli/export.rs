//! `dbakfs export`.

use std::ffi::OsString;
use std::io::{IsTerminal, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use dbakfs::archive::{Compressed, Format, NewArchive};
use dbakfs::export::{self, ExportError, Notice, Progress, Report};
use dbakfs::repository::CacheBytes;
use dbakfs::repository::address::Exactness;
use indicatif::{HumanBytes, HumanCount, ProgressBar};
use serde_json::json;

use super::{Exit, Failure, Global, Result, output, points, progress, signals, store};

/// Pack a point in time, or a part of it, into an archive that plain tar unpacks
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
The archive holds the contents of the point (or of the directory at PATH), whole, also that of a differential: holes, hard links, owners by number, modes, times to \
the nanosecond, attributes and ACLs, devices and pipes. Only sockets no archive can hold; they are left out, said, and make the exit code 3. All of it comes out by

  tar --xattrs --xattrs-include='*' --acls --numeric-owner -xpf FILE

and all but attributes and ACLs by plain `tar -xf FILE`. The suffix says the format: .tar, .tar.gz (.tgz) or .tar.zst (.tzst).

Examples:
  dbakfs export www/latest -o www.tar.zst
  dbakfs export www/before-deploy:etc/nginx -o nginx.tar.gz
  dbakfs export www/latest -o - | ssh elsewhere tar -C /srv/www -x")]
pub(crate) struct Args {
    /// The point, and a path in it
    #[arg(value_name = "POINT[:PATH]")]
    point: OsString,
    /// The archive; - is standard output
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// tar, tar.gz or tar.zst, whatever the suffix says [default for standard output: tar]
    #[arg(long)]
    format: Option<Format>,
    /// Compress at this level
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i32).range(1..=19))]
    level: Option<i32>,
    /// Replace the file if there is one
    #[arg(long)]
    force: bool,
    /// Refuse a time that is no point's own
    #[arg(long)]
    exact: bool,
}

pub(crate) fn run(global: &Global, args: &Args) -> Result<Exit> {
    let cancel = signals::stop_flag()?;
    let is_stdout = args.output.as_os_str() == "-";
    let of_suffix = || if is_stdout { Some(Format::Tar) } else { Format::of_name(args.output.as_os_str().as_bytes()) };
    let format = args.format.or_else(of_suffix).ok_or_else(|| {
        Failure::new(Exit::Usage, format!("the name {} says no format", output::path(&args.output)))
            .hint("end it in .tar, .tar.gz or .tar.zst, or give --format")
    })?;
    if is_stdout && output::raw().is_terminal() {
        return Err(Failure::new(Exit::Usage, "an archive is nothing for a terminal")
            .hint("name a file with -o, or use a pipe"));
    }
    let reader = store::reader(global, CacheBytes::of_total(48 << 20))?;
    let points = points::list(&reader)?;
    let exactness = if args.exact { Exactness::Exact } else { Exactness::NotAfter };
    let (point, path) = points::find(&points, &args.point, exactness)?;
    let tree = reader.tree(point)?;
    let counters = Progress::default();
    let total = if path.is_empty() { point.counts.bytes } else { 0 };
    let describe = || {
        let (entries, bytes) = (counters.entries(), counters.bytes());
        (bytes, total, format!("{} entries, {}", HumanCount(entries), HumanBytes(bytes)))
    };
    let written = |error: std::io::Error| cannot_write(args, &error);
    let report = progress::shown(global, describe, |bar| {
        let mut tell = |notice: Notice| say(bar, &notice);
        let mut pack = |out: &mut dyn Write| -> Result<Report> {
            let out = Compressed::new(out, format, args.level).map_err(written)?;
            let (report, out) = export::export(&reader, &tree, &path, out, &counters, &mut tell, &cancel).map_err(
                |error| match error {
                    ExportError::Write(error) => written(error),
                    error => Failure::from(error),
                },
            )?;
            out.finish().map_err(written)?.flush().map_err(written)?;
            Ok(report)
        };
        if is_stdout {
            return pack(&mut output::raw().lock());
        }
        let mut file = NewArchive::create(&args.output, args.force).map_err(written)?;
        let report = pack(&mut file)?;
        file.finish().map_err(written)?;
        Ok(report)
    })?;
    let name = points::name(point);
    let text = if global.json { as_json(&name, args, &report).to_string() } else { summary(&name, args, &report) };
    if is_stdout {
        // What goes to standard output is the archive and nothing else.
        output::complain(&text);
    } else {
        output::line(&text)?;
    }
    Ok(if report.is_complete() { Exit::Done } else { Exit::Incomplete })
}

fn cannot_write(args: &Args, error: &std::io::Error) -> Failure {
    let file = output::path(&args.output);
    if error.kind() == std::io::ErrorKind::AlreadyExists {
        return Failure::new(Exit::Failed, format!("cannot write {file}: it is there already"))
            .hint("--force replaces it");
    }
    Failure::new(Exit::Failed, format!("cannot write {file}: {error}"))
}

fn summary(point: &str, args: &Args, report: &Report) -> String {
    let sockets = if report.sockets > 0 { format!("; {} sockets left out", report.sockets) } else { String::new() };
    format!(
        "exported {point} to {}: {} entries, {}{sockets}",
        output::path(&args.output),
        HumanCount(report.entries),
        HumanBytes(report.bytes)
    )
}

fn as_json(point: &str, args: &Args, report: &Report) -> serde_json::Value {
    json!({
        "point": point,
        "file": output::path(&args.output),
        "entries": report.entries,
        "bytes": report.bytes,
        "sockets": report.sockets,
        "never_read": report.never_read,
        "older": report.older,
        "incomplete": report.incomplete,
    })
}

fn say(bar: &ProgressBar, notice: &Notice) {
    let text = match notice {
        Notice::Socket { path } => format!("warning: {path} is left out: no archive holds sockets"),
        Notice::NeverRead { path } => {
            format!("warning: {path} is left out: it could not be read when it was backed up")
        }
        Notice::Older { path } => {
            format!("warning: {path} is an older version: it could not be read when it was backed up")
        }
        Notice::Incomplete { path } => {
            format!("warning: {path} may lack entries: it could not be read whole when it was backed up")
        }
    };
    bar.suspend(|| output::complain(&text));
}

impl From<ExportError> for Failure {
    fn from(error: ExportError) -> Self {
        match error {
            ExportError::Catalog(error) => error.into(),
            ExportError::Damaged { .. } | ExportError::Twice { .. } => Self::of(Exit::Damage, &error),
            error => Self::of(Exit::Failed, &error),
        }
    }
}
