#![no_main]
//! The target `archive`; see `dbakfs_fuzz::TARGETS`.

libfuzzer_sys::fuzz_target!(|data: &[u8]| dbakfs_fuzz::run("archive", data));
