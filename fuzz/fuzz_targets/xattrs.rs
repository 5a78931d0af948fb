//! Fuzz target: requests for extended attributes and their answers. What is fed and asserted stands
//! in `xtask/src/decoders.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| xtask::decoders::xattrs(data));
