#![no_main]

#[path = "../bodies/administration.rs"]
#[allow(dead_code, reason = "each target uses its own part of it")]
mod administration;
#[path = "../bodies/fixture.rs"]
#[allow(dead_code, reason = "each target uses its own part of it")]
mod fixture;
#[path = "../bodies/unit_request.rs"]
mod unit_request;

libfuzzer_sys::fuzz_target!(|data: &[u8]| unit_request::check(data));
