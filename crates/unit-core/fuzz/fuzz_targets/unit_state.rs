#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| unit_core::fuzzing::unit_state(data));
