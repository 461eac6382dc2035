#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| unit_server::fuzzing::unit_device(data));
