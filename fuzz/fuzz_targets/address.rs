#![no_main]
//! The target `address`; see `dbakfs_fuzz::TARGETS`.

libfuzzer_sys::fuzz_target!(|data: &[u8]| dbakfs_fuzz::run("address", data));
