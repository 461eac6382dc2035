#![no_main]

#[path = "../bodies/administration.rs"]
#[allow(dead_code, reason = "each target uses its own part of it")]
mod administration;
#[path = "../bodies/bench.rs"]
#[allow(dead_code, reason = "each target uses its own part of it")]
mod bench;
#[path = "../bodies/blob.rs"]
mod blob;

libfuzzer_sys::fuzz_target!(|data: &[u8]| blob::check(data));
