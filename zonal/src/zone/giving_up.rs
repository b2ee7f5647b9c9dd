//! Giving words up: a zone that nears its marks has its CPUs' own words turned into everybody's, until it has recovered.
//!
//! A frame in an owned word is had by others only after a barrier, which is for task context. So it is not left to the
//! request that needs the frame: the miss that finds the zone near says so, kswapd (or whoever calls the upkeep) holds the
//! words of every CPU, one barrier each, and lets go when the zone has room for all words to fill three times.
//! A run may lack frames that are in owned words however many others are free, and nobody sees that ahead: who is refused
//! one for that says so, too, and what the words hold lands when they are given up.
//!
//! | value | state | changed by |
//! |---|---|---|
//! | 0 | the words are their CPUs' own | [`Zone::give_words_back`] |
//! | 1 | near: a miss has seen it; or a run was refused | [`Zone::note_near`], [`Zone::note_run_refused`] |
//! | 2 | and kswapd has been told | [`Zone::take_near`] |
//! | 3, 5 | somebody is at it: giving up, giving back | [`Zone::give_words_up`], [`Zone::give_words_back`] |
//! | 4 | everybody's: each CPU's words are held once for it | `give_words_up` |
//! | 6 | they have no owners, and stay so | |
//!
//! A zone that has no such room from the start, or no memory yet, begins as everybody's.
//!
//! Who finds somebody at it leaves it to him. Who dies at it leaves the words as they are: held ones are everybody's, which is
//! slower; others cost a barrier when they are needed.

use crate::cache::hand::AnyHand;
use crate::cache::hold::{Barriers, Held};
use crate::cache::{CpuCache, WORDS};
use crate::frame::GROUP_FRAMES;
use crate::mutant::{Mutant, planted};
use crate::own_words::How;
use crate::sync::{AtomicU8, AtomicU64, Ordering};
use crate::zone::Zone;

const OWN: u8 = 0;
const NEAR: u8 = 1;
const TOLD: u8 = 2;
const GIVING_UP: u8 = 3;
const EVERYBODYS: u8 = 4;
const GIVING_BACK: u8 = 5;
const LOCKED: u8 = 6;

/// The word.
pub(crate) struct Words {
    state: AtomicU8,
    /// Barriers refused. Relaxed: a figure.
    refused: AtomicU64,
}

impl Words {
    pub(crate) fn new(caches: &[CpuCache]) -> Self {
        let have_owners = caches.iter().any(CpuCache::is_owned);
        let state = AtomicU8::new(if have_owners { OWN } else { LOCKED });
        Self { state, refused: AtomicU64::new(0) }
    }

    /// Goes on from one state to the next, if it is in that.
    fn go(&self, from: u8, to: u8) -> bool {
        // AcqRel: the work of a state is after the step to it and before the step from it.
        self.state.compare_exchange(from, to, Ordering::AcqRel, Ordering::Relaxed).is_ok()
    }

    fn is(&self, state: u8) -> bool {
        self.state.load(Ordering::Relaxed) == state // Relaxed: `go` decides
    }
}

impl Zone<'_> {
    /// How a CPU itself changes its words here.
    pub(crate) fn hand<'c>(&self, cache: &'c CpuCache) -> AnyHand<'c> {
        cache.hand(self.own_words)
    }

    /// Makes a CPU's words here everybody's for as long as the answer lives, if they can be.
    pub(crate) fn held<'c>(&self, cache: &'c CpuCache, barriers: Barriers) -> Option<Held<'c>> {
        let held = cache.held(self.own_words, barriers);
        if held.is_none() && barriers == Barriers::Allowed && !planted(Mutant::RefusalUntold) {
            self.words.refused.fetch_add(1, Ordering::Relaxed);
        }
        held
    }

    /// Barriers that were refused to who was to change words here.
    pub(crate) fn refused_barriers(&self) -> u64 {
        self.words.refused.load(Ordering::Relaxed)
    }

    /// Frames that all its words can hold.
    fn capacity(&self) -> u64 {
        self.caches.len() as u64 * WORDS as u64 * GROUP_FRAMES
    }

    /// The count below which words are given up: what is free above the high mark may all go into words, and be needed, before
    /// somebody comes to it.
    fn near_floor(&self) -> u64 {
        self.marks.high() + 2 * self.capacity()
    }

    /// Before anybody uses the zone: whose its words are at first.
    pub(crate) fn begin_words(&self) {
        if !self.has_recovered() && self.words.go(OWN, EVERYBODYS) {
            self.caches.iter().for_each(CpuCache::hold_from_the_start);
        }
    }

    /// Whether all words can fill twice, and once more: so that it does not near its marks at once.
    fn has_recovered(&self) -> bool {
        self.count.free() >= self.near_floor() + self.capacity()
    }

    /// Whether the zone nears its marks and nobody has told kswapd: what a miss asks.
    #[inline]
    pub(crate) fn is_near(&self) -> bool {
        match self.words.state.load(Ordering::Relaxed) {
            OWN => self.note_near(), // Relaxed: `go` decides
            state => state == NEAR,
        }
    }

    /// Whether a request that takes frames here has something to tell kswapd: its boost was raised, or its words are to be
    /// given up.
    #[inline]
    pub(crate) fn has_news(&self) -> bool {
        self.marks.is_boosted() || self.is_near()
    }

    /// Notes whether the zone nears its marks; whether it has been noted.
    fn note_near(&self) -> bool {
        self.count.free() < self.near_floor() && (self.words.go(OWN, NEAR) || self.words.is(NEAR))
    }

    /// The same, and from now on it has been told: by the caller.
    #[inline]
    pub(crate) fn take_near(&self) -> bool {
        self.words.go(NEAR, TOLD)
    }

    /// Who may have no barrier passed has found no run here: words that their CPUs own may hold frames of one.
    #[cold]
    pub(crate) fn note_run_refused(&self) {
        if self.words.is(OWN) && self.cached() > 0 && !planted(Mutant::RefusedRunUntold) {
            self.words.go(OWN, NEAR);
        }
    }

    /// Whether a barrier can be passed in the middle of a request.
    pub(crate) fn may_give_up_in_a_call(&self) -> bool {
        self.own_words.is_some_and(|words| words.how != How::Pinned)
    }

    /// Gives words up or back, as the zone stands. Task context: one barrier a CPU.
    pub(crate) fn review_words(&self) {
        self.give_words_up();
        self.give_words_back();
    }

    /// Makes every CPU's words everybody's if the zone nears its marks. Task context: one barrier a CPU.
    pub(crate) fn give_words_up(&self) {
        // It may be nobody's first zone, whose misses would have noted it.
        let is_near = self.words.is(TOLD) || self.is_near();
        if !is_near || planted(Mutant::WordsKeptOwn) {
            return;
        }
        if !(self.words.go(NEAR, GIVING_UP) || self.words.go(TOLD, GIVING_UP)) {
            return; // somebody is at it
        }
        let hold = |cache: &CpuCache| match self.held(cache, Barriers::Allowed) {
            Some(held) => {
                held.keep();
                true
            }
            None => false,
        };
        let held = self.caches.iter().take_while(|cache| hold(cache)).count();
        if held == self.caches.len() {
            if self.count.free() >= self.near_floor() {
                self.drain(Barriers::Forbidden);
            }
            self.words.go(GIVING_UP, EVERYBODYS);
        } else {
            // The embedder cannot now: the next one tries again.
            self.caches.iter().take(held).for_each(CpuCache::let_go);
            self.words.go(GIVING_UP, NEAR);
        }
    }

    /// Makes the words their CPUs' own again if the zone has recovered.
    fn give_words_back(&self) {
        if self.words.is(EVERYBODYS) && self.has_recovered() && self.words.go(EVERYBODYS, GIVING_BACK) {
            self.caches.iter().for_each(CpuCache::let_go);
            self.words.go(GIVING_BACK, OWN);
        }
    }
}
