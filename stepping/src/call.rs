//! The calls that are interrupted, and what they mean for the ledger.
//!
//! They touch nothing but the allocator, and no heap: a handler may run at any of their instructions.

use zonal::{AllocError, Context, FrameRange, FreeError, Group, OnlineType, Order, Pfn, Request};

use crate::entry;
use crate::stage::{Pages, Stage};
use crate::violation::Violation;

/// Groups of a bulk call.
const GROUPS: usize = 4;

/// A call.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Call {
    Alloc(Request, Order),
    AllocAt(Request, Pfn),
    AllocExact(Request, u64),
    Free(Pfn, Order),
    AllocBulk(Request, u64),
    FreeBulk([Group; GROUPS]),
    Split(Pfn, Order),
    DrainCpu(usize),
    DrainRange(FrameRange),
    Close,
    Reopen,
    Isolate(FrameRange),
    Unisolate(FrameRange),
    /// The nolock pair.
    AllocNolock(Order),
    FreeNolock(Pfn, Order),
    /// A request that may wait, where reclaim gives back this frame.
    AllocReclaiming(Request, Pfn),
    Rebuild,
    /// A request of a task of a cpuset with a policy.
    AllocIn(&'static Context<'static>, Request, Order),
    /// Of the section that may be plugged in.
    Online(OnlineType),
    Offline,
}

/// What it came to.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Reply {
    Run(Pfn, Order),
    Frames(Pfn, u64),
    Groups([Group; GROUPS]),
    Refused(AllocError),
    RefusedFree(FreeError),
    Done,
    /// The section did not come or go.
    NotPlugged,
}

impl Call {
    /// Frames that are neither in the ledger nor, as far as a handler may know, free while the call is under way: what it
    /// asks for, or frees. What it moves besides is in flight, and errors count that.
    pub(crate) fn stake(&self) -> u64 {
        match *self {
            Self::Alloc(_, order) | Self::Free(_, order) => order.frames(),
            Self::AllocNolock(order) | Self::FreeNolock(_, order) | Self::AllocIn(_, _, order) => {
                order.frames()
            }
            Self::AllocAt(..) => 1,
            Self::AllocReclaiming(..) => 2,
            Self::AllocExact(_, frames) => frames.next_power_of_two(),
            Self::AllocBulk(_, frames) => frames,
            Self::FreeBulk(groups) => groups.into_iter().map(|group| u64::from(group.frames())).sum(),
            _ => 0,
        }
    }

    /// Makes the call.
    pub(crate) fn carry_out(&self, pages: &Pages) -> Reply {
        match *self {
            Self::Alloc(request, order) => run(entry::alloc(pages, &request), order),
            Self::AllocAt(request, pfn) => match entry::alloc_at(pages, &request, pfn) {
                Ok(()) => Reply::Run(pfn, Order::ZERO),
                Err(error) => Reply::Refused(error),
            },
            Self::AllocExact(request, frames) => match entry::alloc_exact(pages, &request, frames) {
                Ok(pfn) => Reply::Frames(pfn, frames),
                Err(error) => Reply::Refused(error),
            },
            Self::AllocBulk(request, frames) => {
                let mut groups = [Group::EMPTY; GROUPS];
                match entry::alloc_bulk(pages, &request, frames, &mut groups) {
                    Ok(_) => Reply::Groups(groups),
                    Err(error) => Reply::Refused(error),
                }
            }
            Self::Free(pfn, order) => freed(entry::free(pages, pfn, order)),
            Self::FreeBulk(groups) => freed(entry::free_bulk(pages, &groups)),
            Self::Split(pfn, from) => freed(entry::split(pages, pfn, from)),
            Self::DrainCpu(cpu) => done(entry::drain_cpu(pages, cpu)),
            Self::DrainRange(range) => done(entry::drain_range(pages, range)),
            Self::Close => done(entry::close(pages)),
            Self::Reopen => done(entry::reopen(pages)),
            Self::Isolate(range) => done(entry::isolate(pages, range)),
            Self::Unisolate(range) => done(entry::unisolate(pages, range)),
            Self::AllocNolock(order) => run(entry::alloc_nolock(pages, order), order),
            Self::FreeNolock(pfn, order) => freed(entry::free_nolock(pages, pfn, order)),
            Self::AllocReclaiming(request, _) => run(entry::alloc(pages, &request), Order::ZERO),
            Self::AllocIn(context, request, order) => run(entry::alloc_in(pages, context, &request), order),
            Self::Rebuild => {
                entry::rebuild(pages);
                Reply::Done
            }
            Self::Online(kind) => plugged(entry::online(pages, kind)),
            Self::Offline => plugged(entry::offline(pages)),
        }
    }

    /// Writes what the call came to into the ledger; whether it was refused.
    pub(crate) fn settle(&self, stage: &Stage, reply: Reply) -> bool {
        let frames = |groups: [Group; GROUPS]| groups.into_iter().flat_map(Group::iter);
        match (reply, *self) {
            (Reply::Run(pfn, order), _) => stage.ledger.claim(pfn, order),
            (Reply::Frames(pfn, count), _) => {
                (0..count).for_each(|at| stage.ledger.claim(pfn.add(at), Order::ZERO));
            }
            (Reply::Groups(groups), _) => frames(groups).for_each(|pfn| stage.ledger.claim(pfn, Order::ZERO)),
            (Reply::RefusedFree(error), _) => stage.ledger.object(Violation::RefusedFree { error }),
            (Reply::Done, Self::Split(pfn, from)) => stage.ledger.split(pfn, from, Order::ZERO),
            (Reply::Refused(_) | Reply::NotPlugged, _) => return true,
            (Reply::Done, Self::Online(_)) => stage.plugged.set(Stage::section().frames()),
            (Reply::Done, Self::Offline) => stage.plugged.set(0),
            (Reply::Done, _) => {}
        }
        false
    }

    /// Takes what it frees off the ledger: from its first instruction on the frames may be handed out again.
    pub(crate) fn begin(&self, stage: &Stage) {
        match *self {
            Self::Free(pfn, _) | Self::FreeNolock(pfn, _) => {
                stage.ledger.release(pfn);
            }
            Self::AllocReclaiming(_, pfn) => stage.lend_to_reclaim(pfn),
            Self::FreeBulk(groups) => groups.into_iter().flat_map(Group::iter).for_each(|pfn| {
                stage.ledger.release(pfn);
            }),
            _ => {}
        }
    }
}

fn run(result: Result<Pfn, AllocError>, order: Order) -> Reply {
    result.map_or_else(Reply::Refused, |pfn| Reply::Run(pfn, order))
}

/// A section that stays where it was is no broken promise: somebody held frames of it, or was at work on it.
fn plugged(came: bool) -> Reply {
    if came { Reply::Done } else { Reply::NotPlugged }
}

fn freed(result: Result<(), FreeError>) -> Reply {
    result.map_or_else(Reply::RefusedFree, |()| Reply::Done)
}

/// Upkeep answers with figures; what it did is judged by the frames.
fn done<T>(_: T) -> Reply {
    Reply::Done
}
