//! Idle caches: what a CPU caches of a zone and does not use any more goes back to the blocks, pass by pass of the upkeep.
//!
//! Linux's decay and expiry (linux-facts 3.7): of its own node's zones a CPU keeps less at each idle pass, of other nodes' all
//! until it has been idle for three. Whoever makes the pass does it all by transitions that a drain of a range makes: the
//! CPU is neither asked nor delayed, and may be at work again at any of them.
//!
//! Bound: a pass over a CPU's words of a zone reads them twice, and lands a word a kind and the block at most, or all of them where they
//! are of another node.

use crate::cache::CpuCache;
use crate::cache::age::OLDEST;
use crate::cache::hold::Barriers;
use crate::mutant::{Mutant, planted};
use crate::zone::{Cpu, Zone};

impl Zone<'_> {
    /// A pass over what a CPU caches here; the number of frames that landed.
    pub(crate) fn age(&self, cpu: &Cpu<'_>, cache: &CpuCache) -> u64 {
        self.collect_tab(cache); // in no word, so not counted
        if !self.cpu_hints.is_set(cache.rank()) {
            return 0; // its words hold nothing
        }
        let (taken, _) = cpu.taken(self);
        let idle = match cache.age.pass(cache.look(taken)) {
            0 if planted(Mutant::ActiveCacheAges) => OLDEST,
            idle => idle,
        };
        let is_near = self.node == cpu.node;
        let lands = if is_near { idle > 0 } else { idle >= OLDEST && !planted(Mutant::ExpiryForgotten) };
        // Nothing is held that is not about to land: a barrier is for a CPU's words that hold frames.
        let held = if lands && cache.holds_frames() { self.held(cache, Barriers::Allowed) } else { None };
        let kept = if lands { self.drain_kept(cache) } else { 0 };
        let landed = match &held {
            Some(_) if is_near => cache.first_with_frames().map(|word| self.land_group_of(word)).sum(),
            Some(_) => cache.words().map(|word| self.land_group_of(word)).sum(),
            None => 0,
        };
        let landed = kept + landed;
        if landed > 0 {
            cache.age.settle(cache.look(taken));
        }
        if idle > 0 {
            self.clear_hint(cache.rank(), cache);
        }
        landed
    }
}
