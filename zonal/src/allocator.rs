//! The allocator: alloc and free from the request down to the slot word, on one screen.
//!
//! A hit is one locked step on a word of this CPU. What misses goes down the ladder in [`crate::slow`]; what is not a
//! single run is in `exact`, `bulk` and `owned`; upkeep and looking are in `upkeep`, `stats` and `audit`.
//! Nothing here waits, sleeps, takes a lock or calls back in the middle of a step: every method may be called in any
//! context (task, IRQ, NMI, signal handler) and may interrupt itself, but for requests that may wait: those are a task's.

use crate::cache::CpuCache;
use crate::cache::word::Put;
use crate::error::{AllocError, FreeError};
use crate::frame::{BLOCK_FRAMES, Order, Pfn};
use crate::frees::{free_block, free_run, land_run};
use crate::gfp::Gfp;
use crate::mutant::{Mutant, planted};
use crate::platform::{Platform, Step};
use crate::request::{Hit, Request};
use crate::slow::near::stays_clean;
use crate::slow::walk::{Walk, take};
use crate::slow::{self, glance};
use crate::state::State;
use crate::waiting;
use crate::zone::runs::blocks_in;
use crate::zone::{Cpu, Want, Zone};

/// A page allocator over metadata lent for `'m`.
pub struct PageAllocator<'m, P> {
    pub(crate) state: State<'m>,
    pub(crate) platform: P,
}

impl<'m, P: Platform> PageAllocator<'m, P> {
    /// Allocates a run of the request's order. Its content is whatever was left there unless [`Gfp::ZERO`] is set.
    ///
    /// Any context, if the request does not wait ([`Request::atomic`], [`Request::nowait`]); a task, if it may
    /// ([`Gfp::DIRECT_RECLAIM`], as a new request does). A hit (orders 0 to 5): 1 locked operation; a refill about 6, shared by up to 32 frames,
    /// or about 12, shared by up to 192, while frame after frame is taken; order 9: 1 if the CPU keeps a block, else 2.
    ///
    /// # Errors
    /// By cause, see [`AllocError`].
    #[inline(always)] // what is inline is a frame's hit, and calls
    pub fn alloc_raw(&self, request: &Request) -> Result<Pfn, AllocError> {
        let cpu = self.cpu();
        let hit = match request.hit {
            _ if self.platform.injects(Step::Words) => return self.alloc_plenty(request, cpu),
            Hit::Frame => self.state.take_frame(request, cpu),
            Hit::Run => return self.alloc_run(request, cpu),
            Hit::Block | Hit::Never => return self.alloc_block(request, cpu),
        };
        match hit {
            Some(pfn) => Ok(pfn),
            None => self.alloc_frame(request, cpu),
        }
    }

    /// Frees a run. Part of a run of order 8 or less may be freed as it is (in checked mode after a split); part of a
    /// longer one must be split first ([`PageAllocator::split_raw`]), but for whole blocks of it.
    ///
    /// Any context. A hit: 1 locked operation; straight to the row: 3, or 1 along a block where CPUs own words; order 9: 1 for a block that the CPU keeps, else 2.
    ///
    /// # Errors
    /// By cause, see [`FreeError`]; a refused free changed nothing but what the variant says. Without checked mode what CPUs cache looks
    /// like what is allocated: a second free of it is refused where the first was made, if anywhere.
    ///
    /// # Safety
    /// The caller owns all frames of the run (from an allocation here that has not been freed) and does not touch
    /// them afterwards. In checked mode a free that breaks this is refused, except for one of a run that was freed
    /// and has been allocated again since with the same order.
    #[inline(always)] // the answer of a hit stays in registers
    pub unsafe fn free_raw(&self, pfn: Pfn, order: Order) -> Result<(), FreeError> {
        let cpu = self.cpu();
        if order != Order::ZERO {
            return self.free_more(pfn, order, cpu);
        }
        match self.state.put_frame(pfn, cpu) {
            Put::Kept => Ok(()),
            Put::OtherGroup => self.free_frame(pfn, cpu),
            Put::AlreadyHere => Err(FreeError::DoubleFree { pfn, order }),
        }
    }

    /// The CPU this runs on, as the table knows it.
    #[inline]
    pub(crate) fn cpu(&self) -> &'m Cpu<'m> {
        self.state.cpu(self.platform.cpu())
    }

    /// A request for a frame that the hinted word at home did not serve.
    #[inline(never)]
    fn alloc_frame(&self, request: &Request, cpu: &Cpu<'m>) -> Result<Pfn, AllocError> {
        match () {
            () if !cpu.is_at_home(request.highest) => self.alloc_run(request, cpu),
            () if self.state.is_scarce(request, Order::ZERO, cpu) => self.alloc_scarce(request, cpu),
            () => self.alloc_next(request, cpu),
        }
    }

    /// A frame of the word behind the hinted one; of a batch, for who takes frame after frame.
    #[inline(never)]
    fn alloc_next(&self, request: &Request, cpu: &Cpu<'m>) -> Result<Pfn, AllocError> {
        let hit = if self.platform.injects(Step::Words) { None } else { self.state.take_next(request, cpu) };
        let passed = || self.platform.injects(Step::FirstZone);
        match hit.or_else(|| self.state.take_on(request, cpu, passed)) {
            Some(pfn) => Ok(pfn),
            None => self.alloc_plenty(request, cpu),
        }
    }

    #[inline(never)]
    fn alloc_run(&self, request: &Request, cpu: &Cpu<'m>) -> Result<Pfn, AllocError> {
        let hit = self.state.take_run(request, cpu);
        hit.map_or_else(|| self.alloc_missed(request, cpu), Ok)
    }

    /// A request for a block, or for what cannot hit.
    #[inline(never)]
    fn alloc_block(&self, request: &Request, cpu: &Cpu<'m>) -> Result<Pfn, AllocError> {
        // Before the hit, which looks at more.
        match request.hit == Hit::Block && self.state.has_no_block(request, cpu) {
            true => self.alloc_scarce(request, cpu),
            false => self.alloc_kept(request, cpu),
        }
    }

    #[inline(never)]
    fn alloc_kept(&self, request: &Request, cpu: &Cpu<'m>) -> Result<Pfn, AllocError> {
        let hit = self.state.take_block(request, cpu);
        hit.map_or_else(|| self.alloc_plenty(request, cpu), Ok)
    }

    /// A request that a hinted word did not serve.
    #[inline(never)]
    fn alloc_missed(&self, request: &Request, cpu: &Cpu<'m>) -> Result<Pfn, AllocError> {
        match self.state.is_scarce(request, request.order, cpu) {
            true => self.alloc_scarce(request, cpu),
            false => self.alloc_next(request, cpu),
        }
    }

    /// The same where frames need not be short.
    #[inline(never)]
    fn alloc_plenty(&self, request: &Request, cpu: &Cpu<'m>) -> Result<Pfn, AllocError> {
        let is_bare = self.state.is_bare() && !request.gfp.intersects(Gfp::ZERO.union(Gfp::WRITE));
        if !is_bare {
            waiting::check(&self.state, &self.platform, request);
            let first = self.first_zone(request, cpu);
            if first.is_some_and(|(zone, _)| stays_clean(&self.platform, request, zone.node)) {
                return self.alloc_anywhere(request, cpu).and_then(|pfn| self.deliver(request, pfn));
            }
        }
        let near = self.first_zone(request, cpu).and_then(|first| self.alloc_near(first, request, cpu));
        let pfn = near.map_or_else(|| self.alloc_anywhere(request, cpu), Ok)?;
        if is_bare { Ok(pfn) } else { self.deliver(request, pfn) }
    }

    /// A request that may not wait where its first zone has little or nothing above its low mark: mostly nobody else has.
    #[cold]
    #[inline(never)]
    fn alloc_scarce(&self, request: &Request, cpu: &Cpu<'m>) -> Result<Pfn, AllocError> {
        match glance::refusal(self.walk(request, cpu), &self.platform) {
            Some(refused) => Err(refused),
            None if request.hit == Hit::Block => self.alloc_kept(request, cpu),
            None => self.alloc_plenty(request, cpu),
        }
    }

    /// The same of any first zone, with what the CPU has of it.
    #[inline(always)]
    pub(crate) fn alloc_near(
        &self,
        (zone, cache): (&'m Zone<'m>, Option<&'m CpuCache>),
        request: &Request,
        cpu: &Cpu<'m>,
    ) -> Option<Pfn> {
        let words = cache.filter(|_| !self.platform.injects(Step::Words));
        let hit = words.and_then(|cache| zone.take_own(cpu, cache, request));
        let taken = hit.or_else(|| {
            let floor = zone.marks.fast_floor(request.highest);
            let mixing = zone.mixing.max(self.state.mixing());
            let want = Want { mixing, ..Want::of(request, floor) };
            // A first walk goes to other nodes while this one's kswapd is at work: by the ladder.
            let busy = self.state.nodes.len() > 1 && zone.is_busy();
            let passed = busy || self.platform.injects(Step::FirstZone);
            let found = if passed { None } else { take(zone, cache, request, want, cpu) };
            self.walk(request, cpu).tell_kswapd(&self.platform, zone);
            found
        });
        taken.inspect(|_| cpu.count_taken(zone, request.order))
    }

    /// A request that its first zone did not serve.
    #[inline(never)]
    pub(crate) fn alloc_anywhere(&self, request: &Request, cpu: &Cpu<'m>) -> Result<Pfn, AllocError> {
        self.climb(self.walk(request, cpu))
    }

    /// A request that goes up the ladder.
    pub(crate) fn climb(&self, walk: Walk<'_, 'm>) -> Result<Pfn, AllocError> {
        self.count_found(walk, slow::alloc(walk, &self.platform))
    }

    /// Counts what a walk has found.
    pub(crate) fn count_found(
        &self,
        walk: Walk<'_, 'm>,
        outcome: Result<Pfn, AllocError>,
    ) -> Result<Pfn, AllocError> {
        let Walk { request, cpu, reach, .. } = walk;
        outcome.inspect(|&pfn| {
            let first = || if reach.is_open() { self.preferred(request, cpu) } else { walk.zones().next() };
            if let (Ok((zone, _)), Some(preferred)) = (self.state.block(pfn), first()) {
                cpu.count_found(zone, preferred, (1, request.order));
            }
        })
    }

    /// The zone that heads the request's list.
    pub(crate) fn preferred(&self, request: &Request, cpu: &Cpu<'m>) -> Option<&'m Zone<'m>> {
        let first = self.state.lists.first(request.node.unwrap_or(cpu.node), request.highest);
        self.state.zones.get(usize::from(first.0))
    }

    /// The request's way through the zones.
    pub(crate) fn walk<'s>(&'s self, request: &'s Request, cpu: &'s Cpu<'m>) -> Walk<'s, 'm> {
        Walk::new(&self.state, request, cpu)
    }

    /// The zone that the request tries first, and the CPU's words for it.
    #[inline]
    fn first_zone(&self, request: &Request, cpu: &Cpu<'m>) -> Option<(&'m Zone<'m>, Option<&'m CpuCache>)> {
        let node = request.node.unwrap_or(cpu.node);
        let (zone, cache) = match cpu.home(request.highest).filter(|_| request.node.is_none()) {
            Some(home) => (home.zone, Some(home.cache)),
            None => {
                let zone = self.preferred(request, cpu)?;
                (zone, zone.cache_of(cpu))
            }
        };
        let allowed = zone.node == node || !request.gfp.contains(Gfp::THISNODE);
        allowed.then_some((zone, cache))
    }

    /// The run, when what is left to do has been done: nothing, mostly.
    pub(crate) fn finish(&self, request: &Request, pfn: Pfn) -> Result<Pfn, AllocError> {
        let done = self.state.is_bare() && !request.gfp.contains(Gfp::ZERO);
        if done { Ok(pfn) } else { self.deliver(request, pfn) }
    }

    /// What is left to do with a run that is the caller's: the tag, and zeroing.
    #[cold]
    pub(crate) fn deliver(&self, request: &Request, pfn: Pfn) -> Result<Pfn, AllocError> {
        let order = request.order;
        if request.gfp.contains(Gfp::ZERO) && !self.platform.zero(pfn, order.frames()) {
            self.free_own(pfn, order); // nobody saw its tag
            return Err(AllocError::CannotZero { pfn });
        }
        if let Some(tags) = self.state.tags() {
            tags.set(&self.state.map, pfn, order);
        }
        Ok(pfn)
    }

    /// A free of more than a frame.
    #[inline(never)]
    fn free_more(&self, pfn: Pfn, order: Order, cpu: &Cpu<'m>) -> Result<(), FreeError> {
        if order > Order::GROUP {
            return self.free_long(pfn, order, cpu);
        }
        match self.state.put_run(pfn, order, cpu) {
            Put::Kept => Ok(()),
            Put::OtherGroup => self.free_short(pfn, order, cpu),
            Put::AlreadyHere => Err(FreeError::DoubleFree { pfn, order }),
        }
    }

    /// A free of a frame that the hinted word did not take.
    #[inline(never)]
    fn free_frame(&self, pfn: Pfn, cpu: &Cpu<'m>) -> Result<(), FreeError> {
        match self.state.is_bare() {
            true if self.state.has_given(cpu) => self.free_in_place(pfn, cpu),
            true if cpu.has_tab_of(pfn) => self.free_on_tab(pfn, cpu),
            _ => self.free_single(pfn, cpu),
        }
    }

    /// The same of the block that the CPU's tab is of.
    #[inline(never)]
    fn free_on_tab(&self, pfn: Pfn, cpu: &Cpu<'m>) -> Result<(), FreeError> {
        if cpu.put_on_tab(pfn) { Ok(()) } else { self.free_single(pfn, cpu) }
    }

    /// The same where that word has given all its frames since.
    #[inline(never)]
    fn free_in_place(&self, pfn: Pfn, cpu: &Cpu<'m>) -> Result<(), FreeError> {
        if self.state.replace_frame(pfn, cpu) { Ok(()) } else { self.free_single(pfn, cpu) }
    }

    /// The same where that word is not to change its group. A function of its own, as most is known of the frame's run.
    #[inline(never)]
    fn free_single(&self, pfn: Pfn, cpu: &Cpu<'m>) -> Result<(), FreeError> {
        if self.state.is_bare() && cpu.turn_tab(pfn) {
            return Ok(());
        }
        self.free_near(pfn, Order::ZERO, cpu)
    }

    #[inline(never)]
    fn free_short(&self, pfn: Pfn, order: Order, cpu: &Cpu<'m>) -> Result<(), FreeError> {
        self.free_near(pfn, order, cpu)
    }

    /// In the CPU's home, without a look at the section table.
    #[inline(always)]
    fn free_near(&self, pfn: Pfn, order: Order, cpu: &Cpu<'m>) -> Result<(), FreeError> {
        match cpu.block(pfn).filter(|_| self.state.is_bare() && pfn.is_aligned(order)) {
            Some((home, block, entry)) => {
                cpu.count_freed(order.frames());
                free_run((home.zone, block, entry), (cpu, Some(home.cache)), pfn, order)
            }
            None => self.free_anywhere(pfn, order, cpu),
        }
    }

    /// A free of at most a group with all its checks.
    #[inline(never)]
    fn free_anywhere(&self, pfn: Pfn, order: Order, cpu: &Cpu<'m>) -> Result<(), FreeError> {
        let (zone, block) = self.checked(pfn, order, self.state.block(pfn))?;
        cpu.count_freed(order.frames());
        free_run((zone, block, block.entry.load()), (cpu, zone.cache_of(cpu)), pfn, order)
    }

    /// A free of more than a group, past the words: mostly of a block in the CPU's home.
    #[inline(never)]
    fn free_long(&self, pfn: Pfn, order: Order, cpu: &Cpu<'m>) -> Result<(), FreeError> {
        let block = if order == Order::BLOCK && pfn.is_aligned(order) { cpu.block(pfn) } else { None };
        match block.filter(|_| self.state.is_bare()) {
            Some((home, block, _)) if home.zone.put_block(home.cache, block) == Put::Kept => {
                cpu.count_freed(order.frames());
                Ok(())
            }
            _ => self.free_longer(pfn, order, cpu),
        }
    }

    /// A free of more than a group with all its checks, by rows or by blocks.
    #[inline(never)]
    fn free_longer(&self, pfn: Pfn, order: Order, cpu: &Cpu<'m>) -> Result<(), FreeError> {
        let near = cpu.block(pfn).map(|(home, block, _)| (home.zone, block));
        let (zone, block) = self.checked(pfn, order, near.map_or_else(|| self.state.block(pfn), Ok))?;
        cpu.count_freed(order.frames());
        if order < Order::BLOCK {
            return land_run(zone, block, pfn, order);
        }
        let cache = zone.cache_of(cpu);
        match cache.filter(|_| order == Order::BLOCK).map(|cache| zone.put_block(cache, block)) {
            Some(Put::Kept) => return Ok(()),
            Some(Put::AlreadyHere) => return Err(FreeError::DoubleFree { pfn, order }),
            _ => free_block(zone, cache, block)?,
        }
        (1..blocks_in(order) as u64).try_for_each(|index| {
            let (zone, block) = self.state.block(pfn.add(index * BLOCK_FRAMES))?;
            free_block(zone, zone.cache_of(cpu), block)
        })
    }

    /// The place of a run if its free is in order; what was noted of it is forgotten then.
    #[inline(always)]
    fn checked<T>(&self, pfn: Pfn, order: Order, place: Result<T, FreeError>) -> Result<T, FreeError> {
        let place = place.inspect_err(|_| assert!(!planted(Mutant::PanicOnForeign)))?;
        if !pfn.is_aligned(order) {
            return Err(FreeError::Misaligned { pfn, order });
        }
        if let Some(tags) = self.state.tags() {
            tags.clear(&self.state.map, pfn, order)?;
        }
        self.state.forget_owner(pfn, order);
        Ok(place)
    }

    /// Frees a run that a call took and does not hand out, and that has no tag.
    #[cold]
    pub(crate) fn free_own(&self, pfn: Pfn, order: Order) {
        (0..order.frames().div_ceil(BLOCK_FRAMES)).for_each(|index| {
            let pfn = pfn.add(index * BLOCK_FRAMES);
            let Ok((zone, block)) = self.state.block(pfn) else { return };
            let cpu = self.cpu();
            // Refused only if somebody else's misuse freed it before: nothing is left to do then.
            let freed = if order <= Order::GROUP {
                free_run((zone, block, block.entry.load()), (cpu, zone.cache_of(cpu)), pfn, order)
            } else if order < Order::BLOCK {
                land_run(zone, block, pfn, order)
            } else {
                free_block(zone, None, block)
            };
            if freed.is_ok() {
                cpu.count_freed(order.frames().min(BLOCK_FRAMES));
            }
        });
    }
}
