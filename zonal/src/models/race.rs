//! Whole scenarios at random: orders from a frame to a section, splits, bulk calls, drains, closings, isolation, poison.

use std::sync::Arc;

use crate::frame::{BLOCK_FRAMES, FrameRange, Group, NodeId, Order, Pfn};
use crate::gfp::Gfp;
use crate::models::stage::Plan;
use crate::models::storm::{Owner, StormStage, number, on_all_cpus, stage, storm};
use crate::request::Request;
use crate::sync::Ordering;

/// Operations of a thread in a run.
const OPERATIONS: usize = 12;

impl Owner {
    /// Splits a held block into rows, each to be freed by itself.
    fn split(&mut self) {
        let Some(at) = self.held.iter().position(|&(_, order)| order == Order::BLOCK) else { return };
        let (pfn, order) = self.held.swap_remove(at);
        // SAFETY: the block is held by this thread, whole.
        unsafe { self.stage.allocator.split_raw(pfn, order, Order::ROW) }.expect("the owner may split");
        let rows = (0..order.frames()).step_by(Order::ROW.frames() as usize);
        self.held.extend(rows.map(|row| (pfn.add(row), Order::ROW)));
    }

    /// Takes scattered frames and gives half of the groups back at once.
    fn bulk(&mut self) {
        let mut groups = [Group::EMPTY; 2];
        let wanted = 1 + number(64) as u64;
        let filled =
            self.stage.allocator.alloc_bulk(&Request::order(Order::ZERO), wanted, &mut groups).unwrap_or(0);
        for (at, group) in groups[..filled].iter().enumerate() {
            group.iter().for_each(|pfn| self.own(pfn, Order::ZERO));
            if at == 0 {
                group.iter().for_each(|pfn| self.disown(pfn, Order::ZERO));
                self.held.retain(|&(pfn, order)| order != Order::ZERO || !group.iter().any(|own| own == pfn));
                // SAFETY: the frames were allocated just above and are nobody's now.
                unsafe { self.stage.allocator.free_bulk(&[*group]) }.expect("the owner may free");
            }
        }
    }

    /// Isolates a block, frees something meanwhile, and ends the isolation.
    fn isolate(&mut self) {
        let start = self.stage.range().start.add(number(2) as u64 * BLOCK_FRAMES);
        let block = FrameRange::new(start, start.add(BLOCK_FRAMES));
        let isolated = self.stage.allocator.isolate(block).is_ok();
        self.give();
        if isolated {
            self.stage.allocator.unisolate(block).expect("it was isolated");
        }
    }

    /// Closes the caches, takes and gives, and opens them again.
    fn close(&mut self) {
        let zone = self.stage.zone();
        zone.close_caches();
        let _ = self.take(Order::ZERO);
        self.give();
        assert!(zone.reopen_caches(), "this thread's closing is in force");
    }

    /// Takes a run of another kind, so that blocks change theirs.
    fn take_movable(&mut self, order: Order) {
        if let Ok(pfn) = self.stage.allocator.alloc_raw(&movable(order)) {
            self.own(pfn, order);
        }
    }

    /// Takes the run at a certain frame, if it is free.
    fn take_at(&mut self, order: Order) {
        let runs = self.stage.range().frames() / order.frames();
        let pfn = self.stage.range().start.add(number(runs as usize) as u64 * order.frames());
        if self.stage.allocator.alloc_at(&Request::order(order), pfn).is_ok() {
            self.own(pfn, order);
        }
    }

    /// Takes a frame that can be moved from now on.
    fn enter(&mut self) {
        let places = &self.stage.allocator.platform.movable;
        let place = &places[number(places.len())];
        if let Ok(pfn) = self.stage.allocator.alloc_raw(&movable(Order::ZERO)) {
            if place.compare_exchange(0, pfn.get(), Ordering::AcqRel, Ordering::Relaxed).is_err() {
                // SAFETY: the frame was allocated just above, and is nobody's.
                unsafe { self.stage.allocator.free_raw(pfn, Order::ZERO) }.expect("the owner may free");
            }
        }
    }

    /// Makes a run by moving frames, if there is none.
    fn compact(&mut self, order: Order) {
        if let Ok(pfn) = self.stage.allocator.alloc_contig(&movable(order)) {
            self.own(pfn, order);
        }
    }

    pub(super) fn anything(&mut self) {
        match number(27) {
            18..=20 => self.enter(),
            21 => leave(&self.stage, number(3)),
            22 => self.compact(Order::from_raw(number(7) as u8)),
            23 => drop(self.stage.allocator.compact(NodeId(0))),
            24..=25 => drop(self.stage.allocator.poison(bad_frame(&self.stage, number(3)))),
            26 => drop(self.stage.allocator.unpoison(bad_frame(&self.stage, number(3)))),
            0..=3 => drop(self.take(Order::ZERO)),
            4..=5 => drop(self.take(Order::from_raw(number(9) as u8))),
            6 => drop(self.take(Order::BLOCK)),
            16 => self.take_movable(Order::from_raw(number(7) as u8)),
            17 => self.take_at(Order::from_raw(number(8) as u8)),
            7..=9 => self.give(),
            10 => self.split(),
            11 => self.bulk(),
            12 => self.isolate(),
            13 => self.close(),
            14 => drop(self.stage.allocator.drain_cpu(number(3))),
            _ => drop(self.stage.allocator.drain_all()),
        }
    }
}

/// What can be moved, from the Movable zone if there is any of it.
fn movable(order: Order) -> Request {
    Request::order(order).gfp(Gfp::MOVABLE | Gfp::HIGHMEM).expect("no forbidden flag")
}

/// The frame that can be moved is freed, wherever it is.
pub(super) fn leave(stage: &StormStage, place: usize) {
    let pfn = Pfn::new(stage.allocator.platform.movable[place].swap(0, Ordering::AcqRel));
    if pfn.get() != 0 {
        // SAFETY: the frame was the place's, and is not any more.
        unsafe { stage.allocator.free_raw(pfn, Order::ZERO) }.expect("the owner may free");
    }
}

/// The frames that are poisoned now and then: two of a group, and one in the other block.
fn bad_frame(stage: &StormStage, which: usize) -> Pfn {
    stage.range().start.add([3, 20, BLOCK_FRAMES + 70][which])
}

/// All is free, counted and open again.
pub(super) fn assert_restored(stage: &Arc<StormStage>) {
    (0..3).for_each(|place| leave(stage, place));
    stage.assert_at_rest(0);
    (0..3).for_each(|which| drop(stage.allocator.unpoison(bad_frame(stage, which))));
    stage.assert_at_rest(0);
    let closed =
        stage.zone().caches.iter().flat_map(|cache| cache.words()).filter(|word| word.load().is_closed());
    assert_eq!(closed.count(), 0, "a word stayed closed");
    stage.allocator.drain_all();
    stage.assert_at_rest(0);
    assert_eq!(stage.zone().count.free(), stage.zone().managed());
    let section = Order::from_raw(Order::BLOCK.get() + 1);
    assert!(stage.allocator.alloc_raw(&Request::order(section)).is_ok(), "all blocks are whole again");
}

#[test]
fn shuttle_race_everything_at_once() {
    storm(20_000, || {
        let stage = stage(&Plan { cpus: 3, ..Plan::blocks(2).cached() });
        on_all_cpus(&stage, 3, |owner| {
            (0..OPERATIONS).for_each(|_| owner.anything());
            owner.give_all();
        });
        assert_restored(&stage);
    });
}

#[test]
fn shuttle_race_without_slot_words() {
    storm(12_000, || {
        let stage = stage(&Plan { cpus: 3, ..Plan::blocks(2) });
        on_all_cpus(&stage, 3, |owner| {
            (0..OPERATIONS).for_each(|_| owner.anything());
            owner.give_all();
        });
        assert_restored(&stage);
    });
}

/// Small frees and whole blocks only: the most contended pair, longer.
#[test]
fn shuttle_race_frames_against_blocks() {
    storm(12_000, || {
        let stage = stage(&Plan { cpus: 3, ..Plan::blocks(2).cached() });
        on_all_cpus(&stage, 3, |owner| {
            for _ in 0..2 * OPERATIONS {
                match number(6) {
                    0 | 1 => drop(owner.take(Order::ZERO)),
                    2 => drop(owner.take(Order::BLOCK)),
                    3 => owner.split(),
                    _ => owner.give(),
                }
            }
            owner.give_all();
        });
        assert_restored(&stage);
    });
}
