//! libFuzzer's way into the target `host`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| keepgate::fuzzing::run("host", bytes));
