//! The tree of everything that backups are known to lose: backed up, mounted, looked at, and copied out with `cp -a`.

#![allow(clippy::unwrap_used, reason = "a helper that fails is a test that fails")]
#![allow(clippy::print_stderr, reason = "a test explains itself on standard error")]

mod support;

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

use support::awkward::{self, check_trees, is_root};
use support::cli::Place;
use support::points::same;
use support::tree::{Tree, look};

/// The directory at the top that goes down deeper than `cp` can name things.
const DEEP: &[u8] = b"00-deep";

/// Copies a tree as the README tells people to. What stands deeper than `PATH_MAX` is beyond `cp`, on any file system; nothing else may be.
fn copy_out(from: &Path, to: &Path) {
    let output = Command::new("cp").arg("-a").arg(from).arg(to).env("LC_ALL", "C").output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(errors.lines().all(|line| line.ends_with("File name too long")), "{errors}");
}

fn without_deep(tree: &Tree) -> Tree {
    tree.iter().filter(|(path, _)| !path.starts_with(DEEP)).map(|(path, entry)| (path.clone(), entry.clone())).collect()
}

#[track_caller]
fn all_hold(what: &str, original: &Tree, copy: &Tree) {
    let is_deep = original.keys().any(|path| path.starts_with(DEEP));
    for (claim, holds) in check_trees(original, copy) {
        assert!(holds || !is_deep && claim == "file deeper than PATH_MAX", "{what}: {claim}");
    }
    same(what, original, copy);
}

/// Changes a third of the entries: some in what they hold, some in what is said of them, some in what they are, some away.
fn change(src: &Path) {
    let append = |name: &str, text: &str| {
        let mut content = fs::read(src.join(name)).unwrap();
        content.extend_from_slice(text.as_bytes());
        fs::write(src.join(name), content).unwrap();
    };
    for name in ["-rf", "new\nline", "size-256", "size-65537", "size-5242880", "year-1960", "xattr-file", "setuid"] {
        append(name, "changed");
    }
    for number in (0..3_000).step_by(3) {
        fs::write(src.join(format!("crowd/{number}")), "changed").unwrap();
    }
    for name in ["sparse", "fifo", "socket", "links/two", "long-link", "acl-file"] {
        fs::remove_file(src.join(name)).unwrap();
    }
    fs::write(src.join("fifo"), "now a file").unwrap();
    fs::create_dir(src.join("socket")).unwrap();
    fs::write(src.join("socket/inside"), "now a directory").unwrap();
    symlink("now a link", src.join("acl-file")).unwrap();
    fs::hard_link(src.join("size-1"), src.join("links/two")).unwrap();
    fs::remove_dir_all(src.join("equal/a")).unwrap();
    fs::rename(src.join("timed-dir"), src.join("moved-dir")).unwrap();
    fs::rename(src.join("star*?[x]"), src.join("[x]*?star")).unwrap();
    fs::set_permissions(src.join("sticky"), PermissionsExt::from_mode(0o700)).unwrap();
    rustix::fs::setxattr(src.join("xattr-dir"), "user.dir", b"other", rustix::fs::XattrFlags::empty()).unwrap();
    rustix::fs::removexattr(src.join("acl-dir"), "system.posix_acl_default").unwrap();
    if is_root() {
        std::os::unix::fs::lchown(src.join("dangling"), Some(77), Some(78)).unwrap();
        fs::remove_file(src.join("block-device")).unwrap();
        fs::write(src.join("closed/inside"), "another inside").unwrap();
        rustix::fs::removexattr(src.join("capable"), "security.capability").unwrap();
    }
}

#[test]
fn everything_awkward_is_seen_in_the_mount_and_copied_out_of_it() {
    let place = Place::with_store();
    let src = place.src();
    awkward::make(&src);
    let original = look(&src);
    let full = place.backup(&[]);
    assert_eq!((full["type"].as_str(), full["counts"]["unread"].as_u64()), (Some("full"), Some(0)));
    assert!(look(&src) == original, "the backup changed the source");
    change(&src);
    let changed = look(&src);
    let differential = place.backup(&[]);
    assert_eq!(differential["type"], "differential");
    assert_eq!(place.backup(&[])["outcome"], "unchanged");

    let Some(mount) = place.mount(&[]) else { return };
    for (what, done, tree) in [("full", &full, &original), ("differential", &differential, &changed)] {
        let point = place.mnt().join(done["point"].as_str().unwrap());
        let copy = place.path(what);
        copy_out(&point, &copy);
        let (seen, copied) = (look(&point), look(&copy));
        if what == "full" {
            all_hold("full, mount", tree, &seen);
            all_hold("full, cp -a", &without_deep(tree), &without_deep(&copied));
        } else {
            same("differential, mount", tree, &seen);
            same("differential, cp -a", &without_deep(tree), &without_deep(&copied));
        }
    }
    mount.end();
}

#[test]
fn copied_back_over_its_source_it_is_the_point_again() {
    let place = Place::with_store();
    let src = place.src();
    awkward::make(&src);
    let deep = fs::read_dir(&src).unwrap().map(|entry| entry.unwrap());
    for entry in deep.filter(|entry| entry.file_name().as_encoded_bytes().starts_with(DEEP)) {
        fs::remove_dir_all(entry.path()).unwrap();
    }
    Place::settle();
    place.backup(&[]);
    let Some(mount) = place.mount(&[]) else { return };
    // The source is lost, and comes back as a copy: other inodes, other ctimes, and nothing else.
    let copy = place.path("copy");
    copy_out(&place.shown("latest/."), &copy);
    fs::remove_dir_all(&src).unwrap();
    fs::rename(&copy, &src).unwrap();
    mount.end();
    Place::settle();
    let done = place.backup(&[]);
    assert_eq!(done["outcome"], "unchanged", "{done}");
    assert_eq!((place.points().len(), place.packs().len()), (1, 1));
    let again = place.backup(&[]);
    // Nothing is read again but the one file whose time lies in the future: that is never to be trusted.
    let future = "year-2100".len() as u64;
    assert_eq!((again["outcome"].as_str(), again["counts"]["read_bytes"].as_u64()), (Some("unchanged"), Some(future)));
}
