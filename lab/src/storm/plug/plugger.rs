//! The one that plugs, and what it knows of each section.

use fastrand::Rng;
use zonal::{FrameRange, HotplugError, IsolateError, OnlineType, SECTION_FRAMES};

use super::super::violation::Violation;
use super::rows::plugging;
use super::world::{Allocator, World};

/// What has become of a section, as the one that plugs knows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum State {
    Absent,
    Offline,
    Online(OnlineType),
}

/// The one that plugs.
pub(super) struct Plugger {
    pub(super) world: &'static World,
    pub(super) dice: Rng,
    pub(super) states: Vec<State>,
    /// Frames that are there from the start.
    pub(super) early: u64,
}

impl Plugger {
    pub(super) fn new(world: &'static World, dice: Rng) -> Self {
        let early = world
            .allocator()
            .into_iter()
            .flat_map(|allocator| allocator.zones())
            .map(|zone| zone.managed)
            .sum();
        Self { world, dice, states: vec![State::Absent; world.hot.len()], early }
    }

    /// Frames that there are now for others: those of sections that are online, but for what holds rows.
    pub(super) fn managed(&self) -> u64 {
        let online = self.states.iter().filter(|state| matches!(state, State::Online(_))).count() as u64;
        self.early + online * (SECTION_FRAMES - self.world.ground.rows.frames())
    }

    pub(super) fn wrong(&self, what: &'static str, section: usize, error: HotplugError) -> Violation {
        Violation::Plug { what, pfn: self.world.hot[section].start, error }
    }

    fn inside<R>(&self, body: impl FnOnce(&'static Allocator, FrameRange) -> R, section: usize) -> Option<R> {
        let allocator = self.world.allocator()?;
        Some(self.world.gate.inside(|| body(allocator, self.world.hot[section])))
    }

    pub(super) fn add(&mut self, section: usize) -> Result<(), HotplugError> {
        let add = || self.inside(|allocator, at| allocator.add_memory(at), section).unwrap_or(Ok(()));
        plugging(self.world, false, add)?;
        self.states[section] = State::Offline;
        Ok(())
    }

    /// Removes a section; `is_unsure`: nobody can tell whether rows of its own are looked at.
    pub(super) fn remove(&mut self, section: usize, is_unsure: bool) -> Result<(), HotplugError> {
        let remove = || self.inside(|allocator, at| allocator.remove_memory(at), section).unwrap_or(Ok(()));
        plugging(self.world, is_unsure, remove)?;
        self.world.take_back(section);
        self.states[section] = State::Absent;
        Ok(())
    }

    pub(super) fn bring_online(&mut self, section: usize, to: OnlineType) -> Result<(), HotplugError> {
        self.world.turn_epoch(section);
        let done = self.inside(|allocator, at| allocator.online_memory(at, to), section).unwrap_or(Ok(0));
        match done {
            Ok(_) => self.states[section] = State::Online(to),
            Err(_) => self.world.turn_epoch(section),
        }
        done.map(|_| ())
    }

    /// The same where nothing may keep it from coming.
    pub(super) fn online_again(&mut self, section: usize, to: OnlineType) -> Result<(), Violation> {
        self.bring_online(section, to).map_err(|error| self.wrong("onlining", section, error))
    }

    /// Takes a section offline, or says why it stays; an error is one that nothing explains.
    pub(super) fn offline(&mut self, section: usize) -> Result<Result<(), HotplugError>, Violation> {
        let done = self.inside(|allocator, at| allocator.offline_memory(at, &mut |_| {}), section);
        match done {
            None => Ok(Ok(())),
            Some(Ok(_)) => {
                self.states[section] = State::Offline;
                self.world.turn_epoch(section);
                Ok(Ok(()))
            }
            Some(Err(
                error @ (HotplugError::InTheWay { .. }
                | HotplugError::Isolation(IsolateError::Busy { .. })
                | HotplugError::Vetoed { .. }
                | HotplugError::Cancelled),
            )) => Ok(Err(error)),
            Some(Err(error)) => Err(self.wrong("offlining", section, error)),
        }
    }
}
