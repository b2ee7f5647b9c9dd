//! Carving typed arrays out of the memory the embedder lends.
//!
//! Arrays are built in place, element by element, and live as long as the loan. Nothing is ever given back: the
//! elements are atomics and plain data, which need no drop.

use core::mem::{MaybeUninit, align_of, size_of};
use core::slice;

use crate::error::ConfigError;

/// Bytes that arrays of given types and lengths need, alignment slack included.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tally {
    bytes: u128,
}

impl Tally {
    /// Adds an array of `len` elements.
    pub(crate) fn add<T>(&mut self, len: u64) {
        self.bytes += u128::from(len) * size_of::<T>() as u128 + align_of::<T>() as u128;
    }

    /// The sum, saturated: no machine lends that much.
    pub(crate) fn bytes(self) -> usize {
        usize::try_from(self.bytes).unwrap_or(usize::MAX)
    }
}

/// Hands out the loan from its start.
pub(crate) struct Carver<'m> {
    rest: &'m mut [MaybeUninit<u8>],
    used: usize,
    needed: usize,
}

impl<'m> Carver<'m> {
    /// A carver over the loan; `needed` is what an error says would have been enough.
    pub(crate) fn new(loan: &'m mut [MaybeUninit<u8>], needed: usize) -> Self {
        Self { rest: loan, used: 0, needed }
    }

    /// An array of `len` elements, the `i`-th built by `element(i)`.
    pub(crate) fn array<T>(
        &mut self,
        len: usize,
        mut element: impl FnMut(usize) -> T,
    ) -> Result<&'m mut [T], ConfigError> {
        let start = self.place::<T>(len)?;
        for i in 0..len {
            // SAFETY: `start` is aligned for T and has room for `len` of them (by `place`), and is borrowed exclusively
            // for 'm; writing does not read or drop what was there.
            unsafe { start.add(i).write(element(i)) };
        }
        // SAFETY: the `len` elements were initialised just above, lie in one allocation that is borrowed exclusively
        // for 'm, and `place` split their bytes off, so that nobody else will be handed them.
        Ok(unsafe { slice::from_raw_parts_mut(start, len) })
    }

    /// An array of `len` elements in stretches of equal ones: `stretch(i)` says how many there are from the `i`-th on, at
    /// least 1, and what makes one. What they are made of is found out once a stretch: the rest is stores.
    pub(crate) fn stretches<T, E: Fn() -> T>(
        &mut self,
        len: usize,
        mut stretch: impl FnMut(usize) -> (usize, E),
    ) -> Result<&'m mut [T], ConfigError> {
        let start = self.place::<T>(len)?;
        let mut first = 0;
        while first < len {
            let (count, element) = stretch(first);
            let end = len.min(first + count.max(1));
            for i in first..end {
                // SAFETY: as in `array`.
                unsafe { start.add(i).write(element()) };
            }
            first = end;
        }
        // SAFETY: as in `array`: the stretches leave out no element.
        Ok(unsafe { slice::from_raw_parts_mut(start, len) })
    }

    /// The array of `len` elements that an earlier carver of the same loan, after the same calls, built here.
    ///
    /// # Safety
    /// The bytes are initialised, and `T` is one of the types whose every byte pattern is a value: integers, atomics,
    /// and structures of them in an order that the language fixes (`repr(C)` or a single field).
    #[cfg(not(any(zonal_loom, zonal_shuttle)))]
    pub(crate) unsafe fn survivor<T>(&mut self, len: usize) -> Result<&'m mut [T], ConfigError> {
        let start = self.place::<T>(len)?;
        // SAFETY: as in `array`; that there are values the caller vouches for.
        Ok(unsafe { slice::from_raw_parts_mut(start, len) })
    }

    /// A word of each element of the array that comes next, at `offset` in the element, without taking the array.
    ///
    /// # Safety
    /// The bytes are initialised.
    #[cfg(not(any(zonal_loom, zonal_shuttle)))]
    pub(crate) unsafe fn peek<T>(
        &self,
        len: usize,
        offset: usize,
    ) -> impl Iterator<Item = u64> + use<'_, 'm, T> {
        let first = self.rest.as_ptr().align_offset(align_of::<T>()) + offset;
        (0..len).filter_map(move |at| {
            let bytes = self.rest.get(first + at * size_of::<T>()..)?.first_chunk::<8>()?;
            // SAFETY: the caller vouches that the bytes are initialised.
            Some(u64::from_ne_bytes(bytes.map(|byte| unsafe { byte.assume_init() })))
        })
    }

    /// Splits the place of an array off.
    fn place<T>(&mut self, len: usize) -> Result<*mut T, ConfigError> {
        let skip = self.rest.as_ptr().align_offset(align_of::<T>());
        let short = ConfigError::Metadata { lent: self.used + self.rest.len(), needed: self.needed };
        let bytes = len.checked_mul(size_of::<T>()).ok_or(short)?;
        let total = skip.checked_add(bytes).filter(|&total| total <= self.rest.len()).ok_or(short)?;
        let (taken, rest) = core::mem::take(&mut self.rest).split_at_mut(total);
        self.rest = rest;
        self.used += total;
        Ok(taken.as_mut_ptr().wrapping_add(skip).cast::<T>())
    }
}
