//! A hit: what alloc and free try first, one step on the word of this CPU that served last.
//!
//! By a locked instruction, or where CPUs own their words by one try of the owner's hand. Whatever else that comes to goes the
//! way of every miss, where the owner tries again. What is inline is a single frame's; longer runs are one call away.

use crate::cache::hand::Locked;
use crate::cache::word::Put;
use crate::frame::{Order, Pfn};
use crate::own_words::How;
use crate::request::Request;
use crate::state::{Hits, State};
use crate::zone::Cpu;

impl<'m> State<'m> {
    /// Takes a frame from the word that last gave one of the request's kind.
    #[inline(always)]
    pub(crate) fn take_frame(&self, request: &Request, cpu: &Cpu<'m>) -> Option<Pfn> {
        let Request { highest, kind, .. } = *request;
        match self.hits {
            Hits::Locked => cpu.take(|_| Locked, highest, kind, Order::ZERO),
            Hits::Sequence(area) => {
                cpu.take(|cache| cache.once(How::Sequence { area }), highest, kind, Order::ZERO)
            }
            _ => self.take_run(request, cpu),
        }
    }

    /// Takes a run of the request's order (at most a group) from that word.
    #[inline(never)]
    pub(crate) fn take_run(&self, request: &Request, cpu: &Cpu<'m>) -> Option<Pfn> {
        let Request { highest, kind, order, .. } = *request;
        match self.hits {
            Hits::Locked => cpu.take(|_| Locked, highest, kind, order),
            hits => hits.how().and_then(|how| cpu.take(|cache| cache.once(how), highest, kind, order)),
        }
    }

    /// Puts a frame into the word that last matched a free.
    #[inline(always)]
    pub(crate) fn put_frame(&self, pfn: Pfn, cpu: &Cpu<'m>) -> Put {
        match self.hits {
            Hits::Locked => cpu.put(|_| Locked, pfn, Order::ZERO),
            Hits::Sequence(area) => cpu.put(|cache| cache.once(How::Sequence { area }), pfn, Order::ZERO),
            _ => self.put_run(pfn, Order::ZERO, cpu),
        }
    }

    /// Puts a run into that word, if it is at most a group and aligned.
    #[inline(never)]
    pub(crate) fn put_run(&self, pfn: Pfn, order: Order, cpu: &Cpu<'m>) -> Put {
        if order > Order::GROUP || !pfn.is_aligned(order) {
            return Put::OtherGroup;
        }
        match self.hits {
            Hits::Locked => cpu.put(|_| Locked, pfn, order),
            hits => hits.how().map_or(Put::OtherGroup, |how| cpu.put(|cache| cache.once(how), pfn, order)),
        }
    }
}

impl Hits {
    /// How an owner makes one, if owners do.
    fn how(self) -> Option<How> {
        match self {
            Self::Sequence(area) => Some(How::Sequence { area }),
            Self::Pinned => Some(How::Pinned),
            Self::Locked | Self::Noted => None,
        }
    }
}
