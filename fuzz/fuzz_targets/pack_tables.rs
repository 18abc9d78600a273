#![no_main]
//! The target `pack_tables`; see `dbakfs_fuzz::TARGETS`.

libfuzzer_sys::fuzz_target!(|data: &[u8]| dbakfs_fuzz::run("pack_tables", data));
