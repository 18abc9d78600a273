//! All members of an archive as one tree.
//!
//! Owns what a path in an archive means, and which of several members of one path counts: the last. Names and inodes are apart, as on a disk, since a hard
//! link names what stood under its target's name when it was met. Invariant: every name is one that a directory can hold, all lie below the root, and
//! only directories hold names.

use std::hash::{BuildHasher, RandomState};

use hashbrown::HashTable;

use super::{ArchiveError, MAX_NAMES, Member, Result};
use crate::format::record::is_name;
use crate::format::{Kind, Meta, Timestamp};

/// The name of the root, which names itself.
pub const ROOT: u32 = 0;

#[derive(Clone, Copy, Debug, Default)]
struct Span {
    at: u32,
    len: u32,
}

#[derive(Clone, Copy, Debug)]
struct Name {
    parent: u32,
    text: Span,
    inode: u32,
}

/// What a name leads to.
#[derive(Clone, Copy, Debug)]
pub struct Inode {
    /// What is said of it; `nlink` is how many names lead to it, once the listing is finished.
    pub meta: Meta,
    /// The member that it is, from 0; none where only what lies in it is in the archive.
    pub member: Option<u32>,
    link: Span,
    xattrs: Span,
}

/// The tree of an archive.
pub struct Listing {
    names: Vec<Name>,
    inodes: Vec<Inode>,
    bytes: Vec<u8>,
    by_name: HashTable<u32>,
    hasher: RandomState,
    /// All names but the root, by the name above and then by their own; and where those of a name begin.
    order: Vec<u32>,
    begins: Vec<u32>,
    /// Members whose path began with `/`.
    pub absolute: u64,
}

impl Default for Listing {
    fn default() -> Self {
        let mut listing = Self {
            names: Vec::new(),
            inodes: vec![implied()],
            bytes: Vec::new(),
            by_name: HashTable::new(),
            hasher: RandomState::new(),
            order: Vec::new(),
            begins: Vec::new(),
            absolute: 0,
        };
        listing.names.push(Name { parent: ROOT, text: Span::default(), inode: 0 });
        listing
    }
}

/// A directory that only leads somewhere.
const fn implied() -> Inode {
    let mtime = Timestamp::new(0, 0);
    let meta = Meta { kind: Kind::Directory, mode: 0o755, uid: 0, gid: 0, nlink: 1, rdev: 0, size: 0, mtime };
    Inode { meta, member: None, link: Span { at: 0, len: 0 }, xattrs: Span { at: 0, len: 0 } }
}

impl Listing {
    /// Adds the member of this number, after all with lower ones.
    ///
    /// # Errors
    /// Where its path leads upwards, cannot be, or goes through what is no directory; where it is a directory and something else is not, or the other way
    /// round; where it is a link to nothing; or where there is no room for it.
    pub fn add(&mut self, member: &Member, number: u32) -> Result<()> {
        let refused = |fault| ArchiveError::member(&member.path, fault);
        self.absolute += u64::from(member.path.starts_with(b"/"));
        let mut parent = ROOT;
        let mut last = None;
        for part in parts(&member.path) {
            let part = part.map_err(refused)?;
            if let Some(above) = last.replace(part) {
                parent =
                    self.directory(parent, above).and_then(|found| found.ok_or_else(|| refused(NOT_A_DIRECTORY)))?;
            }
        }
        let is_directory = member.meta.kind == Kind::Directory && !member.is_hard_link;
        let found = match last {
            None if !is_directory => return Err(refused("it would be the root, and is no directory")),
            None => Some(ROOT),
            Some(part) => self.find(parent, part),
        };
        let was_directory = found.map(|name| self.is_directory(name));
        if was_directory.is_some_and(|was| was != is_directory) {
            return Err(refused(NOT_A_DIRECTORY));
        }
        if member.is_hard_link {
            let target = self.resolve(&member.link).map_err(refused)?;
            let target = target.ok_or_else(|| refused("it is a hard link to what is not in the archive before it"))?;
            if self.is_directory(target) {
                return Err(refused("it is a hard link to a directory"));
            }
            let inode = self.names[target as usize].inode;
            return self.name(parent, last, found, inode);
        }
        let link = self.keep(&member.link)?;
        let xattrs = self.keep(&member.xattrs)?;
        let inode = Inode { meta: member.meta, member: Some(number), link, xattrs };
        if let Some(name) = found.filter(|_| is_directory) {
            let known = self.names[name as usize].inode;
            self.inodes[known as usize] = inode;
            return Ok(());
        }
        let at = u32::try_from(self.inodes.len()).map_err(|_| ArchiveError::TooLarge)?;
        self.inodes.push(inode);
        self.name(parent, last, found, at)
    }

    /// Lets a name lead to an inode.
    fn name(&mut self, parent: u32, last: Option<&[u8]>, found: Option<u32>, inode: u32) -> Result<()> {
        match (found, last) {
            (Some(name), _) => self.names[name as usize].inode = inode,
            (None, Some(part)) => drop(self.insert(parent, part, inode)?),
            (None, None) => {}
        }
        Ok(())
    }

    /// The directory of that name; it is made if there is none, and there is none answered where something else is.
    fn directory(&mut self, parent: u32, part: &[u8]) -> Result<Option<u32>> {
        if let Some(name) = self.find(parent, part) {
            return Ok(self.is_directory(name).then_some(name));
        }
        let inode = u32::try_from(self.inodes.len()).map_err(|_| ArchiveError::TooLarge)?;
        self.inodes.push(implied());
        self.insert(parent, part, inode).map(Some)
    }

    fn insert(&mut self, parent: u32, part: &[u8], inode: u32) -> Result<u32> {
        let number = u32::try_from(self.names.len()).ok().filter(|number| *number < MAX_NAMES);
        let number = number.ok_or(ArchiveError::TooLarge)?;
        let text = self.keep(part)?;
        self.names.push(Name { parent, text, inode });
        let hash = self.hasher.hash_one((parent, part));
        let Self { names, bytes, hasher, by_name, .. } = self;
        let rehash = |name: &u32| {
            let name = names[*name as usize];
            hasher.hash_one((name.parent, slice(bytes, name.text)))
        };
        by_name.insert_unique(hash, number, rehash);
        Ok(number)
    }

    fn find(&self, parent: u32, part: &[u8]) -> Option<u32> {
        let is_it = |name: &u32| {
            let name = self.names[*name as usize];
            name.parent == parent && slice(&self.bytes, name.text) == part
        };
        self.by_name.find(self.hasher.hash_one((parent, part)), is_it).copied()
    }

    /// The name that a path means, if there is one.
    fn resolve(&self, path: &[u8]) -> std::result::Result<Option<u32>, &'static str> {
        let mut name = ROOT;
        for part in parts(path) {
            let Some(found) = self.find(name, part?) else { return Ok(None) };
            name = found;
        }
        Ok(Some(name))
    }

    fn keep(&mut self, bytes: &[u8]) -> Result<Span> {
        let at = u32::try_from(self.bytes.len()).map_err(|_| ArchiveError::TooLarge)?;
        let len = u32::try_from(bytes.len()).map_err(|_| ArchiveError::TooLarge)?;
        at.checked_add(len).ok_or(ArchiveError::TooLarge)?;
        self.bytes.extend_from_slice(bytes);
        Ok(Span { at, len })
    }

    /// Sorts the names and counts those of each inode; nothing is added any more.
    #[must_use]
    pub fn finish(mut self) -> Self {
        self.by_name = HashTable::new();
        let mut order: Vec<u32> = (1..).take(self.names.len() - 1).collect();
        let Self { names, bytes, .. } = &self;
        let key = |name: &u32| {
            let name = &names[*name as usize];
            (name.parent, slice(bytes, name.text))
        };
        order.sort_unstable_by(|one, two| key(one).cmp(&key(two)));
        let mut begins = vec![0; names.len() + 1];
        for name in &order {
            begins[names[*name as usize].parent as usize + 1] += 1;
        }
        for at in 1..begins.len() {
            begins[at] += begins[at - 1];
        }
        let mut links = vec![0_u32; self.inodes.len()];
        for name in &self.names {
            links[name.inode as usize] += 1;
        }
        for (inode, links) in self.inodes.iter_mut().zip(links) {
            inode.meta.nlink = links;
        }
        (self.order, self.begins) = (order, begins);
        self
    }

    /// The names in a directory, sorted.
    #[must_use]
    pub fn children(&self, name: u32) -> &[u32] {
        &self.order[self.begins[name as usize] as usize..self.begins[name as usize + 1] as usize]
    }

    /// How many names there are, the root's among them.
    #[must_use]
    pub fn len(&self) -> usize {
        self.names.len()
    }

    /// Whether the archive has no member.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.names.len() == 1
    }

    /// The inodes; those that no name leads to any more have an `nlink` of 0.
    #[must_use]
    pub fn inodes(&self) -> &[Inode] {
        &self.inodes
    }

    /// The number of the inode of a name.
    #[must_use]
    pub fn inode_of(&self, name: u32) -> u32 {
        self.names[name as usize].inode
    }

    /// What a name leads to.
    #[must_use]
    pub fn inode(&self, name: u32) -> &Inode {
        &self.inodes[self.inode_of(name) as usize]
    }

    fn is_directory(&self, name: u32) -> bool {
        self.inode(name).meta.kind == Kind::Directory
    }

    /// The name itself; the root's is empty.
    #[must_use]
    pub fn text(&self, name: u32) -> &[u8] {
        slice(&self.bytes, self.names[name as usize].text)
    }

    /// The target of a symbolic link.
    #[must_use]
    pub fn link(&self, inode: &Inode) -> &[u8] {
        slice(&self.bytes, inode.link)
    }

    /// Its attributes, as a catalog holds them.
    #[must_use]
    pub fn xattrs(&self, inode: &Inode) -> &[u8] {
        slice(&self.bytes, inode.xattrs)
    }

    /// The path of a name.
    #[must_use]
    pub fn path(&self, mut name: u32) -> Vec<u8> {
        let mut parts = Vec::new();
        while name != ROOT {
            parts.push(self.text(name));
            name = self.names[name as usize].parent;
        }
        parts.reverse();
        parts.join(&b'/')
    }
}

const NOT_A_DIRECTORY: &str = "one member makes it a directory and another does not";

fn slice(bytes: &[u8], span: Span) -> &[u8] {
    &bytes[span.at as usize..][..span.len as usize]
}

/// The names that a path goes through. What leads upwards is refused; where a path begins is no matter.
fn parts(path: &[u8]) -> impl Iterator<Item = std::result::Result<&[u8], &'static str>> {
    path.split(|byte| *byte == b'/').filter(|part| !part.is_empty() && *part != b".").map(|part| match part {
        b".." => Err("a path leads upwards"),
        part if is_name(part) => Ok(part),
        _ => Err("a part of a path is longer than a name can be"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(path: &str, kind: Kind) -> Member {
        let meta = Meta { kind, ..implied().meta };
        let (link, xattrs) = (Vec::new(), Vec::new());
        Member { path: path.into(), meta, link, is_hard_link: false, xattrs, ranges: None, has_unknown_names: false }
    }

    fn file(path: &str) -> Member {
        member(path, Kind::File)
    }

    fn link(path: &str, target: &str) -> Member {
        Member { link: target.into(), is_hard_link: true, ..file(path) }
    }

    /// `path member names` of all that is no directory, in order.
    fn list(members: &[Member]) -> std::result::Result<Vec<String>, String> {
        let mut listing = Listing::default();
        for (number, member) in (0..).zip(members) {
            listing.add(member, number).map_err(|error| error.to_string())?;
        }
        let listing = listing.finish();
        let mut found = Vec::new();
        let mut waiting = vec![ROOT];
        while let Some(name) = waiting.pop() {
            let inode = listing.inode(name);
            if inode.meta.kind == Kind::Directory {
                waiting.extend(listing.children(name).iter().rev());
            } else {
                let path = String::from_utf8(listing.path(name)).unwrap();
                found.push(format!("{path} {} {}", inode.member.unwrap(), inode.meta.nlink));
            }
        }
        Ok(found)
    }

    #[test]
    fn members_come_in_any_order_and_the_last_of_a_path_counts() {
        let members = [
            file("b/c"),
            file("a"),
            member("b", Kind::Directory),
            file("./b//c"),
            file("/b/./a"),
            member(".", Kind::Directory),
        ];
        assert_eq!(list(&members).unwrap(), ["a 1 1", "b/a 4 1", "b/c 3 1"]);
        assert_eq!(list(&[]).unwrap(), [""; 0]);
    }

    #[test]
    fn hard_link_names_what_stood_there_when_it_was_met() {
        let members = [file("a"), link("b", "./a"), link("c", "b"), file("a"), link("d", "a")];
        assert_eq!(list(&members).unwrap(), ["a 3 2", "b 0 2", "c 0 2", "d 3 2"]);
        assert_eq!(list(&[file("a"), link("a", "a")]).unwrap(), ["a 0 1"]);
    }

    #[test]
    fn what_no_directory_can_hold_is_refused() {
        let long = "n".repeat(256);
        let refused = [
            vec![file("a/../b")],
            vec![file("..")],
            vec![file(&long)],
            vec![file("/")],
            vec![file("a"), file("a/b")],
            vec![file("a/b"), file("a")],
            vec![member("a", Kind::Directory), member("a", Kind::Symlink)],
            vec![member("a", Kind::Symlink), file("a/b")],
            vec![link("a", "b"), file("b")],
            vec![link("a", "a")],
            vec![file("a"), link("b", "../a")],
            vec![member("a", Kind::Directory), link("b", "a")],
            vec![member("a", Kind::Directory), file("b"), link("a", "b")],
        ];
        for members in refused {
            let answer = list(&members);
            assert!(answer.as_ref().is_err_and(|error| error.contains("is refused")), "{members:?}: {answer:?}");
        }
    }
}
