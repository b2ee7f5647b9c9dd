//! Hits where CPUs own their words: what `allocator` tries first, by the owner's hand.
//!
//! A hit is one try and no locked instruction; whatever else it comes to goes the way of every miss, where the owner tries
//! again. Functions of their own with answers that fit registers, so that locked hits are not the longer for them.

use crate::cache::word::Put;
use crate::frame::{Order, Pfn};
use crate::own_words::How;
use crate::request::Request;
use crate::state::{Hits, State};
use crate::zone::Cpu;

impl<'m> State<'m> {
    /// Takes a frame from the word that last gave one of the request's kind, if that is all it asks for.
    #[inline(never)]
    pub(crate) fn take_as_owner(&self, request: &Request, cpu: &Cpu<'m>) -> Option<Pfn> {
        if !request.plain || request.order != Order::ZERO {
            return None;
        }
        let how = self.hits.how()?;
        cpu.take_frame(how, request.highest, request.kind)
    }

    /// Puts a run (at most a group) into the word that last matched a free.
    #[inline(never)]
    pub(crate) fn put_as_owner(&self, pfn: Pfn, order: Order, cpu: &Cpu<'m>) -> Put {
        let Some(how) = self.hits.how() else { return Put::OtherGroup };
        cpu.put(|cache| cache.once(how, cpu.number), pfn, order)
    }
}

impl Hits {
    /// How an owner makes one, if owners do.
    #[inline(always)]
    fn how(self) -> Option<How> {
        match self {
            Self::Sequence(area) => Some(How::Sequence { area }),
            Self::Pinned => Some(How::Pinned),
            Self::Locked | Self::Noted => None,
        }
    }
}
