//! A zone without a run of the order: every request must be refused.

use std::time::Instant;

use zonal::Pfn;

use super::engine::Engine;
use super::ground::{Checked, Ground};
use super::workload::{Timed, Units, Workload};
use super::wrong::Wrong;

/// Requests in a unit.
const REQUESTS: u64 = 64;

/// Asks for what there is not.
pub(super) struct Refuse<E> {
    ground: Ground<E>,
}

impl<E: Engine> Refuse<E> {
    pub(super) fn on(ground: Ground<E>) -> Self {
        Self { ground }
    }
}

impl<E: Engine> Workload for Refuse<E> {
    fn work(&self, _thread: usize, units: Units) -> Result<Timed, Wrong> {
        let requests = units.0 * REQUESTS;
        let start = Instant::now();
        for _ in 0..requests {
            self.ground.engine.refuses()?;
        }
        Ok(Timed { elapsed: start.elapsed(), operations: requests })
    }

    fn hold(&self) -> Result<Vec<Pfn>, Wrong> {
        self.ground.engine.refuses().map(|()| Vec::new())
    }

    fn ground(&self) -> &dyn Checked {
        &self.ground
    }
}
