#![no_main]
//! The target `layout`; see `dbakfs_fuzz::TARGETS`.

libfuzzer_sys::fuzz_target!(|data: &[u8]| dbakfs_fuzz::run("layout", data));
