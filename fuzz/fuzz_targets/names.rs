//! libFuzzer's way into the target `names`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| keepgate::fuzzing::run("names", bytes));
