//! Which groups may be in a CPU's words: what spares most frees of others a look at each word.
//!
//! One bit for every 256th group. A hint: who reads an old one, or a bit that another group has set, frees another way.

use crate::frame::GroupIndex;
use crate::sync::{AtomicU64, Ordering};

const BITS: usize = u64::BITS as usize;
const WORDS: usize = 4;

/// The bits. Relaxed, all of them.
pub(crate) struct KnownGroups([AtomicU64; WORDS]);

impl KnownGroups {
    pub(crate) fn none() -> Self {
        Self(core::array::from_fn(|_| AtomicU64::new(0)))
    }

    /// Whether the group may be in a word.
    #[inline(always)]
    pub(crate) fn may_have(&self, group: GroupIndex) -> bool {
        let (word, bit) = place(group);
        self.0[word].load(Ordering::Relaxed) & bit != 0
    }

    /// These are the groups now, and no others.
    pub(crate) fn renew(&self, groups: impl Iterator<Item = GroupIndex>) {
        let mut known = [0; WORDS];
        for (word, bit) in groups.map(place) {
            known[word] |= bit;
        }
        self.0.iter().zip(known).for_each(|(word, known)| word.store(known, Ordering::Relaxed));
    }

    /// A word left the group `from` for the group `to`. Forgets others that share `from`'s bit until they are renewed.
    #[inline(always)]
    pub(crate) fn exchange(&self, from: GroupIndex, to: GroupIndex) {
        self.leave(from);
        self.join(to);
    }

    /// `left` with a group that a word is of no more. Mostly all of them share a word of bits.
    #[inline(always)]
    pub(crate) fn leave_with(&self, left: Known, group: GroupIndex) -> Known {
        let (word, bit) = place(group);
        if word == left.word || left.bits == 0 {
            return Known { word, bits: left.bits | bit };
        }
        self.change(left, Known::default());
        Known { word, bits: bit }
    }

    /// Words left these groups for those.
    #[inline(always)]
    pub(crate) fn finish(&self, left: Known, joined: Known) {
        self.change(left, Known::default());
        self.change(Known::default(), joined);
    }

    #[inline(always)]
    fn change(&self, left: Known, joined: Known) {
        let word = &self.0[(if left.bits != 0 { left.word } else { joined.word }) % WORDS];
        word.store(word.load(Ordering::Relaxed) & !left.bits | joined.bits, Ordering::Relaxed);
    }

    /// A word is of this group no more, nor, as far as is known, those that share its bit.
    #[inline(always)]
    pub(crate) fn leave(&self, group: GroupIndex) {
        let (word, bit) = place(group);
        self.0[word].store(self.0[word].load(Ordering::Relaxed) & !bit, Ordering::Relaxed);
    }

    /// A word is of this group now. Where several words change theirs at once, all leave before one joins.
    #[inline(always)]
    pub(crate) fn join(&self, group: GroupIndex) {
        let (word, bit) = place(group);
        self.0[word].store(self.0[word].load(Ordering::Relaxed) | bit, Ordering::Relaxed);
    }
}

/// Groups whose bits lie in one word.
#[derive(Clone, Copy, Default)]
pub(crate) struct Known {
    word: usize,
    bits: u64,
}

impl Known {
    /// And one more of the same block.
    #[inline(always)]
    pub(crate) fn with(self, group: GroupIndex) -> Self {
        let (word, bit) = place(group);
        Self { word, bits: self.bits | bit }
    }
}

/// The group's word and its bit there.
#[inline(always)]
const fn place(group: GroupIndex) -> (usize, u64) {
    let group = group.0 as usize;
    (group / BITS % WORDS, 1 << (group % BITS))
}

#[cfg(all(test, not(any(zonal_loom, zonal_shuttle))))]
mod tests {
    use super::*;

    #[test]
    fn groups_are_known_until_they_are_left_or_renewed() {
        let known = KnownGroups::none();
        let have = |groups: &[u32]| groups.iter().all(|&group| known.may_have(GroupIndex(group)));
        assert!((0..300).all(|group| !have(&[group])));
        known.renew([3, 67, 200, 0xff00_0000].map(GroupIndex).into_iter());
        assert!(have(&[3, 67, 200, 3 + 256, 0xff00_0000]) && !have(&[4]) && !have(&[66]));
        known.exchange(GroupIndex(67), GroupIndex(1 << 20));
        assert!(have(&[3, 200, 1 << 20]) && !have(&[67]));
        // Three words change at once; one joins a group that another leaves, or that shares its bit.
        let changes =
            [(3, 5), (200, 3 + 256), (1 << 20, 200)].map(|(from, to)| (GroupIndex(from), GroupIndex(to)));
        changes.iter().for_each(|&(from, _)| known.leave(from));
        changes.iter().for_each(|&(_, to)| known.join(to));
        assert!(have(&[5, 3 + 256, 200]) && !have(&[1 << 20]));
        known.renew([GroupIndex(255)].into_iter());
        assert!(have(&[255]) && !have(&[3]) && !have(&[200]) && !have(&[1 << 20]));
    }
}
