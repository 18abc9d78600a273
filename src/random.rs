//! Random bytes from the system.

/// Fills `bytes` with random bytes of the kernel's.
///
/// # Panics
/// Where the kernel has none to give, which Linux since 3.17 does not let happen.
pub(crate) fn fill(bytes: &mut [u8]) {
    getrandom::fill(bytes).expect("the kernel gives random bytes");
}
