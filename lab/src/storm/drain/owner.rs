//! One whose words are drained: it takes runs and gives them back, as fast as it can, until the storm is over.

use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

use anyhow::{Context, Result};
use fastrand::Rng;
use zonal::{NodeId, Order};

use super::world::{DRAINER, World};
use crate::storm::call::Call;
use crate::storm::owners::Run;
use crate::storm::pulse::Pulse;
use crate::storm::request::Class;
use crate::storm::tally::Tally;

/// Runs that an owner holds at most.
const HELD: usize = 256;

/// One whose words are drained.
pub(super) struct Owner {
    world: &'static World,
    place: usize,
    dice: Rng,
    held: Vec<Run>,
    /// Whether it mostly takes now, or gives: so that its words are filled and emptied all the time.
    grows: bool,
    tally: Tally,
}

impl Owner {
    pub(super) fn new(world: &'static World, place: usize, seed: u64) -> Self {
        let held = Vec::with_capacity(HELD);
        Self { world, place, dice: Rng::with_seed(seed), held, grows: true, tally: Tally::default() }
    }

    pub(super) fn work(mut self, pulse: &Pulse) -> Result<()> {
        self.world.cpus.play(self.world.cpus_of(self.place).start);
        if let Err(error) = self.world.brakes[self.place].put_on() {
            self.world.is_over.store(true, Relaxed);
            return Err(error).context("a signal that stops threads");
        }
        while !self.world.is_over.load(Relaxed) {
            let (before, start) = (self.world.stops.load(Relaxed), Instant::now());
            self.step();
            if self.world.stops.load(Relaxed) == before {
                self.world.longest.fetch_max(start.elapsed().as_nanos() as u64, Relaxed);
            }
            pulse.beat();
        }
        while let Some(run) = self.held.pop() {
            self.world.give(self.place, run, &mut self.tally);
        }
        self.world.tally().add(&self.tally);
        Ok(())
    }

    /// Takes a run, mostly of its own node, or gives one back.
    fn step(&mut self) {
        let world = self.world;
        self.grows = if self.grows { self.held.len() < HELD } else { self.held.is_empty() };
        let takes = self.held.is_empty() || self.held.len() < HELD && self.grows != (self.dice.u8(..8) == 0);
        if !takes {
            let run = self.held.swap_remove(self.dice.usize(..self.held.len()));
            return world.give(self.place, run, &mut self.tally);
        }
        let order =
            Order::new(self.dice.choice([0, 0, 0, 0, 1, 2, 3, 5]).unwrap_or(0)).unwrap_or(Order::ZERO);
        let class = self.dice.choice(Class::ALL).unwrap_or(Class::Atomic);
        let node = if self.dice.u8(..4) == 0 { DRAINER } else { self.place };
        let request = class.request(order).node(NodeId(node as u16)).this_node().silent();
        let taken =
            world.call(self.place, Call::Alloc, &mut self.tally, || world.allocator().alloc_raw(&request));
        // While the drainer has all there is, none is left.
        if let Ok(pfn) = taken {
            let run = world.own(pfn, order, &mut self.tally);
            self.held.push(run);
        }
    }
}
