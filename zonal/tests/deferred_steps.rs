//! The queue of objects to be freed, interrupted at each instruction of its operations by a handler that queues, collects and
//! reads. That takes minutes: usually it is every sixteenth instruction, and every second where an object is queued on a sheet.
//!
//! What an operation executes is traced once; then, for each of these instructions, the operation is run anew, and a
//! handler acts before the instruction, the first time it is come to. No threads and no clock. Whatever the handler did, each object is
//! freed once, none under the eyes of a reader, and frames are back.

#![cfg(all(target_os = "linux", target_arch = "x86_64"))]

mod support;

use std::cell::Cell;
use std::collections::BTreeSet;
use std::ptr::NonNull;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicU32, AtomicUsize};

use support::{FakeCpu, Leaked, Setup, audited};
use zonal::{DeferredFree, DeferredHost, Grace, Head, Pfn, Pile, Reader};
use zonal_testkit::stepper::{Address, Next, Window, step};
use zonal_testkit::{BLOCK, Machine};

/// Frames of the machine.
const FRAMES: u64 = 2 * BLOCK;
/// Objects of a trial, more than a sheet holds.
const OBJECTS: usize = 600;
/// Instructions of an operation, at most.
const MOST: usize = 100_000;

/// A frame's bytes.
#[derive(Clone, Copy)]
#[repr(C, align(4096))]
struct Bytes([u8; 4096]);

/// An object, named by its head.
#[repr(C)]
struct Object {
    head: Head,
    freed: AtomicU32,
}

/// What is interrupted.
#[derive(Clone, Copy, Debug)]
enum Operation {
    /// An object is queued on the sheet that is open.
    OnSheet,
    /// No sheet is open.
    OnNewSheet,
    /// No frame can be had.
    ByHead,
    /// Objects begin to wait, on a sheet and by their heads.
    Stamp,
    /// Objects that have waited are freed.
    Free,
}

const OPERATIONS: [Operation; 5] =
    [Operation::OnSheet, Operation::OnNewSheet, Operation::ByHead, Operation::Stamp, Operation::Free];

/// What a handler does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Handler {
    QueuesAndCollects,
    /// Queues and collects while it reads: what it queued must stay.
    Reads,
}

const HANDLERS: [Handler; 2] = [Handler::QueuesAndCollects, Handler::Reads];

/// Everything of one trial. Touches no heap once it is built.
struct Ground {
    allocator: &'static Leaked,
    memory: NonNull<Bytes>,
    grace: &'static Grace<'static>,
    reader: Reader<'static>,
    queue: DeferredFree<[Pile; 1]>,
    objects: Box<[Object]>,
    queued: AtomicUsize,
    reachable: Cell<bool>,
    /// Objects freed while a reader looked at them.
    early: Cell<u32>,
}

// SAFETY: (1) each frame has its place in a leaked array. (2) Of `Grace`.
unsafe impl DeferredHost for Ground {
    fn memory(&self, pfn: Pfn) -> Option<NonNull<u8>> {
        // SAFETY: the machine has as many frames as the array.
        self.reachable.get().then(|| unsafe { self.memory.add(pfn.get() as usize) }.cast())
    }

    fn start(&self) -> u64 {
        self.grace.start()
    }

    fn is_over(&self, cookie: u64) -> bool {
        self.grace.is_over(cookie)
    }

    unsafe fn free(&self, object: NonNull<Head>) -> u64 {
        // SAFETY: the head is the first field of an object of the ground.
        unsafe { object.cast::<Object>().as_ref() }.freed.fetch_add(1, Relaxed);
        0
    }

    fn worth(&self, _objects: u64) -> u64 {
        0
    }
}

impl Ground {
    /// The state in which the operation is interrupted.
    fn prepared(allocator: &'static Leaked, memory: NonNull<Bytes>, operation: Operation) -> Self {
        let grace: &Grace<'_> = Box::leak(Box::default());
        let objects = (0..OBJECTS).map(|_| Object { head: Head::new(), freed: AtomicU32::new(0) });
        let ground = Self {
            allocator,
            memory,
            grace,
            reader: grace.add(Box::leak(Box::default())),
            queue: DeferredFree::new([Pile::new()], 4).expect("there is a pile"),
            objects: objects.collect(),
            queued: AtomicUsize::new(0),
            reachable: Cell::new(true),
            early: Cell::new(0),
        };
        match operation {
            Operation::OnNewSheet => (),
            Operation::ByHead => ground.reachable.set(false),
            Operation::OnSheet => ground.queue(),
            Operation::Stamp | Operation::Free => {
                (0..3).for_each(|_| ground.queue());
                ground.reachable.set(false);
                (0..3).for_each(|_| ground.queue());
                ground.reachable.set(true);
            }
        }
        if matches!(operation, Operation::Free) {
            ground.collect();
            ground.queue();
        }
        ground
    }

    fn carry_out(&self, operation: Operation) {
        match operation {
            Operation::OnSheet | Operation::OnNewSheet | Operation::ByHead => self.queue(),
            Operation::Stamp | Operation::Free => self.collect(),
        }
    }

    fn handle(&self, handler: Handler) {
        let mine = self.queued.load(Relaxed);
        self.reader.read(|| {
            self.queue();
            if handler == Handler::Reads {
                (0..3).for_each(|_| self.collect());
                self.early.set(self.early.get() + self.objects[mine].freed.load(Relaxed));
            }
        });
        if handler == Handler::QueuesAndCollects {
            (0..2).for_each(|_| self.collect());
        }
    }

    fn queue(&self) {
        let object = &self.objects[self.queued.fetch_add(1, Relaxed)];
        // SAFETY: nobody else knows the object, which stays; the host and the allocator are the queue's.
        unsafe { self.queue.defer(self.allocator, self, NonNull::from(object).cast()) };
    }

    fn collect(&self) {
        // SAFETY: as above.
        unsafe { self.queue.collect(self.allocator, self) };
    }

    fn judge(&self, trial: &dyn Fn() -> String) {
        self.reachable.set(true);
        (0..3).for_each(|_| self.collect());
        let freed = |object: &Object| object.freed.load(Relaxed);
        let (queued, never) = self.objects.split_at(self.queued.load(Relaxed));
        assert!(queued.iter().all(|object| freed(object) == 1), "each once: {}", trial());
        assert!(never.iter().all(|object| freed(object) == 0), "{}", trial());
        assert_eq!(self.early.get(), 0, "under the eyes of its reader: {}", trial());
        let left = (self.queue.is_empty(), self.queue.objects(), self.queue.frames());
        assert_eq!((left, audited(self.allocator).allocated), ((true, 0, 0), 0), "{}", trial());
    }
}

/// Runs the operation, and `at_each` before each of its instructions: one piece of code for all trials.
#[inline(never)]
fn stepped(window: &Window, ground: &Ground, operation: Operation, at_each: &mut dyn FnMut(Address) -> Next) {
    // SAFETY: what is called at each instruction is a queue's method, which may be called in any context, or a push within a
    // capacity. None touches the heap.
    unsafe { step(window, || ground.carry_out(operation), at_each) };
}

#[test]
fn queue_and_collect_bear_handlers_that_do_the_same_in_the_midst_of_them() {
    interrupted(|operation| if matches!(operation, Operation::OnSheet) { 2 } else { 16 });
}

#[test]
#[ignore = "minutes"]
fn queue_and_collect_bear_handlers_that_do_the_same_at_each_of_their_instructions() {
    interrupted(|_| 1);
}

/// Has handlers act at each of so many instructions of each operation.
fn interrupted(every: fn(Operation) -> usize) {
    let window = Window::of_program().expect("the program's mappings");
    let machine = Machine::one_node(1, &[(0, FRAMES)]);
    let allocator: &'static Leaked =
        Box::leak(Box::new(Setup::of(&machine).build(FakeCpu::leaked()).expect("a good machine")));
    let memory = NonNull::from(vec![Bytes([0; 4096]); FRAMES as usize].leak()).cast();
    for operation in OPERATIONS {
        let alone = || {
            let ground = Ground::prepared(allocator, memory, operation);
            let mut executed = Vec::with_capacity(MOST);
            stepped(&window, &ground, operation, &mut |address| {
                executed.push(address);
                if executed.len() < MOST { Next::Step } else { Next::Run }
            });
            ground.judge(&|| format!("{operation:?}, alone"));
            executed.into_iter().collect()
        };
        let _: BTreeSet<Address> = alone(); // the allocator caches nothing yet
        let places: BTreeSet<Address> = alone();
        assert!(places.len() > 50, "{operation:?} has {} instructions", places.len());
        let visited = places.iter().step_by(every(operation));
        for (&place, handler) in visited.flat_map(|place| HANDLERS.map(|handler| (place, handler))) {
            let ground = Ground::prepared(allocator, memory, operation);
            let mut acted = false;
            stepped(&window, &ground, operation, &mut |address| {
                if address != place {
                    return Next::Step;
                }
                acted = true;
                ground.handle(handler);
                Next::Run
            });
            assert!(acted, "{operation:?} comes to {place:?} again");
            ground.judge(&|| format!("{operation:?}, {handler:?} at {place:?}"));
        }
    }
}
