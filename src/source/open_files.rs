//! The limit on files that this process may hold open.
//!
//! Owns one call that commands make which walk deep trees, at their start. Refuses to know who opens what. Its invariant: the limit is never
//! lowered.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Raises the soft limit on open files to the hard limit and returns the limit that now holds, in files.
///
/// The walk gets by with some dozens, but listings that wait for the reader hold a directory each, and the usual soft
/// limit of 1,024 exists only for programs that still use `select`.
///
/// # Errors
/// What `setrlimit` says; the old limit then still holds.
pub fn raise_open_files_limit() -> std::io::Result<u64> {
    let now = getrlimit(Resource::Nofile);
    if now.current != now.maximum {
        setrlimit(Resource::Nofile, Rlimit { current: now.maximum, maximum: now.maximum })?;
    }
    Ok(now.maximum.unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limit_is_the_hard_limit_afterwards() {
        let limit = raise_open_files_limit().unwrap();
        assert_eq!(getrlimit(Resource::Nofile).current, Some(limit));
        assert_eq!(raise_open_files_limit().unwrap(), limit, "a second call changes nothing");
    }
}
