//! What happened, by CPU: counters that nothing decides by, added up when they are read.
//!
//! A CPU adds to counters of its own by a plain load and a plain store (on x86 one instruction, not locked): who
//! interrupts it between the two, or runs elsewhere under the same number, may make counts get lost. In checked mode an
//! addition is one atomic step, and none is. So that a hit adds once, and to a line it has in its hands, runs that came
//! from a slot word are counted by order beside the CPU's hints (`zone/cpu.rs`); all else is here.
//!
//! Invariant (checked mode, at quiescence): `sum of allocated - freed = frames that have an owner now`, if none had one
//! when the allocator was built.

use crate::mutant::{Mutant, planted};
use crate::sync::{Ordering, UnmodelledU64};
use crate::topology::ZoneKind;

macro_rules! events {
    ($($name:ident: $text:literal, $what:literal;)*) => {
        /// Something that happens in an allocator (Linux: `enum vm_event_item`, those that the page allocator owns and
        /// that are not of one zone). In the order of `/proc/vmstat`.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub enum Event {
            $(#[doc = $what] $name,)*
        }

        impl Event {
            /// All, in the order of `/proc/vmstat`.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The name Linux prints.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)*
                }
            }
        }
    };
}

events! {
    AllocstallDma: "allocstall_dma", "A request for at most DMA began to reclaim by itself.";
    AllocstallDma32: "allocstall_dma32", "The same for at most DMA32.";
    AllocstallNormal: "allocstall_normal", "The same for at most Normal.";
    AllocstallMovable: "allocstall_movable", "The same for any zone.";
    ZoneReclaimSuccess: "zone_reclaim_success", "A node near the request was reclaimed from before others were asked.";
    ZoneReclaimFailed: "zone_reclaim_failed", "That gave too little.";
    KswapdLowWmarkHitQuickly: "kswapd_low_wmark_hit_quickly",
        "Within 100 ms of the platform's clock after kswapd had found its node balanced it was called again, below all low marks.";
    KswapdHighWmarkHitQuickly: "kswapd_high_wmark_hit_quickly",
        "The same, above a low mark and below all high ones.";
    Pageoutrun: "pageoutrun", "kswapd began to balance a node.";
    OomKill: "oom_kill", "Somebody was told to give memory back because there was none.";
    CompactMigrateScanned: "compact_migrate_scanned", "Frames compaction looked at for something to move.";
    CompactFreeScanned: "compact_free_scanned", "Frames compaction looked at for room.";
    CompactIsolated: "compact_isolated", "Frames compaction took out for a move.";
    CompactStall: "compact_stall", "A request began to compact by itself.";
    CompactFail: "compact_fail", "It made no run.";
    CompactSuccess: "compact_success", "It made one.";
    CompactDaemonWake: "compact_daemon_wake", "kcompactd began to work on a node.";
    CompactDaemonMigrateScanned: "compact_daemon_migrate_scanned",
        "Of the frames looked at for something to move: by kcompactd.";
    CompactDaemonFreeScanned: "compact_daemon_free_scanned", "Of the frames looked at for room: by kcompactd.";
}

impl Event {
    /// One for each kind of zone, lowest first.
    pub(crate) const ALLOCSTALLS: [Self; 4] =
        [Self::AllocstallDma, Self::AllocstallDma32, Self::AllocstallNormal, Self::AllocstallMovable];

    /// A request for zones up to `highest` began to reclaim by itself.
    pub const fn allocstall(highest: ZoneKind) -> Self {
        Self::ALLOCSTALLS[highest as usize]
    }
}

/// How additions are made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Counting {
    /// A load and a store: some may get lost.
    Plain,
    /// One atomic step.
    Exact,
}

/// A counter of one CPU's.
#[derive(Default)]
#[repr(transparent)]
pub(crate) struct Counter(UnmodelledU64);

impl Counter {
    /// Adds by a load and a store. Relaxed, as all here: nobody decides by a counter.
    #[inline(always)]
    pub(crate) fn add(&self, number: u64) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(number), Ordering::Relaxed);
    }

    /// Adds in the way given.
    #[inline]
    pub(crate) fn add_by(&self, counting: Counting, number: u64) {
        match counting {
            Counting::Plain => self.add(number),
            Counting::Exact => self.add_exactly(number),
        }
    }

    #[cold]
    fn add_exactly(&self, number: u64) {
        if planted(Mutant::CountedPlainly) {
            let before = self.get();
            (0..64).for_each(|_| core::hint::spin_loop()); // others' additions meanwhile get lost
            return self.0.store(before + number, Ordering::Relaxed);
        }
        self.0.fetch_add(number, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A CPU's events, a counter each.
#[derive(Default)]
#[repr(align(64))]
pub(crate) struct EventRow {
    counters: [Counter; Event::ALL.len()],
}

impl EventRow {
    #[inline]
    pub(crate) fn of(&self, event: Event) -> &Counter {
        &self.counters[event as usize]
    }
}

/// What a CPU took from one zone otherwise than by a hit. A line.
#[derive(Default)]
#[repr(align(64))]
pub(crate) struct Traffic {
    /// Runs taken, and frames in them.
    pub(crate) runs: Counter,
    pub(crate) frames: Counter,
    /// Runs taken here although another node was preferred.
    pub(crate) missed: Counter,
    /// Runs taken on another node although this zone was preferred.
    pub(crate) foreign: Counter,
    /// Runs taken here because it was this node's turn.
    pub(crate) interleaved: Counter,
}

/// Where requests found their runs (Linux: the `numa_` lines). Single frames of a bulk request count one by one.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Numa {
    /// On the node they preferred.
    pub hit: u64,
    /// Here, though another node was preferred.
    pub miss: u64,
    /// On another node, though this one was preferred.
    pub foreign: u64,
    /// On the node whose turn it was by an interleaving policy ([`crate::PageAllocator::alloc_raw_in`]; those of a bulk call, too,
    /// which Linux leaves out).
    pub interleave: u64,
    /// On the node of the CPU that asked.
    pub local: u64,
    /// On another one.
    pub other: u64,
}

impl Numa {
    /// The figures with the names Linux prints, in its order.
    pub(crate) fn lines(&self) -> [(&'static str, u64); 6] {
        [
            ("numa_hit", self.hit),
            ("numa_miss", self.miss),
            ("numa_foreign", self.foreign),
            ("numa_interleave", self.interleave),
            ("numa_local", self.local),
            ("numa_other", self.other),
        ]
    }

    pub(crate) fn and(self, other: Self) -> Self {
        Self {
            hit: self.hit + other.hit,
            miss: self.miss + other.miss,
            foreign: self.foreign + other.foreign,
            interleave: self.interleave + other.interleave,
            local: self.local + other.local,
            other: self.other + other.other,
        }
    }
}

/// What has happened since the allocator was built, all CPUs together. Every count only grows. In checked mode exact at
/// quiescence; else it may have missed what ran on one CPU number at the same time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Events {
    /// Frames allocated from zones of each kind (Linux: pgalloc).
    pub allocated: [u64; 4],
    /// Frames freed (Linux: pgfree).
    pub freed: u64,
    /// Where requests found their runs.
    pub numa: Numa,
    pub(crate) counts: [u64; Event::ALL.len()],
}

impl Events {
    /// How often this happened (or to how many frames).
    pub fn count(&self, event: Event) -> u64 {
        self.counts[event as usize]
    }
}
