//! Calls of a library that may panic on damaged input: `tracepoint_decode` 0.5 does so if the description of a field
//! holds a byte that is not ASCII.
//!
//! Nothing of ours runs inside, so that no fault of our own is taken for the input's. Invariant: such a panic is an
//! error and says nothing on stderr; every other panic is reported as ever.

use std::cell::Cell;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Once;

thread_local! {
    static INSIDE: Cell<bool> = const { Cell::new(false) };
}
static HOOK: Once = Once::new();

/// The library panicked: what it was called on is not to be used again.
#[derive(Debug)]
pub(super) struct Panicked;

/// Calls the library.
pub(super) fn call<T>(library: impl FnOnce() -> T) -> Result<T, Panicked> {
    HOOK.call_once(|| {
        let usual = panic::take_hook();
        panic::set_hook(Box::new(move |panic| {
            if !INSIDE.get() {
                usual(panic);
            }
        }));
    });
    INSIDE.set(true);
    let result = panic::catch_unwind(AssertUnwindSafe(library));
    INSIDE.set(false);
    result.map_err(|_| Panicked)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_an_error() {
        assert_eq!(call(|| 1).unwrap(), 1);
        call(|| panic!("not seen")).unwrap_err();
        assert!(!INSIDE.get());
    }
}
