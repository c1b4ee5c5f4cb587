//! libFuzzer's way into the target `forwarded`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| keepgate::fuzzing::run("forwarded", bytes));
