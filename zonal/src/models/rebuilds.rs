//! Whoever rebuilds the zonelists stands still at any of its steps, or tells of it where others write: nobody waits for it.

use std::sync::Arc;

use shuttle::sync::Mutex;
use shuttle::thread;

use crate::frame::{BLOCK_FRAMES, NodeId, Order};
use crate::models::stage::{Plan, Stage};
use crate::models::storm::{cpu, number, on_cpu, storm};
use crate::platform::{Platform, RebuildStep};
use crate::request::Request;
use crate::sync::{AtomicU64, Ordering};
use crate::watermark::Marks;
use crate::zonelist::Fallback;

/// Requests of each thread that asks.
const REQUESTS: u64 = 4;

shuttle::thread_local! {
    static HAS_CONSOLE: core::cell::Cell<bool> = const { core::cell::Cell::new(false) };
}

/// A platform whose rebuilds stand still until somebody has been served, and whose log goes to a console with a lock.
#[derive(Debug, Default)]
struct Slow {
    /// Requests served.
    served: AtomicU64,
    /// Requests that are made in all.
    wanted: AtomicU64,
    console: Mutex<()>,
}

impl Platform for Slow {
    fn cpu(&self) -> usize {
        cpu()
    }

    fn pause(&self) {
        thread::yield_now();
    }

    fn rebuild_step(&self, _step: RebuildStep) {
        let before = self.served.load(Ordering::Relaxed);
        while self.served.load(Ordering::Relaxed) == before && before < self.wanted.load(Ordering::Relaxed) {
            thread::yield_now();
        }
    }

    fn report(&self, _text: &dyn core::fmt::Display) {
        if !HAS_CONSOLE.with(core::cell::Cell::get) {
            drop(self.console.lock());
        }
    }
}

type SlowStage = Stage<Slow, ()>;

/// Two nodes, both short, so that requests go up the ladder.
fn short() -> Arc<SlowStage> {
    let stage = Stage::new(&Plan { nodes: 2, ..Plan::blocks(2) }, || ());
    let marks = Marks { min: 0, low: 512, high: 512, promo: 512 };
    for zone in stage.allocator.zones() {
        assert!(stage.allocator.set_marks(zone.id, marks));
    }
    Arc::new(stage)
}

impl SlowStage {
    /// A request that may not wait, and its frame back.
    fn ask(&self) {
        let request = Request::order(Order::ZERO).nowait().wakes_nobody().node(NodeId(number(2) as u16));
        let pfn = self.allocator.alloc_raw(&request).expect("nearly all is free");
        // SAFETY: allocated just above, and nobody's.
        unsafe { self.allocator.free_raw(pfn, Order::ZERO) }.expect("the owner may free");
        self.allocator.platform.served.fetch_add(1, Ordering::Relaxed);
    }

    /// Each node's list names both zones, at any moment.
    fn look(&self) {
        for node in (0..2).map(NodeId) {
            assert_eq!(self.allocator.zonelist(node, Fallback::Nodes).count(), 2, "a list is not whole");
        }
    }
}

/// The writer goes on only when somebody has been served: nobody waits for it, and all find whole lists.
#[test]
fn shuttle_rebuilds_a_writer_that_stands_still_keeps_nobody_waiting() {
    storm(1000, || {
        let stage = short();
        stage.allocator.platform.wanted.store(2 * REQUESTS, Ordering::Relaxed);
        let writer = Arc::clone(&stage);
        let writer = on_cpu(0, move || writer.allocator.rebuild_zonelists());
        // One on the writer's CPU, and one on another.
        let askers = [0, 1].map(|cpu| {
            let stage = Arc::clone(&stage);
            on_cpu(cpu, move || {
                for _ in 0..REQUESTS {
                    stage.look();
                    stage.ask();
                }
            })
        });
        askers.into_iter().chain([writer]).for_each(|thread| thread.join().expect("the thread ran"));
        stage.assert_at_rest(0);
    });
}

/// Who has the console asks for frames and has the lists rebuilt, while others have them rebuilt without it.
#[test]
fn shuttle_rebuilds_are_told_when_it_is_others_turn() {
    storm(1000, || {
        let stage = short();
        let (holder, other) = (Arc::clone(&stage), Arc::clone(&stage));
        let holder = on_cpu(0, move || {
            let console = holder.allocator.platform.console.lock();
            HAS_CONSOLE.with(|has| has.set(true));
            holder.ask();
            holder.allocator.rebuild_zonelists();
            drop(console);
        });
        let other = on_cpu(1, move || {
            other.allocator.rebuild_zonelists();
            other.ask();
        });
        [holder, other].into_iter().for_each(|thread| thread.join().expect("the thread ran"));
        assert_eq!(stage.zone().count.free(), BLOCK_FRAMES);
        stage.assert_at_rest(0);
    });
}
