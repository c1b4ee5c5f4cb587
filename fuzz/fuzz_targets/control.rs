//! libFuzzer's way into the target `control`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| keepgate::fuzzing::run("control", bytes));
