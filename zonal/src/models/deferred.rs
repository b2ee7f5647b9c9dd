//! A pile of objects to be freed later: two contexts queue, collect and read at once. Sheets have three slots here.
//!
//! Grace periods are the crate's own ([`Grace`]).

use core::mem::MaybeUninit;
use core::ptr::NonNull;
use core::sync::atomic::AtomicU32;
use std::boxed::Box;
use std::cell::UnsafeCell;
use std::sync::Mutex;
use std::vec::Vec;

use crate::deferred::head::Head;
use crate::deferred::host::{DeferredHost, FrameSource};
use crate::deferred::pile::Pile;
use crate::deferred::sheet::Sheet;
use crate::frame::Pfn;
use crate::grace::{Grace, Seat};
use crate::models::explore::{Content, bounded, race};

/// An object, named by its head.
#[repr(C)]
struct Object {
    head: Head,
    content: Content,
    /// Not for loom: only to be looked at when all is over.
    freed: AtomicU32,
}

impl Object {
    fn new() -> Self {
        Self { head: Head::new(), content: Content::new(), freed: AtomicU32::new(0) }
    }
}

/// A pile, the frames it may have, objects, and a grace period.
struct Scene {
    pile: Pile,
    frames: Mutex<Vec<Pfn>>,
    memory: [UnsafeCell<MaybeUninit<Sheet>>; 2],
    objects: [Object; 4],
    grace: Grace<'static>,
}

// SAFETY: who takes a frame out of `frames` owns its memory; everything else in it is atomic, or checked by loom.
unsafe impl Sync for Scene {}
// SAFETY: heads and sheets name only what is in the scene, which stays in its box.
unsafe impl Send for Scene {}

// SAFETY: (1) the memory is a sheet's, the frame's own. (2) Of `Grace`.
unsafe impl DeferredHost for Scene {
    fn memory(&self, pfn: Pfn) -> Option<NonNull<u8>> {
        NonNull::new(self.memory.get(pfn.get() as usize)?.get().cast())
    }

    fn start(&self) -> u64 {
        self.grace.start()
    }

    fn is_over(&self, cookie: u64) -> bool {
        self.grace.is_over(cookie)
    }

    unsafe fn free(&self, object: NonNull<Head>) -> u64 {
        // SAFETY: the head is the first field of an object of the scene.
        let object = unsafe { object.cast::<Object>().as_ref() };
        object.content.touch();
        object.freed.fetch_add(1, core::sync::atomic::Ordering::Relaxed);
        0
    }

    fn worth(&self, _objects: u64) -> u64 {
        0
    }
}

impl FrameSource for Scene {
    fn take(&self) -> Option<Pfn> {
        self.frames.lock().expect("nobody panics").pop()
    }

    fn give(&self, pfn: Pfn) {
        self.frames.lock().expect("nobody panics").push(pfn);
    }
}

impl Scene {
    /// With so many frames; at a place of its own.
    fn with(frames: u64) -> Box<Self> {
        Box::new(Self {
            pile: Pile::new(),
            frames: Mutex::new((0..frames).map(Pfn::new).collect()),
            memory: core::array::from_fn(|_| UnsafeCell::new(MaybeUninit::uninit())),
            objects: core::array::from_fn(|_| Object::new()),
            grace: Grace::new(),
        })
    }

    /// Its owner writes to it for the last time and queues it.
    fn queue(&self, object: usize) {
        let object = &self.objects[object];
        object.content.touch();
        // SAFETY: queued once; the objects stay, and the host is the scene.
        unsafe { self.pile.put(NonNull::from(object).cast(), 2, (self, self)) };
    }

    fn collect(&self) {
        // SAFETY: the host is the scene.
        unsafe { self.pile.collect((self, self)) };
    }

    fn freed(&self, object: usize) -> u32 {
        self.objects[object].freed.load(core::sync::atomic::Ordering::Relaxed)
    }

    /// Two collections later the first `objects` have been freed, once each, and the frames are back.
    fn assert_freed(&self, objects: usize, frames: usize) {
        self.collect();
        self.collect();
        let freed = core::array::from_fn(|at| self.freed(at));
        let expected: [u32; 4] = core::array::from_fn(|at| u32::from(at < objects));
        assert_eq!(freed, expected, "each that was queued is freed once");
        assert!(self.pile.is_empty());
        assert_eq!(self.pile.objects(), 0, "objects are missing, or counted twice");
        assert_eq!(self.frames.lock().expect("nobody panics").len(), frames, "frames are missing");
    }
}

/// An object that is queued on an open sheet while that is taken away.
#[test]
fn loom_deferred_queued_while_another_collects_is_freed_once() {
    bounded(3, || {
        let scene = Scene::with(1);
        scene.queue(0);
        let (scene, ..) = race(
            scene,
            |scene| scene.queue(1),
            |scene| {
                scene.collect();
                scene.collect();
            },
        );
        scene.assert_freed(2, 1);
    });
}

/// A sheet that was full comes back while another context still has the old one in mind.
#[test]
fn loom_deferred_sheets_that_fill_and_come_back_keep_all() {
    bounded(2, || {
        let scene = Scene::with(2);
        scene.queue(0);
        scene.queue(1);
        let (scene, ..) = race(
            scene,
            |scene| scene.queue(2),
            |scene| {
                scene.queue(3);
                scene.collect();
            },
        );
        scene.assert_freed(4, 2);
    });
}

/// Objects on a sheet behind a slot that its claimant is about to write are freed without it.
#[test]
fn loom_deferred_who_stands_behind_a_gap_is_freed_once() {
    bounded(2, || {
        let scene = Scene::with(1);
        scene.queue(0);
        let (scene, ..) = race(
            scene,
            |scene| scene.queue(1),
            |scene| {
                scene.queue(2);
                scene.collect();
                scene.collect();
            },
        );
        assert_eq!(scene.freed(0), 1, "nobody reads");
        assert_eq!(scene.freed(2), 1, "whatever was written before it");
        scene.assert_freed(3, 1);
    });
}

/// Two contexts find no sheet; who comes second with its new one gives it back.
#[test]
fn loom_deferred_of_two_new_sheets_one_goes_back() {
    bounded(3, || {
        let (scene, ..) = race(Scene::with(2), |scene| scene.queue(0), |scene| scene.queue(1));
        scene.assert_freed(2, 2);
    });
}

/// Without frames: one queues, one queues and collects.
#[test]
fn loom_deferred_by_heads_none_is_lost() {
    bounded(3, || {
        let (scene, ..) = race(
            Scene::with(0),
            |scene| scene.queue(0),
            |scene| {
                scene.queue(1);
                scene.collect();
            },
        );
        scene.assert_freed(2, 0);
    });
}

/// Two collectors at once, with a sheet and an object on a list.
#[test]
fn loom_deferred_two_collectors_free_once() {
    bounded(2, || {
        let scene = Scene::with(1);
        (0..4).for_each(|object| scene.queue(object));
        scene.collect();
        let (scene, ..) = race(scene, |scene| scene.collect(), |scene| scene.collect());
        scene.assert_freed(4, 1);
    });
}

/// Who queues an object that it goes on to look at, inside a section of a reader.
fn reads_what_it_queued(frames: u64) {
    let (scene, ..) = race(
        Scene::with(frames),
        |scene| {
            scene.collect();
            scene.collect();
        },
        |scene| {
            let reader = scene.grace.add(Box::leak(Box::new(Seat::new())));
            reader.read(|| {
                scene.queue(0);
                scene.objects[0].content.touch();
            });
        },
    );
    scene.assert_freed(1, frames as usize);
}

/// On a sheet it is not freed before its reader has left.
#[test]
fn loom_deferred_on_a_sheet_waits_for_its_reader() {
    bounded(3, || reads_what_it_queued(1));
}

/// By its head neither.
#[test]
fn loom_deferred_by_its_head_waits_for_its_reader() {
    bounded(3, || reads_what_it_queued(0));
}
