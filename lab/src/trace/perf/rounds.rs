//! The order of time. `perf record` empties the ring buffers one after the other and then ends the round: what comes
//! two rounds later is younger than all of a round.
//!
//! Invariant: what `next` hands on is not younger than anything it or `push` sees later, if the recording keeps that
//! promise; events of one time keep the file's order.

use std::collections::BTreeMap;

use super::super::event::Event;

/// Events that wait for older ones.
#[derive(Default, Debug)]
pub(super) struct Rounds {
    /// By time and number in the file.
    waiting: BTreeMap<(u64, u64), Event>,
    pushed: u64,
    /// The youngest time so far.
    youngest: u64,
    /// The youngest time when the last round ended.
    settled: u64,
}

impl Rounds {
    /// The next event of the file.
    pub(super) fn push(&mut self, time: u64, event: Event) {
        self.youngest = self.youngest.max(time);
        self.waiting.insert((time, self.pushed), event);
        self.pushed += 1;
    }

    /// A round is over: hands on what was as old when the round before it was.
    pub(super) fn next(&mut self, each: &mut dyn FnMut(Event)) {
        while let Some(oldest) = self.waiting.first_entry()
            && oldest.key().0 <= self.settled
        {
            each(oldest.remove());
        }
        self.settled = self.youngest;
    }

    /// The file is over: hands on the rest.
    pub(super) fn finish(&mut self, each: &mut dyn FnMut(Event)) {
        std::mem::take(&mut self.waiting).into_values().for_each(each);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::Run;
    use zonal::Order;

    fn event(name: u64) -> Event {
        Event::Free(Run::new(name, Order::ZERO).unwrap())
    }

    /// Rounds of (time, name), to what was handed on after each and at the end.
    fn order(rounds: &[&[(u64, u64)]]) -> Vec<Vec<u64>> {
        let mut sorter = Rounds::default();
        let mut handed = Vec::new();
        let name = |event| match event {
            Event::Free(run) => run.first.get(),
            _ => u64::MAX,
        };
        for &round in rounds {
            round.iter().for_each(|&(time, name)| sorter.push(time, event(name)));
            let mut names = Vec::new();
            sorter.next(&mut |event| names.push(name(event)));
            handed.push(names);
        }
        let mut names = Vec::new();
        sorter.finish(&mut |event| names.push(name(event)));
        handed.push(names);
        handed
    }

    #[test]
    fn a_round_waits_for_the_next() {
        let rounds: [&[_]; 3] =
            [&[(1, 1), (3, 3), (2, 2), (5, 5)], &[(4, 4), (6, 6), (5, 50)], &[(7, 7), (6, 60)]];
        assert_eq!(order(&rounds), [vec![], vec![1, 2, 3, 4, 5, 50], vec![6, 60], vec![7]]);
    }

    #[test]
    fn without_rounds_and_without_times() {
        assert_eq!(order(&[&[]]), [vec![0; 0], vec![]]);
        assert_eq!(order(&[&[(0, 3), (0, 1), (0, 2)]]), [vec![3, 1, 2], vec![]]);
    }
}
