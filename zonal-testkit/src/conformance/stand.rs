//! An allocator under test beside a ledger of its frames: every answer is entered and judged.
//!
//! Invariant: a frame is `held` exactly if it was handed out and not taken back since; `free` counts the others.

use std::iter;
use std::ops::Range;

use super::check::Fault;
use super::subject::{Answer, Build, FrameAllocator, No, Setup, Watch};
use crate::machine::BLOCK;

/// A run of `2^order` frames.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Run {
    pub(super) pfn: u64,
    pub(super) order: u32,
}

/// The allocator and the ledger.
pub(super) struct Stand {
    allocator: Box<dyn FrameAllocator>,
    present: Vec<bool>,
    held: Vec<bool>,
    free: u64,
}

/// A machine of so many frames from frame 0 on.
pub(super) fn machine(frames: u64, cpus: usize) -> Setup {
    Setup { memory: iter::once(0..frames).collect(), cpus, watch: Watch::Usual }
}

impl Stand {
    /// An allocator for `blocks` blocks and one CPU.
    pub(super) fn of_blocks(build: &Build, blocks: u64) -> Result<Self, Fault> {
        Self::of(build, &machine(blocks * BLOCK, 1))
    }

    /// An allocator that looks at frees as closely as it can.
    pub(super) fn watched(build: &Build, blocks: u64) -> Result<Self, Fault> {
        Self::of(build, &Setup { watch: Watch::Closest, ..machine(blocks * BLOCK, 1) })
    }

    /// An allocator for this machine.
    pub(super) fn of(build: &Build, setup: &Setup) -> Result<Self, Fault> {
        let allocator = build(setup)?;
        let end = setup.memory.iter().map(|range| range.end).max().unwrap_or(0);
        let mut present = vec![false; end as usize];
        setup.memory.iter().for_each(|range| present[index(range)].fill(true));
        let free = setup.memory.iter().map(|range| range.end - range.start).sum();
        Ok(Self { allocator, held: vec![false; present.len()], present, free })
    }

    /// The allocator, for calls that change no frame's owner.
    pub(super) fn allocator(&self) -> &dyn FrameAllocator {
        self.allocator.as_ref()
    }

    /// Frames nobody holds.
    pub(super) fn free(&self) -> u64 {
        self.free
    }

    /// How many naturally aligned runs of this order nobody holds a frame of.
    pub(super) fn free_runs(&self, order: u32) -> u64 {
        let frames = 1 << order;
        let is_free = |at: usize| self.present[at] && !self.held[at];
        let starts = (0..self.held.len()).step_by(frames).filter(|start| start + frames <= self.held.len());
        starts.filter(|&start| (start..start + frames).all(is_free)).count() as u64
    }

    /// From now on this thread runs on the CPU, where there are CPUs.
    pub(super) fn on_cpu(&self, cpu: usize) -> Result<(), Fault> {
        Ok(self.allocator.on_cpu(cpu)?)
    }

    /// Asks for a run that is there.
    pub(super) fn take(&mut self, order: u32) -> Result<Run, Fault> {
        match self.try_take(order)? {
            Some(run) => Ok(run),
            None => Err(Fault::Broken(format!(
                "order {order} was refused with {} frames free, {} such runs among them",
                self.free,
                self.free_runs(order)
            ))),
        }
    }

    /// Asks for a run; none if it is refused.
    pub(super) fn try_take(&mut self, order: u32) -> Result<Option<Run>, Fault> {
        let Some(pfn) = granted(self.allocator.alloc(order))? else { return Ok(None) };
        self.enter(pfn, 1 << order, 1 << order)?;
        Ok(Some(Run { pfn, order }))
    }

    /// Asks for runs of the order until it is refused.
    pub(super) fn exhaust(&mut self, order: u32) -> Result<Vec<Run>, Fault> {
        let mut runs = Vec::new();
        while let Some(run) = self.try_take(order)? {
            runs.push(run);
        }
        Ok(runs)
    }

    /// Takes every frame there is, one by one.
    pub(super) fn fill(&mut self) -> Result<Vec<Run>, Fault> {
        let runs = self.exhaust(0)?;
        match self.free {
            0 => Ok(runs),
            free => Err(Fault::Broken(format!("order 0 was refused with {free} frames free"))),
        }
    }

    /// Takes the free runs of this order, all of them.
    pub(super) fn all_had_as(&mut self, order: u32) -> Result<(), Fault> {
        let (runs, had) = (self.free_runs(order), self.exhaust(order)?.len() as u64);
        if had < runs {
            return Err(Fault::Broken(format!("{had} of {runs} free runs of order {order} were had")));
        }
        Ok(())
    }

    /// Gives a run back.
    pub(super) fn give(&mut self, run: Run) -> Result<(), Fault> {
        self.leave(run.pfn, 1 << run.order);
        let freed = self.allocator.free(run.pfn, run.order);
        freed.map_err(|no| Fault::from(no).after(&format!("{:#x} was freed as it was taken", run.pfn)))
    }

    /// Gives these back.
    pub(super) fn give_all(&mut self, runs: impl IntoIterator<Item = Run>) -> Result<(), Fault> {
        runs.into_iter().try_for_each(|run| self.give(run))
    }

    /// Enters frames that were handed out, if they may be.
    pub(super) fn enter(&mut self, pfn: u64, frames: u64, align: u64) -> Result<(), Fault> {
        if !pfn.is_multiple_of(align) {
            return Err(Fault::Broken(format!("a run at {pfn:#x} is not a multiple of {align} frames")));
        }
        for frame in pfn..pfn.saturating_add(frames) {
            let at = usize::try_from(frame).ok().filter(|&at| self.present.get(at).is_some_and(|&is| is));
            let Some(at) = at else {
                return Err(Fault::Broken(format!("frame {frame:#x} is none of memory and was handed out")));
            };
            if std::mem::replace(&mut self.held[at], true) {
                return Err(Fault::Broken(format!("frame {frame:#x} was handed out to two owners")));
            }
            self.free -= 1;
        }
        Ok(())
    }

    /// Enters that frames are given back.
    pub(super) fn leave(&mut self, pfn: u64, frames: u64) {
        self.held[index(&(pfn..pfn + frames))].fill(false);
        self.free += frames;
    }
}

/// What was granted; none if it was refused.
pub(super) fn granted<T>(answer: Answer<T>) -> Result<Option<T>, Fault> {
    match answer {
        Ok(granted) => Ok(Some(granted)),
        Err(No::Refused(_)) => Ok(None),
        Err(No::Unsupported(why)) => Err(Fault::Unsupported(why)),
    }
}

/// What a call came to; none where there is no such call.
pub(super) fn offered<T>(answer: Answer<T>) -> Result<Option<T>, Fault> {
    match answer {
        Err(No::Unsupported(_)) => Ok(None),
        answer => Ok(Some(answer?)),
    }
}

fn index(range: &Range<u64>) -> Range<usize> {
    range.start as usize..range.end as usize
}
