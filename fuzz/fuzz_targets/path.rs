//! libFuzzer's way into the target `path`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| keepgate::fuzzing::run("path", bytes));
