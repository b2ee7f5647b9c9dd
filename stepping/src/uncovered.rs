//! Why instructions of a function were not interrupted. An instruction that a case executes is: the rest is what none does by itself.
//!
//! Told from the code alone, by where it comes from and where it leads. Invariant: the classes add up to the instructions
//! that were not interrupted.

use std::collections::{BTreeMap, BTreeSet};

use iced_x86::{Code, FlowControl, Instruction};
use serde::Serialize;

/// So many instructions before a branch the exchange stands whose outcome it looks at.
const NEAR: usize = 4;

/// Instructions that were not interrupted, by class.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Serialize)]
pub struct Uncovered {
    /// They lead to a panic, whatever comes: what the compiler could not prove impossible.
    pub panics: u64,
    /// Between two parts of the code, for alignment.
    pub padding: u64,
    /// Reached only where a locked step was lost to another one's, as no handler made it happen here.
    pub lost_steps: u64,
    /// On the way to functions that no case calls: errors told of, misuse, what is done once in a thousand times.
    pub cold: u64,
    /// Reached in states that no case is in: longer searches, more zones, other mistakes.
    pub other_states: u64,
}

impl Uncovered {
    /// All of them.
    pub fn total(&self) -> u64 {
        self.panics + self.padding + self.lost_steps + self.cold + self.other_states
    }

    /// The same of both.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            panics: self.panics + other.panics,
            padding: self.padding + other.padding,
            lost_steps: self.lost_steps + other.lost_steps,
            cold: self.cold + other.cold,
            other_states: self.other_states + other.other_states,
        }
    }
}

/// A function's instructions, and which of them were interrupted.
pub(crate) struct Body<'b> {
    instructions: &'b [Instruction],
    interrupted: &'b BTreeSet<u64>,
    /// Where each address stands.
    places: BTreeMap<u64, usize>,
}

impl<'b> Body<'b> {
    pub(crate) fn new(instructions: &'b [Instruction], interrupted: &'b BTreeSet<u64>) -> Self {
        let places =
            instructions.iter().enumerate().map(|(at, instruction)| (instruction.ip(), at)).collect();
        Self { instructions, interrupted, places }
    }

    /// The classes; `panics` says whether the function at an address never returns.
    pub(crate) fn classes(&self, panics: impl Fn(u64) -> bool) -> Uncovered {
        let panicking = self.panicking(&panics);
        let (all, others) = (self.reached(|_| true), self.reached(|from| !self.is_after_a_locked_step(from)));
        let cold = self.leading_to_uncalled();
        let mut uncovered = Uncovered::default();
        for (at, instruction) in self.instructions.iter().enumerate().filter(|&(at, _)| !self.is_covered(at))
        {
            let class = match () {
                () if is_padding(instruction) => &mut uncovered.padding,
                () if panicking.contains(&at) => &mut uncovered.panics,
                () if cold.contains(&at) => &mut uncovered.cold,
                () if others.contains(&at) => &mut uncovered.other_states,
                () if all.contains(&at) => &mut uncovered.lost_steps,
                () => &mut uncovered.other_states, // by a table of jumps
            };
            *class += 1;
        }
        uncovered
    }

    fn is_covered(&self, at: usize) -> bool {
        self.instructions.get(at).is_some_and(|instruction| self.interrupted.contains(&instruction.ip()))
    }

    /// Where the code may go on, as far as that is in the function.
    fn next(&self, at: usize) -> impl Iterator<Item = usize> + '_ {
        let instruction = self.instructions.get(at);
        let flow = instruction.map_or(FlowControl::Return, Instruction::flow_control);
        let ends = [FlowControl::UnconditionalBranch, FlowControl::IndirectBranch, FlowControl::Return];
        let falls = (!ends.contains(&flow) && flow != FlowControl::Exception).then_some(at + 1);
        let jumps = matches!(flow, FlowControl::UnconditionalBranch | FlowControl::ConditionalBranch);
        let target = instruction.filter(|_| jumps).map(Instruction::near_branch_target);
        let target = target.and_then(|address| self.places.get(&address).copied());
        falls.into_iter().chain(target).filter(|&next| next < self.instructions.len())
    }

    /// Whether every way from here goes on there.
    fn leads_only_to(&self, at: usize, found: &BTreeSet<usize>) -> bool {
        self.next(at).next().is_some() && self.next(at).all(|next| found.contains(&next))
    }

    /// The instructions from which every way ends in a panic.
    fn panicking(&self, panics: &impl Fn(u64) -> bool) -> BTreeSet<usize> {
        let ends = |instruction: &Instruction| match instruction.flow_control() {
            FlowControl::Exception => true,
            FlowControl::Call => panics(instruction.near_branch_target()),
            FlowControl::IndirectCall => pointed_to(instruction).is_some_and(panics),
            _ => false,
        };
        let mut found: BTreeSet<usize> =
            (0..self.instructions.len()).filter(|&at| self.instructions.get(at).is_some_and(ends)).collect();
        loop {
            let leads = |at: &usize| !found.contains(at) && self.leads_only_to(*at, &found);
            let more: Vec<usize> = (0..self.instructions.len()).rev().filter(leads).collect();
            if more.is_empty() {
                return found;
            }
            found.extend(more);
        }
    }

    /// What was not interrupted and comes, whatever comes before, to a call of a function that was not either.
    fn leading_to_uncalled(&self) -> BTreeSet<usize> {
        let is_uncalled = |instruction: &Instruction| {
            let called = match instruction.flow_control() {
                FlowControl::Call => Some(instruction.near_branch_target()),
                FlowControl::UnconditionalBranch => {
                    // A call at the end of the function, if it leads out of it.
                    Some(instruction.near_branch_target()).filter(|target| !self.places.contains_key(target))
                }
                _ => None,
            };
            called.is_some_and(|target| !self.interrupted.contains(&target))
        };
        let calls = |at: &usize| self.instructions.get(*at).is_some_and(is_uncalled);
        let uncovered: Vec<usize> =
            (0..self.instructions.len()).rev().filter(|&at| !self.is_covered(at)).collect();
        let mut found: BTreeSet<usize> = uncovered.iter().copied().filter(calls).collect();
        loop {
            let leads = |at: &&usize| !found.contains(at) && self.leads_only_to(**at, &found);
            let more: Vec<usize> = uncovered.iter().filter(leads).copied().collect();
            if more.is_empty() {
                return found;
            }
            found.extend(more);
        }
    }

    /// What is reached without being interrupted, from interrupted instructions that `starts` lets through.
    fn reached(&self, starts: impl Fn(usize) -> bool) -> BTreeSet<usize> {
        let covered = (0..self.instructions.len()).filter(|&at| self.is_covered(at) && starts(at));
        let mut ahead: Vec<usize> = covered.flat_map(|at| self.next(at)).collect();
        let mut found = BTreeSet::new();
        while let Some(at) = ahead.pop() {
            if !self.is_covered(at) && found.insert(at) {
                ahead.extend(self.next(at));
            }
        }
        found
    }

    /// Whether a branch looks at what came of a locked step.
    fn is_after_a_locked_step(&self, at: usize) -> bool {
        let before = self.instructions.get(at.saturating_sub(NEAR)..at).unwrap_or(&[]);
        before.iter().any(Instruction::has_lock_prefix)
    }
}

fn is_padding(instruction: &Instruction) -> bool {
    use iced_x86::Mnemonic::{Int3, Nop};
    [Int3, Nop].contains(&instruction.mnemonic()) || instruction.code() == Code::INVALID
}

/// The function that a call by a pointer at a fixed place goes to.
fn pointed_to(call: &Instruction) -> Option<u64> {
    if !call.is_ip_rel_memory_operand() {
        return None;
    }
    let place = call.memory_displacement64() as *const u64;
    // SAFETY: the operand of an instruction of this program that calls by a place relative to itself: an entry of the program's
    // own table of addresses, aligned, written by the loader before the program began and mapped as long as it runs.
    Some(unsafe { place.read() })
}

#[cfg(test)]
mod tests {
    use iced_x86::{Decoder, DecoderOptions};

    use super::*;

    /// A function at 0x1000. Another one, which never returns, is at 0x2000, and one at 0x3000 that no case calls.
    const CODE: &[u8] = &[
        0x85, 0xff, // 1000: test edi, edi
        0x75, 0x06, // 1002: jne 100a
        0xe8, 0xf7, 0x0f, 0x00, 0x00, // 1004: call 2000
        0x90, // 1009: nop
        0xf0, 0x0f, 0xb1, 0x0e, // 100a: lock cmpxchg [rsi], ecx
        0x75, 0x10, // 100e: jne 1020
        0x89, 0xc0, 0x89, 0xc0, 0x89, 0xc0, 0x89, 0xc0, // 1010: mov eax, eax, four times
        0x74, 0x0a, // 1018: je 1024
        0x78, 0x0f, // 101a: js 102b
        0xc3, // 101c: ret
        0x90, 0x90, 0x90, // 101d: nop, three times
        0xff, 0xc2, // 1020: inc edx
        0xeb, 0xe6, // 1022: jmp 100a
        0xff, 0xc1, // 1024: inc ecx
        0xe9, 0xd5, 0x1f, 0x00, 0x00, // 1026: jmp 3000
        0xff, 0xc3, // 102b: inc ebx
        0xc3, // 102d: ret
    ];

    #[test]
    fn each_class_is_told_by_where_it_comes_from_and_leads() {
        let code: Vec<Instruction> =
            Decoder::with_ip(64, CODE, 0x1000, DecoderOptions::NONE).iter().collect();
        let straight =
            [0x1000, 0x1002, 0x100a, 0x100e, 0x1010, 0x1012, 0x1014, 0x1016, 0x1018, 0x101a, 0x101c];
        let interrupted = BTreeSet::from(straight);
        let classes = |interrupted| Body::new(&code, interrupted).classes(|address| address == 0x2000);
        let expected = Uncovered { panics: 1, padding: 4, lost_steps: 2, cold: 2, other_states: 2 };
        assert_eq!(classes(&interrupted), expected);
        assert_eq!(expected.total() as usize, code.len() - straight.len());
        // Once the other function is called by some case, the way to it is a state like others.
        let called = interrupted.iter().copied().chain([0x3000]).collect();
        assert_eq!(classes(&called), Uncovered { cold: 0, other_states: 4, ..expected });
    }
}
