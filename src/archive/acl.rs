//! ACLs: as Linux keeps them in an attribute, and as archives write them for people.
//!
//! Pure, but for the names of users and groups, which come from the caller.

/// Who is named in an ACL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Named {
    /// A user.
    User,
    /// A group.
    Group,
}

/// Why a text is no ACL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotAnAcl {
    /// It has another form.
    Form,
    /// It names somebody who has no number.
    Unknown,
}

const VERSION: [u8; 4] = 2_u32.to_le_bytes();
const ENTRY_BYTES: usize = 8;
/// Tags in the order of the kernel, with the word of each.
const TAGS: [(u16, &str); 6] =
    [(0x01, "user"), (0x02, "user"), (0x04, "group"), (0x08, "group"), (0x10, "mask"), (0x20, "other")];

/// The text of an ACL, entries between commas, numbers for names; nothing where the bytes are no ACL.
#[must_use]
pub fn to_text(raw: &[u8]) -> Option<String> {
    let entries = raw.strip_prefix(&VERSION)?;
    if entries.len() % ENTRY_BYTES != 0 {
        return None;
    }
    let mut text = String::new();
    for entry in entries.chunks_exact(ENTRY_BYTES) {
        let (tag, permissions) = (u16::from_le_bytes([entry[0], entry[1]]), u16::from_le_bytes([entry[2], entry[3]]));
        let id = u32::from_le_bytes([entry[4], entry[5], entry[6], entry[7]]);
        let word = TAGS.iter().find(|(known, _)| *known == tag)?.1;
        let who = if matches!(tag, 0x02 | 0x08) { id.to_string() } else { String::new() };
        let letter = |bit: u16, letter: char| if permissions & bit != 0 { letter } else { '-' };
        let separator = if text.is_empty() { "" } else { "," };
        text.push_str(&format!("{separator}{word}:{who}:{}{}{}", letter(4, 'r'), letter(2, 'w'), letter(1, 'x')));
    }
    Some(text)
}

/// The ACL that a text says; nothing for one that says no more than a mode does. `number_of` knows the numbers of users and groups.
///
/// # Errors
/// It has another form, or names somebody who is not known.
pub fn from_text(text: &[u8], number_of: &dyn Fn(Named, &[u8]) -> Option<u32>) -> Result<Option<Vec<u8>>, NotAnAcl> {
    let mut entries: Vec<(u16, u32, u16)> = Vec::new();
    for line in text.split(|byte| matches!(byte, b',' | b'\n')) {
        let line = line.split(|byte| *byte == b'#').next().unwrap_or_default().trim_ascii();
        if line.is_empty() {
            continue;
        }
        let mut parts = line.split(|byte| *byte == b':').map(<[u8]>::trim_ascii);
        let (Some(word), Some(who), Some(permissions)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(NotAnAcl::Form);
        };
        // Some write the number behind.
        let number = parts.next().and_then(super::number::decimal::<u32>);
        let named = |named, bare, of_name| {
            if who.is_empty() {
                return Ok((bare, u32::MAX));
            }
            let id = number.or_else(|| super::number::decimal(who)).or_else(|| number_of(named, who));
            id.map(|id| (of_name, id)).ok_or(NotAnAcl::Unknown)
        };
        let (tag, id) = match word {
            b"user" | b"u" => named(Named::User, 0x01, 0x02)?,
            b"group" | b"g" => named(Named::Group, 0x04, 0x08)?,
            b"mask" | b"m" => (0x10, u32::MAX),
            b"other" | b"o" => (0x20, u32::MAX),
            _ => return Err(NotAnAcl::Form),
        };
        let mut bits = 0;
        for letter in permissions {
            bits |= match letter {
                b'r' => 4,
                b'w' => 2,
                b'x' => 1,
                b'-' => 0,
                _ => return Err(NotAnAcl::Form),
            };
        }
        entries.push((tag, id, bits));
    }
    entries.sort_unstable();
    let is_twice = entries.windows(2).any(|two| (two[0].0, two[0].1) == (two[1].0, two[1].1));
    let has = |wanted: u16| entries.iter().any(|(tag, ..)| *tag == wanted);
    if is_twice || ![0x01, 0x04, 0x20].into_iter().all(has) || (has(0x02) || has(0x08)) && !has(0x10) {
        return Err(NotAnAcl::Form);
    }
    if entries.len() == 3 {
        return Ok(None);
    }
    let mut raw = VERSION.to_vec();
    for (tag, id, bits) in entries {
        raw.extend(tag.to_le_bytes().into_iter().chain(bits.to_le_bytes()).chain(id.to_le_bytes()));
    }
    Ok(Some(raw))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nobody(_: Named, _: &[u8]) -> Option<u32> {
        None
    }

    #[test]
    fn acl_goes_to_text_and_back() {
        let text = "user::rwx,user:7:r--,user:1234:r-x,group::r--,mask::rw-,other::---";
        let raw = from_text(text.as_bytes(), &nobody).unwrap().unwrap();
        assert_eq!(raw.len(), 4 + 6 * ENTRY_BYTES);
        assert_eq!(to_text(&raw).as_deref(), Some(text));
        for wrong in [&raw[..raw.len() - 1], &raw[4..], b""] {
            assert_eq!(to_text(wrong), None);
        }
    }

    #[test]
    fn text_is_taken_as_people_and_programs_write_it() {
        let of_joe = |named, name: &[u8]| (named == Named::User && name == b"joe").then_some(7);
        let expected = from_text(b"user::rw-,user:7:r--,group::r--,mask::r--,other::r--", &nobody);
        assert_eq!(from_text(b"u::rw-\nu:joe:r\ng::r--\nmask::r--\t# all\no::r--\n", &of_joe), expected);
        assert_eq!(from_text(b"other::r--,user:someone:r--:7,group::r--,mask::r--,user::rw-", &nobody), expected);
        assert_eq!(
            from_text(b"user::rw-,user:joe:r--,group::r--,mask::r--,other::r--", &nobody),
            Err(NotAnAcl::Unknown)
        );
        assert_eq!(from_text(b"user::rw-,group::r--,other::---", &nobody), Ok(None), "a mode says as much");
        for wrong in
            ["", "user::rwx", "user::rwz,group::r--,other::r--", "user:7:r--,user::r,group::r,other::r", "hat::r--"]
        {
            assert_eq!(from_text(wrong.as_bytes(), &nobody), Err(NotAnAcl::Form), "{wrong}");
        }
    }
}
