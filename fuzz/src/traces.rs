//! Bytes as a recording: its events, or a refusal that names file and place. Never more memory than a recording of its
//! size deserves, which libFuzzer's own limits watch.

use std::fs::File;
use std::io::Write;
use std::os::fd::AsRawFd;

use rustix::fs::{MemfdFlags, memfd_create};

use crate::trace::{self, Event, Recording};

/// Reads the recording as from a file of the file system.
pub fn traces(bytes: &[u8]) {
    // Memory that has a name: perf.data is read with seeks.
    let Ok(file) = memfd_create("recording", MemfdFlags::CLOEXEC) else { return };
    let mut file = File::from(file);
    if file.write_all(bytes).is_err() {
        return;
    }
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    let mut kmem = 0u64;
    match trace::read(&Recording::File(path.clone().into()), |event| {
        kmem += u64::from(event != Event::Foreign)
    }) {
        Ok(_) => assert!(kmem > 0, "a recording without an event was accepted"),
        Err(fault) => {
            let said = fault.to_string();
            let after = said.strip_prefix(&format!("{path}:")).unwrap_or_else(|| panic!("no file: {said}"));
            let place = after.strip_prefix("byte ").unwrap_or(after);
            assert!(place.starts_with(|first: char| first.is_ascii_digit()), "no place: {said}");
        }
    }
}
