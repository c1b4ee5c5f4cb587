//! libFuzzer's way into the target `jwks`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| keepgate::fuzzing::run("jwks", bytes));
