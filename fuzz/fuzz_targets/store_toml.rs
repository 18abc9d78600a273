#![no_main]
//! The target `store_toml`; see `dbakfs_fuzz::TARGETS`.

libfuzzer_sys::fuzz_target!(|data: &[u8]| dbakfs_fuzz::run("store_toml", data));
