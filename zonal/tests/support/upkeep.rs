//! The operations that move no frame between allocator and caller: drains, closings, isolation, poison.

use zonal::{IsolateError, Pfn, PoisonError, Poisoned, ZoneId};
use zonal_testkit::BLOCK;

use super::World;
use crate::op::Scope;
use crate::support::{POISONED, audited, range};

impl World<'_> {
    fn zone(&self, pick: usize) -> ZoneId {
        ZoneId((pick % self.model.zones().len()) as u16)
    }

    pub(super) fn drain(&mut self, scope: Scope) {
        let before = audited(&self.allocator);
        let drained = match scope {
            Scope::Cpu(cpu) => self.allocator.drain_cpu(cpu % (self.machine.cpus.len() + 1)),
            Scope::Zone(zone) => self.allocator.drain_zone(self.zone(zone)),
            Scope::Range(from, frames) => {
                let start = from % (self.top() + 1);
                self.allocator.drain_range(range(start, start + frames % (3 * BLOCK)))
            }
            Scope::All => self.allocator.drain_all(),
        };
        let after = audited(&self.allocator);
        assert_eq!(before.cached - after.cached, drained, "frames said to be drained by {scope:?}");
        assert!(!matches!(scope, Scope::All) || after.cached == 0, "still cached: {after:?}");
    }

    pub(super) fn close(&mut self, pick: usize) {
        let zone = self.zone(pick);
        if self.closed.insert(zone.0) {
            self.allocator.close_caches(zone);
        }
    }

    pub(super) fn reopen(&mut self, pick: usize) {
        let zone = self.zone(pick);
        if self.closed.remove(&zone.0) {
            self.allocator.reopen_caches(zone);
        }
    }

    pub(super) fn blocks(&self) -> Vec<u64> {
        (0..self.top().div_ceil(BLOCK)).map(|block| block * BLOCK).collect()
    }

    /// Whether any frame of the block exists.
    fn is_block(&self, block: u64) -> bool {
        (block..block + BLOCK).any(|pfn| self.model.zone_of(pfn).is_some())
    }

    pub(super) fn isolate(&mut self, pick: usize, count: u64) {
        let all = self.blocks();
        let first = all[pick % all.len()];
        let blocks: Vec<u64> = (0..count).map(|n| first + n * BLOCK).collect();
        let good = blocks.iter().all(|&block| self.is_block(block) && !self.model.is_isolated(block));
        match self.allocator.isolate(range(first, first + count * BLOCK)) {
            Ok(_) => {
                assert!(
                    good,
                    "isolated {count} blocks at {first:#x}, one of which is absent or isolated already"
                );
                for block in blocks {
                    assert_eq!(self.model.isolated(block), Ok(()));
                }
            }
            Err(error) => assert!(!good, "{error}"),
        }
    }

    pub(super) fn unisolate(&mut self, pick: usize, count: u64) {
        let all = self.blocks();
        self.unisolate_at(all[pick % all.len()], count);
    }

    /// A range with a block that is none stays as it is.
    pub(super) fn unisolate_at(&mut self, first: u64, count: u64) {
        match self.allocator.unisolate(range(first, first + count * BLOCK)) {
            Ok(_) => {
                for block in (0..count).map(|n| first + n * BLOCK) {
                    assert_eq!(self.model.is_isolated(block), self.model.unisolated(block).is_ok());
                }
            }
            Err(IsolateError::NotBlocks { pfn }) => {
                assert!(!self.is_block(pfn.get()), "{pfn} is said to be no block");
            }
            Err(error) => panic!("{error}"),
        }
    }

    pub(super) fn poison(&mut self, place: u64) {
        let pfn = place % (self.top() + 1);
        let known = self.model.poisoned().any(|frame| frame == pfn);
        let full = !known && self.model.poisoned().count() >= POISONED;
        let expected = match self.model.zone_of(pfn).map(|_| full) {
            None => return self.poison_absent(pfn),
            Some(true) => Err(PoisonError::Full { words: POISONED }),
            Some(false) => Ok(place_of(self.model.poison(pfn))),
        };
        assert_eq!(self.allocator.poison(Pfn::new(pfn)), expected, "poisoning {pfn:#x}");
        assert_eq!(self.allocator.poisoned(Pfn::new(pfn)), expected.ok());
    }

    /// A frame that does not exist may look as if it were in use.
    fn poison_absent(&mut self, pfn: u64) {
        match self.allocator.poison(Pfn::new(pfn)) {
            Ok(state) => {
                assert_eq!(state, Poisoned::Pending, "{pfn:#x} is absent");
                assert_eq!(self.allocator.unpoison(Pfn::new(pfn)), Ok(Poisoned::Pending));
            }
            Err(PoisonError::Foreign { .. }) => assert!(!self.is_block(pfn - pfn % BLOCK)),
            Err(error) => assert_eq!(error, PoisonError::Full { words: POISONED }),
        }
    }

    pub(super) fn heal(&mut self, pick: usize) {
        let poisoned: Vec<u64> = self.model.poisoned().collect();
        match poisoned.get(pick % poisoned.len().max(1)).copied() {
            Some(pfn) => {
                let expected = place_of(self.model.heal(pfn));
                assert_eq!(self.allocator.unpoison(Pfn::new(pfn)), Ok(expected), "healing {pfn:#x}");
            }
            None => {
                let pfn = Pfn::new(self.top());
                let none = self.allocator.unpoison(pfn);
                assert!(
                    none == Err(PoisonError::NotPoisoned { pfn })
                        || none == Err(PoisonError::Foreign { pfn })
                );
            }
        }
    }
}

/// Where a poisoned frame is that somebody holds, or not.
fn place_of(held: Option<bool>) -> Poisoned {
    if held == Some(true) { Poisoned::Pending } else { Poisoned::Out }
}
