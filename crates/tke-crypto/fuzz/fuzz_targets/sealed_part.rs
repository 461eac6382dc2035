#![no_main]

#[path = "../bodies/sealed_part.rs"]
mod sealed_part;

libfuzzer_sys::fuzz_target!(|data: &[u8]| sealed_part::check(data));
