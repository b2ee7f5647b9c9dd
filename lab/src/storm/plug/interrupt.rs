//! What timers interrupt a thread with in the middle of its calls: frees, requests that wait for nobody, drains.
//!
//! Never judges a refusal: nobody can be stopped from here. Acts only where the thread is inside, so that whoever has stopped
//! all is alone. Invariant: a handler's houses are no other context's.

use anyhow::{Context, Result};
use fastrand::Rng;
use zonal::{Gfp, Order, Task};
use zonal_testkit::ticks::ticking;

use super::super::asker::{self, ORDINARY};
use super::super::sets::Whence;
use super::super::tally::Tally;
use super::super::tick::{Bell, Handler};
use super::super::violation::Violation;
use super::super::wish::Wish;
use super::ground::Company;
use super::houses::Half;
use super::world::World;

/// How deep handlers interrupt each other.
pub(super) const DEPTH: usize = 2;
/// An interrupt's part.
const INTERRUPT: Task = Task { interrupt: true, ..ORDINARY };
/// What it asks for, by what can become of it.
const FLAGS: [Gfp; 2] = [Gfp::NOWAIT.union(Gfp::MOVABLE).union(Gfp::HIGHMEM), Gfp::ATOMIC];
const ORDERS: [u8; 8] = [0, 0, 0, 0, 0, 1, 3, 9];

/// One handler.
pub(super) struct Interrupt {
    world: &'static World,
    dice: Rng,
    /// One for each half.
    houses: [usize; 2],
    tally: Tally,
}

impl Interrupt {
    fn new(world: &'static World, dice: Rng, houses: [usize; 2]) -> Self {
        Self { world, dice, houses, tally: Tally::default() }
    }

    /// What is in its houses goes, and one run comes.
    fn act(&mut self) -> Result<(), Violation> {
        let Some(allocator) = self.world.allocator() else { return Ok(()) };
        self.tally.interruptions += 1;
        match self.dice.u8(..32) {
            0 => drop(allocator.drain_all()),
            1 | 2 => drop(allocator.drain_cpu(self.dice.usize(..allocator.cpus()))),
            _ => {}
        }
        let half = self.dice.usize(..2);
        for house in self.houses {
            if !self.world.give_now(house)? && house == self.houses[half] {
                return Ok(());
            }
        }
        let order = Order::new(ORDERS[self.dice.usize(..8)]).unwrap_or(Order::ZERO);
        let wish = Wish { gfp: FLAGS[half], order, task: INTERRUPT };
        self.tally.requests += 1;
        self.world.ask_inside(wish, Whence::ANYWHERE, self.houses[half]).map(drop)
    }

    /// Gives back what it has, when no tick comes any more; what it counted.
    pub(super) fn end(&mut self) -> Tally {
        for house in self.houses {
            let given = self.world.give(house);
            given.err().into_iter().for_each(|violation| self.tally.broke(violation));
        }
        std::mem::take(&mut self.tally)
    }
}

/// A thread's handlers, if there is company; the last houses of its share are theirs.
pub(super) fn handlers(world: &'static World, place: usize, dice: &mut Rng) -> Vec<Interrupt> {
    let depth = if world.ground.company == Company::All { DEPTH } else { 0 };
    let houses = |depth| Half::ALL.map(|half| half.houses(place).end - 1 - depth);
    (0..depth).map(|depth| Interrupt::new(world, dice.fork(), houses(depth))).collect()
}

/// Does something while a timer has these handlers interrupt it; what they counted.
///
/// # Errors
/// If there is no such timer.
pub(super) fn interrupted<R>(handlers: Vec<Interrupt>, work: impl FnOnce() -> R) -> Result<(R, Tally)> {
    let mut tally = Tally::default();
    if handlers.is_empty() {
        return Ok((work(), tally));
    }
    let bell = Bell::new(handlers);
    let ticked = ticking(&bell, |timer| bell.during(timer, work));
    let result = ticked.context("a POSIX timer that signals one thread (SIGEV_THREAD_ID)")?;
    bell.each_hand(|handler| tally.add(&handler.end()));
    Ok((result, tally))
}

// SAFETY: the houses are this handler's alone, and all else in the world that it touches is atomic: calls of the allocator that
// wait for nobody, stamps, words of houses that are not waited for. Of the thread's cells the asker's are put back.
unsafe impl Handler for Interrupt {
    fn dice(&mut self) -> &mut Rng {
        &mut self.dice
    }

    fn interrupt(&mut self) {
        if self.world.gate.is_inside() {
            let acted = asker::interrupting(|| self.act());
            World::interrupted();
            acted.err().into_iter().for_each(|violation| self.tally.broke(violation));
        }
    }
}

#[cfg(test)]
mod tests {
    use zonal_linux::WordKind;

    use super::super::super::gate::Gate;
    use super::super::Plugging;
    use super::super::everything::Everything;
    use super::*;

    #[test]
    fn a_handler_acts_only_where_nobody_has_stopped_all() {
        let world = World::build(Everything.ground(), WordKind::Locked, 1).unwrap();
        Gate::sit(0);
        let mut handler = handlers(world, 0, &mut Rng::with_seed(1)).remove(0);
        handler.interrupt();
        assert_eq!(handler.tally.interruptions, 0, "outside");
        world.gate.inside(|| (0..100).for_each(|_| handler.interrupt()));
        assert_eq!(handler.tally.interruptions, 100);
        let stop = world.gate.stop();
        world.gate.inside(|| handler.interrupt());
        assert_eq!(handler.tally.interruptions, 100, "its thread has stopped all others");
        drop(stop);
        let tally = handler.end();
        assert!(tally.first.is_none() && tally.requests > 50, "{tally:?}");
        assert_eq!(world.allocator().unwrap().audit(&mut |_| {}).allocated, 0);
    }

    #[test]
    fn a_handler_of_another_depth_has_other_houses() {
        let world = World::build(Everything.ground(), WordKind::Locked, 2).unwrap();
        let all = (0..3).flat_map(|place| handlers(world, place, &mut Rng::with_seed(1)));
        let mut houses: Vec<usize> = all.flat_map(|handler| handler.houses).collect();
        assert_eq!(houses.len(), 3 * DEPTH * 2);
        houses.sort_unstable();
        houses.dedup();
        assert_eq!(houses.len(), 3 * DEPTH * 2);
    }
}
