#![no_main]

#[path = "../bodies/secret_text.rs"]
mod secret_text;

libfuzzer_sys::fuzz_target!(|data: &[u8]| secret_text::check(data));
