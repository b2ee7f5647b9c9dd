//! Where a child was interrupted, told to its parent through memory that both have.
//!
//! Never grows. Invariant: the first word says how many of those behind it are addresses.

use std::io;
use std::ptr::{self, NonNull};
use std::slice;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use zonal_testkit::stepper::Address;

/// A page of words, and more, that stay shared when the process forks.
pub(crate) struct Seen {
    words: NonNull<AtomicU64>,
    count: usize,
}

impl Seen {
    /// Room for so many addresses.
    pub(crate) fn with_room(most: u64) -> io::Result<Self> {
        let count = most as usize + 1;
        let (protection, flags) =
            (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED | libc::MAP_ANONYMOUS);
        // SAFETY: a new mapping at an address of the kernel's choice replaces nothing.
        let start = unsafe { libc::mmap(ptr::null_mut(), count * 8, protection, flags, -1, 0) };
        match NonNull::new(start.cast()) {
            Some(words) if start != libc::MAP_FAILED => Ok(Self { words, count }),
            _ => Err(io::Error::last_os_error()),
        }
    }

    fn words(&self) -> &[AtomicU64] {
        // SAFETY: so many words were mapped, zeroed and aligned to a page; they are unmapped by `drop` only, and everybody takes
        // them for atomics.
        unsafe { slice::from_raw_parts(self.words.as_ptr(), self.count) }
    }

    /// Notes an address, if there is room. Relaxed: the parent reads when the child has ended.
    pub(crate) fn note(&self, address: Address) {
        let words = self.words();
        let Some(noted) = words.first() else { return };
        let at = noted.load(Relaxed) + 1;
        if let Some(word) = words.get(at as usize) {
            word.store(address.get(), Relaxed);
            noted.store(at, Relaxed);
        }
    }

    /// The addresses noted, in order.
    pub(crate) fn addresses(&self) -> impl Iterator<Item = u64> {
        let noted = self.words().first().map_or(0, |noted| noted.load(Relaxed));
        self.words().iter().skip(1).take(noted as usize).map(|word| word.load(Relaxed))
    }
}

impl Drop for Seen {
    fn drop(&mut self) {
        // SAFETY: mapped in `with_room` and borrowed by nobody any more.
        unsafe { libc::munmap(self.words.as_ptr().cast(), self.count * 8) };
    }
}
