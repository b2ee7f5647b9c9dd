//! What is said when a request fails, or memory runs out for one that cannot: Linux's line, then Mem-Info.
//!
//! Linux prints a stack trace between the two; a sink that can has the requester's. Silent are requests that say so
//! ([`Gfp::NOWARN`]), those for DMA memory on a machine without any, and all beyond the [`crate::rate::Rate`]. Of nodes only those
//! are shown that the request was confined to, but where it would have got frames of any.

use core::fmt;

use crate::frame::Order;
use crate::gfp::Gfp;
use crate::mutant::{Mutant, planted};
use crate::platform::Platform;
use crate::policy::nodemask::NodeMask;
use crate::policy::reach::Reach;
use crate::report::Subject;
use crate::report::mem_info::MemInfo;
use crate::request::Request;
use crate::state::State;
use crate::topology::ZoneKind;

/// What was asked for in vain.
#[derive(Clone, Copy)]
pub(crate) struct Asked<'a> {
    order: Order,
    gfp: Gfp,
    highest: ZoneKind,
    reach: Reach<'a>,
}

impl<'a> Asked<'a> {
    /// What a request asks for, and where.
    pub(crate) fn by(request: &Request, reach: Reach<'a>) -> Self {
        Self { order: request.order, gfp: request.gfp, highest: request.highest, reach }
    }

    /// Whether who asks would have got frames of its own nodes only (Linux: SHOW_MEM_FILTER_NODES).
    fn confined(&self, platform: &impl Platform) -> Confined {
        if !self.gfp.contains(Gfp::DIRECT_RECLAIM) {
            return Confined::No;
        }
        let task = platform.task();
        let has_reserves = task.oom_victim || task.memalloc || self.reach.is_exiting();
        let confined = !task.interrupt && (!has_reserves || self.gfp.contains(Gfp::NOMEMALLOC));
        if confined { Confined::Yes } else { Confined::No }
    }
}

/// Whether a request had to keep to the nodes of its policy and its set.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Confined {
    Yes,
    No,
}

/// A request failed.
struct Failure<'a> {
    comm: &'a str,
    asked: Asked<'a>,
    memory: MemInfo<'a>,
}

/// Memory has run out for a request that cannot fail.
struct OutOfMemory<'a> {
    comm: &'a str,
    asked: Asked<'a>,
    memory: MemInfo<'a>,
}

/// Tells the platform that a request failed, if it should know. Any context, outside every protocol step.
#[inline(always)]
pub(crate) fn failed<P: Platform>(state: &State<'_>, platform: &P, request: &Request, reach: Reach<'_>) {
    if !request.gfp.contains(Gfp::NOWARN) || planted(Mutant::WarnsUnasked) {
        warn(state, platform, Asked::by(request, reach));
    }
}

#[cold]
#[inline(never)]
fn warn<P: Platform>(state: &State<'_>, platform: &P, asked: Asked<'_>) {
    let has_dma = || state.zones.iter().any(|zone| zone.kind == ZoneKind::Dma && zone.managed() > 0);
    let silent = asked.gfp.contains(Gfp::DMA) && !has_dma();
    if !silent && state.failures.admits(platform.now_ms()) {
        let memory = memory(state, platform, asked, asked.confined(platform));
        platform.report(&Failure { comm: platform.comm(), asked, memory });
    }
}

/// Tells the platform that memory has run out. Task context, outside every protocol step.
#[cold]
pub(crate) fn out_of_memory<P: Platform>(state: &State<'_>, platform: &P, asked: Asked<'_>) {
    if state.kills.admits(platform.now_ms()) {
        let memory = memory(state, platform, asked, Confined::Yes);
        platform.report(&OutOfMemory { comm: platform.comm(), asked, memory });
    }
}

fn memory<'a, P: Platform>(
    state: &'a State<'a>,
    platform: &'a P,
    asked: Asked<'_>,
    confined: Confined,
) -> MemInfo<'a> {
    let nodes = match confined {
        Confined::Yes => asked.reach.mask().or_else(|| asked.reach.mems_allowed()),
        Confined::No => None,
    };
    MemInfo {
        subject: Subject { state, usage: platform.usage() },
        cpu: state.cpu(platform.cpu()),
        highest: asked.highest,
        nodes: nodes.filter(|nodes| !nodes.is_empty()),
    }
}

impl fmt::Display for Failure<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { comm, asked, memory } = self;
        let (order, mode) = (asked.order, asked.gfp);
        write!(f, "{comm}: page allocation failure: order:{order}, mode:{mode}, nodemask=")?;
        match asked.reach.mask() {
            Some(nodes) => write!(f, "{nodes}")?,
            None => f.write_str("(null)")?,
        }
        let populated = || memory.subject.zones().map(|zone| zone.node);
        let populated = || populated().try_fold(NodeMask::EMPTY, |mask, node| mask.with(node));
        let allowed = asked.reach.mems_allowed().unwrap_or_else(|| populated().unwrap_or_default());
        write!(f, ",cpuset=/,mems_allowed={allowed}\n{memory}")
    }
}

impl fmt::Display for OutOfMemory<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { comm, asked, memory } = self;
        let (order, mask) = (asked.order, asked.gfp);
        writeln!(f, "{comm} invoked oom-killer: gfp_mask={mask}, order={order}, oom_score_adj=0")?;
        write!(f, "{memory}")
    }
}
