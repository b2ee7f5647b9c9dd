//! The allocator: alloc and free from the request down to the slot word, on one screen.
//!
//! A hit is one locked step on a word of this CPU. What misses goes down the ladder in [`crate::slow`]; what is not a
//! single run is in `exact`, `bulk` and `owned`; upkeep and looking are in `upkeep`, `stats` and `audit`.
//! Nothing here waits, sleeps, takes a lock or calls back in the middle of a step: every method may be called in any
//! context (task, IRQ, NMI, signal handler) and may interrupt itself.

use core::mem::MaybeUninit;
use core::ops::Range;

use crate::block::bitmap::row_and_mask;
use crate::build::build;
use crate::cache::word::Put;
use crate::config::Config;
use crate::error::{AllocError, ConfigError, FreeError};
use crate::frame::{BLOCK_FRAMES, GROUP_FRAMES, NodeId, Order, Pfn, ROW_FRAMES, ROWS};
use crate::gfp::Gfp;
use crate::mutant::{Mutant, planted};
use crate::platform::Platform;
use crate::request::Request;
use crate::slow;
use crate::state::State;
use crate::zone::land::NotLanded;
use crate::zone::runs::blocks_in;
use crate::zone::{Block, Cpu, Zone};

/// A page allocator over metadata lent for `'m`.
pub struct PageAllocator<'m, P> {
    pub(crate) state: State<'m>,
    pub(crate) platform: P,
}

impl<'m, P: Platform> PageAllocator<'m, P> {
    /// Builds an allocator in `metadata` ([`crate::metadata_size`] bytes). Every usable frame that is not reserved is
    /// free afterwards.
    ///
    /// # Errors
    /// A [`ConfigError`] that names the mistake; nothing is built then.
    pub fn new(
        config: &Config<'_>,
        platform: P,
        metadata: &'m mut [MaybeUninit<u8>],
    ) -> Result<Self, ConfigError> {
        Ok(Self { state: build(config, metadata)?, platform })
    }

    /// Allocates a run of the request's order. Its content is whatever was left there unless [`Gfp::ZERO`] is set.
    ///
    /// Any context. A hit (orders 0 to 5): 1 locked operation; a refill about 6, shared by up to 32 frames; order 9: 2.
    ///
    /// # Errors
    /// By cause, see [`AllocError`].
    #[inline]
    pub fn alloc_raw(&self, request: &Request) -> Result<Pfn, AllocError> {
        let cpu = self.cpu();
        let home = cpu.homes[request.highest as usize].filter(|_| request.plain && self.state.tags.is_none());
        match home.and_then(|home| home.take(request.kind, request.order)) {
            Some(pfn) => Ok(pfn),
            None => self.alloc_missed(request, cpu),
        }
    }

    /// Frees a run. Part of a run of order 8 or less may be freed as it is (in checked mode after a split); part of a
    /// longer one must be split first ([`PageAllocator::split_raw`]), but for whole blocks of it.
    ///
    /// Any context. A hit: 1 locked operation; straight to the row: 3.
    ///
    /// # Errors
    /// By cause, see [`FreeError`]; a refused free changed nothing but what the variant says.
    ///
    /// # Safety
    /// The caller owns all frames of the run (from an allocation here that has not been freed) and does not touch
    /// them afterwards. In checked mode a free that breaks this is refused, except for one of a run that was freed
    /// and has been allocated again since with the same order.
    #[inline]
    pub unsafe fn free_raw(&self, pfn: Pfn, order: Order) -> Result<(), FreeError> {
        let cpu = self.cpu();
        let cacheable = order <= Order::GROUP && pfn.is_aligned(order) && self.state.tags.is_none();
        let home = cpu.home_of(pfn).filter(|_| cacheable);
        match home.map_or(Put::OtherGroup, |(cache, group)| cache.put_hinted(group, group_mask(pfn, order))) {
            Put::Kept => Ok(()),
            Put::OtherGroup | Put::Vacant => self.free_missed(pfn, order, cpu),
            Put::AlreadyHere => Err(FreeError::DoubleFree { pfn, order }),
        }
    }

    /// The CPU this runs on, as the table knows it.
    #[inline]
    pub(crate) fn cpu(&self) -> &'m Cpu<'m> {
        let hint = self.platform.cpu();
        self.state.cpus.get(hint).unwrap_or_else(|| self.masked_cpu(hint))
    }

    #[cold]
    fn masked_cpu(&self, hint: usize) -> &'m Cpu<'m> {
        let number = hint.checked_rem(self.state.cpus.len());
        number.and_then(|number| self.state.cpus.get(number)).unwrap_or(const { &NO_CPU })
    }

    /// A request that the hinted word did not serve: this CPU's other words, the zone's blocks, then the ladder.
    #[inline(never)]
    fn alloc_missed(&self, request: &Request, cpu: &Cpu<'m>) -> Result<Pfn, AllocError> {
        let first = self.first_zone(request, cpu);
        let served = first.and_then(|zone| {
            let kept = zone.cache_of(cpu).filter(|_| request.cacheable);
            let hit = kept.and_then(|cache| cache.take_any_of(request.kind, request.order));
            hit.map(|hit| zone.frame(hit)).or_else(|| slow::take(zone, request, cpu).ok())
        });
        let pfn = match served {
            Some(pfn) => pfn,
            None => slow::alloc(&self.state, request, cpu)?,
        };
        if self.state.tags.is_some() || request.gfp.contains(Gfp::ZERO) {
            self.deliver(request, pfn)
        } else {
            Ok(pfn)
        }
    }

    /// The zone that the request tries first.
    fn first_zone(&self, request: &Request, cpu: &Cpu<'m>) -> Option<&'m Zone<'m>> {
        let node = request.node.unwrap_or(cpu.node);
        let zone = self.state.zones.get(usize::from(self.state.lists.first(node, request.highest).0))?;
        let allowed = zone.node == node || !request.gfp.contains(Gfp::THISNODE);
        allowed.then_some(zone)
    }

    /// What is left to do with a run that is the caller's: the tag, and zeroing.
    #[cold]
    pub(crate) fn deliver(&self, request: &Request, pfn: Pfn) -> Result<Pfn, AllocError> {
        let order = request.order;
        if request.gfp.contains(Gfp::ZERO) && !self.platform.zero(pfn, order.frames()) {
            self.free_own(pfn, order); // nobody saw its tag
            return Err(AllocError::CannotZero { pfn });
        }
        if let Some(tags) = &self.state.tags {
            tags.set(&self.state.map, pfn, order);
        }
        Ok(pfn)
    }

    /// A free that the hinted word did not take: the checks, then any word.
    #[inline(never)]
    fn free_missed(&self, pfn: Pfn, order: Order, cpu: &Cpu<'m>) -> Result<(), FreeError> {
        let place = self.state.block(pfn).inspect_err(|_| assert!(!planted(Mutant::PanicOnForeign)))?;
        if !pfn.is_aligned(order) {
            return Err(FreeError::Misaligned { pfn, order });
        }
        if let Some(tags) = &self.state.tags {
            tags.clear(&self.state.map, pfn, order)?;
        }
        self.free_checked(place, cpu, pfn, order)
    }

    /// Frees a run that a call took and does not hand out.
    #[cold]
    pub(crate) fn free_own(&self, pfn: Pfn, order: Order) {
        if let Ok(place) = self.state.block(pfn) {
            // Refused only if somebody else's misuse freed it before: nothing is left to do then.
            let _ = self.free_checked(place, self.cpu(), pfn, order);
        }
    }

    /// Frees a run that is the caller's to free: into a word that has its group, a word by the rule, else the rows.
    #[inline(always)]
    fn free_checked(
        &self,
        (zone, block): (&'m Zone<'m>, Block<'m>),
        cpu: &Cpu<'m>,
        pfn: Pfn,
        order: Order,
    ) -> Result<(), FreeError> {
        let Some(cache) = zone.cache_of(cpu).filter(|_| order <= Order::GROUP) else {
            return self.free_to_rows((zone, block), pfn, order);
        };
        let (group, mask) = (zone.group_of(pfn), group_mask(pfn, order));
        match cache.put_elsewhere(group, mask) {
            Put::OtherGroup | Put::Vacant => {}
            Put::Kept => return Ok(()),
            Put::AlreadyHere => return Err(FreeError::DoubleFree { pfn, order }),
        }
        let entry = block.entry.load();
        let are_free = || {
            let (row, bits) = row_and_mask(pfn.get() % BLOCK_FRAMES, order);
            block.bitmap.row(row).load() & bits != 0
        };
        let keep = !entry.is_isolated() && entry.is_open_to_frees();
        if keep && zone.keep_freed(cpu, (cache, entry.kind()), (group, mask), are_free) {
            return Ok(());
        }
        land(zone, block, pfn, order)
    }

    /// A free past the slot words.
    fn free_to_rows(
        &self,
        (zone, block): (&'m Zone<'m>, Block<'m>),
        pfn: Pfn,
        order: Order,
    ) -> Result<(), FreeError> {
        if order < Order::BLOCK {
            return land(zone, block, pfn, order);
        }
        free_block(zone, block, pfn)?;
        (1..blocks_in(order) as u64).try_for_each(|index| {
            let pfn = pfn.add(index * BLOCK_FRAMES);
            let (zone, block) = self.state.block(pfn)?;
            free_block(zone, block, pfn)
        })
    }
}

/// The CPU of an empty table; no allocator has one.
const NO_CPU: Cpu<'static> = Cpu::new(NodeId(0), 0);

/// The run's frames in its group; order at most a group.
#[inline]
fn group_mask(pfn: Pfn, order: Order) -> u32 {
    let run = ((1u64 << order.frames()) - 1) as u32;
    run << (pfn.get() % GROUP_FRAMES)
}

/// Lands a run shorter than a block, row by row.
#[inline(always)]
pub(crate) fn land(zone: &Zone<'_>, block: Block<'_>, pfn: Pfn, order: Order) -> Result<(), FreeError> {
    let (row, mask) = row_and_mask(pfn.get() % BLOCK_FRAMES, order);
    let landed = if order <= Order::ROW {
        zone.land(block, row, mask)
    } else {
        land_rows(zone, block, row..row + (order.frames() / ROW_FRAMES) as usize)
    };
    landed.map_err(|cause| refused(cause, pfn, order))
}

/// Lands whole rows.
fn land_rows(zone: &Zone<'_>, block: Block<'_>, mut rows: Range<usize>) -> Result<(), NotLanded> {
    rows.try_for_each(|row| zone.land(block, row, u64::MAX))
}

/// Frees a whole block: in one step if it is whole, else (split and merged again) row by row.
fn free_block(zone: &Zone<'_>, block: Block<'_>, pfn: Pfn) -> Result<(), FreeError> {
    if zone.land_whole(block).is_ok() {
        return Ok(());
    }
    land_rows(zone, block, 0..ROWS).map_err(|cause| refused(cause, pfn, Order::BLOCK))
}

pub(crate) fn refused(cause: NotLanded, pfn: Pfn, order: Order) -> FreeError {
    match cause {
        NotLanded::AlreadyFree => FreeError::DoubleFree { pfn, order },
        NotLanded::NotParts => FreeError::NotSplit { pfn },
    }
}
