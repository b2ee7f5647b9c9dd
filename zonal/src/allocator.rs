//! The allocator: alloc and free from the request down to the slot word, on one screen.
//!
//! A hit is one locked step on a word of this CPU. What misses goes down the ladder in [`crate::slow`]; what is not a
//! single run is in `exact`, `bulk` and `owned`; upkeep and looking are in `upkeep`, `stats` and `audit`.
//! Nothing here waits, sleeps, takes a lock or calls back in the middle of a step: every method may be called in any
//! context (task, IRQ, NMI, signal handler) and may interrupt itself.

use core::mem::MaybeUninit;

use crate::block::bitmap::row_and_mask;
use crate::build::build;
use crate::cache::word::Put;
use crate::config::Config;
use crate::error::{AllocError, ConfigError, FreeError};
use crate::frame::{BLOCK_FRAMES, NodeId, Order, Pfn, ROW_FRAMES, ROWS};
use crate::gfp::Gfp;
use crate::mutant::{Mutant, planted};
use crate::platform::Platform;
use crate::request::Request;
use crate::slow;
use crate::state::{Place, State};
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
        let pfn = match self.take_hit(request, &cpu) {
            Some(pfn) => pfn,
            None => slow::alloc(&self.state, request, &cpu)?,
        };
        if self.state.tags.is_some() || request.gfp.contains(Gfp::ZERO) {
            return self.deliver(request, pfn);
        }
        Ok(pfn)
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
        let place = self.state.place(pfn).inspect_err(|_| assert!(!planted(Mutant::PanicOnForeign)))?;
        if !pfn.is_aligned(order) {
            return Err(FreeError::Misaligned { pfn, order });
        }
        if let Some(tags) = &self.state.tags {
            tags.clear(&self.state.map, pfn, order)?;
        }
        self.free_run(place, pfn, order)
    }

    /// Frees a run that has been checked: into a slot word if its group is there, else the slow way.
    #[inline]
    pub(crate) fn free_run(&self, place: Place<'m>, pfn: Pfn, order: Order) -> Result<(), FreeError> {
        if order > Order::GROUP {
            return self.free_to_rows(place, pfn, order);
        }
        let (zone, cpu) = (place.zone, self.cpu());
        let Some(cache) = zone.cache_of(&cpu) else { return self.free_to_rows(place, pfn, order) };
        let (group, mask) = group_and_mask(zone, pfn, order);
        match cache.put(group, mask) {
            Put::Kept { first: false } => Ok(()),
            Put::Kept { first: true } => {
                zone.cpu_hints.set(cpu.rank as usize);
                Ok(())
            }
            Put::AlreadyHere => Err(FreeError::DoubleFree { pfn, order }),
            Put::OtherGroup => self.free_missed(place, pfn, order, &cpu),
        }
    }

    /// The CPU this runs on, as the table knows it.
    #[inline]
    pub(crate) fn cpu(&self) -> Cpu {
        let cpus = self.state.cpus;
        let hint = self.platform.cpu();
        let number = if hint < cpus.len() { hint } else { hint.checked_rem(cpus.len()).unwrap_or(0) };
        cpus.get(number).copied().unwrap_or(Cpu { node: NodeId(0), rank: 0 })
    }

    /// Takes a run from this CPU's words for the walk's first zone.
    #[inline]
    fn take_hit(&self, request: &Request, cpu: &Cpu) -> Option<Pfn> {
        if request.order > Order::GROUP || request.is_placed() {
            return None;
        }
        let node = request.node.unwrap_or(cpu.node);
        let zone = self.state.lists.first(node, request.highest)?;
        let zone = self.state.zones.get(usize::from(zone.0))?;
        if zone.node != node && request.gfp.contains(Gfp::THISNODE) {
            return None;
        }
        let (group, first) = zone.cache_of(cpu)?.take(request.kind, request.order)?;
        Some(zone.group_start(group).add(u64::from(first)))
    }

    /// What is left to do with a run that is the caller's: the tag, and zeroing.
    #[cold]
    pub(crate) fn deliver(&self, request: &Request, pfn: Pfn) -> Result<Pfn, AllocError> {
        let order = request.order;
        if request.gfp.contains(Gfp::ZERO) && !self.platform.zero(pfn, order.frames()) {
            // The run was just taken, so it goes back; nobody saw its tag.
            if let Ok(place) = self.state.place(pfn) {
                let _ = self.free_run(place, pfn, order);
            }
            return Err(AllocError::CannotZero { pfn });
        }
        if let Some(tags) = &self.state.tags {
            tags.set(&self.state.map, pfn, order);
        }
        Ok(pfn)
    }

    /// A free whose group no slot of this CPU holds: into a word by the rule, else to the row.
    fn free_missed(&self, place: Place<'m>, pfn: Pfn, order: Order, cpu: &Cpu) -> Result<(), FreeError> {
        let zone = place.zone;
        let block = zone.block_at(place.section, pfn).ok_or(FreeError::Foreign { pfn })?;
        let entry = block.entry.load();
        let (row, bits) = row_and_mask(pfn.get() % BLOCK_FRAMES, order);
        if entry.is_isolated() || !entry.is_open_to_frees() {
            return self.free_to_rows(place, pfn, order);
        }
        if block.bitmap.row(row).load() & bits != 0 {
            return Err(FreeError::DoubleFree { pfn, order });
        }
        let (group, mask) = group_and_mask(zone, pfn, order);
        let kept = zone
            .cache_of(cpu)
            .is_some_and(|cache| zone.keep_freed(cpu, zone.line_for(cache, block), group, mask));
        if kept { Ok(()) } else { land(zone, block, pfn, order) }
    }

    /// A free past the slot words.
    pub(crate) fn free_to_rows(&self, place: Place<'m>, pfn: Pfn, order: Order) -> Result<(), FreeError> {
        let block = place.zone.block_at(place.section, pfn).ok_or(FreeError::Foreign { pfn })?;
        if order < Order::BLOCK {
            return land(place.zone, block, pfn, order);
        }
        for index in 0..blocks_in(order) as u64 {
            let pfn = pfn.add(index * BLOCK_FRAMES);
            let (zone, block) = self.state.block(pfn)?;
            free_block(zone, block, pfn)?;
        }
        Ok(())
    }
}

/// The run's group and its frames in it.
#[inline]
fn group_and_mask(zone: &Zone<'_>, pfn: Pfn, order: Order) -> (crate::frame::GroupIndex, u32) {
    let run = ((1u64 << order.frames()) - 1) as u32;
    (zone.group_of(pfn), run << (pfn.get() % 32))
}

/// Lands a run shorter than a block, row by row.
pub(crate) fn land(zone: &Zone<'_>, block: Block<'_>, pfn: Pfn, order: Order) -> Result<(), FreeError> {
    let (row, mask) = row_and_mask(pfn.get() % BLOCK_FRAMES, order);
    let rows = (order.frames() / ROW_FRAMES).max(1) as usize;
    for row in row..row + rows {
        zone.land(block, row, mask).map_err(|cause| refused(cause, pfn, order))?;
    }
    Ok(())
}

/// Frees a whole block: in one step if it is whole, else (split and merged again) row by row.
fn free_block(zone: &Zone<'_>, block: Block<'_>, pfn: Pfn) -> Result<(), FreeError> {
    if zone.land_whole(block).is_ok() {
        return Ok(());
    }
    (0..ROWS).try_for_each(|row| {
        zone.land(block, row, u64::MAX).map_err(|cause| refused(cause, pfn, Order::BLOCK))
    })
}

pub(crate) fn refused(cause: NotLanded, pfn: Pfn, order: Order) -> FreeError {
    match cause {
        NotLanded::AlreadyFree => FreeError::DoubleFree { pfn, order },
        NotLanded::NotParts => FreeError::NotSplit { pfn },
    }
}
