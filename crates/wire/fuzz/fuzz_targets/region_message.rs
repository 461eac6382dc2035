#![no_main]

#[path = "../bodies/region_message.rs"]
mod region_message;

libfuzzer_sys::fuzz_target!(|data: &[u8]| region_message::check(data));
