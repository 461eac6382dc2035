#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| kms::fuzzing::key_record(data));
