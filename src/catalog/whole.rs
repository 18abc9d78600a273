//! Reading a catalog from its first row to its last, as `verify` does.
//!
//! Owns passes over whole sections. Refuses to judge what rows mean together. Invariant: a pass holds one decoded block at a time.

use super::Result;
use super::reader::{Catalog, Decoded, Entry, Part};
use crate::format::FormatError;
use crate::format::catalog::Foot;
use crate::format::table::{Adopted, Extent};

impl Catalog {
    /// Decodes every block, and checks the hash of the whole file: the structural part of `verify`.
    ///
    /// # Errors
    /// Where the catalog is damaged.
    pub fn check(&self) -> Result<()> {
        for part in [Part::Records, Part::Extents, Part::Directories, Part::Adopted] {
            for run in 0..self.section(part).runs().len() {
                self.decode(part, run)?;
            }
        }
        let foot_at = self.file().len() - Foot::LEN as u64;
        let mut foot = [0; Foot::LEN];
        self.file().read_exact_at(&mut foot, foot_at)?;
        let foot = Foot::decode(&foot, self.file().len()).map_err(|source| self.damaged("foot", source))?;
        let mut hasher = blake3::Hasher::new();
        let mut buffer = vec![0; 1 << 20];
        let mut at = 0;
        while at < foot_at {
            let len = usize::try_from(foot_at - at).unwrap_or(usize::MAX).min(buffer.len());
            self.file().read_exact_at(&mut buffer[..len], at)?;
            hasher.update(&buffer[..len]);
            at += len as u64;
        }
        if *hasher.finalize().as_bytes() != foot.hash {
            return Err(self.damaged("whole file", FormatError::Checksum));
        }
        Ok(())
    }

    /// Rows of the directory table.
    #[must_use]
    pub fn directory_rows(&self) -> u32 {
        self.section(Part::Directories).rows()
    }

    /// Gives `take` every record, in order.
    ///
    /// # Errors
    /// Where the catalog is damaged, or what `take` says.
    pub fn scan<E: From<super::CatalogError>>(
        &self,
        mut take: impl FnMut(Entry) -> std::result::Result<(), E>,
    ) -> std::result::Result<(), E> {
        let section = self.section(Part::Records);
        for (run, rows) in section.runs().iter().map(|run| run.rows).enumerate() {
            let first = section.first_row(run);
            let block = self.records(run)?;
            (first..first + rows).try_for_each(|number| take(Self::entry_in(&block, first, number)))?;
        }
        Ok(())
    }

    /// Gives `take` every row of the extent table, in order.
    ///
    /// # Errors
    /// Where the catalog is damaged, or what `take` says.
    pub fn scan_extents(&self, mut take: impl FnMut(&Extent) -> Result<()>) -> Result<()> {
        for run in 0..self.section(Part::Extents).runs().len() {
            let Decoded::Extents(rows) = &*self.block(Part::Extents, run)? else {
                unreachable!("the cache's key names the part")
            };
            rows.iter().try_for_each(&mut take)?;
        }
        Ok(())
    }

    /// Gives `take` every row of the table of adopted births, in order.
    ///
    /// # Errors
    /// Where the catalog is damaged, or what `take` says.
    pub fn scan_adopted(&self, mut take: impl FnMut(&Adopted) -> Result<()>) -> Result<()> {
        for run in 0..self.section(Part::Adopted).runs().len() {
            let Decoded::Adopted(rows) = &*self.block(Part::Adopted, run)? else {
                unreachable!("the cache's key names the part")
            };
            rows.iter().try_for_each(&mut take)?;
        }
        Ok(())
    }
}
