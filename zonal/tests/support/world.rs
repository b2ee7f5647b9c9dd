//! An allocator and its naive model side by side: every operation is done to the one, told to the other, and compared.
//!
//! Panics (with the model's objection) are how it fails; a `proptest` run then shrinks the list of operations.
//!
//! Invariant after each operation: the audit is clean, and for every zone `managed`, `free + cached`, `allocated`,
//! `isolated` and `poisoned` are the model's figures, and nothing is in flight.

mod given;
mod upkeep;

use std::collections::BTreeSet;
use std::mem::MaybeUninit;

use zonal::{AllocError, Caching, Gfp, Group, NodeId, Order, PageAllocator, Pfn, Request};
use zonal_testkit::{Ask, BLOCK, Class, Machine, Model};

use crate::op::{Near, Op, Place, Purpose, Want};
use crate::support::{FakeCpu, Setup, audited, order, zone_kind};

/// How a run may be freed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Held {
    Run(u64, u8),
    Exact(u64, u64),
}

impl Held {
    fn start(self) -> u64 {
        match self {
            Self::Run(pfn, _) | Self::Exact(pfn, _) => pfn,
        }
    }

    fn frames(self) -> u64 {
        match self {
            Self::Run(_, order) => 1 << order,
            Self::Exact(_, frames) => frames,
        }
    }
}

/// The two of them.
pub(crate) struct World<'m> {
    allocator: PageAllocator<'m, &'m FakeCpu>,
    cpu: &'m FakeCpu,
    at: usize,
    machine: Machine,
    setup: Setup,
    model: Model,
    held: Vec<Held>,
    freed: Option<Held>,
    closed: BTreeSet<u16>,
}

impl<'m> World<'m> {
    /// The machine, built in this memory.
    pub(crate) fn new(
        machine: &Machine,
        setup: Setup,
        cpu: &'m FakeCpu,
        memory: &'m mut [MaybeUninit<u8>],
    ) -> Self {
        let allocator = PageAllocator::new(&setup.config(), cpu, memory).expect("the machine is a good one");
        let world = Self {
            allocator,
            cpu,
            at: 0,
            machine: machine.clone(),
            setup,
            model: Model::new(machine),
            held: Vec::new(),
            freed: None,
            closed: BTreeSet::new(),
        };
        world.compare();
        world
    }

    /// Does the operation and compares.
    pub(crate) fn step(&mut self, op: Op) {
        match op {
            Op::Alloc { order, want } => self.alloc(order, want),
            Op::Exact { frames, want } => self.exact(frames, want),
            Op::At { order, place, want } => self.alloc_at(order, place, want),
            Op::Bulk { frames, groups, want } => self.bulk(frames, groups, want),
            Op::Zeroed { order, want } => self.zeroed(order, want),
            Op::Exhaust { want } => self.exhaust(want),
            Op::Free { pick } => self.free(pick),
            Op::FreeBulk { picks } => self.free_bulk(picks),
            Op::Split { pick, to } => self.split(pick, to),
            Op::FreePart { pick, order, part } => self.free_part(pick, order, part),
            Op::FreeAll => self.free_all(),
            Op::Merge { pick } => self.merge(pick),
            Op::Misuse { wrong, order } => self.misuse(wrong, order),
            Op::MoveTo { cpu } => self.move_to(cpu),
            Op::Drain(scope) => self.drain(scope),
            Op::Close { zone } => self.close(zone),
            Op::Reopen { zone } => self.reopen(zone),
            Op::Isolate { block, blocks } => self.isolate(block, blocks),
            Op::Unisolate { block, blocks } => self.unisolate(block, blocks),
            Op::Poison { place } => self.poison(place),
            Op::Heal { pick } => self.heal(pick),
        }
        self.compare();
    }

    /// Frees everything, and checks that the machine is as it was built.
    pub(crate) fn wind_up(mut self) {
        self.free_all();
        for block in self.blocks() {
            if self.model.is_isolated(block) {
                self.unisolate_at(block, 1);
            }
        }
        while self.model.poisoned().next().is_some() {
            self.heal(0);
        }
        self.compare();
        let summary = audited(&self.allocator);
        assert_eq!(summary.managed, summary.free + summary.cached, "something is missing: {summary:?}");
    }

    fn compare(&self) {
        let summary = audited(&self.allocator);
        let total = self.model.total();
        assert_eq!(summary.managed, total.managed, "managed");
        assert_eq!(summary.free + summary.cached, total.free, "free: {summary:?}");
        assert_eq!(summary.allocated, total.held, "allocated: {summary:?}");
        assert_eq!(summary.isolated, total.isolated, "isolated: {summary:?}");
        assert_eq!(summary.poisoned, total.poisoned, "poisoned: {summary:?}");
        assert_eq!(summary.in_flight, 0, "in flight with nothing running");
        let infos: Vec<_> = self.allocator.zones().collect();
        assert_eq!(infos.len(), self.model.zones().len(), "number of zones");
        for (at, (info, zone)) in infos.iter().zip(self.model.zones()).enumerate() {
            let figures = self.model.figures(at);
            assert_eq!((info.node, info.kind), (NodeId(zone.node), zone_kind(zone.class)), "zone {at}");
            assert_eq!(info.managed, figures.managed, "zone {at} managed");
            assert_eq!(info.free + info.cached, figures.free, "zone {at} free: {info:?}");
            assert_eq!(info.isolated, figures.isolated, "zone {at} isolated: {info:?}");
            assert_eq!(info.poisoned, figures.poisoned, "zone {at} poisoned: {info:?}");
            assert_eq!(info.in_flight, 0, "zone {at} in flight");
            let cached_though_closed = self.closed.contains(&(at as u16)) && info.cached > 0;
            assert!(!cached_though_closed, "zone {at} caches frames though closed: {info:?}");
        }
    }

    fn node(&self) -> u16 {
        self.machine.cpus[self.at % self.machine.cpus.len()]
    }

    fn top(&self) -> u64 {
        self.machine.memory.iter().map(|memory| memory.frames.end).max().unwrap_or(0)
    }

    /// The request, and what the model makes of it.
    fn request(&self, size: Order, want: Want) -> (Request, Ask) {
        let (gfp, highest) = match want.purpose {
            Purpose::Kernel => (Gfp::KERNEL, Class::Normal),
            Purpose::Reclaimable => (Gfp::KERNEL | Gfp::RECLAIMABLE, Class::Normal),
            Purpose::User => (Gfp::HIGHUSER_MOVABLE, Class::Movable),
            Purpose::Dma => (Gfp::ATOMIC | Gfp::DMA, Class::Dma),
            Purpose::Dma32 => (Gfp::NOWAIT | Gfp::DMA32, Class::Dma32),
        };
        let request = Request::order(size);
        let (request, gfp, zones) = match want.near {
            Near::Here => (request, gfp, self.model.zonelist(self.node(), highest)),
            Near::HereOnly => (request, gfp | Gfp::THISNODE, self.model.own_zones(self.node(), highest)),
            Near::Node(node) => {
                let node = node % self.machine.nodes() as u16;
                (request.node(NodeId(node)), gfp, self.model.zonelist(node, highest))
            }
        };
        let request = request.gfp(gfp).expect("the flags are good ones");
        let run = Ask::run(size.get(), zones);
        let ask = if want.purpose == Purpose::Dma { run.atomic() } else { run };
        match want.place {
            Place::Anywhere => (request, ask),
            Place::Below(part) => {
                let limit = self.top() * u64::from(part) / 256;
                (request.below(Pfn::new(limit)), ask.below(limit))
            }
            Place::Aligned(to) => (request.aligned(order(to)), ask.aligned(1 << to)),
        }
    }

    /// A refusal must be right and say the right thing.
    fn refused(&self, ask: &Ask, error: AllocError) {
        assert_eq!(self.model.refused(ask), Ok(()), "refused with {error}");
        let spare = |zone: usize| {
            let (free, mark) = (self.model.figures(zone).free, self.model.zones()[zone].mark);
            free.saturating_sub(ask.leaves.of(mark))
        };
        let enough = ask.zones.iter().any(|&zone| spare(zone) >= ask.frames);
        match error {
            AllocError::NoMemory { in_flight, .. } => {
                assert_eq!(in_flight, 0);
                assert!(!enough || ask.below < u64::MAX, "{error}, but a zone has enough frames");
            }
            AllocError::NoRun { in_flight, .. } => {
                assert_eq!(in_flight, 0);
                assert!(enough, "{error}, but no zone has enough frames");
            }
            AllocError::NoZone => assert!(ask.zones.is_empty() || ask.below < u64::MAX, "{error}"),
            other => panic!("a request without a fault was refused with {other}"),
        }
    }

    fn granted(&mut self, ask: &Ask, pfn: Pfn, held: Held) {
        if self.setup.caching == Caching::Off {
            let expected = self.model.usable(ask).map(|(zone, _)| zone);
            let served = self.model.zone_of(pfn.get());
            assert!(
                served == expected || self.keeps_apart(ask, served, expected),
                "{pfn} is in zone {served:?}, not in the first that could serve, {expected:?}"
            );
        }
        assert_eq!(self.model.granted(ask, pfn.get()), Ok(()), "granted {pfn}");
        self.held.push(held);
    }

    /// Whether a lower zone of the node may have served so that kinds do not mix in a Normal zone above DMA32, or in DMA32.
    fn keeps_apart(&self, ask: &Ask, served: Option<usize>, expected: Option<usize>) -> bool {
        let zone = |at: Option<usize>| at.and_then(|at| self.model.zones().get(at));
        let first = zone(ask.zones.first().copied()).filter(|first| first.class == Class::Normal);
        first.zip(zone(served)).zip(zone(expected)).is_some_and(|((first, served), expected)| {
            let dma32 = self.model.zones().iter().any(|z| z.node == first.node && z.class == Class::Dma32);
            dma32 && served.node == first.node && expected.node == first.node && served.class < expected.class
        })
    }

    fn alloc(&mut self, by: u8, want: Want) {
        let (request, ask) = self.request(order(by), want);
        match self.allocator.alloc_raw(&request) {
            Ok(pfn) => self.granted(&ask, pfn, Held::Run(pfn.get(), by)),
            Err(error) => self.refused(&ask, error),
        }
    }

    /// An exact count is certain to be had only where the run of the order that holds it is.
    fn exact(&mut self, frames: u64, want: Want) {
        let holding = Order::holding(frames).expect("counts in op lists are small");
        let (request, ask) = self.request(holding, want);
        match self.allocator.alloc_exact(&request, frames) {
            Err(error) => {
                assert_eq!(self.model.refused(&ask), Ok(()), "{frames} frames refused with {error}")
            }
            Ok(pfn) => {
                let taken = ask.exact(frames);
                assert_eq!(self.model.granted(&taken, pfn.get()), Ok(()), "granted {frames} frames at {pfn}");
                self.held.push(Held::Exact(pfn.get(), frames));
            }
        }
    }

    /// A run asked for by number may be of any zone.
    fn alloc_at(&mut self, by: u8, place: u64, want: Want) {
        let (request, ask) = self.request(order(by), want);
        let ask = Ask { leaves: ask.leaves, ..Ask::run(by, (0..self.model.zones().len()).collect()) };
        let pfn = ((place % (self.top() + BLOCK)) >> by) << by;
        match self.allocator.alloc_at(&request, Pfn::new(pfn)) {
            Ok(()) => {
                assert_eq!(self.model.granted(&ask, pfn), Ok(()), "granted at {pfn:#x}");
                self.held.push(Held::Run(pfn, by));
            }
            Err(error) => {
                assert_eq!(self.model.refused_at(&ask, pfn), Ok(()), "refused at {pfn:#x}: {error}")
            }
        }
    }

    fn bulk(&mut self, frames: u64, groups: usize, want: Want) {
        let (request, ask) = self.request(Order::ZERO, want);
        let mut out = vec![Group::EMPTY; groups];
        let filled = match self.allocator.alloc_bulk(&request, frames, &mut out) {
            Ok(filled) => filled,
            Err(error) => {
                if groups > 0 {
                    self.refused(&ask, error);
                }
                0
            }
        };
        let taken: Vec<Pfn> = out[..filled].iter().flat_map(|group| group.iter()).collect();
        assert!(out[..filled].iter().all(|group| group.mask != 0), "an empty group counts as filled");
        assert!(taken.len() as u64 <= frames, "{} frames for {frames}", taken.len());
        for &pfn in &taken {
            assert_eq!(self.model.granted(&ask, pfn.get()), Ok(()), "granted {pfn} in bulk");
            self.held.push(Held::Run(pfn.get(), 0));
        }
        if (taken.len() as u64) < frames && filled < groups {
            assert_eq!(
                self.model.refused(&ask),
                Ok(()),
                "{} of {frames} in {filled} of {groups} groups",
                taken.len()
            );
        }
    }

    fn zeroed(&mut self, by: u8, want: Want) {
        let user = matches!(want.purpose, Purpose::User);
        // What is asked is no atomic request, whatever the purpose: it leaves the whole mark.
        let want = if user { want } else { Want { purpose: Purpose::Kernel, ..want } };
        let (request, ask) = self.request(order(by), want);
        let gfp = if user { Gfp::HIGHUSER_MOVABLE } else { Gfp::KERNEL };
        let request = request.gfp(gfp | Gfp::ZERO).expect("the flags are good ones");
        let highest = if user { Class::Movable } else { Class::Normal };
        let node = match want.near {
            Near::Node(node) => node % self.machine.nodes() as u16,
            Near::Here | Near::HereOnly => self.node(),
        };
        let ask = Ask { zones: self.model.zonelist(node, highest), ..ask };
        match self.allocator.alloc_raw(&request) {
            Ok(pfn) => panic!("{pfn} was granted though no frame can be zeroed"),
            Err(AllocError::CannotZero { pfn }) => {
                assert_eq!(self.model.clone().granted(&ask, pfn.get()), Ok(()), "could not zero {pfn}");
            }
            Err(error) => self.refused(&ask, error),
        }
    }

    fn exhaust(&mut self, want: Want) {
        let (request, ask) = self.request(Order::ZERO, want);
        loop {
            match self.allocator.alloc_raw(&request) {
                Ok(pfn) => self.granted(&ask, pfn, Held::Run(pfn.get(), 0)),
                Err(error) => return self.refused(&ask, error),
            }
        }
    }

    fn move_to(&mut self, cpu: usize) {
        self.at = cpu;
        self.cpu.move_to(cpu);
    }
}
