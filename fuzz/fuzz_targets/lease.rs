#![no_main]
//! The target `lease`; see `dbakfs_fuzz::TARGETS`.

libfuzzer_sys::fuzz_target!(|data: &[u8]| dbakfs_fuzz::run("lease", data));
