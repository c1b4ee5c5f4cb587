//! libFuzzer's way into the target `networks`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| keepgate::fuzzing::run("networks", bytes));
