//! Memory that comes and goes while others ask: whole onlinings, offlinings and removals of one section, by one thread.

use core::cell::Cell;
use core::ptr::NonNull;
use std::boxed::Box;
use std::sync::Arc;

use crate::frame::{BLOCK_FRAMES, NodeId, Order, Pfn};
use crate::gfp::Gfp;
use crate::hotplug::online::OnlineType;
use crate::models::race::{assert_restored, leave};
use crate::models::stage::Plan;
use crate::models::storm::{Owner, StormStage, number, on_all_cpus, stage, storm};
use crate::own_rows::OwnRows;
use crate::request::Request;
use crate::section::rows::SectionRows;
use crate::sync::Ordering;
use crate::watermark::Marks;

/// Threads of a scenario; the first one plugs.
const THREADS: usize = 3;

/// What can be moved, for who does not wait.
fn movable(order: Order) -> Request {
    let gfp = Gfp::MOVABLE | Gfp::HIGHMEM;
    Request::order(order).gfp(gfp).expect("no forbidden flag").nowait().wakes_nobody()
}

/// A stage with a section that has been added.
fn pluggable(plan: Plan) -> Arc<StormStage> {
    let stage = stage(&Plan { cpus: THREADS, ..plan.hot() });
    stage.allocator.add_memory(stage.hot()).expect("it is absent");
    stage
}

impl StormStage {
    /// The section comes, goes if nothing is in the way, and is there in the end. Somebody may object.
    fn come_and_go(&self, to: OnlineType) {
        let objects = &self.allocator.platform.objects;
        objects.store(number(2) as u64, Ordering::Relaxed);
        let _ = self.allocator.online_memory(self.hot(), to);
        let _ = self.allocator.offline_memory(self.hot(), &mut |_| {});
        objects.store(0, Ordering::Relaxed);
        IS_QUIET.set(true);
        if number(2) == 0 && self.allocator.remove_memory(self.hot()).is_ok() {
            assert!(IS_QUIET.get(), "it went though its rows may be looked at");
            self.allocator.add_memory(self.hot()).expect("it is absent");
        }
        let _ = self.allocator.online_memory(self.hot(), to);
    }

    /// Nobody holds anything: the section goes at the first try, and what is left is at rest.
    fn assert_goes(&self) {
        self.assert_at_rest(0);
        let offlined = self.allocator.offline_memory(self.hot(), &mut |_| {});
        assert!(offlined.is_ok(), "nobody holds anything of it: {offlined:?}");
        self.assert_at_rest(0);
    }
}

std::thread_local! {
    /// Whether the last removal was quiet. (The threads of a scenario are one of the system's.)
    static IS_QUIET: Cell<bool> = const { Cell::new(true) };
    /// Threads in the middle of a call that may look at rows.
    static LOOKERS: Cell<usize> = const { Cell::new(0) };
}

/// Not while somebody may look; and sometimes nobody can tell.
fn quiesce() -> bool {
    IS_QUIET.set(LOOKERS.get() == 0 && number(4) > 0);
    IS_QUIET.get()
}

/// A call that may look at rows.
fn looking(call: impl FnOnce()) {
    LOOKERS.set(LOOKERS.get() + 1);
    call();
    LOOKERS.set(LOOKERS.get() - 1);
}

/// Memory for rows, never used again.
fn memory(_: Pfn) -> Option<NonNull<u8>> {
    Some(NonNull::from(Box::leak(Box::<SectionRows>::new_uninit())).cast())
}

/// The same of a section that holds its own rows.
#[test]
fn shuttle_plugs_a_section_with_its_own_rows_comes_and_goes() {
    storm(2000, || {
        LOOKERS.set(0);
        // SAFETY: (1) the memory is leaked; (2) who may look at rows is counted.
        let own_rows = Some(unsafe { OwnRows::new(memory, quiesce) });
        let stage = pluggable(Plan { own_rows, ..Plan::blocks(2).cached() });
        on_all_cpus(&stage, THREADS, |owner| {
            if owner.is_first() {
                let to = [OnlineType::Kernel, OnlineType::Movable];
                (0..2).for_each(|_| owner.stage.come_and_go(to[number(2)]));
            } else {
                (0..4).for_each(|_| looking(|| owner.take_or_give()));
                looking(|| owner.give_all());
            }
        });
        stage.allocator.drain_all();
        stage.assert_goes();
    });
}

/// The last Movable section goes while requests stand at it: Normal has memory enough, so nobody is refused.
#[test]
fn shuttle_plugs_nobody_is_refused_while_the_last_movable_section_goes() {
    storm(4000, || {
        let stage = pluggable(Plan::blocks(1).cached());
        on_all_cpus(&stage, THREADS, |owner| {
            for _ in 0..if owner.is_first() { 1 } else { 3 } {
                if owner.is_first() {
                    owner.stage.come_and_go(OnlineType::Movable);
                } else {
                    let pfn = owner.stage.allocator.alloc_raw(&movable(Order::ZERO));
                    owner.own(pfn.expect("Normal has frames for all"), Order::ZERO);
                    owner.give();
                }
            }
        });
        stage.assert_goes();
    });
}

/// The section comes to either zone and goes, with objections, while others take and give frames and blocks.
#[test]
fn shuttle_plugs_a_section_comes_and_goes() {
    storm(4000, || {
        let stage = pluggable(Plan::blocks(2).cached());
        on_all_cpus(&stage, THREADS, |owner| {
            if owner.is_first() {
                let to = [OnlineType::Kernel, OnlineType::Movable];
                (0..2).for_each(|_| owner.stage.come_and_go(to[number(2)]));
            } else {
                (0..4).for_each(|_| owner.take_or_give());
                owner.give_all();
            }
        });
        stage.allocator.drain_all();
        stage.assert_goes();
    });
}

impl Owner {
    /// A frame or a block, of either zone; or one of them back.
    fn take_or_give(&mut self) {
        let order = if number(4) == 0 { Order::BLOCK } else { Order::ZERO };
        match number(3) {
            0 => self.give(),
            1 => drop(self.take(order)),
            _ => {
                if let Ok(pfn) = self.stage.allocator.alloc_raw(&movable(order)) {
                    self.own(pfn, order);
                }
            }
        }
    }
}

/// All at once: what a race of everything does, while the section comes and goes.
#[test]
fn shuttle_plugs_everything_at_once() {
    storm(4000, || {
        let stage = pluggable(Plan::blocks(2).cached());
        on_all_cpus(&stage, THREADS, |owner| {
            if owner.is_first() {
                (0..2).for_each(|_| owner.stage.come_and_go(OnlineType::Movable));
            } else {
                (0..6).for_each(|_| owner.anything());
                owner.give_all();
            }
        });
        (0..3).for_each(|place| leave(&stage, place));
        stage.assert_goes();
        assert_restored(&stage);
    });
}

/// A request that may use one zone, the last on its list, while the list gets shorter in front of it and is written twice.
#[test]
fn shuttle_plugs_a_request_for_one_node_never_misses_it() {
    storm(4000, || {
        let stage = pluggable(Plan { nodes: 2, ..Plan::blocks(2) });
        // Short, so that no fast walk serves: what the last walk misses is refused.
        let (least, marks) = (stage.zone().id, Marks { min: 0, low: 512, high: 512, promo: 512 });
        assert!(stage.allocator.set_marks(least, marks));
        on_all_cpus(&stage, 2, |owner| {
            let (allocator, hot) = (&owner.stage.allocator, owner.stage.hot());
            if owner.is_first() {
                allocator.online_memory(hot, OnlineType::Movable).expect("it is offline");
                allocator.offline_memory(hot, &mut |_| {}).expect("nobody may use it");
                allocator.rebuild_zonelists();
            } else {
                let limit = owner.stage.range().start.add(BLOCK_FRAMES);
                let request = Request::order(Order::ZERO).nowait().wakes_nobody();
                for _ in 0..3 {
                    let served = allocator.alloc_raw(&request.node(NodeId(1)).below(limit));
                    owner.held.push((served.expect("the first node is nearly empty"), Order::ZERO));
                }
                for (pfn, order) in std::mem::take(&mut owner.held) {
                    // SAFETY: allocated just above, and nobody's.
                    unsafe { allocator.free_raw(pfn, order) }.expect("the owner may free");
                }
            }
        });
        stage.assert_at_rest(0);
    });
}
