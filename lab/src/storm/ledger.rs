//! What the threads of a process that may be killed hold and are about to do: words in a file, one writer each.
//!
//! | word | meaning |
//! |---|---|
//! | 0 | 1: the process has begun to work |
//! | a thread's step | 0: none; else [`Step`] |
//! | a thread's calls | how many it completed |
//! | a thread's slot | 0: nothing; else `pfn << 8 | order + 1` of a run it holds |
//!
//! A run is written after it was had, and struck out before it is freed: the step tells what stands between.

use std::fs::OpenOptions;
use std::path::Path;
use std::ptr::NonNull;
use std::slice;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};

use anyhow::{Context, Result};
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};
use zonal::{FrameRange, Order, Pfn};

/// Runs a thread may hold.
pub(super) const SLOTS: usize = 256;
/// Words of a thread: its step, its calls, its slots.
const WORDS: usize = 2 + SLOTS;

/// What a thread is about to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Step {
    /// Allocate a run of this order, or free one.
    Run(Order),
    /// Something that is asked for no frame: a drain.
    Upkeep,
}

impl Step {
    fn word(self) -> u64 {
        match self {
            Self::Run(order) => u64::from(order.get()) + 2,
            Self::Upkeep => 1,
        }
    }

    fn of_word(word: u64) -> Option<Self> {
        match word {
            0 => None,
            1 => Some(Self::Upkeep),
            order => Some(Self::Run(Order::new((order - 2) as u8)?)),
        }
    }

    /// Frames it is about.
    pub(super) fn frames(self) -> u64 {
        match self {
            Self::Run(order) => order.frames(),
            Self::Upkeep => 0,
        }
    }
}

/// The mapped file.
pub(super) struct Ledger {
    words: NonNull<AtomicU64>,
    threads: usize,
}

// SAFETY: the words are atomic, and mapped as long as the ledger lives.
unsafe impl Send for Ledger {}
// SAFETY: as above.
unsafe impl Sync for Ledger {}

impl Ledger {
    /// The ledger in this directory, new if there is none.
    pub(super) fn open(directory: &Path, threads: usize) -> Result<Self> {
        let path = directory.join("ledger");
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path);
        let file = file.context("the ledger")?;
        let bytes = (1 + threads * WORDS) * 8;
        file.set_len(bytes as u64).context("the ledger")?;
        let protection = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: a mapping at an address of the kernel's choice replaces nothing.
        let start = unsafe { mmap(std::ptr::null_mut(), bytes, protection, MapFlags::SHARED, &file, 0) };
        let words = start.ok().and_then(|start| NonNull::new(start.cast())).context("mapping the ledger")?;
        Ok(Self { words, threads })
    }

    fn words(&self) -> &[AtomicU64] {
        // SAFETY: `open` mapped so many bytes, a file's bytes are initialised, and everybody takes them for atomics.
        unsafe { slice::from_raw_parts(self.words.as_ptr(), 1 + self.threads * WORDS) }
    }

    fn thread(&self, thread: usize) -> &[AtomicU64] {
        let first = 1 + thread * WORDS;
        self.words().get(first..first + WORDS).unwrap_or(&[])
    }

    /// Whether the process has begun to work.
    pub(super) fn is_ready(&self) -> bool {
        self.words()[0].load(SeqCst) != 0
    }

    /// Says that the process has begun to work.
    pub(super) fn set_ready(&self) {
        self.words()[0].store(1, SeqCst);
    }

    /// No process works.
    pub(super) fn clear_ready(&self) {
        self.words()[0].store(0, SeqCst);
    }

    /// A thread is about to do this.
    pub(super) fn begin(&self, thread: usize, step: Step) {
        self.thread(thread)[0].store(step.word(), SeqCst);
    }

    /// It is done.
    pub(super) fn end(&self, thread: usize) {
        let words = self.thread(thread);
        words[1].store(words[1].load(Relaxed) + 1, Relaxed); // Relaxed: one writer
        words[0].store(0, SeqCst);
    }

    /// What a slot holds.
    pub(super) fn slot(&self, thread: usize, slot: usize) -> Option<(Pfn, Order)> {
        let word = self.thread(thread).get(2 + slot)?.load(SeqCst);
        Some((Pfn::new(word >> 8), Order::new((word as u8).checked_sub(1)?)?))
    }

    /// Writes a run into a slot.
    pub(super) fn hold(&self, thread: usize, slot: usize, (pfn, order): (Pfn, Order)) {
        self.thread(thread)[2 + slot].store(pfn.get() << 8 | (u64::from(order.get()) + 1), SeqCst);
    }

    /// Strikes a slot out.
    pub(super) fn strike(&self, thread: usize, slot: usize) {
        self.thread(thread)[2 + slot].store(0, SeqCst);
    }

    /// The runs in all slots.
    pub(super) fn held(&self) -> impl Iterator<Item = FrameRange> + '_ {
        let slots = (0..self.threads).flat_map(|thread| (0..SLOTS).map(move |slot| (thread, slot)));
        slots
            .filter_map(|(thread, slot)| self.slot(thread, slot))
            .map(|(pfn, order)| FrameRange::new(pfn, pfn.add(order.frames())))
    }

    /// What threads were about to do.
    pub(super) fn steps(&self) -> impl Iterator<Item = Step> + '_ {
        (0..self.threads).filter_map(|thread| Step::of_word(self.thread(thread)[0].load(SeqCst)))
    }

    /// Calls completed.
    pub(super) fn calls(&self) -> u64 {
        (0..self.threads).map(|thread| self.thread(thread)[1].load(Relaxed)).sum()
    }

    /// Nobody is about to do anything.
    pub(super) fn settle(&self) {
        (0..self.threads).for_each(|thread| self.thread(thread)[0].store(0, SeqCst));
    }
}

impl Drop for Ledger {
    fn drop(&mut self) {
        // SAFETY: mapped by `open` with this length, and its words are borrowed from the ledger only.
        let _ = unsafe { munmap(self.words.as_ptr().cast(), (1 + self.threads * WORDS) * 8) };
    }
}
