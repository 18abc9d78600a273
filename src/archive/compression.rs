//! What is around an archive: nothing, gzip or zstd.

use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};
use std::str::FromStr;

/// How an archive is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Not at all.
    Tar,
    /// With gzip.
    Gzip,
    /// With zstd.
    Zstd,
}

/// The suffixes of archives.
const SUFFIXES: [(&str, Format); 6] = [
    (".tar.zst", Format::Zstd),
    (".tzst", Format::Zstd),
    (".tar.gz", Format::Gzip),
    (".tgz", Format::Gzip),
    (".tar.zstd", Format::Zstd),
    (".tar", Format::Tar),
];

impl Format {
    /// The format that the suffix of a file's name says.
    #[must_use]
    pub fn of_name(name: &[u8]) -> Option<Self> {
        SUFFIXES.iter().find(|(suffix, _)| name.ends_with(suffix.as_bytes())).map(|(_, format)| *format)
    }

    /// A file's name without the suffix of an archive.
    #[must_use]
    pub fn stem(name: &[u8]) -> &[u8] {
        SUFFIXES.iter().find_map(|(suffix, _)| name.strip_suffix(suffix.as_bytes())).unwrap_or(name)
    }

    /// The format that the first bytes of an archive show.
    #[must_use]
    pub fn of_bytes(begin: &[u8]) -> Self {
        match begin {
            [0x1f, 0x8b, ..] => Self::Gzip,
            // A frame, or one that is to be passed over.
            [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Self::Zstd,
            _ => Self::Tar,
        }
    }

    /// The archive inside of `input`.
    ///
    /// # Errors
    /// Where zstd cannot be set up.
    pub fn open<'a>(self, input: impl BufRead + 'a) -> io::Result<Box<dyn Read + 'a>> {
        Ok(match self {
            Self::Tar => Box::new(input),
            Self::Gzip => Box::new(BufReader::new(flate2::bufread::MultiGzDecoder::new(input))),
            Self::Zstd => Box::new(BufReader::new(zstd::stream::read::Decoder::with_buffer(input)?)),
        })
    }
}

impl FromStr for Format {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let found = SUFFIXES.iter().find(|(suffix, _)| &suffix[1..] == text);
        found.map(|(_, format)| *format).ok_or_else(|| format!("{text:?} is no format: tar, tar.gz or tar.zst"))
    }
}

/// Compresses what is written to it.
pub enum Compressed<W: Write> {
    /// Not at all.
    Tar(BufWriter<W>),
    /// With gzip.
    Gzip(flate2::write::GzEncoder<BufWriter<W>>),
    /// With zstd.
    Zstd(zstd::stream::write::Encoder<'static, BufWriter<W>>),
}

impl<W: Write> Compressed<W> {
    /// Begins; `level` is that of the format, or its usual one.
    ///
    /// # Errors
    /// Where zstd cannot be set up.
    pub fn new(out: W, format: Format, level: Option<i32>) -> io::Result<Self> {
        let out = BufWriter::with_capacity(1 << 18, out);
        Ok(match format {
            Format::Tar => Self::Tar(out),
            Format::Gzip => {
                let level = level.map_or(flate2::Compression::default(), |level| {
                    flate2::Compression::new(u32::try_from(level.clamp(1, 9)).unwrap_or(6))
                });
                Self::Gzip(flate2::write::GzEncoder::new(out, level))
            }
            Format::Zstd => {
                let mut encoder = zstd::stream::write::Encoder::new(out, level.unwrap_or(3))?;
                encoder.include_checksum(true)?;
                Self::Zstd(encoder)
            }
        })
    }

    /// Ends, and gives back what was written to.
    ///
    /// # Errors
    /// Where the rest cannot be written.
    pub fn finish(self) -> io::Result<W> {
        let out = match self {
            Self::Tar(out) => out,
            Self::Gzip(encoder) => encoder.finish()?,
            Self::Zstd(encoder) => encoder.finish()?,
        };
        out.into_inner().map_err(io::IntoInnerError::into_error)
    }
}

impl<W: Write> Write for Compressed<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Tar(out) => out.write(bytes),
            Self::Gzip(out) => out.write(bytes),
            Self::Zstd(out) => out.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Tar(out) => out.flush(),
            Self::Gzip(out) => out.flush(),
            Self::Zstd(out) => out.flush(),
        }
    }
}
