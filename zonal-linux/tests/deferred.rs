//! Frames that wait in a queue to be freed are there for a request that waits.

use std::ptr::NonNull;

use zonal::{
    DeferredFree, DeferredHost, Demand, Head, NodeId, Order, Pfn, Pile, Queued, Request, Tuning, Verdict,
};
use zonal_linux::{Grace, Machine, Pool, Shrinker};

/// A queue of frames, each with its head in it.
struct Queue {
    pool: Pool,
    grace: Grace,
    queue: DeferredFree<[Pile; 1]>,
}

/// A frame that is queued, and by which number.
#[repr(C)]
struct Object {
    head: Head,
    pfn: Pfn,
}

// SAFETY: (1) The pool's address of a frame is its memory, as long as the pool lives. (2) Of `Grace`; nobody looks at frames that
// were queued.
unsafe impl DeferredHost for Queue {
    fn memory(&self, pfn: Pfn) -> Option<NonNull<u8>> {
        self.pool.address(pfn)
    }

    fn start(&self) -> u64 {
        self.grace.start()
    }

    fn is_over(&self, cookie: u64) -> bool {
        self.grace.is_over(cookie)
    }

    unsafe fn free(&self, object: NonNull<Head>) -> u64 {
        // SAFETY: the head is the first field of an object, which is at the beginning of its frame.
        let pfn = unsafe { object.cast::<Object>().as_ref() }.pfn;
        // SAFETY: allocated below, and freed by the queue alone.
        u64::from(unsafe { self.pool.allocator().free_raw(pfn, Order::ZERO) }.is_ok())
    }

    fn worth(&self, objects: u64) -> u64 {
        objects
    }
}

/// What the pool asks.
struct Squeeze(&'static Queue);

impl Shrinker for Squeeze {
    fn count(&self, _node: NodeId) -> u64 {
        self.0.queue.reclaimable(self.0)
    }

    fn scan(&self, frames: u64, _demand: &Demand) -> Option<u64> {
        // SAFETY: the queue's only host and allocator.
        Some(unsafe { self.0.queue.shrink(self.0.pool.allocator(), self.0, frames) })
    }
}

#[test]
fn a_request_that_waits_gets_frames_that_wait_by_their_heads() {
    let machine = Machine::uniform(1, 16 << 20, 1).expect("a machine").with_tuning(Tuning::default());
    let pool = Pool::plan(&machine.expect("good marks")).on_oom(|_| Verdict::GiveUp).build().expect("a pool");
    let queue = DeferredFree::new([Pile::new()], 0).expect("there is a pile");
    let queue: &Queue = Box::leak(Box::new(Queue { pool, grace: Grace::default(), queue }));
    let _registered = queue.pool.shrinkers().register(Squeeze(queue));
    let allocator = queue.pool.allocator();
    let reader = queue.grace.reader();
    let frames = reader.read(|| {
        let all = std::iter::from_fn(|| allocator.alloc_raw(&Request::order(Order::ZERO).nowait()).ok());
        let frames = all.collect::<Vec<_>>();
        for &pfn in &frames {
            let object: NonNull<Object> = queue.pool.address(pfn).expect("it is mapped").cast();
            // SAFETY: the frame is the test's, and a page long.
            unsafe { object.write(Object { head: Head::new(), pfn }) };
            // SAFETY: nobody else knows the object, which stays until it is freed.
            let queued = unsafe { queue.queue.defer(allocator, queue, object.cast()) };
            assert_eq!(queued, Queued::ByHead, "no frame is left");
        }
        frames.len() as u64
    });
    assert_eq!((queue.queue.frames(), queue.queue.objects()), (0, frames));
    let served = allocator.alloc_raw(&Request::order(Order::ZERO)).expect("the queue has all frames");
    assert_eq!(queue.queue.objects(), 0, "they were freed");
    // SAFETY: allocated above, and freed once.
    unsafe { allocator.free_raw(served, Order::ZERO) }.expect("it is the test's");
    assert_eq!(allocator.audit(&mut |finding| panic!("{finding}")).allocated, 0);
}
