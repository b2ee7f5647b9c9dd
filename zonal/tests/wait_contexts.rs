//! Requests out of their place: what each context allows, what each request may wait for, and that only checked mode looks.

mod support;

use std::cell::{Cell, RefCell};

use support::Setup;
use zonal::{
    Checking, Context, Gfp, Group, InvalidWait, Naming, NodeId, Order, PageAllocator, Platform, Preemption,
    Request, Running, Wait, WaitContext,
};
use zonal_testkit::{BLOCK, Machine};

#[derive(Default)]
struct Witness {
    context: Cell<WaitContext>,
    asked: Cell<u32>,
    found: RefCell<Vec<InvalidWait>>,
}

impl Platform for Witness {
    fn cpu(&self) -> usize {
        0
    }

    fn wait_context(&self) -> WaitContext {
        self.asked.set(self.asked.get() + 1);
        self.context.get()
    }

    fn invalid_wait(&self, found: &InvalidWait) {
        self.found.borrow_mut().push(*found);
    }
}

impl Witness {
    fn take(&self) -> Vec<InvalidWait> {
        std::mem::take(&mut *self.found.borrow_mut())
    }
}

type Pages = PageAllocator<'static, &'static Witness>;

fn build(checking: Checking, naming: Naming) -> (Pages, &'static Witness) {
    let setup = Setup { checking, naming, ..Setup::of(&Machine::one_node(1, &[(0, 16 * BLOCK)])) };
    let witness: &'static Witness = Box::leak(Box::default());
    let metadata = setup.lend().expect("the machine is a good one").leak();
    (PageAllocator::new(&setup.config(), witness, metadata).expect("the machine is a good one"), witness)
}

fn ask(allocator: &Pages, gfp: Gfp) {
    let request = Request::order(Order::ZERO).gfp(gfp).expect("nothing is forbidden");
    let pfn = allocator.alloc_raw(&request).expect("there is room");
    // SAFETY: allocated just now.
    assert_eq!(unsafe { allocator.free_raw(pfn, Order::ZERO) }, Ok(()));
}

const SLEEPS: [Gfp; 3] = [Gfp::KERNEL, Gfp::DIRECT_RECLAIM, Gfp::TRANSHUGE];
const WAKES: [Gfp; 3] = [Gfp::ATOMIC, Gfp::NOWAIT, Gfp::KSWAPD_RECLAIM];
const STILL: [Gfp; 3] = [Gfp::empty(), Gfp::HIGH, Gfp::TRANSHUGE_LIGHT];

/// Every context: whether it bears requests that may sleep, and those that may wake.
const CONTEXTS: [(Running, Preemption, bool, bool); 10] = [
    (Running::Task, Preemption::Ordinary, true, true),
    (Running::Task, Preemption::RealTime, true, true),
    (Running::Atomic, Preemption::Ordinary, false, true),
    (Running::Atomic, Preemption::RealTime, false, true),
    (Running::RawAtomic, Preemption::Ordinary, false, true),
    (Running::RawAtomic, Preemption::RealTime, false, false),
    (Running::HardInterrupt, Preemption::Ordinary, false, true),
    (Running::HardInterrupt, Preemption::RealTime, false, false),
    (Running::Nmi, Preemption::Ordinary, false, false),
    (Running::Nmi, Preemption::RealTime, false, false),
];

/// A request is told of whether or not it has to wait: each of these is served at once.
#[test]
fn each_context_bears_what_linux_says() {
    let (allocator, witness) = build(Checking::On, Naming::Off);
    for (running, preemption, sleeps, wakes) in CONTEXTS {
        let context = WaitContext { running, preemption };
        witness.context.set(context);
        let told = |gfp| {
            ask(&allocator, gfp);
            let told = witness.take();
            assert!(
                told.iter()
                    .all(|found| (found.context, found.gfp, found.order) == (context, gfp, Order::ZERO))
            );
            told.len()
        };
        assert!(SLEEPS.iter().all(|&gfp| told(gfp) == usize::from(!sleeps)), "{context}");
        assert!(WAKES.iter().all(|&gfp| told(gfp) == usize::from(!wakes)), "{context}");
        assert!(STILL.iter().all(|&gfp| told(gfp) == 0), "{context}");
    }
}

#[test]
fn every_way_to_ask_is_looked_at_once() {
    let (allocator, witness) = build(Checking::On, Naming::Off);
    witness.context.set(WaitContext { running: Running::HardInterrupt, preemption: Preemption::Ordinary });
    let (request, mut groups) = (Request::order(Order::ZERO), [Group::EMPTY; 2]);
    let policy = zonal::Mempolicy::preferred(NodeId(0)).expect("there is one");
    let context = Context { policy: Some(&policy), ..Context::default() };
    assert!(allocator.alloc_raw(&request).is_ok());
    assert!(allocator.alloc(&request).is_ok());
    assert!(allocator.alloc_raw_in(&context, &request).is_ok());
    assert!(allocator.alloc_exact(&request, 3).is_ok());
    assert!(allocator.alloc_bulk(&request, 20, &mut groups).is_ok());
    assert!(allocator.alloc_raw(&request.with_order(Order::BLOCK)).is_ok());
    assert_eq!(witness.take().len(), 6);
    // One that is refused is told of once, too, before anything is done for it.
    assert!(allocator.alloc_raw(&request.with_order(Order::new(18).expect("the longest"))).is_err());
    assert_eq!(witness.take().len(), 1);
    witness.context.set(WaitContext { running: Running::Nmi, preemption: Preemption::RealTime });
    assert!(allocator.alloc_nolock(Gfp::ACCOUNT, None, Order::ZERO).is_ok());
    assert_eq!(witness.take(), []);
}

/// Linux serves none in an NMI or a hard interrupt of a PREEMPT_RT kernel (linux-facts 1.2).
#[test]
fn nolock_is_served_in_every_context_to_the_last_frame() {
    let (allocator, witness) = build(Checking::On, Naming::Off);
    let free = |allocator: &Pages| allocator.zones().map(|zone| zone.free).sum::<u64>();
    let all = free(&allocator);
    for (running, preemption, ..) in CONTEXTS {
        witness.context.set(WaitContext { running, preemption });
        let mut held = Vec::new();
        for order in [Order::BLOCK, Order::new(5).expect("a group"), Order::ZERO] {
            // Of the longer ones some, of single frames all that is left.
            let some = if order == Order::ZERO { usize::MAX } else { 5 };
            let runs = (0..some).map_while(|_| allocator.alloc_nolock(Gfp::empty(), None, order).ok());
            held.extend(runs.map(|pfn| (pfn, order)));
        }
        assert_eq!(
            held.iter().map(|(_, order)| order.frames()).sum::<u64>(),
            all,
            "{running:?} {preemption:?}"
        );
        for (pfn, order) in held {
            // SAFETY: allocated just now.
            assert_eq!(unsafe { allocator.free_nolock(pfn, order) }, Ok(()));
        }
        allocator.drain_all();
        assert_eq!(free(&allocator), all);
    }
    assert_eq!(witness.take(), []);
}

#[test]
fn nobody_is_asked_but_in_checked_mode() {
    for naming in [Naming::Off, Naming::On] {
        let (allocator, witness) = build(Checking::Off, naming);
        witness.context.set(WaitContext { running: Running::Nmi, preemption: Preemption::RealTime });
        SLEEPS.into_iter().chain(WAKES).for_each(|gfp| ask(&allocator, gfp));
        assert_eq!((witness.asked.get(), witness.take()), (0, vec![]));
    }
}

#[test]
fn both_sides_are_named() {
    let context = WaitContext { running: Running::RawAtomic, preemption: Preemption::RealTime };
    let order = Order::new(3).expect("a small one");
    let found = InvalidWait { context, order, gfp: Gfp::ATOMIC };
    let text = "invalid wait context: order 3, 0x820(GFP_ATOMIC): waking kswapd takes a spinlock; \
                raw-atomic context of a PREEMPT_RT kernel allows raw spinlocks";
    assert_eq!(found.to_string(), text);
    assert_eq!((found.may_wait(), context.allows()), (Wait::Lock, Wait::Spin));
    let context = WaitContext { running: Running::Nmi, ..WaitContext::default() };
    let found = InvalidWait { context, order: Order::ZERO, gfp: Gfp::KERNEL };
    let text = "invalid wait context: order 0, 0xcc0(GFP_KERNEL): direct reclaim may sleep; \
                NMI context allows no lock";
    assert_eq!(found.to_string(), text);
}
