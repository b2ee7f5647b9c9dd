//! The other calls of who asks in a context: many frames at once, exact counts, runs made by moving.
//!
//! Each is its plain counterpart with a [`Reach`] for the walk; what confines it and where it begins is decided as for a
//! single run.

use crate::allocator::PageAllocator;
use crate::error::AllocError;
use crate::frame::{Group, Pfn};
use crate::platform::Platform;
use crate::policy::reach::{Context, Reach};
use crate::request::Request;

impl<P: Platform> PageAllocator<'_, P> {
    /// [`PageAllocator::alloc_bulk`] for who asks in this context. Where nodes take turns, each has the share first that as
    /// many single requests would give it; with an index, of frames from that one on.
    ///
    /// Contexts as there. Locked operations as there, for each node that frames come from.
    ///
    /// # Errors
    /// As there, and [`AllocError::NoZone`] where the context allows no zone that the request may use.
    pub fn alloc_bulk_in(
        &self,
        context: &Context<'_>,
        request: &Request,
        frames: u64,
        out: &mut [Group],
    ) -> Result<usize, AllocError> {
        let Some(asker) = self.restricted(context, request) else {
            return self.alloc_bulk(request, frames, out);
        };
        self.bulk(request, (frames, out), |request, bulk| {
            let Some(mut shares) = asker.shares(frames) else {
                let request = asker.start().map_or(*request, |node| request.node(node));
                return self.within(asker, &request, |reach, request| self.fill(reach, request, bulk));
            };
            // Each share is had from all that is allowed, its node first: where one is not had, no other will be.
            shares.try_for_each(|(node, share)| {
                bulk.begin_turn(node, share);
                self.fill(Reach::of(context, None), &request.node(node), bulk)
            })
        })
    }

    /// [`PageAllocator::alloc_exact`] for who asks in this context: one turn, where nodes take turns.
    ///
    /// # Errors
    /// As there, and as [`PageAllocator::alloc_raw_in`].
    pub fn alloc_exact_in(
        &self,
        context: &Context<'_>,
        request: &Request,
        frames: u64,
    ) -> Result<Pfn, AllocError> {
        self.exact(request, frames, |whole| self.alloc_raw_in(context, whole))
    }

    /// [`PageAllocator::alloc_contig`] for who asks in this context: what is moved is moved where it may have its run, out of
    /// the way on any node.
    ///
    /// Task context, as there.
    ///
    /// # Errors
    /// As [`PageAllocator::alloc_raw_in`].
    pub fn alloc_contig_in(&self, context: &Context<'_>, request: &Request) -> Result<Pfn, AllocError> {
        let Some(asker) = self.restricted(context, request) else { return self.alloc_contig(request) };
        match self.alloc_raw_in(context, request) {
            Err(error) if !request.is_placed() => self.within(asker, request, |reach, request| {
                let settled = reach.settled(request, |nodes| self.state.has_memory(nodes));
                self.make_run(settled, request, error)
            }),
            served => served,
        }
    }
}
