//! Recordings of a kernel's page allocator.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| zonal_fuzz::traces(bytes));
