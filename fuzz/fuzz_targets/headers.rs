//! libFuzzer's way into the target `headers`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| keepgate::fuzzing::run("headers", bytes));
