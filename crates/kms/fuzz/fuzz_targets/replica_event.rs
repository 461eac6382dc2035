#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| kms::fuzzing::replica_event(data));
