//! Memory maps and policies of any kind, refused for a mistake that is there or built right.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| zonal_fuzz::memory_maps(bytes));
