//! libFuzzer's way into the target `cookie`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| keepgate::fuzzing::run("cookie", bytes));
