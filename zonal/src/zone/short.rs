//! Short zones: from the moment a request finds a zone at its low mark until it is above high again, nothing is cached there.
//!
//! The word is in [`crate::zone::marks`]. It is a policy, no protocol: who reads an old one caches a group more or less.

use crate::cache::hold::Barriers;
use crate::mutant::{Mutant, planted};
use crate::zone::Zone;

impl Zone<'_> {
    /// Whether what is freed goes past the words.
    #[inline]
    pub(crate) fn is_bypassed(&self) -> bool {
        self.marks.bypass(self.count.free(), || self.note_ample()) && !planted(Mutant::FreesKeptShort)
    }

    /// Whether refills take whole groups.
    #[inline(always)]
    pub(crate) fn is_ample(&self) -> bool {
        self.marks.is_ample(self.count.free(), || self.note_ample())
    }

    /// A short zone is above its high mark again. Whatever kept its kswapd from finding frames is over then, perhaps: where
    /// others helped out meanwhile, nobody reclaimed here whose success would say so.
    #[cold]
    fn note_ample(&self) {
        self.marks.note_ample();
        if let Some(daemons) = self.daemons.filter(|_| !planted(Mutant::HopelessForEver)) {
            daemons.note_progress();
        }
    }

    /// The zone has been found at its low mark: nothing is cached until it is above high again, and what is, lands. Twice:
    /// words that give nothing any more then give up their groups, so that frees of those go past them too.
    pub(crate) fn note_short(&self) {
        if self.marks.note_short() && !planted(Mutant::WordsKeptShort) {
            self.drain(Barriers::Forbidden);
            self.drain(Barriers::Forbidden);
        }
    }
}
