//! Operations against the naive model after every step.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| zonal_fuzz::operations(bytes));
