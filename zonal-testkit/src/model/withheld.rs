//! Frames that nobody holds and nobody may have: of isolated blocks, and poisoned ones.

use super::{Model, State};
use crate::machine::BLOCK;
use crate::violation::Violation;

impl Model {
    /// Whether the frame is in an isolated block.
    pub fn is_isolated(&self, pfn: u64) -> bool {
        self.isolated.contains(&(pfn - pfn % BLOCK))
    }

    /// The block that starts at this frame was isolated.
    pub fn isolated(&mut self, block: u64) -> Result<(), Violation> {
        let fresh = block.is_multiple_of(BLOCK) && self.isolated.insert(block);
        if fresh { Ok(()) } else { Err(Violation::Isolation { block }) }
    }

    /// The block that starts at this frame is isolated no more.
    pub fn unisolated(&mut self, block: u64) -> Result<(), Violation> {
        if self.isolated.remove(&block) { Ok(()) } else { Err(Violation::Isolation { block }) }
    }

    /// The frame is never handed out from now on; whether somebody holds it. `None` if it is absent.
    pub fn poison(&mut self, pfn: u64) -> Option<bool> {
        let frame = self.frame(pfn)?;
        self.poisoned.insert(pfn);
        Some(frame.state == State::Held)
    }

    /// The frame may be handed out again; whether somebody holds it. `None` if it is not poisoned.
    pub fn heal(&mut self, pfn: u64) -> Option<bool> {
        let frame = self.frame(pfn)?;
        self.poisoned.remove(&pfn).then_some(frame.state == State::Held)
    }

    /// The poisoned frames, lowest first.
    pub fn poisoned(&self) -> impl Iterator<Item = u64> {
        self.poisoned.iter().copied()
    }
}
