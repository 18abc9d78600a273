//! `dbakfs mount` and `dbakfs umount`.

use std::io::{BufRead, BufReader};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use dbakfs::repository::{CacheBytes, Reader};
use dbakfs::view::{Refresher, Views};
use dbakfs_mount::{MountError, MountOptions, Mounted, Unmounted, mountpoint};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1};
use signal_hook::iterator::Signals;

use super::{Exit, Failure, Global, Result, arenas, output, store};

/// What the serving process prints to the one that waits for it.
const READY: &str = "ready";

/// Show every point in time as a read-only directory
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
The command returns when the mount answers; a process of its own serves it until `dbakfs umount`, SIGTERM or SIGINT. SIGUSR1 makes it \
write its counts of messages to its log.

  MNT/NAME/2026-11-20T10-05-00Z/   a point in time
  MNT/NAME/latest                  the newest
  MNT/NAME/tags/TAG                the one with that tag

Examples:
  dbakfs mount /mnt/history
  cp -a /mnt/history/www/latest/index.html /srv/www/")]
pub(crate) struct Args {
    /// An empty directory
    mountpoint: PathBuf,
    /// Stay, and log to standard error
    #[arg(short, long)]
    foreground: bool,
    /// Let other users in; archived owners, modes and ACLs decide what they may read
    #[arg(long)]
    allow_other: bool,
    /// Memory for caches, in MiB
    #[arg(long, value_name = "MIB", default_value_t = 64, value_parser = clap::value_parser!(u32).range(4..=1 << 20))]
    cache: u32,
    /// Threads that answer
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=64))]
    threads: u16,
    /// Where a serving process logs [default: dbakfs/mount.log in the user's state directory]
    #[arg(long, value_name = "FILE")]
    log: Option<PathBuf>,
    /// Write the counts of messages to the log at the end
    #[arg(long)]
    stats: bool,
    /// Serve, and say on standard output when the mount answers
    #[arg(long, hide = true)]
    serve: bool,
}

/// End a mount
#[derive(Debug, clap::Args)]
#[command(after_long_help = "Example:\n  dbakfs umount /mnt/history")]
pub(crate) struct UmountArgs {
    /// Where it is mounted
    mountpoint: PathBuf,
}

pub(crate) fn run(global: &Global, args: &Args) -> Result<Exit> {
    if args.foreground || args.serve { serve(global, args) } else { start(global, args) }
}

pub(crate) fn run_umount(args: &UmountArgs) -> Result<Exit> {
    if mountpoint::unmount(&args.mountpoint)? == Unmounted::Detached {
        output::complain("note: the mount was busy; it is gone from the tree and ends with its last user");
    }
    Ok(Exit::Done)
}

/// Starts a process that serves, and waits until it says that the mount answers.
fn start(global: &Global, args: &Args) -> Result<Exit> {
    // The serving process works in the root directory: what is relative is made absolute here.
    let absolute = |path: &Path| std::path::absolute(path).map_err(Failure::from);
    let log = match &args.log {
        Some(log) => Some(absolute(log)?),
        // Where even the default place cannot be written, the mount goes without.
        None => default_log().filter(|log| match open_log(Some(log)) {
            Ok(_) => true,
            Err(failure) => {
                output::complain(&format!("warning: {failure}"));
                false
            }
        }),
    };
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("--store").arg(absolute(&store::chosen(global)?)?).arg("mount").arg("--serve");
    command.arg("--cache").arg(args.cache.to_string()).arg("--threads").arg(args.threads.to_string());
    command.args(args.allow_other.then_some("--allow-other")).args(args.stats.then_some("--stats"));
    if let Some(log) = log {
        command.arg("--log").arg(log);
    }
    command.arg("--").arg(absolute(&args.mountpoint)?);
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
    let mut said = String::new();
    if let Some(stdout) = child.stdout.take() {
        BufReader::new(stdout).read_line(&mut said)?;
    }
    if said.trim_end() == READY {
        if global.json {
            let text = |path: &Path| dbakfs::format::point::bytes_as_text::encode(path.as_os_str().as_bytes());
            let (mnt, store) = (absolute(&args.mountpoint)?, absolute(&store::chosen(global)?)?);
            output::json(&serde_json::json!({ "mountpoint": text(&mnt), "store": text(&store) }))?;
        }
        return Ok(Exit::Done);
    }
    // It has said on standard error what is wrong.
    let status = child.wait()?;
    Ok(status.code().and_then(Exit::from_code).unwrap_or(Exit::Failed))
}

fn default_log() -> Option<PathBuf> {
    let absolute = |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let state = absolute("XDG_STATE_HOME").or_else(|| Some(absolute("HOME")?.join(".local/state")))?;
    let directory = state.join("dbakfs");
    // If it cannot be made, opening the log says so.
    let _ = std::fs::create_dir_all(&directory);
    Some(directory.join("mount.log"))
}

/// Serves until the mount ends.
fn serve(global: &Global, args: &Args) -> Result<Exit> {
    arenas::share_one();
    let store = store::open(global)?;
    let cache = CacheBytes::of_total(args.cache as usize * (1 << 20));
    let reader = Reader::with_notice(store, cache, dbakfs_mount::step_aside)?;
    if let Some(reason) = reader.missing_lease() {
        output::complain(&format!("warning: reading without a lease, a prune elsewhere would not wait: {reason}"));
    }
    let store_path = std::path::absolute(reader.store().path())?;
    let views = Views::new(reader)?;
    let options = MountOptions {
        allow_other: args.allow_other,
        threads: args.threads.into(),
        name: store_path.to_string_lossy().into_owned(),
    };
    // Before the mount, for it may fail.
    let log = if args.serve { open_log(args.log.as_deref())? } else { None };
    // Before the mount, so that a signal that comes right after it is not lost.
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP, SIGUSR1])?;
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_ansi(false).with_max_level(tracing::Level::WARN).init();
    let (first, second) = (views.first(), views.second());
    let mounted = dbakfs_mount::mount_grafting(first, second, views.has_xattrs(), &args.mountpoint, &options)?;
    let mounted = Arc::new(mounted);
    if args.serve {
        detach(log.as_ref())?;
    }
    let ended = AtomicBool::new(false);
    let handle = signals.handle();
    std::thread::scope(|scope| {
        let refreshing = scope.spawn(|| {
            let mut refresher = Refresher::new(&views, &mounted);
            while !ended.load(Ordering::Relaxed) {
                refresher.look();
                std::thread::park_timeout(Duration::from_millis(200));
            }
        });
        let for_signals = Arc::clone(&mounted);
        scope.spawn(move || {
            for signal in signals.forever() {
                if signal == SIGUSR1 {
                    print_counts(&for_signals);
                } else if let Err(error) = for_signals.unmount() {
                    output::complain(&format!("error: {error}"));
                }
            }
        });
        mounted.wait();
        ended.store(true, Ordering::Relaxed);
        refreshing.thread().unpark();
        handle.close();
    });
    if args.stats {
        print_counts(&mounted);
    }
    Ok(Exit::Done)
}

/// Opens the log. Nobody but this user reads it: it names files.
fn open_log(path: Option<&Path>) -> Result<Option<std::fs::File>> {
    let Some(path) = path else { return Ok(None) };
    let wrong =
        |error: std::io::Error| Failure::new(Exit::Failed, format!("cannot log to {}: {error}", path.display()));
    let mut options = std::fs::File::options();
    // A pipe that nobody reads must not keep the mount waiting.
    options.create(true).append(true).mode(0o600).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY);
    let log = options.open(path).map_err(wrong)?;
    let kind = log.metadata().map_err(wrong)?.file_type();
    if !kind.is_file() && !kind.is_char_device() {
        return Err(Failure::new(Exit::Failed, format!("cannot log to {}: it is no regular file", path.display())));
    }
    Ok(Some(log))
}

/// Tells the waiting process that the mount answers, and lets go of its terminal.
fn detach(log: Option<&std::fs::File>) -> Result<()> {
    // Fails only for the leader of a group, which a started process is not.
    let _ = rustix::process::setsid();
    std::env::set_current_dir("/")?;
    let null = std::fs::File::options().read(true).write(true).open("/dev/null")?;
    output::line(READY)?;
    rustix::stdio::dup2_stdout(&null).map_err(std::io::Error::from)?;
    rustix::stdio::dup2_stderr(log.unwrap_or(&null)).map_err(std::io::Error::from)?;
    Ok(())
}

fn print_counts(mounted: &Mounted) {
    let counts = mounted.messages();
    let kinds: Vec<String> = counts.iter().map(|(kind, count)| format!("{} {count}", kind.name())).collect();
    output::complain(&format!("messages: {}; {} in all", kinds.join(", "), counts.total()));
}

impl From<MountError> for Failure {
    fn from(error: MountError) -> Self {
        Self::of(Exit::Failed, &error)
    }
}
