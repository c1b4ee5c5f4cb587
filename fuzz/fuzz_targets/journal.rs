//! libFuzzer's way into the target `journal`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| keepgate::fuzzing::run("journal", bytes));
