//! libFuzzer's way into the target `proxy_header`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| keepgate::fuzzing::run("proxy_header", bytes));
