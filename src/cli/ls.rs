//! `dbakfs ls`.

use std::ffi::OsString;

use dbakfs::catalog::Entry;
use dbakfs::format::record::{Content, Status, xattrs};
use dbakfs::format::{Kind, Timestamp};
use dbakfs::overlay::{Directory, Layer, Node, PointTree, Records};
use dbakfs::repository::CacheBytes;
use dbakfs::repository::address::Exactness;
use jiff::tz::TimeZone;
use serde_json::json;

use super::{Exit, Failure, Global, Result, output, points, store};

/// List a directory at a point in time, with what became of each entry since the base
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
The first column says what the differential says of an entry: unchanged, updated, new, deleted or unread (it could not be read, and \
is what the newest backup before had). A full has no base; there it is -.

POINT is NAME/TIME, NAME/TAG, NAME/latest or a number from `dbakfs list`.

Examples:
  dbakfs ls www/latest
  dbakfs ls www/before-deploy:etc/nginx
  dbakfs ls 42: --recursive")]
pub(crate) struct Args {
    /// The point, and a path in it
    #[arg(value_name = "POINT[:PATH]")]
    point: OsString,
    /// List what stands below, too
    #[arg(short = 'R', long)]
    recursive: bool,
    /// Refuse a time that is no point's own
    #[arg(long)]
    exact: bool,
}

pub(crate) fn run(global: &Global, args: &Args) -> Result<Exit> {
    let reader = store::reader(global, CacheBytes::of_total(16 << 20))?;
    let points = points::list(&reader)?;
    let exactness = if args.exact { Exactness::Exact } else { Exactness::NotAfter };
    let (point, path) = points::find(&points, &args.point, exactness)?;
    let tree = reader.tree(point)?;
    let missing = || {
        let path = output::printable(&path);
        Failure::new(Exit::Failed, format!("{} has no {path}", points::name(point)))
    };
    let node = tree.resolve(&path)?.ok_or_else(missing)?;
    let lister = Lister { tree: &tree, is_json: global.json, is_full: point.is_full() };
    if !node.is_directory() {
        let name = path.rsplit(|byte| *byte == b'/').next().unwrap_or(&path).to_vec();
        lister.show(&name, &node.entry, node.layer)?;
        return Ok(Exit::Done);
    }
    // Depth first, the directories of one listing in their order.
    let mut waiting: Vec<(Vec<u8>, Node)> = vec![(Vec::new(), node)];
    let mut met = Records::none_of(&tree);
    while let Some((prefix, directory)) = waiting.pop() {
        let below = lister.list(&prefix, met.enter(&tree, &directory)?)?;
        if args.recursive {
            waiting.extend(below.into_iter().rev());
        }
    }
    Ok(Exit::Done)
}

struct Lister<'a> {
    tree: &'a PointTree,
    is_json: bool,
    is_full: bool,
}

impl Lister<'_> {
    /// Lists one directory; answers its subdirectories.
    fn list(&self, prefix: &[u8], directory: Directory) -> Result<Vec<(Vec<u8>, Node)>> {
        let mut below = Vec::new();
        let mut entries = self.tree.entries(directory);
        while let Some(pair) = entries.next_pair()? {
            let mut path = prefix.to_vec();
            if !path.is_empty() {
                path.push(b'/');
            }
            path.extend_from_slice(pair.name());
            match (pair.seen(), pair.own) {
                (Some(node), _) => {
                    self.show(&path, &node.entry, node.layer)?;
                    if node.is_directory() {
                        below.push((path, node));
                    }
                }
                (None, Some(whiteout)) => self.show(&path, &whiteout, Layer::Differential)?,
                (None, None) => {}
            }
        }
        Ok(below)
    }

    fn show(&self, path: &[u8], entry: &Entry, layer: Layer) -> Result<()> {
        let record = entry.record();
        let meta = &record.meta;
        let status = match (self.is_full, layer, record.status) {
            (_, _, Status::Unread) => "unread",
            (true, ..) => "-",
            (false, Layer::Full, _) => "unchanged",
            (false, _, Status::Unchanged) => "unchanged",
            (false, _, Status::New) => "new",
            (false, _, Status::Updated) => "updated",
            (false, _, Status::Deleted) => "deleted",
        };
        let target = (meta.kind == Kind::Symlink && record.content == Content::Inline).then(|| entry.inline());
        if self.is_json {
            let text = dbakfs::format::point::bytes_as_text::encode;
            let names: Vec<String> = xattrs(entry.xattrs()).map(|(name, _)| text(name)).collect();
            return output::json(&json!({
                "path": text(path),
                "status": status,
                "type": kind_name(meta.kind),
                "mode": format!("{:04o}", meta.mode),
                "uid": meta.uid,
                "gid": meta.gid,
                "nlink": meta.nlink,
                "size_bytes": meta.size,
                "mtime": { "secs": meta.mtime.secs, "nanos": meta.mtime.nanos },
                "target": target.map(text),
                "xattrs": names,
            }));
        }
        let path = output::printable(path);
        if record.status == Status::Deleted {
            return output::line(&format!("{status:<9}  {:<10} {:>11} {:>12} {:>19}  {path}", "", "", "", ""));
        }
        let owner = format!("{}:{}", meta.uid, meta.gid);
        let time = local(meta.mtime);
        let arrow = target.map_or(String::new(), |target| format!(" -> {}", output::printable(target)));
        let mode = mode_text(meta.kind, meta.mode);
        output::line(&format!("{status:<9}  {mode} {owner:>11} {:>12} {time:>19}  {path}{arrow}", meta.size))
    }
}

const fn kind_name(kind: Kind) -> &'static str {
    match kind {
        Kind::Directory => "directory",
        Kind::File => "file",
        Kind::Symlink => "symlink",
        Kind::Fifo => "fifo",
        Kind::Socket => "socket",
        Kind::CharDevice => "char-device",
        Kind::BlockDevice => "block-device",
    }
}

/// The ten letters of `ls -l`.
fn mode_text(kind: Kind, mode: u32) -> String {
    let mut text = String::with_capacity(10);
    text.push(match kind {
        Kind::Directory => 'd',
        Kind::File => '-',
        Kind::Symlink => 'l',
        Kind::Fifo => 'p',
        Kind::Socket => 's',
        Kind::CharDevice => 'c',
        Kind::BlockDevice => 'b',
    });
    for (shift, special, letter) in [(6, 0o4000, 's'), (3, 0o2000, 's'), (0, 0o1000, 't')] {
        let bits = mode >> shift & 7;
        text.push(if bits & 4 == 0 { '-' } else { 'r' });
        text.push(if bits & 2 == 0 { '-' } else { 'w' });
        text.push(match (bits & 1 != 0, mode & special != 0) {
            (false, false) => '-',
            (true, false) => 'x',
            (true, true) => letter,
            (false, true) => letter.to_ascii_uppercase(),
        });
    }
    text
}

fn local(time: Timestamp) -> String {
    match jiff::Timestamp::new(time.secs, 0) {
        Ok(time) => time.to_zoned(TimeZone::system()).strftime("%Y-%m-%d %H:%M:%S").to_string(),
        Err(_) => format!("@{}", time.secs),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_read_as_ls_writes_them() {
        assert_eq!(mode_text(Kind::File, 0o4755), "-rwsr-xr-x");
        assert_eq!(mode_text(Kind::File, 0o4644), "-rwSr--r--");
        assert_eq!(mode_text(Kind::Directory, 0o1777), "drwxrwxrwt");
        assert_eq!(mode_text(Kind::Symlink, 0o777), "lrwxrwxrwx");
        assert_eq!(mode_text(Kind::Directory, 0o2750), "drwxr-s---");
    }
}
