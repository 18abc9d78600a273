//! A tag: a name that a person gives to a point.
//!
//! Owns the rules for tags. Refuses to know points. Its invariant: a [`Tag`] can be a file name in a mount, and after
//! `NAME/` it can be mistaken for nothing else that a person writes there: no time, no number, no `latest`, no path.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::when;

/// The word for the newest point of a source.
pub(super) const LATEST: &str = "latest";

/// Words that name a time without digits.
const TIME_WORDS: [&str; 4] = ["now", "today", "tomorrow", "yesterday"];

/// A tag: 1 to 128 bytes of UTF-8. See [`Tag::new`] for what it may not be.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Tag(String);

/// Why a text cannot be a tag.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} cannot be a tag: {reason}")]
pub struct TagNameError {
    text: String,
    reason: &'static str,
}

impl Tag {
    /// The most bytes of a tag.
    pub const MAX_BYTES: usize = 128;

    /// Makes a tag of a text.
    ///
    /// # Errors
    /// It is empty or too long; holds `/`, `:` or control characters; begins or ends with white space; begins with `-`
    /// or `@`; is `.`, `..`, `latest` or a number; or looks like a time.
    pub fn new(text: &str) -> Result<Self, TagNameError> {
        let reason = if let Some(reason) = component_fault(text, Self::MAX_BYTES) {
            reason
        } else if text == LATEST {
            "that is the newest point"
        } else if text.bytes().all(|byte| byte.is_ascii_digit()) {
            "a number is the number of a backup"
        } else if text.starts_with('@') || when::looks_like_time(text) || TIME_WORDS.contains(&text) {
            "it looks like a time"
        } else {
            return Ok(Self(text.to_owned()));
        };
        Err(TagNameError { text: text.to_owned(), reason })
    }

    /// The tag as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What forbids `text` to be one plain component of a path that people type, if anything does.
pub(super) fn component_fault(text: &str, max_bytes: usize) -> Option<&'static str> {
    if text.is_empty() {
        Some("it is empty")
    } else if text.len() > max_bytes {
        Some("it is too long")
    } else if text.contains(['/', ':']) {
        Some("it holds '/' or ':', which separate the parts of a point's name")
    } else if text.chars().any(char::is_control) {
        Some("it holds control characters")
    } else if text == "." || text == ".." {
        Some("every directory has that name in it")
    } else if text.starts_with('-') {
        Some("it begins with '-', as options do")
    } else if text.trim() != text {
        Some("it begins or ends with white space")
    } else {
        None
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::str::FromStr for Tag {
    type Err = TagNameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::new(text)
    }
}

impl TryFrom<String> for Tag {
    type Error = TagNameError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::new(&text)
    }
}

impl From<Tag> for String {
    fn from(tag: Tag) -> Self {
        tag.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_that_people_give_are_taken() {
        let longest = "x".repeat(128);
        for text in [
            "deploy-42",
            "v1.0",
            "vor dem Umzug",
            ".hidden",
            "r2026-11-20",
            "2026-11-release",
            "42a",
            "Latest",
            &longest,
        ] {
            assert_eq!(Tag::new(text).unwrap().as_str(), text);
        }
    }

    #[test]
    fn what_could_mean_something_else_is_no_tag() {
        let too_long = "x".repeat(129);
        for text in [
            "",
            ".",
            "..",
            "a/b",
            "a:b",
            "a\nb",
            "a\0b",
            "\u{7f}",
            "-f",
            " a",
            "a ",
            "latest",
            "42",
            "0",
            "2026-11-20",
            "2026-11-20T10-05-00Z",
            "2026-11-20-deploy",
            "2026-13-77",
            "2026-11",
            "@0",
            "@x",
            "today",
            &too_long,
        ] {
            assert!(Tag::new(text).is_err(), "{text:?} was taken");
        }
        assert_eq!(Tag::new("latest").unwrap_err().to_string(), "\"latest\" cannot be a tag: that is the newest point");
    }
}
