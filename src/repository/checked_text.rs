//! Small files of text that say whether they are whole.
//!
//! Owns the first line: `# check` and the first eight bytes of the blake3 of everything after that line, in hexadecimal digits. Refuses to know what the
//! text says. Invariant: a changed or missing byte anywhere is told, but for one that takes the whole first line away: a text without it is believed, so that a person can write one.

const HEAD: &str = "# check ";
const DIGITS: usize = 16;

/// The text with its check.
pub(super) fn seal(text: &str) -> String {
    format!("{HEAD}{}\n{text}", check(text))
}

/// The text of a file, without its check.
///
/// # Errors
/// It is not text, it is empty, or it is not what was written; the words say which.
pub(super) fn open(bytes: &[u8]) -> Result<&str, &'static str> {
    let text = str::from_utf8(bytes).map_err(|_| "it is not text")?;
    if text.is_empty() {
        return Err("it is empty");
    }
    if !text.starts_with('#') {
        return Ok(text);
    }
    let (said, rest) =
        text.strip_prefix(HEAD).and_then(|text| text.split_once('\n')).ok_or("its first line is none of ours")?;
    if said == check(rest) {
        Ok(rest)
    } else {
        Err("its text is not the one that was written; take its first line away if a person has changed it")
    }
}

fn check(text: &str) -> String {
    let mut digits = blake3::hash(text.as_bytes()).to_hex().to_string();
    digits.truncate(DIGITS);
    digits
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_changed_or_missing_byte_is_told() {
        let sealed = seal("pinned = true\ntags = [\"a\"]\n").into_bytes();
        assert_eq!(open(&sealed).unwrap(), "pinned = true\ntags = [\"a\"]\n");
        for at in 0..sealed.len() {
            for bit in 0..8 {
                let mut wrong = sealed.clone();
                wrong[at] ^= 1 << bit;
                // Only in the place of the first sign can it be taken for a text that a person wrote, and that is no TOML.
                if let Ok(text) = open(&wrong) {
                    assert!(at == 0 && toml::from_str::<toml::Table>(text).is_err(), "byte {at}: {text}");
                }
            }
            assert!(open(&sealed[..at]).is_err(), "{at} bytes");
        }
        assert_eq!(open(b"pinned = true\n").unwrap(), "pinned = true\n");
    }
}
