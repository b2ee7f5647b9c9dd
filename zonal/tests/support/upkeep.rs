//! The operations that move no frame between allocator and caller: drains, closings, isolation.

use zonal::{IsolateError, ZoneId};
use zonal_testkit::BLOCK;

use super::World;
use crate::op::Scope;
use crate::support::{audited, range};

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
}
