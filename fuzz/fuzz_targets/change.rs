//! libFuzzer's way into the target `change`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| keepgate::fuzzing::run("change", bytes));
