//! libFuzzer's way into the target `refresh_token`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| keepgate::fuzzing::run("refresh_token", bytes));
