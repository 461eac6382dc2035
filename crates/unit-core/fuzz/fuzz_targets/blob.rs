#![no_main]

#[path = "../bodies/administration.rs"]
#[allow(dead_code, reason = "each target uses its own part of it")]
mod administration;
#[path = "../bodies/fixture.rs"]
#[allow(dead_code, reason = "each target uses its own part of it")]
mod fixture;
#[path = "../bodies/blob.rs"]
mod blob;

libfuzzer_sys::fuzz_target!(|data: &[u8]| blob::check(data));
