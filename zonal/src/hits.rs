//! A hit: what alloc and free try first, one step on the word of this CPU that served last.
//!
//! By a locked instruction, or where CPUs own their words by one try of the owner's hand. Whatever else that comes to goes the
//! way of every miss, where the owner tries again. What an owner does with more than a frame is one call away.
//! A block is the CPU's own word's if it keeps one; else it is a step on the CPU's credit and one on the entry of the block that
//! it freed last.

use crate::cache::hand::{Guessing, Locked};
use crate::cache::word::Put;
use crate::frame::{Order, Pfn};
use crate::own_words::How;
use crate::request::{Hit, Request};
use crate::state::{Hits, Others, State};
use crate::zone::{Cpu, Want};

impl<'m> State<'m> {
    /// Takes a frame from the word that last gave one of the request's kind, at home.
    #[inline(always)]
    pub(crate) fn take_frame(&self, request: &Request, cpu: &Cpu<'m>) -> Option<Pfn> {
        let Request { highest, kind, .. } = *request;
        if let Some(area) = self.hits.sequence {
            return cpu.take_frame(|cache| cache.once(How::Sequence { area }), highest, kind);
        }
        match self.hits.others {
            Others::Locked => cpu.take_frame(|_| Guessing, highest, kind),
            Others::Pinned => cpu.take_frame(|cache| cache.once(How::Pinned), highest, kind),
            Others::Nobody => None,
        }
    }

    /// Takes a frame, if the request is for one that words hold, from the word behind that one.
    #[inline(always)]
    pub(crate) fn take_next(&self, request: &Request, cpu: &Cpu<'m>) -> Option<Pfn> {
        let Request { highest, kind, .. } = *request;
        match self.hits.others {
            _ if request.hit != Hit::Frame => None,
            Others::Locked => cpu.take_next(|_| Guessing, highest, kind),
            _ => self.hits.how().and_then(|how| cpu.take_next(|cache| cache.once(how), highest, kind)),
        }
    }

    /// Takes a frame for who has taken frame after frame so far and has none in a word, and fills all of them: from the block that served
    /// last, unless that zone is to be `passed`.
    #[inline(always)]
    pub(crate) fn take_on(
        &self,
        request: &Request,
        cpu: &Cpu<'m>,
        passed: impl FnOnce() -> bool,
    ) -> Option<Pfn> {
        // On a machine of several nodes it may be another one's turn: by the ladder.
        let is_plain = request.hit == Hit::Frame && self.is_bare() && self.nodes.len() <= 1;
        let home = cpu.home(request.highest).filter(|_| is_plain)?;
        let floor = home.zone.marks.fast_floor(request.highest);
        let pfn = home.zone.refill_on((cpu, home.cache), (request.kind, floor), passed)?;
        cpu.count_taken(home.zone, Order::ZERO);
        Some(pfn)
    }

    /// Takes a run of the request's order (at most a group) from that word.
    #[inline(always)]
    pub(crate) fn take_run(&self, request: &Request, cpu: &Cpu<'m>) -> Option<Pfn> {
        let Request { highest, kind, order, .. } = *request;
        match self.hits.others {
            Others::Locked => cpu.take(|_| Guessing, highest, kind, order),
            _ => self.hits.how().and_then(|how| cpu.take(|cache| cache.once(how), highest, kind, order)),
        }
    }

    /// Takes the block that the CPU keeps, or the one it freed last, if the request is for one, while there is nothing that kswapd or
    /// the ladder would have to see to.
    #[inline(always)]
    pub(crate) fn take_block(&self, request: &Request, cpu: &Cpu<'m>) -> Option<Pfn> {
        let may = request.hit == Hit::Block && self.is_bare();
        let home = cpu.home(request.highest).filter(|_| may)?;
        let (zone, cache) = (home.zone, home.cache);
        if let Some(pfn) = zone.take_kept_block(cache, request.kind) {
            cpu.count_taken(zone, Order::BLOCK);
            return Some(pfn);
        }
        let block = zone.block_freed_last(cache)?;
        if zone.is_busy() || zone.has_news() {
            return None;
        }
        let want = Want::of(request, zone.marks.fast_floor(request.highest));
        let taken = zone.take_block_again(cache, block, want);
        taken.inspect(|_| cpu.count_taken(zone, Order::BLOCK))
    }

    /// Puts a frame into the word that last matched a free.
    #[inline(always)]
    pub(crate) fn put_frame(&self, pfn: Pfn, cpu: &Cpu<'m>) -> Put {
        if let Some(area) = self.hits.sequence {
            return cpu.put(|cache| cache.once(How::Sequence { area }), pfn, Order::ZERO);
        }
        match self.hits.others {
            Others::Locked => cpu.put(|_| Guessing, pfn, Order::ZERO),
            Others::Pinned => cpu.put(|cache| cache.once(How::Pinned), pfn, Order::ZERO),
            Others::Nobody => Put::OtherGroup,
        }
    }

    /// Whether that word has given all its frames since.
    #[inline(always)]
    pub(crate) fn has_given(&self, cpu: &Cpu<'m>) -> bool {
        match self.hits.others {
            Others::Locked => cpu.has_given(Guessing),
            _ => cpu.has_given(Locked),
        }
    }

    /// Puts a frame of a group that no word has into that word, in place of its group, if the word has given all its frames since.
    #[inline(always)]
    pub(crate) fn replace_frame(&self, pfn: Pfn, cpu: &Cpu<'m>) -> bool {
        match self.hits.others {
            Others::Locked => cpu.replace_frame(|_| Guessing, pfn),
            _ => self.hits.how().is_some_and(|how| cpu.replace_frame(|cache| cache.once(how), pfn)),
        }
    }

    /// Puts a run (at most a group) into that word, if it is aligned.
    #[inline(always)]
    pub(crate) fn put_run(&self, pfn: Pfn, order: Order, cpu: &Cpu<'m>) -> Put {
        match self.hits.others {
            _ if !pfn.is_aligned(order) => Put::OtherGroup,
            Others::Locked => cpu.put(|_| Guessing, pfn, order),
            _ => self.hits.how().map_or(Put::OtherGroup, |how| cpu.put(|cache| cache.once(how), pfn, order)),
        }
    }
}

impl Hits {
    /// How an owner makes one, if owners do.
    fn how(self) -> Option<How> {
        match (self.sequence, self.others) {
            (Some(area), _) => Some(How::Sequence { area }),
            (None, Others::Pinned) => Some(How::Pinned),
            (None, Others::Locked | Others::Nobody) => None,
        }
    }
}
