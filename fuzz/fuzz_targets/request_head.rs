//! libFuzzer's way into the target `request_head`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| keepgate::fuzzing::run("request_head", bytes));
