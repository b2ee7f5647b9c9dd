//! The calls that are interrupted, and what they mean for the ledger.
//!
//! They touch nothing but the allocator, and no heap: a handler may run at any of their instructions.

use zonal::{
    AllocError, BLOCK_FRAMES, Context, Daemon, FrameRange, FreeError, Group, Marks, NodeId, OnlineType,
    Order, Owner, Pfn, Request, Tuning,
};

use crate::entry;
use crate::host::Lent;
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
    DrainZone,
    DrainAll,
    /// A pass over words that have been idle.
    Age,
    /// The nolock pair.
    AllocNolock(Order, Option<NodeId>),
    AllocNolockIn(&'static Context<'static>, Order),
    FreeNolock(Pfn, Order),
    /// A request that may wait, where reclaim gives back this frame, or who is killed.
    AllocLent(Request, Pfn, Lent),
    /// A run that is made by moving what is in its way.
    AllocContig(Request, Order),
    /// A daemon that has been asked for work.
    Daemon(Daemon),
    Rebuild,
    Tune(Tuning),
    SetMarks(Marks),
    Poison(Pfn),
    Unpoison(Pfn),
    Name(Pfn, Order, Owner),
    /// A request of a task of a cpuset with a policy.
    AllocIn(&'static Context<'static>, Request, Order),
    AllocBulkIn(&'static Context<'static>, Request, u64),
    /// Of the section that may be plugged in.
    Add,
    Remove,
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
            Self::AllocNolock(order, _) | Self::AllocNolockIn(_, order) | Self::FreeNolock(_, order) => {
                order.frames()
            }
            Self::AllocIn(_, _, order) | Self::AllocContig(_, order) => order.frames(),
            Self::AllocAt(..) | Self::Poison(_) | Self::Unpoison(_) => 1,
            Self::AllocLent(..) => 2,
            Self::AllocExact(_, frames) => frames.next_power_of_two(),
            Self::AllocBulk(_, frames) | Self::AllocBulkIn(_, _, frames) => frames,
            // Marks that nobody else knows of; a run that is moved, or made.
            Self::Tune(_) | Self::SetMarks(_) | Self::Offline | Self::Daemon(_) => BLOCK_FRAMES,
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
            Self::DrainZone => done(entry::drain_zone(pages)),
            Self::DrainAll => done(entry::drain_all(pages)),
            Self::Age => done(entry::age(pages)),
            Self::AllocNolock(order, node) => run(entry::alloc_nolock(pages, node, order), order),
            Self::AllocNolockIn(context, order) => run(entry::alloc_nolock_in(pages, context, order), order),
            Self::FreeNolock(pfn, order) => freed(entry::free_nolock(pages, pfn, order)),
            Self::AllocLent(request, ..) => run(entry::alloc(pages, &request), Order::ZERO),
            Self::AllocContig(request, order) => run(entry::alloc_contig(pages, &request), order),
            Self::Daemon(daemon) => done(entry::daemon(pages, daemon)),
            Self::AllocIn(context, request, order) => run(entry::alloc_in(pages, context, &request), order),
            Self::AllocBulkIn(context, request, frames) => {
                let mut groups = [Group::EMPTY; GROUPS];
                match entry::alloc_bulk_in(pages, context, &request, frames, &mut groups) {
                    Ok(_) => Reply::Groups(groups),
                    Err(error) => Reply::Refused(error),
                }
            }
            Self::Rebuild => {
                entry::rebuild(pages);
                Reply::Done
            }
            Self::Tune(tuning) => done(entry::tune(pages, tuning)),
            Self::SetMarks(marks) => done(entry::set_marks(pages, marks)),
            Self::Poison(pfn) => done(entry::poison(pages, pfn)),
            Self::Unpoison(pfn) => done(entry::unpoison(pages, pfn)),
            Self::Name(pfn, order, owner) => done(entry::name(pages, pfn, order, owner)),
            Self::Add => plugged(entry::add(pages)),
            Self::Remove => plugged(entry::remove(pages)),
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
            Self::AllocLent(_, pfn, to) => stage.lend(pfn, to),
            Self::Poison(pfn) => stage.poisoned.set(Some(pfn)),
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
