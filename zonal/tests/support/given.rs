//! The operations that give frames back or change how they are held, and wrong frees.

use zonal::{Checking, FreeError, Group, Pfn};

use super::{Held, World};
use crate::op::Wrong;
use crate::support::order;

impl World<'_> {
    fn give_back(&mut self, held: Held) {
        let pfn = Pfn::new(held.start());
        // SAFETY: the test holds the run and touches no frame.
        let outcome = unsafe {
            match held {
                Held::Run(_, by) => self.allocator.free_raw(pfn, order(by)),
                Held::Exact(_, frames) => self.allocator.free_exact(pfn, frames),
            }
        };
        assert_eq!(outcome, Ok(()), "freeing {held:?}");
        assert_eq!(self.model.freed(held.start(), held.frames()), Ok(()));
        self.freed = Some(held);
    }

    pub(super) fn free(&mut self, pick: usize) {
        if !self.held.is_empty() {
            let held = self.held.swap_remove(pick % self.held.len());
            self.give_back(held);
        }
    }

    pub(super) fn free_all(&mut self) {
        while let Some(held) = self.held.pop() {
            self.give_back(held);
        }
    }

    pub(super) fn free_bulk(&mut self, picks: usize) {
        let single = |held: &Held| matches!(held, Held::Run(_, 0));
        let mut groups: Vec<Group> = Vec::new();
        for _ in 0..picks {
            let Some(at) = self.held.iter().rposition(single) else { break };
            let pfn = self.held.swap_remove(at).start();
            let (base, bit) = (Pfn::new(pfn / 32 * 32), 1 << (pfn % 32));
            match groups.iter_mut().find(|group| group.base == base) {
                Some(group) => group.mask |= bit,
                None => groups.push(Group { base, mask: bit }),
            }
            assert_eq!(self.model.freed(pfn, 1), Ok(()));
        }
        // SAFETY: the test held each of the frames and touches none.
        assert_eq!(unsafe { self.allocator.free_bulk(&groups) }, Ok(()), "freeing {groups:?}");
    }

    /// Picks a run of a power of two and splits it; the parts are held from then on.
    pub(super) fn split(&mut self, pick: usize, to: u8) {
        if self.held.is_empty() {
            return;
        }
        let at = pick % self.held.len();
        let Held::Run(pfn, from) = self.held[at] else { return };
        // SAFETY: the test holds the run and touches no frame.
        let outcome = unsafe { self.allocator.split_raw(Pfn::new(pfn), order(from), order(to)) };
        if to > from {
            assert_eq!(outcome, Err(FreeError::BadSplit { from: order(from), to: order(to) }));
            return;
        }
        assert_eq!(outcome, Ok(()), "splitting order {from} at {pfn:#x} into {to}");
        assert_eq!(self.model.split(pfn, 1 << from, 1 << to), Ok(()));
        self.held.swap_remove(at);
        self.held.extend((0..1 << (from - to)).map(|part| Held::Run(pfn + (part << to), to)));
    }

    /// Frees part of a run as it is: allowed for runs within a block where frees are not checked, and for whole blocks.
    pub(super) fn free_part(&mut self, pick: usize, by: u8, part: u64) {
        if self.held.is_empty() {
            return;
        }
        let at = pick % self.held.len();
        let Held::Run(pfn, from) = self.held[at] else { return };
        let unchecked = self.setup.checking == Checking::Off;
        if by >= from || !unchecked || (from > 8 && by < 9) {
            return;
        }
        let freed = pfn + ((part % (1 << (from - by))) << by);
        self.held.swap_remove(at);
        // The rest of the run, as the halves that a buddy allocator would keep.
        let halves = (by..from).map(|half| Held::Run((freed ^ 1 << half) >> half << half, half));
        self.held.extend(halves);
        self.give_back(Held::Run(freed, by));
    }

    /// Merges a run with its other half, which may never have been one run before.
    pub(super) fn merge(&mut self, pick: usize) {
        let Some(&Held::Run(pfn, by)) = self.held.get(pick % self.held.len().max(1)) else { return };
        let (half, other) = (1u64 << by, pfn ^ 1 << by);
        let Some(at) = self.held.iter().position(|&held| held == Held::Run(other, by)) else { return };
        // SAFETY: the test holds both runs, and goes on with what becomes of them.
        let (one, two) = unsafe {
            (self.allocator.adopt(Pfn::new(pfn), order(by)), self.allocator.adopt(Pfn::new(other), order(by)))
        };
        match one.merge(two) {
            Ok(whole) => {
                let low = pfn.min(other);
                assert_eq!(whole.leak(), (Pfn::new(low), order(by + 1)));
                assert_eq!(self.model.merged(low, half), Ok(()));
                self.held[at] = Held::Run(low, by + 1);
                self.held.retain(|&held| held != Held::Run(pfn, by));
            }
            Err((one, two)) => panic!("{one:?} and {two:?} are the halves of one run"),
        }
    }

    /// A free that must be refused and change nothing: nobody holds a run of this order there.
    pub(super) fn misuse(&mut self, wrong: Wrong, by: u8) {
        let held = |pick: usize| self.held.get(pick % self.held.len().max(1));
        let (pfn, by) = match (wrong, self.freed) {
            (Wrong::Frame(pfn), _) => (pfn, by),
            (Wrong::Beside(pick, off), _) => (held(pick).map_or(off, |held| held.start() + off), by),
            (Wrong::Again, Some(Held::Run(pfn, by))) => (pfn, by),
            (Wrong::Again, _) => return,
        };
        // An exact run is noted as the runs it is made of, each of which may be freed alone.
        let ends = |held: &Held| (held.start(), held.start() + held.frames());
        let in_exact = self.held.iter().any(|held| {
            let (start, end) = ends(held);
            matches!(held, Held::Exact(..)) && (start..end).contains(&pfn)
        });
        if self.setup.checking == Checking::Off || in_exact || self.held.contains(&Held::Run(pfn, by)) {
            return;
        }
        // SAFETY: misuse is what is tested here, in the mode that detects it; no frame is touched.
        let outcome = unsafe { self.allocator.free_raw(Pfn::new(pfn), order(by)) };
        let Err(error) = outcome else { panic!("nobody holds {pfn:#x} with order {by}, yet it was freed") };
        let allocated = self.held.iter().find_map(|held| match held {
            Held::Run(start, allocated) if *start == pfn => Some(order(*allocated)),
            _ => None,
        });
        let pfn = Pfn::new(pfn);
        let right = match error {
            FreeError::Foreign { .. } => self.model.zone_of(pfn.get()).is_none(),
            FreeError::Misaligned { .. } => !pfn.is_aligned(order(by)),
            FreeError::WrongOrder { .. } => {
                Some(error)
                    == allocated.map(|allocated| FreeError::WrongOrder { pfn, allocated, freed: order(by) })
            }
            FreeError::DoubleFree { .. } | FreeError::NotAllocated { .. } => allocated.is_none(),
            _ => false,
        };
        assert!(right, "freeing {pfn} with order {by}, of which {allocated:?} is held: {error}");
    }
}
