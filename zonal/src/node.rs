//! A node's daemons as requests see them: what they have been asked to do, whether they are at it, whether it helps.
//!
//! | bits of a [`Job`] | field | changed by |
//! |---|---|---|
//! | 0..=7 | the longest order asked for | [`Job::ask`] up, [`Job::begin`] to 0 |
//! | 8..=9 | the highest zone asked for | as the order |
//! | 16 | asked: work waits | `ask`; `begin` |
//! | 17 | running: the daemon is at work | `begin`; [`Job::end`] |
//!
//! No wake-up is lost: what is asked stays in the word until a daemon takes it, whoever was told of it or died before he
//! told anybody. Everybody who asks while the daemon is not running tells the platform; of what is asked while it runs it
//! learns when it ends. Asker and daemon are a store-then-load pair: the one makes a zone short and then reads the word,
//! the other takes the work and then looks at the zones. One of the two sees the other.

use crate::frame::Order;
use crate::mutant::{Mutant, planted};
use crate::platform::Daemon;
use crate::sync::{AtomicU32, Ordering, UnmodelledU64, store_load_barrier};
use crate::topology::ZoneKind;

const ORDER: u32 = 0xff;
const HIGHEST_SHIFT: u32 = 8;
const HIGHEST: u32 = 3 << HIGHEST_SHIFT;
const ASKED: u32 = 1 << 16;
const RUNNING: u32 = 1 << 17;

/// Passes of kswapd without a frame after which nobody wakes it any more (Linux: MAX_RECLAIM_RETRIES).
const HOPELESS: u32 = 16;

/// What a daemon is asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Work {
    pub(crate) order: Order,
    pub(crate) highest: ZoneKind,
}

impl Work {
    const fn bits(self) -> u32 {
        self.order.get() as u32 | (self.highest as u32) << HIGHEST_SHIFT
    }

    fn of(word: u32) -> Self {
        let highest = ZoneKind::ALL[((word & HIGHEST) >> HIGHEST_SHIFT) as usize];
        Self { order: Order::from_raw((word & ORDER) as u8), highest }
    }

    /// Whether as much is asked for in the word already.
    const fn is_asked_in(self, word: u32) -> bool {
        let work = self.bits();
        word & ASKED != 0 && word & ORDER >= work & ORDER && word & HIGHEST >= work & HIGHEST
    }

    fn with(self, other: Self) -> Self {
        Self { order: self.order.max(other.order), highest: self.highest.max(other.highest) }
    }
}

/// One daemon's word.
pub(crate) struct Job(AtomicU32);

impl Job {
    pub(crate) fn new() -> Self {
        Self(AtomicU32::new(0))
    }

    /// Leaves work; whether the daemon must be told. A load where the same is asked already.
    #[inline]
    pub(crate) fn ask(&self, work: Work) -> bool {
        if !planted(Mutant::AskedEarly) {
            store_load_barrier();
        }
        // SeqCst: after what made the zones short; partner: `begin`, which is before the daemon's look at them.
        let now = self.0.load(Ordering::SeqCst);
        if work.is_asked_in(now) { now & RUNNING == 0 } else { self.ask_for_more(now, work) }
    }

    #[cold]
    #[inline(never)]
    fn ask_for_more(&self, mut now: u32, work: Work) -> bool {
        while !work.is_asked_in(now) {
            let merged = if now & ASKED == 0 { work } else { Work::of(now).with(work) };
            let next = now & RUNNING | ASKED | merged.bits();
            // AcqRel: what the asker saw of the zones is before what the daemon looks at; partner: `begin`.
            match self.0.compare_exchange_weak(now, next, Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) => return now & RUNNING == 0,
                Err(seen) => now = seen,
            }
        }
        now & RUNNING == 0
    }

    /// Takes the work, if there is any and nobody else is at it.
    pub(crate) fn begin(&self) -> Option<Work> {
        let mut now = self.0.load(Ordering::Relaxed); // Relaxed: the exchange decides
        loop {
            if now & ASKED == 0 || now & RUNNING != 0 {
                return None;
            }
            // SeqCst: before the looks at the zones; partner: the load in `ask`.
            match self.0.compare_exchange_weak(now, RUNNING, Ordering::SeqCst, Ordering::Relaxed) {
                Ok(_) => {
                    store_load_barrier();
                    return Some(Work::of(now));
                }
                Err(seen) => now = seen,
            }
        }
    }

    /// The work is done; whether more has come, of which the platform must be told.
    #[must_use]
    pub(crate) fn end(&self) -> bool {
        // AcqRel: as `begin`.
        self.0.fetch_and(!RUNNING, Ordering::AcqRel) & ASKED != 0 && !planted(Mutant::EndUnheard)
    }

    /// Whether work waits for a daemon that is not at it.
    pub(crate) fn is_asked(&self) -> bool {
        self.0.load(Ordering::Acquire) & (ASKED | RUNNING) == ASKED // Acquire: partner: `ask`
    }

    /// Whether work waits, be the daemon at work or not.
    pub(crate) fn has_work(&self) -> bool {
        self.0.load(Ordering::SeqCst) & ASKED != 0 // SeqCst: as the load in `ask`
    }

    pub(crate) fn is_running(&self) -> bool {
        self.0.load(Ordering::Relaxed) & RUNNING != 0 // Relaxed: a hint
    }
}

/// Something that one request does at a time, the others go on without it.
pub(crate) struct Turn(AtomicU32);

impl Turn {
    pub(crate) fn new() -> Self {
        Self(AtomicU32::new(0))
    }

    /// The caller's turn until it is dropped, also by a panic of the platform; `None` if it is another's.
    pub(crate) fn enter(&self) -> Option<MyTurn<'_>> {
        // Acquire: what the last one's kill freed; partner: the drop.
        self.0.compare_exchange(0, 1, Ordering::Acquire, Ordering::Relaxed).ok().map(|_| MyTurn(self))
    }

    /// Whether it is somebody's.
    pub(crate) fn is_taken(&self) -> bool {
        self.0.load(Ordering::Relaxed) != 0 // Relaxed: a hint
    }
}

/// A turn that is taken.
pub(crate) struct MyTurn<'t>(&'t Turn);

impl Drop for MyTurn<'_> {
    fn drop(&mut self) {
        self.0.0.store(0, Ordering::Release); // Release: partner: `enter`
    }
}

/// A node's words.
#[repr(align(64))]
pub(crate) struct Node {
    pub(crate) kswapd: Job,
    pub(crate) kcompactd: Job,
    /// Passes of kswapd without a frame, one after the other.
    failures: AtomicU32,
    /// When kswapd last found the node balanced, in ms, and 1 (0: never). Relaxed: a figure.
    slept: UnmodelledU64,
}

impl Node {
    pub(crate) fn new() -> Self {
        Self {
            kswapd: Job::new(),
            kcompactd: Job::new(),
            failures: AtomicU32::new(0),
            slept: UnmodelledU64::new(0),
        }
    }

    /// Whether kswapd has tried for so long in vain that nobody should wake it.
    pub(crate) fn is_hopeless(&self) -> bool {
        let hopeless = self.failures.load(Ordering::Relaxed) >= HOPELESS; // Relaxed, here and below: a policy, no protocol
        hopeless && !planted(Mutant::HopelessWoken)
    }

    /// The word of a daemon.
    pub(crate) const fn job(&self, daemon: Daemon) -> &Job {
        match daemon {
            Daemon::Kswapd => &self.kswapd,
            Daemon::Kcompactd => &self.kcompactd,
        }
    }

    /// kswapd found the node balanced. A clock that stands at 0 is none.
    pub(crate) fn note_sleep(&self, now_ms: u64) {
        self.slept.store(if now_ms > 0 { now_ms.saturating_add(1) } else { 0 }, Ordering::Relaxed);
    }

    /// Whether that was so long ago, or never.
    pub(crate) fn has_slept(&self, ms: u64, now_ms: u64) -> bool {
        match self.slept.load(Ordering::Relaxed) {
            0 => true,
            since => now_ms.saturating_add(1).saturating_sub(since) >= ms,
        }
    }

    /// A pass of kswapd freed nothing.
    pub(crate) fn note_failure(&self) {
        self.failures.fetch_add(1, Ordering::Relaxed);
    }

    /// Frames were freed: there is hope again.
    pub(crate) fn note_progress(&self) {
        if self.failures.load(Ordering::Relaxed) > 0 {
            self.failures.store(0, Ordering::Relaxed);
        }
    }
}
