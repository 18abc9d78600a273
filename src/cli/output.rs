//! Writing to the terminal, and to whatever stands in its place.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::sync::atomic::{AtomicBool, Ordering};

use serde::Serialize;

use super::{Exit, Failure, Result};

/// Whether the command does nothing but show: then it ends when nobody looks any more.
static ONLY_SHOWS: AtomicBool = AtomicBool::new(false);

/// Says that the command does nothing but show.
pub(crate) fn only_shows() {
    ONLY_SHOWS.store(true, Ordering::Relaxed);
}

/// Prints a line of a result.
pub(crate) fn line(text: &str) -> Result<()> {
    bytes(text.as_bytes())?;
    bytes(b"\n")
}

/// Prints bytes of a result as they are.
pub(crate) fn bytes(bytes: &[u8]) -> Result<()> {
    match io::stdout().write_all(bytes) {
        // Whoever read the results has seen enough: `dbakfs list | head -1` is no failure. What is being done is done to its end all the same.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
            if ONLY_SHOWS.load(Ordering::Relaxed) {
                std::process::exit(0);
            }
            Ok(())
        }
        answer => answer.map_err(|error| Failure::new(Exit::Failed, format!("cannot write the results: {error}"))),
    }
}

/// Standard output itself, for what is no text. Who closes it early has not got all.
pub(crate) fn raw() -> io::Stdout {
    io::stdout()
}

/// Prints a result as one line of JSON.
pub(crate) fn json(value: &impl Serialize) -> Result<()> {
    let text = serde_json::to_string(value).map_err(|error| Failure::of(Exit::Failed, &error))?;
    line(&text)
}

/// Says something on standard error, on one line whatever names are in it.
pub(crate) fn complain(text: &str) {
    let mut safe = String::with_capacity(text.len() + 1);
    for letter in text.chars() {
        if letter.is_control() {
            let _ = write!(safe, "\\x{:02x}", u32::from(letter));
        } else {
            safe.push(letter);
        }
    }
    safe.push('\n');
    // Where standard error is closed there is nobody to tell.
    let _ = io::stderr().write_all(safe.as_bytes());
}

/// A path for a person.
pub(crate) fn path(path: &std::path::Path) -> String {
    printable(std::os::unix::ffi::OsStrExt::as_bytes(path.as_os_str()))
}

/// A name or path for a person: control characters and bytes that are not UTF-8 escaped.
pub(crate) fn printable(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for part in bytes.utf8_chunks() {
        for letter in part.valid().chars() {
            if letter.is_control() {
                let _ = write!(text, "\\x{:02x}", u32::from(letter));
            } else {
                text.push(letter);
            }
        }
        for byte in part.invalid() {
            let _ = write!(text, "\\x{byte:02x}");
        }
    }
    text
}

/// A table with aligned columns; the ones marked `true` to the right.
pub(crate) fn table(head: &[(&str, bool)], rows: &[Vec<String>]) -> Result<()> {
    let mut widths: Vec<usize> = head.iter().map(|(title, _)| title.chars().count()).collect();
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let print = |cells: &mut dyn Iterator<Item = &str>| {
        let mut text = String::new();
        for ((cell, width), (_, is_right)) in cells.zip(&widths).zip(head) {
            if is_right == &true {
                let _ = write!(text, "{cell:>width$}  ");
            } else {
                let _ = write!(text, "{cell:<width$}  ");
            }
        }
        line(text.trim_end())
    };
    print(&mut head.iter().map(|(title, _)| *title))?;
    rows.iter().try_for_each(|row| print(&mut row.iter().map(String::as_str)))
}

/// How many bytes of a backup one stored byte stands for; nothing where either is unknown.
#[expect(clippy::cast_precision_loss, reason = "for people")]
pub(crate) fn ratio(size_bytes: u64, stored_bytes: u64) -> Option<f64> {
    (size_bytes > 0 && stored_bytes > 0).then(|| size_bytes as f64 / stored_bytes as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratio_is_size_to_stored_bytes_where_both_are_known() {
        assert_eq!(ratio(3_000, 1_000), Some(3.0));
        assert_eq!((ratio(0, 10), ratio(10, 0)), (None, None));
    }
}
