//! One case under handlers: at each instruction of the call a child for each of them, in which it runs there.

use std::collections::{BTreeSet, VecDeque};
use std::io;
use std::num::NonZeroU64;
use std::panic::{AssertUnwindSafe, catch_unwind};

use zonal_testkit::stepper::{Address, Next, Window, step};

use crate::Error;
use crate::call::{Call, Reply};
use crate::case::{Case, Visits};
use crate::child::{Line, Side, Verdict};
use crate::host;
use crate::interruption::Interruption;
use crate::judge::{Alone, judge};
use crate::seen::Seen;
use crate::stage::{Stage, with_stage};
use crate::violation::Violation;

/// The wait status that stands for a panic of the call itself.
const PANICKED: i32 = 101 << 8;
/// Children at once: more than there are processors, so that none waits for the parent.
const AT_ONCE: usize = 8;
/// How often the handler interrupts one call that it interrupts at every instruction. Without a limit it could keep the
/// call from ending: each of the call's steps may have to be repeated for one of the handler's that came between.
const MOST_IN_A_ROW: u64 = 10_000;

/// Where each handler has been.
#[derive(Debug, Default)]
pub(crate) struct Known(BTreeSet<(Interruption, u64)>);

/// What a trial found.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) case: &'static str,
    /// Which handler ran where, in order.
    pub(crate) interruptions: Vec<Interruption>,
    pub(crate) addresses: Vec<u64>,
    /// Instructions of the call alone.
    pub(crate) steps: u64,
    /// A verdict for each child, at those places in their order.
    pub(crate) verdicts: Vec<Verdict>,
}

/// Runs a case under handlers that are stepped together, or under the one that is stepped alone.
///
/// # Errors
/// If a stage cannot be built or a child not be started.
pub(crate) fn run(
    case: &Case,
    handlers: &[Interruption],
    stride: NonZeroU64,
    known: &mut Known,
    window: &Window,
) -> Result<Found, Error> {
    let line = Line::new()?;
    let mut found = Found {
        case: case.name,
        interruptions: Vec::new(),
        addresses: Vec::new(),
        steps: 0,
        verdicts: Vec::new(),
    };
    let trial = |stage: &Stage| {
        let Some(call) = (case.prepare)(stage) else {
            let unprepared = Violation::Audit { finding: "the case's state was not reached".into() };
            found.verdicts.push(unprepared.into());
            return Ok(());
        };
        stage.at_stake.set(call.stake());
        call.begin(stage);
        let trial = Trial { stage, call, handlers, stride, visits: case.visits, window, line: &line };
        let alone = match trial.uninterrupted()? {
            Verdict::Kept { refused: true } => Alone::Refused,
            Verdict::Kept { refused: false } => Alone::Served,
            broken => {
                found.verdicts.push(broken);
                return Ok(());
            }
        };
        match handlers {
            [Interruption::EveryTime] => trial.at_every_instruction(alone, &mut found),
            _ => trial.at_each_instruction_once(alone, known, &mut found),
        }
    };
    with_stage(case.ground, trial)??;
    Ok(found)
}

/// What a trial works with.
struct Trial<'t> {
    stage: &'t Stage,
    call: Call,
    handlers: &'t [Interruption],
    stride: NonZeroU64,
    visits: Visits,
    window: &'t Window,
    line: &'t Line,
}

impl Trial<'_> {
    /// A child in which nobody interrupts the call.
    fn uninterrupted(&self) -> io::Result<Verdict> {
        // SAFETY: the child ends below; it uses the stage, which is this thread's own, and the heap.
        match unsafe { Line::fork() }? {
            Side::Parent(child) => Ok(self.line.hear((0, child))?.1),
            Side::Child => self.line.end(0, self.judged(Alone::Now, |carry_out| carry_out())),
        }
    }

    /// A child at each instruction for each handler, which runs there and nowhere else, until a promise is broken.
    fn at_each_instruction_once(&self, alone: Alone, known: &mut Known, found: &mut Found) -> io::Result<()> {
        let mut failed = None;
        let mut side = Side::Parent(0);
        let mut children = Children { line: self.line, under_way: VecDeque::new(), is_broken: false };
        let at_each = |address: Address| {
            found.steps += 1;
            if (found.steps - 1) % self.stride != 0 {
                return Next::Step;
            }
            for &handler in self.handlers {
                let is_known = !known.0.insert((handler, address.get()));
                if is_known && !self.visits.come_again(handler) {
                    continue;
                }
                // SAFETY: the child ends below; the handler, the call and the judge use the stage, which is this thread's
                // own, and the heap.
                match unsafe { Line::fork() } {
                    Ok(Side::Child) => {
                        side = Side::Child;
                        handler.carry_out(self.stage);
                        return Next::Run;
                    }
                    Ok(Side::Parent(child)) => {
                        found.addresses.push(address.get());
                        found.interruptions.push(handler);
                        failed = children.add(child, &mut found.verdicts).err();
                    }
                    Err(error) => failed = Some(error),
                }
                if failed.is_some() || children.is_broken {
                    return Next::Run;
                }
            }
            Next::Step
        };
        let verdict = self.judged(alone, |carry_out| {
            // SAFETY: the call touches nothing but the allocator, which may be interrupted and called anywhere: that is
            // what is tested. The handler and the parent's side touch it too, and the heap, files, processes and what is
            // the closure's own, in none of which the call can be.
            unsafe { step(self.window, carry_out, at_each) }
        });
        if side == Side::Child {
            self.line.end(found.addresses.len(), verdict);
        }
        children.hear_all(&mut found.verdicts)?;
        // Those under way when a promise was broken may have broken it too: the first is told, whoever was faster.
        if let Some(first) = found.verdicts.iter().position(|verdict| matches!(verdict, Verdict::Broken(..)))
        {
            found.verdicts.truncate(first + 1);
        }
        failed.map_or(Ok(()), Err)
    }

    /// One child in which the handler runs at every instruction, those included that only its own steps lead to; the parent counts
    /// those of the call alone.
    fn at_every_instruction(&self, alone: Alone, found: &mut Found) -> io::Result<()> {
        let seen = Seen::with_room(MOST_IN_A_ROW)?;
        // SAFETY: the child ends below; handler, call and judge use the stage, which is this thread's own, and the heap.
        let verdict = match unsafe { Line::fork() }? {
            Side::Parent(child) => self.line.hear((0, child))?.1,
            Side::Child => {
                let mut left = MOST_IN_A_ROW;
                let at_each = |address| {
                    seen.note(address);
                    Interruption::EveryTime.carry_out(self.stage);
                    left -= 1;
                    if left == 0 { Next::Run } else { Next::Step }
                };
                // SAFETY: as in `at_each_instruction_once`.
                let stepped =
                    |carry_out: &dyn Fn() -> Reply| unsafe { step(self.window, carry_out, at_each) };
                self.line.end(0, self.judged(alone, stepped))
            }
        };
        found.verdicts.push(verdict);
        found.addresses.extend(seen.addresses());
        found.interruptions.resize(found.addresses.len(), Interruption::EveryTime);
        let count = |_| {
            found.steps += 1;
            Next::Step
        };
        // SAFETY: the visit touches a number of its own.
        unsafe { step(self.window, || self.call.carry_out(self.stage.pages), count) };
        Ok(())
    }

    /// Has the call carried out by `how` and judges what came of it. A panic is a verdict too.
    fn judged(&self, alone: Alone, how: impl FnOnce(&dyn Fn() -> Reply) -> Reply) -> Verdict {
        let carry_out = || {
            let _under_way = host::under_way();
            self.call.carry_out(self.stage.pages)
        };
        match catch_unwind(AssertUnwindSafe(|| how(&carry_out))) {
            Ok(reply) => judge(self.stage, self.call, alone, reply),
            Err(_) => Violation::Died { status: PANICKED }.into(),
        }
    }
}

/// Children that have not been waited for yet, the oldest first.
struct Children<'l> {
    line: &'l Line,
    under_way: VecDeque<(usize, libc::pid_t)>,
    is_broken: bool,
}

impl Children<'_> {
    /// Another child, which is kept until a verdict says otherwise.
    fn add(&mut self, child: libc::pid_t, verdicts: &mut Vec<Verdict>) -> io::Result<()> {
        self.under_way.push_back((verdicts.len(), child));
        verdicts.push(Verdict::Kept { refused: false });
        if self.under_way.len() < AT_ONCE { Ok(()) } else { self.hear_oldest(verdicts) }
    }

    fn hear_all(&mut self, verdicts: &mut [Verdict]) -> io::Result<()> {
        (0..self.under_way.len()).try_for_each(|_| self.hear_oldest(verdicts))
    }

    fn hear_oldest(&mut self, verdicts: &mut [Verdict]) -> io::Result<()> {
        let Some(oldest) = self.under_way.pop_front() else { return Ok(()) };
        let (nth, verdict) = self.line.hear(oldest)?;
        self.is_broken |= matches!(verdict, Verdict::Broken(..));
        if let Some(place) = verdicts.get_mut(nth) {
            *place = verdict;
        }
        Ok(())
    }
}
