//! How a person names a point, and a path in it: `POINT[:PATH]`.
//!
//! Owns the grammar and finding the point that is meant. Refuses to know catalogs, the clock and the local time zone:
//! points, notes and zone are passed in. Its invariant: what resolves is a point that is listed; nothing resolves to a
//! point that has been forgotten.
//!
//! ```text
//! POINT = NUMBER | NAME/latest | NAME/TAG | NAME/TIME
//! PATH  = any bytes; a leading '/' changes nothing
//! ```
//! Neither NAME nor TAG holds a `:`, but a TIME may. After a date the *longest* text that reads as a time and ends
//! before a `:` (or at the end) is the time: `www/2026-11-20T10:05:00Z:/etc`, `www/2026-11-20:etc`. So
//! `www/2026-11-20T10:05:30` is a time with seconds; a path `30` at 10:05 is written `www/2026-11-20T10:05:/30`.

use jiff::tz::TimeZone;

use crate::format::{Number, Point, point::bytes_as_text};

use super::{
    Tag, TagNameError,
    notes::Notes,
    tag::LATEST,
    tags::{holder, is_forgotten},
    when::{self, When, WhenError},
};

/// The longest text that is tried as a time.
const TIME_MAX_BYTES: usize = 64;

/// A point and a path in it, as a person named them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// The point.
    pub point: PointAddress,
    /// The path in it, its components joined by `/`, without `.`, `..` or empty ones; empty for the whole point.
    pub path: Vec<u8>,
}

/// A point, as a person named it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PointAddress {
    /// By its number.
    Number(Number),
    /// As one of the points of a source.
    Of {
        /// The source's name.
        source_name: String,
        /// Which of them.
        which: Which,
    },
}

/// Which point of a source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Which {
    /// The one with the newest time.
    Latest,
    /// The one at which this tag stands.
    Tag(Tag),
    /// The newest one not after a time.
    Time {
        /// The time.
        when: When,
        /// As it was written.
        text: String,
    },
}

/// Why a text names no point.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// It has no form of a point.
    #[error("{0:?} names no point: write NAME/latest, NAME/TAG, NAME/TIME or a number from `list`")]
    Form(String),
    /// After the name stands neither a tag nor a time.
    #[error("{text:?} names no point: {source}")]
    Tag {
        /// The whole text.
        text: String,
        /// Why it is no tag.
        source: TagNameError,
    },
    /// After the name stands what begins like a time.
    #[error("{text:?} names no point: {source}")]
    Time {
        /// The whole text.
        text: String,
        /// Why it is no time.
        source: WhenError,
    },
    /// A number that no backup can have.
    #[error("no backup has the number {0}: they end at {max}", max = Number::MAX)]
    TooLarge(String),
    /// The path leads upwards.
    #[error("{0:?} names no path in a point: it holds '..'")]
    Upwards(String),
}

/// Reads `POINT[:PATH]`; times without a zone are in `zone`.
///
/// # Errors
/// It has none of the forms.
pub fn parse(text: &[u8], zone: &TimeZone) -> Result<Address, AddressError> {
    let form = || AddressError::Form(bytes_as_text::encode(text));
    let digits = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    if digits > 0 && matches!(text.get(digits), None | Some(b':')) {
        let digits_text = String::from_utf8_lossy(&text[..digits]);
        let number = digits_text.parse().ok().map(Number).filter(|number| *number <= Number::MAX);
        let number = number.ok_or_else(|| AddressError::TooLarge(digits_text.into_owned()))?;
        let path = path(text.get(digits + 1..).unwrap_or_default())?;
        return Ok(Address { point: PointAddress::Number(number), path });
    }
    let slash = text.iter().position(|byte| *byte == b'/').ok_or_else(form)?;
    let (name, rest) = (&text[..slash], &text[slash + 1..]);
    let source_name = str::from_utf8(name).ok().filter(|name| !name.is_empty() && !name.contains(':'));
    let source_name = source_name.ok_or_else(form)?.to_owned();
    let (which, rest) = which(rest, zone, text)?;
    Ok(Address { point: PointAddress::Of { source_name, which }, path: path(rest)? })
}

/// Reads a POINT that must not be followed by a path.
///
/// # Errors
/// It has none of the forms, or a path follows.
pub fn parse_point(text: &[u8], zone: &TimeZone) -> Result<PointAddress, AddressError> {
    match parse(text, zone)? {
        Address { point, path } if path.is_empty() => Ok(point),
        _ => Err(AddressError::Form(bytes_as_text::encode(text))),
    }
}

/// Splits what follows `NAME/` into the choice and the path, without the `:` between them.
fn which<'a>(rest: &'a [u8], zone: &TimeZone, whole: &[u8]) -> Result<(Which, &'a [u8]), AddressError> {
    let colon = |from: usize| rest[from..].iter().position(|byte| *byte == b':').map_or(rest.len(), |at| from + at);
    let after = |end: usize| rest.get(end + 1..).unwrap_or_default();
    let shown = || bytes_as_text::encode(whole);
    let first = colon(0);
    let word = str::from_utf8(&rest[..first]).map_err(|_| AddressError::Form(shown()))?;
    if word == LATEST {
        return Ok((Which::Latest, after(first)));
    }
    if !word.starts_with('@') && !when::looks_like_time(word) {
        let tag = Tag::new(word).map_err(|source| match word {
            "" => AddressError::Form(shown()),
            _ => AddressError::Tag { text: shown(), source },
        })?;
        return Ok((Which::Tag(tag), after(first)));
    }
    let mut longest = None;
    let mut end = first;
    while end <= TIME_MAX_BYTES {
        if let Some((text, when)) =
            str::from_utf8(&rest[..end]).ok().and_then(|text| Some((text, when::parse(text, zone).ok()?)))
        {
            longest = Some((Which::Time { when, text: text.to_owned() }, after(end)));
        }
        if end == rest.len() {
            break;
        }
        end = colon(end + 1);
    }
    longest.ok_or_else(|| {
        let shortest = when::parse(word, zone);
        let source = shortest.err().or_else(|| when::parse("", zone).err());
        source.map_or_else(|| AddressError::Form(shown()), |source| AddressError::Time { text: shown(), source })
    })
}

fn path(bytes: &[u8]) -> Result<Vec<u8>, AddressError> {
    let parts: Vec<_> = bytes.split(|byte| *byte == b'/').filter(|part| !part.is_empty() && *part != b".").collect();
    if parts.contains(&&b".."[..]) {
        return Err(AddressError::Upwards(bytes_as_text::encode(bytes)));
    }
    Ok(parts.join(&b'/'))
}

/// Whether a TIME that is no point's own may mean the point before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exactness {
    /// It may.
    NotAfter,
    /// It must be a point's own.
    Exact,
}

/// The point that is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resolved<'a> {
    /// The point.
    pub point: &'a Point,
    /// Whether it was named, and not just the newest one not after a time; if not, the choice should be shown.
    pub is_exact: bool,
}

/// Why there is no such point. Each says what there is instead.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ResolveError {
    /// No point has the number.
    #[error("there is no point with the number {0}; `list` shows all")]
    NoSuchNumber(Number),
    /// The point has been forgotten.
    #[error("the point with the number {0} has been forgotten")]
    Forgotten(Number),
    /// No source has the name.
    #[error("the store has no points of a source {name:?}; {}", known("it has", known_names, "it has none at all"))]
    NoSuchSource {
        /// The name.
        name: String,
        /// The names that there are, sorted.
        known_names: Vec<String>,
    },
    /// No point of the source has the tag.
    #[error("{source_name} has no tag {tag}; {}", known("its tags are", known_tags, "it has none"))]
    NoSuchTag {
        /// The source.
        source_name: String,
        /// The tag.
        tag: Tag,
        /// The tags that there are, sorted.
        known_tags: Vec<String>,
    },
    /// All points of the source are newer.
    #[error("{source_name} has no point as old as {text}; its oldest is {source_name}/{oldest}")]
    TooOld {
        /// The source.
        source_name: String,
        /// The time as it was written.
        text: String,
        /// The name of its oldest point.
        oldest: String,
    },
    /// The time is no point's own, and had to be.
    #[error("{source_name} has no point at exactly {text}; the newest before it is {source_name}/{nearest}")]
    NotExact {
        /// The source.
        source_name: String,
        /// The time as it was written.
        text: String,
        /// The name of the point that would have been taken.
        nearest: String,
    },
}

/// Finds the point that is meant.
///
/// # Errors
/// There is none.
pub fn resolve<'a>(
    points: &'a [Point],
    notes: &Notes,
    address: &PointAddress,
    exactness: Exactness,
) -> Result<Resolved<'a>, ResolveError> {
    let (source_name, which) = match address {
        PointAddress::Number(number) => {
            let point = points.iter().find(|point| point.number == *number);
            return match point {
                None => Err(ResolveError::NoSuchNumber(*number)),
                Some(_) if is_forgotten(notes, *number) => Err(ResolveError::Forgotten(*number)),
                Some(point) => Ok(Resolved { point, is_exact: true }),
            };
        }
        PointAddress::Of { source_name, which } => (source_name, which),
    };
    let listed = || points.iter().filter(|point| !is_forgotten(notes, point.number));
    let of_source = || listed().filter(|point| point.source.name == *source_name);
    let newest = |not_after: Option<When>| {
        let is_meant = |point: &&Point| not_after.is_none_or(|when| point.time <= when.not_after);
        of_source().filter(is_meant).max_by_key(|point| (point.time, point.number))
    };
    let Some(latest) = newest(None) else {
        let known_names = sorted(listed().map(|point| point.source.name.clone()));
        return Err(ResolveError::NoSuchSource { name: source_name.clone(), known_names });
    };
    match which {
        Which::Latest => Ok(Resolved { point: latest, is_exact: true }),
        Which::Tag(tag) => match holder(points, notes, source_name, tag) {
            Some(point) => Ok(Resolved { point, is_exact: true }),
            None => {
                let tags = of_source().filter_map(|point| notes.get(&point.number)).flat_map(|notes| &notes.tags);
                let known_tags = sorted(tags.map(ToString::to_string));
                Err(ResolveError::NoSuchTag { source_name: source_name.clone(), tag: tag.clone(), known_tags })
            }
        },
        Which::Time { when, text } => {
            let (source_name, text) = (source_name.clone(), text.clone());
            let Some(point) = newest(Some(*when)) else {
                let oldest = of_source().map(|point| point.time).min().unwrap_or(latest.time);
                let oldest = when::format_point_time(oldest);
                return Err(ResolveError::TooOld { source_name, text, oldest });
            };
            let is_exact = when.is_to_the_second && point.time == when.not_after;
            if !is_exact && exactness == Exactness::Exact {
                let nearest = when::format_point_time(point.time);
                return Err(ResolveError::NotExact { source_name, text, nearest });
            }
            Ok(Resolved { point, is_exact })
        }
    }
}

fn sorted(names: impl Iterator<Item = String>) -> Vec<String> {
    let mut names: Vec<_> = names.collect();
    names.sort_unstable();
    names.dedup();
    names
}

/// The first of what there is, for a message.
fn known(begin: &str, names: &[String], none: &str) -> String {
    const SHOWN: usize = 12;
    let shown: Vec<_> = names.iter().take(SHOWN).map(String::as_str).collect();
    match names.len() {
        0 => none.to_owned(),
        count if count > SHOWN => format!("{begin} {} and {} more", shown.join(", "), count - SHOWN),
        _ => format!("{begin} {}", shown.join(", ")),
    }
}

#[cfg(test)]
pub(super) mod tests;
