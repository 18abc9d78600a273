//! The name of a source: the directory in which a mount shows its points.
//!
//! Owns the rules for such names and how one becomes a file name in the store. Refuses to know what is backed up. Its
//! invariant: a [`SourceName`] is one plain path component, and two names never have the same file, not even where
//! the file system does not tell letters apart by case or by their composition.

use std::{ffi::OsStr, fmt, os::unix::ffi::OsStrExt, path::Path};

use super::tag::component_fault;

/// The most bytes of a file's name without its suffix; longer ones end in a hash instead.
const STEM_MAX_BYTES: usize = 200;

/// The name of a source: 1 to 200 bytes of UTF-8. See [`SourceName::new`] for what it may not be.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SourceName(String);

/// Why a text or a path gives no name to a source.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SourceNameError {
    /// The text was given as a name.
    #[error("{text:?} cannot be the name of a source: {reason}")]
    Unusable {
        /// The text.
        text: String,
        /// What speaks against it.
        reason: &'static str,
    },
    /// The name was to be the last component of a path.
    #[error("{path:?} gives no name to its source: {reason}; choose one with --name")]
    NoneInPath {
        /// The path, for people.
        path: String,
        /// What speaks against its last component.
        reason: &'static str,
    },
}

impl SourceName {
    /// The most bytes of a name.
    pub const MAX_BYTES: usize = 200;

    /// Makes a name of a text.
    ///
    /// # Errors
    /// It is empty or too long; holds `/`, `:` or control characters; begins or ends with white space; begins with `-`;
    /// or is `.` or `..`.
    pub fn new(text: &str) -> Result<Self, SourceNameError> {
        match component_fault(text, Self::MAX_BYTES) {
            None => Ok(Self(text.to_owned())),
            Some(reason) => Err(SourceNameError::Unusable { text: text.to_owned(), reason }),
        }
    }

    /// The name that a canonical path gives to its source: its last component.
    ///
    /// # Errors
    /// It has none, or one that cannot be a name.
    pub fn from_path(path: &[u8]) -> Result<Self, SourceNameError> {
        let none = |reason| SourceNameError::NoneInPath { path: String::from_utf8_lossy(path).into_owned(), reason };
        let last = Path::new(OsStr::from_bytes(path)).file_name().ok_or_else(|| none("it has no last component"))?;
        let text = last.to_str().ok_or_else(|| none("its last component is not UTF-8"))?;
        component_fault(text, Self::MAX_BYTES).map_or_else(|| Ok(Self(text.to_owned())), |reason| Err(none(reason)))
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name of this source's file, without directory and suffix: lower-case letters, digits, `-`, `_` and `.` stay,
    /// every other byte is `%` and two digits; what gets too long is cut and ends in `%~` and a hash of the name.
    #[must_use]
    pub fn file_stem(&self) -> String {
        let mut stem = String::with_capacity(self.0.len());
        for (at, byte) in self.0.bytes().enumerate() {
            match byte {
                b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' => stem.push(char::from(byte)),
                b'.' if at > 0 => stem.push('.'),
                _ => stem.push_str(&format!("%{byte:02x}")),
            }
        }
        if stem.len() > STEM_MAX_BYTES {
            let hash = blake3::hash(self.0.as_bytes()).to_hex();
            stem.truncate(STEM_MAX_BYTES - 34);
            stem.push_str("%~");
            stem.push_str(&hash[..32]);
        }
        stem
    }
}

impl fmt::Display for SourceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::str::FromStr for SourceName {
    type Err = SourceNameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::new(text)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn last_component_names_the_source_or_the_error_says_what_to_do() {
        assert_eq!(SourceName::from_path(b"/srv/www").unwrap().as_str(), "www");
        assert_eq!(SourceName::from_path(b"/home/u/.config").unwrap().as_str(), ".config");
        for path in [&b"/"[..], b"/srv/\xff", b"/srv/a:b", b"/srv/a\nb", b"/srv/-x"] {
            let error = SourceName::from_path(path).unwrap_err().to_string();
            assert!(error.ends_with("; choose one with --name"), "{error}");
        }
    }

    #[test]
    fn names_that_are_no_plain_component_are_refused() {
        let too_long = "x".repeat(201);
        for text in ["", ".", "..", "a/b", "a:b", "a\tb", "-n", " a", &too_long] {
            assert!(SourceName::new(text).is_err(), "{text:?}");
        }
        for text in ["www", "2026-11-20", "100%", "Ölbild", "a b", "latest", "42"] {
            assert!(SourceName::new(text).is_ok(), "{text:?}");
        }
    }

    #[test]
    fn file_names_do_not_depend_on_case_and_are_never_hidden() {
        let stem = |text: &str| SourceName::new(text).unwrap().file_stem();
        assert_eq!(stem("www.example-1_b"), "www.example-1_b");
        assert_eq!(stem("WWW"), "%57%57%57");
        assert_eq!(stem(".tmp-1"), "%2etmp-1");
        assert_eq!(stem("é"), "%c3%a9");
    }

    fn unescape(stem: &str) -> Option<String> {
        let mut parts = stem.split('%');
        let mut bytes = parts.next()?.as_bytes().to_vec();
        for part in parts {
            bytes.push(u8::from_str_radix(part.get(..2)?, 16).ok()?);
            bytes.extend_from_slice(part.get(2..)?.as_bytes());
        }
        String::from_utf8(bytes).ok()
    }

    proptest! {
        #[test]
        fn file_name_is_portable_and_belongs_to_one_name(text in "\\PC{1,70}") {
            if let Ok(name) = SourceName::new(&text) {
                let stem = name.file_stem();
                prop_assert!(stem.len() <= STEM_MAX_BYTES && !stem.starts_with('.'));
                prop_assert!(stem.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'%' | b'~')));
                if !stem.contains('~') {
                    prop_assert_eq!(unescape(&stem), Some(text));
                }
            }
        }

        #[test]
        fn long_names_that_differ_only_at_their_end_have_different_files(one in "[Ä-Ü]{60}", two in "[A-Z]", three in "[A-Z]") {
            let stem = |last: &str| SourceName::new(&format!("{one}{last}")).unwrap().file_stem();
            prop_assert_eq!(stem(&two) == stem(&three), two == three);
        }
    }
}
