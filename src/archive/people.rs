//! The numbers of this machine's users and groups, for ACLs that name them.

use std::cell::OnceCell;
use std::collections::HashMap;
use std::fs;

use super::acl::Named;

type Numbers = HashMap<Vec<u8>, u32>;

/// Users and groups; their files are read when the first name is asked for.
#[derive(Debug, Default)]
pub struct People {
    users: OnceCell<Numbers>,
    groups: OnceCell<Numbers>,
}

impl People {
    /// The number of a user or a group of this machine's own files.
    #[must_use]
    pub fn number_of(&self, named: Named, name: &[u8]) -> Option<u32> {
        let (cell, path) = match named {
            Named::User => (&self.users, "/etc/passwd"),
            Named::Group => (&self.groups, "/etc/group"),
        };
        cell.get_or_init(|| numbers(&fs::read(path).unwrap_or_default())).get(name).copied()
    }
}

/// `NAME:PASSWORD:NUMBER:…`, a line each.
fn numbers(text: &[u8]) -> Numbers {
    let line = |line: &[u8]| {
        let mut fields = line.split(|byte| *byte == b':');
        let (name, number) = (fields.next()?, fields.nth(1)?);
        Some((name.to_vec(), super::number::decimal(number)?))
    };
    text.split(|byte| *byte == b'\n').filter_map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_the_numbers_of_this_machine() {
        assert_eq!(People::default().number_of(Named::User, b"root"), Some(0));
        assert_eq!(People::default().number_of(Named::Group, b"no such group"), None);
        assert_eq!(
            numbers(b"joe:x:7:8::/:\nbroken\njane:x:x:").into_iter().collect::<Vec<_>>(),
            [(b"joe".to_vec(), 7)]
        );
    }
}
