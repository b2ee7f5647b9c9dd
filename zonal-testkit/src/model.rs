//! The naive model: every frame has a state, every question is answered by looking at frames one after the other.
//!
//! It judges answers instead of predicting them: an allocator may choose any usable run, and may refuse only when there
//! is none. Frames an allocator caches are free here. It knows nothing of words, hints, claims or CPUs, and it is for
//! small machines: it keeps something for every frame from the first to the last, holes too.
//!
//! Invariant: a frame is held exactly if one run of [`Model::runs`] covers it.

mod withheld;

use std::collections::{BTreeMap, BTreeSet};

use crate::machine::{BLOCK, Class, Machine};
use crate::violation::Violation;
use crate::zonelist::{Matrix, zonelist_order};

/// A populated zone: nodes ascending, in a node lowest class first.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Zone {
    /// Its node.
    pub node: u16,
    /// Its place in the node.
    pub class: Class,
    /// Frames that stay free.
    pub mark: u64,
}

/// What is asked for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Ask {
    /// Number of frames, one after the other.
    pub frames: u64,
    /// The first frame is a multiple of this.
    pub align: u64,
    /// All frames are below this one.
    pub below: u64,
    /// The zones allowed, in the order in which they are to be tried.
    pub zones: Vec<usize>,
    /// What it leaves of a zone's mark if no zone serves it above that.
    pub leaves: Leaves,
}

/// How much of a mark a request leaves when it must.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Leaves {
    /// All of it.
    All,
    /// Half, and of that three quarters: a request from atomic context.
    ThreeEighths,
}

impl Leaves {
    /// The frames of `mark` that are left.
    pub const fn of(self, mark: u64) -> u64 {
        let half = mark - mark / 2;
        match self {
            Self::All => mark,
            Self::ThreeEighths => half - half / 4,
        }
    }
}

impl Ask {
    /// An aligned run of `2^order` frames.
    pub const fn run(order: u8, zones: Vec<usize>) -> Self {
        Self { frames: 1 << order, align: 1 << order, below: u64::MAX, zones, leaves: Leaves::All }
    }

    /// The same with every frame below `limit`.
    pub fn below(self, limit: u64) -> Self {
        Self { below: limit, ..self }
    }

    /// The same with the first frame a multiple of `align`, if that is more than asked for already.
    pub fn aligned(self, align: u64) -> Self {
        Self { align: align.max(self.align), ..self }
    }

    /// The same from atomic context.
    pub fn atomic(self) -> Self {
        Self { leaves: Leaves::ThreeEighths, ..self }
    }

    /// The same with another number of frames, no power of two perhaps.
    pub fn exact(self, frames: u64) -> Self {
        Self { frames, ..self }
    }
}

/// Frames counted.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Figures {
    /// Frames that exist and are not reserved.
    pub managed: u64,
    /// Frames nobody holds that are not poisoned, outside isolated blocks.
    pub free: u64,
    /// Frames somebody holds, in isolated blocks too.
    pub held: u64,
    /// Frames nobody holds that are not poisoned, in isolated blocks.
    pub isolated: u64,
    /// Poisoned frames nobody holds.
    pub poisoned: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    Free,
    Held,
}

#[derive(Clone, Copy, Debug)]
struct Frame {
    zone: usize,
    state: State,
}

/// The model.
#[derive(Clone, Debug)]
pub struct Model {
    zones: Vec<Zone>,
    order: Vec<Vec<usize>>,
    /// The lowest frame.
    first: u64,
    /// Every frame from the lowest on; `None` where one is absent.
    frames: Vec<Option<Frame>>,
    isolated: BTreeSet<u64>,
    poisoned: BTreeSet<u64>,
    runs: BTreeMap<u64, u64>,
}

impl Model {
    /// All frames of the machine free but the reserved ones.
    pub fn new(machine: &Machine) -> Self {
        let mut classed = BTreeMap::new();
        for memory in &machine.memory {
            for pfn in memory.frames.clone() {
                classed.insert(pfn, (memory.node, machine.class_of(memory, pfn)));
            }
        }
        // Where zones meet inside a block, all of the block belongs to the first of them.
        let mut blocks = BTreeMap::new();
        for (pfn, name) in &mut classed {
            *name = *blocks.entry(pfn / BLOCK).or_insert(*name);
        }
        for reserved in &machine.reserved {
            for pfn in reserved.clone() {
                classed.remove(&pfn);
            }
        }
        let populated: BTreeSet<(u16, Class)> = classed.values().copied().collect();
        let names: Vec<(u16, Class)> = populated.into_iter().collect();
        let mark = |node, class| machine.marks.iter().rfind(|m| m.node == node && m.class == class);
        let zones = names
            .iter()
            .map(|&(node, class)| Zone { node, class, mark: mark(node, class).map_or(0, |m| m.frames) })
            .collect();
        let (first, end) =
            classed.keys().next().zip(classed.keys().last()).map_or((0, 0), |(&a, &b)| (a, b + 1));
        let free_at = |pfn| {
            let name = classed.get(&pfn)?;
            let zone = names.iter().position(|n| n == name)?;
            Some(Frame { zone, state: State::Free })
        };
        Self {
            zones,
            order: node_order(machine, &names),
            first,
            frames: (first..end).map(free_at).collect(),
            isolated: BTreeSet::new(),
            poisoned: BTreeSet::new(),
            runs: BTreeMap::new(),
        }
    }

    /// The populated zones.
    pub fn zones(&self) -> &[Zone] {
        &self.zones
    }

    /// The zone of a frame that exists and is not reserved.
    pub fn zone_of(&self, pfn: u64) -> Option<usize> {
        self.frame(pfn).map(|frame| frame.zone)
    }

    fn frame(&self, pfn: u64) -> Option<Frame> {
        let at = pfn.checked_sub(self.first)?;
        *self.frames.get(usize::try_from(at).ok()?)?
    }

    /// The frames that exist, lowest first.
    fn present(&self) -> impl Iterator<Item = (u64, Frame)> {
        (self.first..).zip(&self.frames).filter_map(|(pfn, frame)| Some((pfn, (*frame)?)))
    }

    /// The zones up to `highest` that a request of `node` tries, in order.
    pub fn zonelist(&self, node: u16, highest: Class) -> Vec<usize> {
        let near = self.order.get(usize::from(node)).into_iter().flatten();
        near.flat_map(|&n| self.zones_of(n, highest)).collect()
    }

    /// The same without any other node.
    pub fn own_zones(&self, node: u16, highest: Class) -> Vec<usize> {
        self.zones_of(usize::from(node), highest)
    }

    fn zones_of(&self, node: usize, highest: Class) -> Vec<usize> {
        let here = |zone: &Zone| usize::from(zone.node) == node && zone.class <= highest;
        (0..self.zones.len()).rev().filter(|&zone| here(&self.zones[zone])).collect()
    }

    /// The runs held: first frame and number of frames.
    pub fn runs(&self) -> impl Iterator<Item = (u64, u64)> {
        self.runs.iter().map(|(&pfn, &frames)| (pfn, frames))
    }

    /// The figures of one zone.
    pub fn figures(&self, zone: usize) -> Figures {
        self.count(|frame| frame.zone == zone)
    }

    /// The figures of the machine.
    pub fn total(&self) -> Figures {
        self.count(|_| true)
    }

    fn count(&self, counted: impl Fn(&Frame) -> bool) -> Figures {
        let mut figures = Figures::default();
        for (pfn, frame) in self.present().filter(|(_, frame)| counted(frame)) {
            figures.managed += 1;
            match frame.state {
                State::Held => figures.held += 1,
                State::Free if self.poisoned.contains(&pfn) => figures.poisoned += 1,
                State::Free if self.is_isolated(pfn) => figures.isolated += 1,
                State::Free => figures.free += 1,
            }
        }
        figures
    }

    /// A run was handed out: records it, or objects.
    pub fn granted(&mut self, ask: &Ask, pfn: u64) -> Result<(), Violation> {
        self.judge(ask, pfn)?;
        for taken in pfn..pfn + ask.frames {
            self.set(taken, State::Held);
        }
        self.runs.insert(pfn, ask.frames);
        Ok(())
    }

    /// A request was refused: objects if a run was usable.
    pub fn refused(&self, ask: &Ask) -> Result<(), Violation> {
        match self.usable(ask) {
            None => Ok(()),
            Some((zone, pfn)) => Err(Violation::Refused { pfn, zone, frames: ask.frames }),
        }
    }

    /// A request for the run at this frame was refused: objects if it was usable.
    pub fn refused_at(&self, ask: &Ask, pfn: u64) -> Result<(), Violation> {
        match self.judge(ask, pfn) {
            Err(_) => Ok(()),
            Ok(zone) => Err(Violation::Refused { pfn, zone, frames: ask.frames }),
        }
    }

    /// The first usable run in the first zone that has one above its mark, else above what the request leaves of it: the
    /// zone and the run's first frame.
    pub fn usable(&self, ask: &Ask) -> Option<(usize, u64)> {
        self.usable_above(ask, Leaves::All).or_else(|| self.usable_above(ask, ask.leaves))
    }

    fn usable_above(&self, ask: &Ask, leaves: Leaves) -> Option<(usize, u64)> {
        ask.zones.iter().find_map(|&zone| {
            let in_zone = |(pfn, frame): (u64, Frame)| (frame.zone == zone).then_some(pfn);
            let enough = self.figures(zone).free >= ask.frames + leaves.of(self.zones[zone].mark);
            let mut starts = self.present().filter_map(in_zone).filter(|pfn| pfn % ask.align == 0);
            let run = if enough { starts.find(|&pfn| self.run_in(ask, pfn, zone).is_ok()) } else { None };
            run.map(|pfn| (zone, pfn))
        })
    }

    /// The zone of the run at this frame if it may be handed out.
    fn judge(&self, ask: &Ask, pfn: u64) -> Result<usize, Violation> {
        if !pfn.is_multiple_of(ask.align) {
            return Err(Violation::Misaligned { pfn, align: ask.align });
        }
        let zone = self.zone_of(pfn).ok_or(Violation::Absent { pfn })?;
        self.run_in(ask, pfn, zone)?;
        if !ask.zones.contains(&zone) {
            return Err(Violation::ForbiddenZone { pfn, zone });
        }
        let (free, mark) = (self.figures(zone).free, ask.leaves.of(self.zones[zone].mark));
        if free < ask.frames + mark {
            return Err(Violation::BelowMark { zone, free, frames: ask.frames, mark });
        }
        Ok(zone)
    }

    /// Whether every frame of the run is free, in the zone, not isolated and below the limit.
    fn run_in(&self, ask: &Ask, pfn: u64, zone: usize) -> Result<(), Violation> {
        for pfn in pfn..pfn.saturating_add(ask.frames) {
            let frame = self.frame(pfn).ok_or(Violation::Absent { pfn })?;
            if frame.state == State::Held {
                return Err(Violation::Taken { pfn });
            }
            if frame.zone != zone {
                return Err(Violation::TwoZones { pfn });
            }
            if self.is_isolated(pfn) {
                return Err(Violation::Isolated { pfn });
            }
            if self.poisoned.contains(&pfn) {
                return Err(Violation::Poisoned { pfn });
            }
            if pfn >= ask.below {
                return Err(Violation::TooHigh { pfn, below: ask.below });
            }
        }
        Ok(())
    }

    /// A run, or part of one, was freed: what is left of it is held on as runs before and after.
    pub fn freed(&mut self, pfn: u64, frames: u64) -> Result<(), Violation> {
        self.cut(pfn, frames)?;
        for freed in pfn..pfn + frames {
            self.set(freed, State::Free);
        }
        Ok(())
    }

    /// A run, or part of one, was split into runs of `part` frames, the last one shorter perhaps.
    pub fn split(&mut self, pfn: u64, frames: u64, part: u64) -> Result<(), Violation> {
        let step = usize::try_from(part).ok().filter(|&step| step > 0);
        let step = step.ok_or(Violation::NotHeld { pfn, frames: part })?;
        self.cut(pfn, frames)?;
        for start in (pfn..pfn + frames).step_by(step) {
            self.runs.insert(start, part.min(pfn + frames - start));
        }
        Ok(())
    }

    /// Two runs of `half` frames (or parts of runs), the lower one at this frame, became one.
    pub fn merged(&mut self, pfn: u64, half: u64) -> Result<(), Violation> {
        self.covering(pfn + half, half)?;
        self.cut(pfn, half)?;
        self.cut(pfn + half, half)?;
        self.runs.insert(pfn, 2 * half);
        Ok(())
    }

    /// Takes frames out of the run that covers them.
    fn cut(&mut self, pfn: u64, frames: u64) -> Result<(), Violation> {
        let (start, length) = self.covering(pfn, frames)?;
        self.runs.remove(&start);
        if start < pfn {
            self.runs.insert(start, pfn - start);
        }
        if pfn + frames < start + length {
            self.runs.insert(pfn + frames, start + length - pfn - frames);
        }
        Ok(())
    }

    fn covering(&self, pfn: u64, frames: u64) -> Result<(u64, u64), Violation> {
        let last_before = self.runs.range(..=pfn).next_back();
        last_before
            .map(|(&start, &length)| (start, length))
            .filter(|&(start, length)| frames > 0 && pfn + frames <= start + length)
            .ok_or(Violation::NotHeld { pfn, frames })
    }

    fn set(&mut self, pfn: u64, state: State) {
        let at = usize::try_from(pfn - self.first).ok();
        if let Some(Some(frame)) = at.and_then(|at| self.frames.get_mut(at)) {
            frame.state = state;
        }
    }
}

fn node_order(machine: &Machine, populated: &[(u16, Class)]) -> Vec<Vec<usize>> {
    let nodes = machine.nodes();
    zonelist_order(&Matrix {
        distances: machine.distances.chunks(nodes.max(1)).map(<[u8]>::to_vec).collect(),
        has_memory: (0..nodes).map(|node| populated.iter().any(|&(n, _)| usize::from(n) == node)).collect(),
        has_cpus: (0..nodes).map(|node| machine.cpus.iter().any(|&n| usize::from(n) == node)).collect(),
    })
}

#[cfg(test)]
mod tests;
