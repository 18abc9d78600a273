//! Archives that nobody should take in, and that nobody does: the store is as it was before.

use std::fs;
use std::io::Write;

use crate::imported::import_of;
use crate::support::cli::{Place, snapshot};
use crate::support::points::noise;

/// Makes archives as no program would.
pub(crate) struct Builder {
    bytes: Vec<u8>,
}

impl Builder {
    pub(crate) fn new() -> Self {
        Self { bytes: Vec::new() }
    }

    pub(crate) fn file(&mut self, path: &str, content: &[u8]) -> &mut Self {
        self.member(b'0', path, "", content.len() as u64, content)
    }

    pub(crate) fn dir(&mut self, path: &str) -> &mut Self {
        self.member(b'5', path, "", 0, b"")
    }

    fn link(&mut self, type_flag: u8, path: &str, target: &str) -> &mut Self {
        self.member(type_flag, path, target, 0, b"")
    }

    pub(crate) fn pax(&mut self, records: &[(&str, &[u8])]) -> &mut Self {
        let mut text = Vec::new();
        for (key, value) in records {
            let rest = key.len() + value.len() + 3;
            let len = (1..).map(|digits| rest + digits).find(|len| len.to_string().len() + rest == *len).unwrap();
            text.extend_from_slice(format!("{len} {key}=").as_bytes());
            text.extend_from_slice(value);
            text.push(b'\n');
        }
        self.member(b'x', "pax", "", text.len() as u64, &text)
    }

    /// A member that says it has `size` bytes.
    fn member(&mut self, type_flag: u8, path: &str, target: &str, size: u64, content: &[u8]) -> &mut Self {
        let mut header = tar::Header::new_ustar();
        let fields = header.as_old_mut();
        fields.name[..path.len()].copy_from_slice(path.as_bytes());
        fields.linkname[..target.len()].copy_from_slice(target.as_bytes());
        fields.linkflag = [type_flag];
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(1_600_000_000);
        header.set_size(size);
        header.set_cksum();
        self.bytes.extend_from_slice(header.as_bytes());
        self.bytes.extend_from_slice(content);
        self.bytes.resize(self.bytes.len().next_multiple_of(512), 0);
        self
    }

    pub(crate) fn finish(&self) -> Vec<u8> {
        [&self.bytes[..], &[0; 1024]].concat()
    }
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn built(build: impl FnOnce(&mut Builder) -> &mut Builder) -> Vec<u8> {
    let mut builder = Builder::new();
    // Data that would be stored if anything were.
    builder.file("before", &noise(9, 5_000));
    build(&mut builder).finish()
}

#[test]
fn hostile_archives_change_nothing() {
    let place = Place::with_store();
    let sound = built(|b| b.file("after", b"after"));
    let with_pax = |records: &[(&str, &[u8])]| built(|b| b.pax(records).file("a", &[7; 1_000]));
    let long = "n".repeat(256);
    let sparse =
        |map: &str, size: &str| with_pax(&[("GNU.sparse.size", size.as_bytes()), ("GNU.sparse.map", map.as_bytes())]);
    let mut wrong_sum = sound.clone();
    wrong_sum[512 + 5_120 + 3] ^= 1;
    let hostile: Vec<(&str, Vec<u8>)> = vec![
        ("a path leads upwards", built(|b| b.file("a/../../b", b"x"))),
        ("a path leads upwards", built(|b| b.link(b'1', "a", "../before"))),
        ("a path leads upwards", with_pax(&[("path", b"../a")])),
        ("longer than a name can be", with_pax(&[("path", long.as_bytes())])),
        ("holds a zero byte", with_pax(&[("path", b"a\0b")])),
        ("a hard link to what is not in the archive", built(|b| b.link(b'1', "a", "missing"))),
        ("a hard link to what is not in the archive", built(|b| b.link(b'1', "a", "/etc/passwd"))),
        ("a hard link to a directory", built(|b| b.dir("d").link(b'1', "a", "d"))),
        ("one member makes it a directory", built(|b| b.file("before/a", b"x"))),
        ("one member makes it a directory", built(|b| b.dir("before"))),
        ("one member makes it a directory", built(|b| b.link(b'2', "l", "/etc").file("l/passwd", b"x"))),
        ("is no directory", built(|b| b.file(".", b"x"))),
        ("its target cannot be", built(|b| b.link(b'2', "l", ""))),
        ("of a type that is not known", built(|b| b.link(b'Q', "q", ""))),
        ("began in another volume", built(|b| b.link(b'M', "m", ""))),
        ("its map of holes goes past its end", sparse("0,500,10000,500", "5000")),
        ("its map of holes does not rise", sparse("5000,500,0,500", "10000")),
        ("its map of holes does not fit its data", sparse("0,10", "10000")),
        ("its map of holes is damaged", sparse("0,10,x", "10000")),
        ("an attribute that no file can have", with_pax(&[("SCHILY.xattr.user.a", &[0; 65_537])])),
        ("its ACL cannot be", with_pax(&[("SCHILY.acl.access", b"nonsense")])),
        ("its time cannot be", with_pax(&[("mtime", b"soon")])),
        ("a header that is too long", built(|b| b.member(b'x', "pax", "", 1 << 30, b""))),
        ("a header that is too long", built(|b| b.member(b'L', "././@LongLink", "", 1 << 30, b""))),
        ("it is cut off", built(|b| b.member(b'0', "huge", "", 7 << 32, b"x"))),
        ("it is cut off", sound[..sound.len() - 1_024].to_vec()),
        ("it is cut off", sound[..sound.len() - 1_536].to_vec()),
        ("it is cut off", sound[..700].to_vec()),
        ("it is cut off", Vec::new()),
        ("before the member that a header announces", built(|b| b.pax(&[("path", b"a")]))),
        ("its checksum differs", wrong_sum),
        ("it is no tar archive", noise(3, 10_000)),
        ("it is no tar archive", b"#!/bin/sh\n".repeat(100)),
        ("it is no tar archive", b"shorter than a header\n".to_vec()),
        ("it is no tar archive", gzip(b"shorter than a header\n")),
        ("it cannot be read", gzip(&sound)[..400].to_vec()),
        ("it cannot be read", gzip(&sound).into_iter().rev().skip(4).rev().collect()),
        ("it cannot be read", [&[0x28, 0xb5, 0x2f, 0xfd][..], &noise(4, 600)].concat()),
    ];
    let before = snapshot(&place.store());
    for (number, (why, bytes)) in hostile.iter().enumerate() {
        let ran = import_of(&place, &format!("hostile-{number}.tar"), bytes).exits(1);
        assert!(ran.stderr.contains(why), "{number}: {why:?} is not in {ran:#?}");
        assert_eq!(ran.stdout, "");
    }
    assert!(snapshot(&place.store()) == before, "not one byte of the store has changed");
    import_of(&place, "sound.tar", &sound).exits(0);
    assert_eq!(place.points().len(), 1);
    place.run(["verify", "--data"]).exits(0);
}

#[test]
fn every_prefix_of_an_archive_is_refused() {
    let place = Place::with_store();
    let mut builder = Builder::new();
    builder.pax(&[("mtime", b"5.5")]).file("a", &noise(1, 700)).dir("d").link(b'1', "d/l", "a");
    let whole = builder.finish();
    for format in ["plain", "gzip"] {
        let bytes = if format == "gzip" { gzip(&whole) } else { whole.clone() };
        for cut in (0..bytes.len() - 600).step_by(bytes.len() / 12) {
            import_of(&place, "cut.tar", &bytes[..cut]).exits(1);
        }
    }
    assert_eq!((place.points().len(), place.packs().len()), (0, 0));
}

#[test]
fn bomb_takes_neither_memory_nor_room() {
    let place = Place::with_store();
    // Half a gigabyte of zeros in half a megabyte, and a hole of an exabyte in a line.
    let mut builder = Builder::new();
    let hole = (1_u64 << 60).to_string();
    builder.pax(&[("GNU.sparse.size", hole.as_bytes()), ("GNU.sparse.map", b"0,3")]).file("hole", b"abc");
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(&builder.bytes).unwrap();
    let mut zeros = Builder::new();
    zeros.member(b'0', "zeros", "", 512 << 20, b"");
    encoder.write_all(&zeros.bytes).unwrap();
    for _ in 0..512 {
        encoder.write_all(&vec![0; 1 << 20]).unwrap();
    }
    encoder.write_all(&[0; 1_024]).unwrap();
    fs::write(place.path("bomb.tgz"), encoder.finish().unwrap()).unwrap();
    let mut command = std::process::Command::new("sh");
    let limited_run = "ulimit -v 2000000; exec \"$0\" import --name x --at 2020-01-01T00:00:00Z bomb.tgz";
    command.args(["-c", limited_run, env!("CARGO_BIN_EXE_dbakfs")]).current_dir(place.path(""));
    command.env("DBAKFS_STORE", place.store()).env("DBAKFS_CONFIG", "/dev/null");
    crate::support::process::limited(&mut command).exits(0);
    let stored: u64 = place.packs().iter().map(|pack| fs::metadata(pack).unwrap().len()).sum();
    assert!(stored < 1 << 20, "{stored}");
    let point = place.points().remove(0);
    assert_eq!(point["size_bytes"].as_u64(), Some((1 << 60) + (512 << 20)));
}
