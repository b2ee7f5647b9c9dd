//! A frame allocator of one lock and a byte a frame, that makes at most one mistake.
//!
//! It takes the lowest run there is. For each order it remembers below which frame there is none.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard};

use zonal_testkit::Seeded;
use zonal_testkit::conformance::{Answer, Build, FrameAllocator, No, Setup};

const MAX_ORDER: u32 = 10;
const EIGHT: u32 = 3;

/// What the toy does wrong.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Mistake {
    KeepsOne,
    FillsHoles,
    NotTheLargest,
    HalfAligned,
    NeverJoins,
    RefillsEight,
    GivesUp,
    LastFreed,
    KeepsCached,
    NeverDrains,
    FewCpus,
    DrainsHalf,
    TakesHeld,
    NoLimit,
    NoAlignment,
    RoundsUp,
    SplitsInTwo,
    Trusts,
    ShiftsTooFar,
    CountsFromOne,
    AnyMemory,
    ForgetsOffline,
    Miscounts,
    TakesLate,
    RefusesWhenBusy,
    PanicsWhenBusy,
    Scans,
}

use Mistake::*;

/// What is known of a frame.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Frame {
    Absent,
    Free,
    Held,
    Offline,
}

struct State {
    frames: Vec<Frame>,
    /// The runs that are held: first frame, frames.
    runs: BTreeMap<u64, u64>,
    /// Below which frame no run of an order is free.
    none_below: [u64; MAX_ORDER as usize + 1],
    offline: Vec<Range<u64>>,
    /// Frames kept aside by the toys that do so, and the CPU each was freed on.
    cached: Vec<(usize, u64)>,
    cpu: usize,
    /// Eights that were broken once.
    broken: Vec<bool>,
    allocs: u64,
    /// In the order in which they were freed.
    freed: Vec<u64>,
}

/// Where a run may be.
#[derive(Clone, Copy)]
struct Place {
    frames: u64,
    align: u64,
    below: u64,
}

pub(crate) struct Toy {
    state: Mutex<State>,
    mistake: Option<Mistake>,
}

pub(crate) fn build(mistake: Option<Mistake>) -> Build {
    Arc::new(move |setup| Ok(Box::new(Toy::new(setup, mistake)?)))
}

impl Toy {
    fn new(setup: &Setup, mistake: Option<Mistake>) -> Answer<Self> {
        let end = setup.memory.iter().map(|range| range.end).max().unwrap_or(0);
        if end > 1 << 32 {
            return Err(No::refused("memory above every address"));
        }
        let mut frames = vec![Frame::Absent; end as usize];
        for range in &setup.memory {
            let frames = frames.get_mut(range.start as usize..range.end as usize);
            let frames = frames.ok_or_else(|| No::refused("a range that ends before it begins"))?;
            if mistake != Some(AnyMemory) && frames.contains(&Frame::Free) {
                return Err(No::refused("ranges that overlap"));
            }
            frames.fill(Frame::Free);
        }
        if mistake == Some(FillsHoles) {
            frames.fill(Frame::Free);
        }
        let state = State {
            broken: vec![false; frames.len() / 8 + 1],
            frames,
            runs: BTreeMap::new(),
            none_below: [0; MAX_ORDER as usize + 1],
            offline: Vec::new(),
            cached: Vec::new(),
            cpu: 0,
            allocs: 0,
            freed: Vec::new(),
        };
        Ok(Self { state: Mutex::new(state), mistake })
    }

    fn makes(&self, mistake: Mistake) -> bool {
        self.mistake == Some(mistake)
    }

    fn state(&self) -> Answer<MutexGuard<'_, State>> {
        if !self.makes(RefusesWhenBusy) && !self.makes(PanicsWhenBusy) {
            return self.state.lock().map_err(No::refused);
        }
        let state = self.state.try_lock();
        assert!(!self.makes(PanicsWhenBusy) || state.is_ok(), "somebody is busy");
        // Long enough for others to meet it.
        std::thread::yield_now();
        state.map_err(No::refused)
    }

    /// Takes the lowest run of the place.
    fn take(&self, place: Place) -> Answer<u64> {
        let mut state = self.state()?;
        let pfn = self.find(&mut state, place).ok_or_else(|| No::refused("no such run"))?;
        if self.makes(TakesLate) {
            drop(state);
            std::thread::yield_now();
            state = self.state()?;
        }
        state.hold(pfn, place.frames);
        Ok(pfn)
    }

    fn find(&self, state: &mut State, place: Place) -> Option<u64> {
        let Place { frames, align, below } = place;
        let end = below.min(state.frames.len() as u64);
        let order = frames.next_power_of_two().trailing_zeros() as usize;
        while self.makes(LastFreed) && order == 0 {
            let Some(pfn) = state.freed.pop() else { break };
            if state.is_free(pfn, 1) {
                return Some(pfn);
            }
        }
        let start = match self.mistake {
            Some(Scans) => 0,
            Some(GivesUp) if order == 9 => 0,
            _ => state.none_below[order],
        };
        let step = if self.makes(HalfAligned) { align.div_ceil(2) } else { align };
        let starts = (start.next_multiple_of(step)..=end.saturating_sub(frames)).step_by(step as usize);
        let most = if self.makes(GivesUp) && order == 9 { 64 } else { usize::MAX };
        let found = starts.take(most).find(|&pfn| self.fits(state, pfn, frames));
        if align == frames && below == u64::MAX {
            state.none_below[order] = found.unwrap_or(end);
        }
        found
    }

    fn fits(&self, state: &State, pfn: u64, frames: u64) -> bool {
        let eight = pfn as usize / 8 * 8;
        let refilled = |eight: usize| state.is_free(eight as u64, 1 << EIGHT);
        let broken = || (pfn / 8..(pfn + frames).div_ceil(8)).any(|eight| state.broken[eight as usize]);
        match self.mistake {
            Some(KeepsOne) if pfn + 1 == state.frames.len() as u64 => false,
            Some(RefillsEight) if frames == 1 => {
                state.is_free(pfn, 1)
                    && (refilled(eight) || !pfn.is_multiple_of(8) && state.runs.contains_key(&(pfn - 1)))
            }
            Some(NeverJoins) if frames > 8 => state.is_free(pfn, frames) && !broken(),
            _ => state.is_free(pfn, frames),
        }
    }

    fn cached(&self, order: u32) -> Answer<Option<u64>> {
        if !self.makes(KeepsCached) && !self.makes(NeverDrains) {
            return Ok(None);
        }
        let mut state = self.state()?;
        let cpu = state.cpu;
        let mine = |&(on, _): &(usize, u64)| self.makes(KeepsCached) || on == cpu;
        let at = state.cached.iter().position(mine).filter(|_| order == 0);
        let pfn = at.map(|at| state.cached.swap_remove(at).1);
        pfn.into_iter().for_each(|pfn| state.hold(pfn, 1));
        Ok(pfn)
    }

    /// Gives back a run that is checked against those held.
    fn give(&self, pfn: u64, frames: u64) -> Answer<()> {
        let mut state = self.state()?;
        if state.runs.get(&pfn) != Some(&frames) {
            return Err(No::refused("no such run is held"));
        }
        state.runs.remove(&pfn);
        if (self.makes(KeepsCached) || self.makes(NeverDrains)) && frames == 1 {
            let cpu = state.cpu;
            state.cached.push((cpu, pfn));
            return Ok(());
        }
        let forget = self.makes(ForgetsOffline);
        state.release(pfn, frames, if forget { Frame::Free } else { Frame::Offline });
        state.freed.extend((pfn..pfn + frames).filter(|_| self.makes(LastFreed)));
        Ok(())
    }
}

impl State {
    fn is_free(&self, pfn: u64, frames: u64) -> bool {
        let run = self.frames.get(pfn as usize..(pfn + frames) as usize);
        run.is_some_and(|run| run.iter().all(|&frame| frame == Frame::Free))
    }

    fn hold(&mut self, pfn: u64, frames: u64) {
        self.allocs += 1;
        self.frames[pfn as usize..(pfn + frames) as usize].fill(Frame::Held);
        self.runs.insert(pfn, frames);
        if frames == 1 {
            self.broken[pfn as usize / 8] = true;
        }
    }

    fn release(&mut self, pfn: u64, frames: u64, offline: Frame) {
        let is_offline = |range: &Range<u64>| range.contains(&pfn);
        let left = if self.offline.iter().any(is_offline) { offline } else { Frame::Free };
        self.frames[pfn as usize..(pfn + frames) as usize].fill(left);
        for (order, none_below) in self.none_below.iter_mut().enumerate() {
            *none_below = (*none_below).min(pfn >> order << order);
        }
    }
}

impl FrameAllocator for Toy {
    fn max_order(&self) -> u32 {
        MAX_ORDER
    }

    fn alloc(&self, order: u32) -> Answer<u64> {
        assert!(order <= MAX_ORDER || !self.makes(ShiftsTooFar), "order {order}");
        if order > MAX_ORDER || self.makes(NotTheLargest) && order == MAX_ORDER {
            return Err(No::refused("no such order"));
        }
        if let Some(pfn) = self.cached(order)? {
            return Ok(pfn);
        }
        self.take(Place { frames: 1 << order, align: 1 << order, below: u64::MAX })
    }

    fn free(&self, pfn: u64, order: u32) -> Answer<()> {
        self.give(pfn, 1 << order)
    }

    fn misuse(&self, pfn: u64, order: u32) -> Answer<()> {
        if !self.makes(Trusts) {
            return self.give(pfn, 1 << order);
        }
        let mut state = self.state()?;
        let end = (pfn + (1 << order)).min(1 << 24);
        if state.frames.len() < end as usize {
            state.frames.resize(end as usize, Frame::Absent);
            state.broken.resize(end as usize / 8 + 1, false);
        }
        state.runs.remove(&pfn);
        state.release(pfn.min(end - 1), 1, Frame::Free);
        Ok(())
    }

    fn on_cpu(&self, cpu: usize) -> Answer<()> {
        assert!(cpu < 8 || !self.makes(FewCpus), "CPU {cpu}");
        self.state()?.cpu = cpu;
        Ok(())
    }

    fn alloc_at(&self, order: u32, pfn: u64) -> Answer<()> {
        let mut state = self.state()?;
        if !state.is_free(pfn, 1 << order) && !self.makes(TakesHeld) {
            return Err(No::refused("not free"));
        }
        state.hold(pfn, 1 << order);
        Ok(())
    }

    fn alloc_below(&self, order: u32, limit: u64) -> Answer<u64> {
        let below = if self.makes(NoLimit) { u64::MAX } else { limit };
        self.take(Place { frames: 1 << order, align: 1 << order, below })
    }

    fn alloc_aligned(&self, order: u32, align: u32) -> Answer<u64> {
        let align = if self.makes(NoAlignment) { order } else { align };
        self.take(Place { frames: 1 << order, align: 1 << align, below: u64::MAX })
    }

    fn alloc_count(&self, frames: u64) -> Answer<u64> {
        let frames = if self.makes(CountsFromOne) { frames.max(1) } else { frames };
        if frames == 0 || frames > 1 << MAX_ORDER {
            return Err(No::refused("no such count"));
        }
        let frames = if self.makes(RoundsUp) { frames.next_power_of_two() } else { frames };
        self.take(Place { frames, align: 1, below: u64::MAX })
    }

    fn free_count(&self, pfn: u64, frames: u64) -> Answer<()> {
        self.give(pfn, frames)
    }

    fn alloc_bulk(&self, frames: u64) -> Answer<Vec<u64>> {
        let first = self.alloc(0)?;
        Ok([first].into_iter().chain((1..frames).map_while(|_| self.alloc(0).ok())).collect())
    }

    fn free_bulk(&self, frames: &[u64]) -> Answer<()> {
        frames.iter().try_for_each(|&pfn| self.free(pfn, 0))
    }

    fn split(&self, pfn: u64, from: u32, to: u32) -> Answer<()> {
        let mut state = self.state()?;
        let to = if self.makes(SplitsInTwo) { from - 1 } else { to };
        state.runs.remove(&pfn);
        (0..1 << (from - to)).for_each(|part| {
            state.runs.insert(pfn + (part << to), 1 << to);
        });
        Ok(())
    }

    fn free_frames(&self) -> Answer<u64> {
        let state = self.state()?;
        let free = state.frames.iter().filter(|&&frame| frame == Frame::Free).count() as u64;
        let wrong = self.makes(Miscounts) && Seeded::new(state.allocs).below(8) == 0;
        Ok(free + u64::from(wrong))
    }

    fn drain(&self) -> Answer<u64> {
        Ok(if self.makes(DrainsHalf) { 150 } else { 0 })
    }

    fn isolate(&self, range: Range<u64>) -> Answer<()> {
        let mut state = self.state()?;
        let frames = &mut state.frames[range.start as usize..range.end as usize];
        frames.iter_mut().filter(|frame| **frame == Frame::Free).for_each(|frame| *frame = Frame::Offline);
        state.offline.push(range);
        Ok(())
    }

    fn unisolate(&self, range: Range<u64>) -> Answer<()> {
        let mut state = self.state()?;
        state.offline.retain(|offline| *offline != range);
        let free = range.filter(|&pfn| state.frames[pfn as usize] == Frame::Offline).collect::<Vec<_>>();
        free.into_iter().for_each(|pfn| state.release(pfn, 1, Frame::Free));
        Ok(())
    }

    fn audit(&self) -> Answer<()> {
        let (free, state) = (self.free_frames()?, self.state()?);
        let counted = state.frames.iter().filter(|&&frame| frame == Frame::Free).count() as u64;
        if free == counted { Ok(()) } else { Err(No::refused(format!("{free} free, {counted} counted"))) }
    }
}
