//! libFuzzer's way into the target `response_head`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| keepgate::fuzzing::run("response_head", bytes));
