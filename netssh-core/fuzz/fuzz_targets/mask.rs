#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| netssh_core::fuzzing::mask(bytes));
