#![no_main]

#[path = "../bodies/signed_block.rs"]
mod signed_block;

libfuzzer_sys::fuzz_target!(|data: &[u8]| signed_block::check(data));
