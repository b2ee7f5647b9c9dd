//! Saying that frames are on the move: by a word of the CPU's own where it may, else by the zone's.

use crate::cache::CpuCache;
use crate::zone::Zone;
use crate::zone::count::Transit;

/// Where a move was announced.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::zone) enum Announced {
    /// In the CPU's words.
    Own,
    /// In the zone's.
    Zone,
}

impl Zone<'_> {
    /// Announces that frames are about to leave where they can be found. Without a locked instruction where CPUs own their words, and
    /// this one's credit is hinted: so who finds no hint need not look at its words.
    #[inline(always)]
    pub(in crate::zone) fn enter(&self, cache: &CpuCache, frames: u64) -> Announced {
        if self.own_words.is_some_and(|words| cache.announce(cache.own_hand(words), frames)) {
            return Announced::Own;
        }
        self.count.enter(frames);
        Announced::Zone
    }

    /// They have arrived.
    #[inline(always)]
    pub(in crate::zone) fn leave(&self, cache: &CpuCache, (announced, frames): (Announced, u64)) {
        match self.own_words.filter(|_| announced == Announced::Own) {
            Some(words) => cache.moving.leave(cache.own_hand(words), frames),
            None => self.count.leave(frames),
        }
    }

    /// What is on the move in the zone: as its word says, and CPUs' own. A look at each CPU's where they own words.
    pub(crate) fn transit(&self) -> Transit {
        let own = self.caches.iter().filter(|_| self.own_words.is_some()).map(|cache| cache.moving.transit());
        own.fold(self.count.transit(), Transit::and)
    }
}
