//! Who holds which run: the oracle's own book, which never asks the allocator.
//!
//! Only handlers and what runs before and after the call under test write in it, never the call itself. Invariant: the
//! runs in it do not overlap; one that would is a violation instead.

use std::cell::RefCell;
use std::collections::BTreeMap;

use zonal::{Order, Pfn};

use crate::violation::Violation;

/// Runs that are held, by their first frame, and what went wrong.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    runs: RefCell<BTreeMap<u64, Order>>,
    violations: RefCell<Vec<Violation>>,
}

impl Ledger {
    /// A run was handed out.
    pub(crate) fn claim(&self, pfn: Pfn, order: Order) {
        let mut runs = self.runs.borrow_mut();
        let (start, end) = (pfn.get(), pfn.get() + order.frames());
        let before = runs.range(..end).next_back();
        if before.is_some_and(|(&other, order)| other + order.frames() > start) || !pfn.is_aligned(order) {
            self.violations.borrow_mut().push(Violation::Double { pfn, order });
            return;
        }
        runs.insert(start, order);
    }

    /// A run is about to be freed; whether it was held.
    pub(crate) fn release(&self, pfn: Pfn) -> Option<Order> {
        self.runs.borrow_mut().remove(&pfn.get())
    }

    /// A held run is now as many runs of order `to` as it holds.
    pub(crate) fn split(&self, pfn: Pfn, from: Order, to: Order) {
        if self.release(pfn).is_some() {
            (0..from.frames()).step_by(to.frames() as usize).for_each(|at| self.claim(pfn.add(at), to));
        }
    }

    /// Frames that are held.
    pub(crate) fn frames(&self) -> u64 {
        self.runs.borrow().values().map(|order| order.frames()).sum()
    }

    /// The runs that are held.
    pub(crate) fn runs(&self) -> Vec<(Pfn, Order)> {
        self.runs.borrow().iter().map(|(&start, &order)| (Pfn::new(start), order)).collect()
    }

    /// A promise was broken.
    pub(crate) fn object(&self, violation: Violation) {
        self.violations.borrow_mut().push(violation);
    }

    /// The first broken promise.
    pub(crate) fn first_violation(&self) -> Option<Violation> {
        self.violations.borrow().first().cloned()
    }
}
