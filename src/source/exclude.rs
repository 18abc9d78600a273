//! What the user wants left out.
//!
//! Owns the meaning of `--exclude` and `--exclude-from`: gitignore syntax, relative to the root of the source, the last
//! pattern that matches decides. Refuses to walk. Its invariant: a pattern that cannot be understood, or that could
//! never match, is refused by name before anything is read.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use ignore::gitignore::{Gitignore, GitignoreBuilder};

/// The patterns of one backup; matches nothing by default.
#[derive(Clone, Debug, Default)]
pub struct Exclude {
    /// None if there are no patterns, so that nobody builds a path in order to ask.
    matcher: Option<Gitignore>,
}

impl Exclude {
    /// Begins to gather patterns.
    #[must_use]
    pub fn builder() -> ExcludeBuilder {
        ExcludeBuilder { patterns: GitignoreBuilder::new(".") }
    }

    /// Whether there are no patterns at all.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.matcher.is_none()
    }

    /// Whether the entry at `relative`, a path below the root without a leading slash, is left out.
    ///
    /// Asks about this entry alone: whatever lies below a directory that is left out is never met.
    #[must_use]
    pub fn leaves_out(&self, relative: &[u8], is_dir: bool) -> bool {
        self.matcher
            .as_ref()
            .is_some_and(|matcher| matcher.matched(Path::new(OsStr::from_bytes(relative)), is_dir).is_ignore())
    }
}

/// Gathers patterns in the order in which they take effect: a later one overrules an earlier one.
#[derive(Debug)]
pub struct ExcludeBuilder {
    patterns: GitignoreBuilder,
}

impl ExcludeBuilder {
    /// Adds one pattern, as given with `--exclude`.
    ///
    /// # Errors
    /// [`ExcludeError::Pattern`] if it is no glob, not UTF-8, or one that gitignore syntax takes for a comment or a
    /// blank line: somebody who typed it meant something.
    pub fn pattern(&mut self, pattern: &OsStr) -> Result<&mut Self, ExcludeError> {
        let refuse =
            |reason: &str| ExcludeError::Pattern { pattern: pattern.display().to_string(), reason: reason.to_owned() };
        let text = pattern.to_str().ok_or_else(|| refuse("it is not UTF-8; write `?` for each odd byte"))?;
        if text.trim_end().is_empty() {
            return Err(refuse("it is blank"));
        }
        if text.starts_with('#') {
            return Err(refuse("a leading `#` begins a comment; write `\\#`"));
        }
        self.patterns.add_line(None, text).map_err(|error| refuse(&reason(&error)))?;
        Ok(self)
    }

    /// Adds the patterns of a file in gitignore syntax, as given with `--exclude-from`.
    ///
    /// # Errors
    /// [`ExcludeError::Read`] if the file cannot be read, [`ExcludeError::Line`] for the first line that is no pattern.
    pub fn file(&mut self, path: &Path) -> Result<&mut Self, ExcludeError> {
        let content = std::fs::read(path).map_err(|source| ExcludeError::Read { path: path.to_owned(), source })?;
        let content = content.strip_prefix("\u{feff}".as_bytes()).unwrap_or(&content);
        for (number, line) in (1..).zip(content.split(|byte| *byte == b'\n')) {
            let refuse = |reason: String| ExcludeError::Line {
                path: path.to_owned(),
                number,
                pattern: String::from_utf8_lossy(line).into_owned(),
                reason,
            };
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            let text = std::str::from_utf8(line).map_err(|error| refuse(error.to_string()))?;
            self.patterns.add_line(None, text).map_err(|error| refuse(reason(&error)))?;
        }
        Ok(self)
    }

    /// Ends the gathering.
    ///
    /// # Errors
    /// [`ExcludeError::Together`] if the patterns are too large for one matcher.
    pub fn finish(&self) -> Result<Exclude, ExcludeError> {
        let matcher = self.patterns.build().map_err(|error| ExcludeError::Together { reason: reason(&error) })?;
        Ok(Exclude { matcher: (!matcher.is_empty()).then_some(matcher) })
    }
}

/// What `error` says besides the pattern, which is named already.
fn reason(error: &ignore::Error) -> String {
    match error {
        ignore::Error::Glob { err, .. } => err.clone(),
        other => other.to_string(),
    }
}

/// Why patterns were refused.
#[derive(Debug, thiserror::Error)]
pub enum ExcludeError {
    /// A pattern of the command line.
    #[error("cannot exclude `{pattern}`: {reason}")]
    Pattern {
        /// The pattern as given.
        pattern: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A line of a file of patterns.
    #[error("cannot exclude `{pattern}`, line {number} of {}: {reason}", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// The line in it, from 1.
        number: usize,
        /// The line's text.
        pattern: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A file of patterns that cannot be read.
    #[error("cannot read the patterns in {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Patterns that are fine one by one.
    #[error("cannot exclude so much at once: {reason}")]
    Together {
        /// What the matcher said.
        reason: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exclude(patterns: &[&str]) -> Exclude {
        let mut builder = Exclude::builder();
        for pattern in patterns {
            builder.pattern(OsStr::new(pattern)).unwrap();
        }
        builder.finish().unwrap()
    }

    #[test]
    fn pattern_without_a_slash_matches_at_any_depth() {
        let exclude = exclude(&["*.o"]);
        assert!(exclude.leaves_out(b"a.o", false) && exclude.leaves_out(b"deep/down/a.o", false));
        assert!(!exclude.leaves_out(b"a.odt", false));
    }

    #[test]
    fn leading_slash_anchors_at_the_root() {
        let exclude = exclude(&["/target", "docs/*.html"]);
        assert!(exclude.leaves_out(b"target", true) && !exclude.leaves_out(b"sub/target", true));
        assert!(exclude.leaves_out(b"docs/a.html", false) && !exclude.leaves_out(b"sub/docs/a.html", false));
        assert!(!exclude.leaves_out(b"docs/deep/a.html", false), "a star does not cross a slash");
    }

    #[test]
    fn trailing_slash_matches_directories_only() {
        let exclude = exclude(&["cache/"]);
        assert!(exclude.leaves_out(b"a/cache", true) && !exclude.leaves_out(b"a/cache", false));
    }

    #[test]
    fn last_matching_pattern_decides() {
        let keep = exclude(&["*.log", "!important.log"]);
        assert!(keep.leaves_out(b"a.log", false) && !keep.leaves_out(b"important.log", false));
        assert!(exclude(&["!important.log", "*.log"]).leaves_out(b"important.log", false));
    }

    #[test]
    fn names_of_any_bytes_are_matched() {
        let exclude = exclude(&["bad*", "line?break"]);
        assert!(exclude.leaves_out(b"dir\xff/bad\xfe\x01", false) && exclude.leaves_out(b"line\nbreak", false));
    }

    #[test]
    fn refused_pattern_is_named() {
        let mut builder = Exclude::builder();
        for pattern in ["a{b", "", "  ", "# note"] {
            let error = builder.pattern(OsStr::new(pattern)).unwrap_err().to_string();
            assert!(error.contains(&format!("`{pattern}`")), "{error}");
        }
        assert!(builder.pattern(OsStr::from_bytes(b"\xff")).unwrap_err().to_string().contains("UTF-8"));
    }

    #[test]
    fn file_of_patterns_takes_comments_and_names_the_bad_line() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("patterns");
        std::fs::write(&path, "\u{feff}# comment\r\n\r\n*.tmp\r\n!keep.tmp").unwrap();
        let mut builder = Exclude::builder();
        let exclude = builder.file(&path).unwrap().finish().unwrap();
        assert!(exclude.leaves_out(b"x.tmp", false) && !exclude.leaves_out(b"keep.tmp", false));

        std::fs::write(&path, "fine\na{b\n").unwrap();
        let error = Exclude::builder().file(&path).unwrap_err().to_string();
        assert!(error.contains("`a{b`, line 2 of ") && error.contains("patterns"), "{error}");
        assert!(matches!(Exclude::builder().file(Path::new("/nowhere/at/all")), Err(ExcludeError::Read { .. })));
    }

    #[test]
    fn no_patterns_leave_nothing_out() {
        assert!(Exclude::default().is_empty() && Exclude::builder().finish().unwrap().is_empty());
        assert!(!Exclude::default().leaves_out(b"anything", true));
    }
}
