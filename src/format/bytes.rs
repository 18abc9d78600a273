//! Reading little-endian numbers from a slice without ever running past its end.

use super::error::{FormatError, Result};

/// A cursor over bytes that are not trusted.
#[derive(Clone, Copy, Debug)]
pub struct Bytes<'a>(pub &'a [u8]);

impl<'a> Bytes<'a> {
    /// The next `len` bytes.
    ///
    /// # Errors
    /// [`FormatError::Short`] where fewer are left.
    pub fn take(&mut self, len: usize) -> Result<&'a [u8]> {
        let (head, tail) = self.0.split_at_checked(len).ok_or(FormatError::Short)?;
        self.0 = tail;
        Ok(head)
    }

    /// The next `N` bytes.
    ///
    /// # Errors
    /// [`FormatError::Short`] where fewer are left.
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let (head, tail) = self.0.split_first_chunk::<N>().ok_or(FormatError::Short)?;
        self.0 = tail;
        Ok(*head)
    }

    /// The next byte.
    ///
    /// # Errors
    /// [`FormatError::Short`] at the end.
    pub fn u8(&mut self) -> Result<u8> {
        self.array::<1>().map(|[byte]| byte)
    }

    /// The next two bytes as a number.
    ///
    /// # Errors
    /// [`FormatError::Short`] where fewer are left.
    pub fn u16(&mut self) -> Result<u16> {
        self.array().map(u16::from_le_bytes)
    }

    /// The next four bytes as a number.
    ///
    /// # Errors
    /// [`FormatError::Short`] where fewer are left.
    pub fn u32(&mut self) -> Result<u32> {
        self.array().map(u32::from_le_bytes)
    }

    /// The next eight bytes as a number.
    ///
    /// # Errors
    /// [`FormatError::Short`] where fewer are left.
    pub fn u64(&mut self) -> Result<u64> {
        self.array().map(u64::from_le_bytes)
    }

    /// Checks that nothing is left.
    ///
    /// # Errors
    /// [`FormatError::Impossible`] where something is.
    pub fn end(self) -> Result<()> {
        if self.0.is_empty() { Ok(()) } else { Err(FormatError::Impossible("bytes after the end")) }
    }
}
