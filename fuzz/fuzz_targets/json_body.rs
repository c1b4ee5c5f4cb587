//! libFuzzer's way into the target `json_body`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| keepgate::fuzzing::run("json_body", bytes));
