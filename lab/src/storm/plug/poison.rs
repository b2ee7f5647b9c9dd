//! Frames that turn out bad now and then, and are healed again.
//!
//! Invariant: a frame that is freed while it is bad, or was seen out, has nobody's stamp until it is healed, so it does not count
//! as free; if it is handed out, it is handed out twice.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::SeqCst;

use fastrand::Rng;
use zonal::{FrameRange, Pfn, Poisoned};

use super::super::owners::Run;
use super::super::violation::Violation;
use super::world::World;

/// Frames that are bad at once, at most.
const BAD: usize = 6;

/// The frames that are bad: those whose poisoning has returned. A word each, the frame's number and 1; 0 for none. Only who plugs
/// writes them, and takes one away while all others are stopped.
#[derive(Default)]
pub(super) struct Bad([AtomicU64; BAD]);

impl Bad {
    fn frames(&self) -> impl Iterator<Item = Pfn> {
        self.0.iter().filter_map(|word| word.load(SeqCst).checked_sub(1)).map(Pfn::new)
    }
}

impl World {
    /// Another frame turns out bad, whosever it is; it may be that one is healed for it.
    pub(super) fn poison_one(&self, dice: &mut Rng) -> Result<(), Violation> {
        let end = self.hot.last().map_or(0, |section| section.end.get());
        let (pfn, word) = (Pfn::new(dice.u64(..end.max(1))), &self.bad.0[dice.usize(..BAD)]);
        if let Some(old) = word.load(SeqCst).checked_sub(1).map(Pfn::new) {
            self.heal_in(FrameRange::new(old, old.add(1)))?;
        }
        let is_known = self.is_for_rows(pfn) || self.bad.frames().any(|bad| bad == pfn);
        self.gate.inside(|| {
            // Where there is no memory now, nothing is bad.
            if !is_known && self.allocator().is_some_and(|allocator| allocator.poison(pfn).is_ok()) {
                word.store(pfn.get() + 1, SeqCst);
            }
            self.note_out()
        })
    }

    /// Looks which bad frames are out by now.
    pub(super) fn note_out(&self) -> Result<(), Violation> {
        let Some(allocator) = self.allocator() else { return Ok(()) };
        let is_out = |pfn: &Pfn| allocator.poisoned(*pfn) == Some(Poisoned::Out);
        self.bad.frames().filter(is_out).try_for_each(|pfn| self.owners.shut(pfn))
    }

    /// A run has lost its stamp and is about to be freed: what of it is bad must not be had again.
    pub(super) fn shut_bad(&self, run: Run) -> Result<(), Violation> {
        let own = FrameRange::new(run.pfn(), run.pfn().add(run.frames()));
        self.bad.frames().filter(|&pfn| own.contains(pfn)).try_for_each(|pfn| self.owners.shut(pfn))
    }

    /// Heals all bad frames of a range, while nobody frees any.
    pub(super) fn heal_in(&self, range: FrameRange) -> Result<(), Violation> {
        if !self.bad.frames().any(|pfn| range.contains(pfn)) {
            return Ok(());
        }
        let _stop = self.gate.stop();
        self.bad.frames().filter(|&pfn| range.contains(pfn)).try_for_each(|pfn| self.heal(pfn))
    }

    /// Heals all of them, when nobody holds anything and all others are stopped: each must be out.
    pub(super) fn heal_all(&self) -> Result<(), Violation> {
        let Some(allocator) = self.allocator() else { return Ok(()) };
        self.bad.frames().try_for_each(|pfn| match allocator.poisoned(pfn) {
            Some(Poisoned::Out) => self.heal(pfn),
            _ => Err(Violation::PoisonKept { pfn }),
        })
    }

    fn heal(&self, pfn: Pfn) -> Result<(), Violation> {
        self.owners.reopen(pfn);
        let mut words = self.bad.0.iter();
        words
            .find(|word| word.load(SeqCst) == pfn.get() + 1)
            .into_iter()
            .for_each(|word| word.store(0, SeqCst));
        let healed = self.allocator().map(|allocator| allocator.unpoison(pfn));
        if let Some(Err(_)) = healed { Err(Violation::PoisonKept { pfn }) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use zonal::Order;

    use zonal_linux::WordKind;

    use super::super::Plugging;
    use super::super::everything::Everything;
    use super::*;

    #[test]
    fn a_frame_that_is_out_is_nobodys_and_not_free_until_it_is_healed() {
        let world = World::build(Everything.ground(), WordKind::Locked, 1).unwrap();
        let mut dice = Rng::with_seed(1);
        // Nobody holds anything: what is bad is out at once.
        (0..40).for_each(|_| world.poison_one(&mut dice).unwrap());
        let bad: Vec<Pfn> = world.bad.frames().collect();
        assert!((1..=BAD).contains(&bad.len()), "{bad:?}");
        let run = Run::new(1, bad[0], Order::ZERO);
        assert!(matches!(world.owners.take(run), Err(Violation::Twice { .. })));
        assert!(matches!(world.owners.shut(bad[0]), Err(Violation::OutAndHeld { .. })));
        world.heal_all().unwrap();
        assert!(bad.iter().all(|&pfn| world.allocator().unwrap().poisoned(pfn).is_none()));
        assert!(bad.iter().all(|&pfn| world.owners.take(Run::new(2, pfn, Order::ZERO)).is_ok()));
    }
}
