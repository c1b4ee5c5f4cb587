//! libFuzzer's way into the target `import`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| keepgate::fuzzing::run("import", bytes));
