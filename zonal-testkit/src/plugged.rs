//! Which sections of a machine are there, and whose their frames are: a table, and who may do what to it.
//!
//! It says which steps must be refused because of what a section is, and which frames may be handed out; what else may keep a
//! section from going it leaves to the test. Invariant: a frame may be handed out if and only if its section is online.

use std::collections::BTreeMap;
use std::ops::Range;

use crate::Class;

/// What has become of a section.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Plug {
    /// It is not there.
    Absent,
    /// It is there; its frames are nobody's.
    Offline,
    /// Its frames are a zone's.
    Online(Class),
}

/// The sections that may be plugged in.
#[derive(Clone, Debug)]
pub struct Plugged {
    frames: u64,
    sections: BTreeMap<u64, Plug>,
}

impl Plugged {
    /// Sections of so many frames with these numbers, none of them there.
    pub fn new(frames: u64, numbers: impl IntoIterator<Item = u64>) -> Self {
        Self { frames, sections: numbers.into_iter().map(|number| (number, Plug::Absent)).collect() }
    }

    /// What has become of a section; `None` if it is none of these.
    pub fn get(&self, number: u64) -> Option<Plug> {
        self.sections.get(&number).copied()
    }

    /// A section becomes something else: that is allowed only by one step at a time.
    ///
    /// # Errors
    /// What it is, if that is not next to what it is to be.
    pub fn turn(&mut self, number: u64, to: Plug) -> Result<(), Plug> {
        let Some(now) = self.sections.get_mut(&number) else { return Err(Plug::Absent) };
        let follows = matches!(
            (*now, to),
            (Plug::Absent | Plug::Online(_), Plug::Offline) | (Plug::Offline, Plug::Absent | Plug::Online(_))
        );
        if follows {
            *now = to;
            return Ok(());
        }
        Err(*now)
    }

    /// Frames of the sections that are a zone's of this class.
    pub fn frames_of(&self, class: Class) -> u64 {
        self.sections.values().filter(|&&plug| plug == Plug::Online(class)).count() as u64 * self.frames
    }

    /// Whether all frames of a run lie outside of these sections, or in online ones.
    pub fn may_be_handed_out(&self, run: Range<u64>) -> bool {
        let numbers = run.start / self.frames..run.end.div_ceil(self.frames);
        numbers.into_iter().filter_map(|number| self.get(number)).all(|plug| matches!(plug, Plug::Online(_)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_section_goes_step_by_step() {
        let mut plugged = Plugged::new(8, [3, 4]);
        let online = Plug::Online(Class::Movable);
        assert_eq!(plugged.turn(3, online), Err(Plug::Absent));
        assert_eq!(plugged.turn(3, Plug::Offline), Ok(()));
        assert_eq!(plugged.turn(3, Plug::Offline), Err(Plug::Offline));
        assert!(plugged.may_be_handed_out(0..24) && !plugged.may_be_handed_out(23..25));
        assert_eq!(plugged.turn(3, online), Ok(()));
        assert_eq!(plugged.turn(3, Plug::Absent), Err(online));
        assert!(plugged.may_be_handed_out(23..32) && !plugged.may_be_handed_out(31..33));
        assert_eq!((plugged.frames_of(Class::Movable), plugged.frames_of(Class::Normal)), (8, 0));
        assert_eq!(plugged.turn(9, Plug::Offline), Err(Plug::Absent));
    }
}
