//! libFuzzer's way into the target `password_hash`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| keepgate::fuzzing::run("password_hash", bytes));
