//! Before anybody is killed reclaim has been in vain often enough.

use std::cell::Cell;
use std::mem::MaybeUninit;

use zonal::{
    Config, ConfigError, Demand, MemoryRange, NodeId, Oom, Order, PageAllocator, Platform, Request, Topology,
    Verdict, ZoneId, metadata_size,
};

/// An embedder with much to give back that never gives it, and nobody to kill.
#[derive(Default)]
struct Miser {
    reclaims: Cell<u32>,
    /// Rounds of reclaim before each kill.
    before_kills: Cell<Option<u32>>,
}

impl Platform for Miser {
    fn cpu(&self) -> usize {
        0
    }

    fn reclaim(&self, _demand: &Demand) -> u64 {
        self.reclaims.set(self.reclaims.get() + 1);
        0
    }

    fn reclaimable(&self, _zone: ZoneId) -> u64 {
        1000
    }

    fn oom(&self, _oom: &Oom) -> Verdict {
        self.before_kills.set(Some(self.reclaims.get()));
        Verdict::GiveUp
    }
}

#[test]
fn nobody_is_killed_before_seventeen_rounds_of_reclaim_were_in_vain() -> Result<(), ConfigError> {
    let memory = [MemoryRange::new(0, 512, 0)];
    let topology =
        Topology { memory: &memory, reserved: &[], nodes: 1, distances: &[10], cpus: &[NodeId(0)] };
    let config = Config::new(topology);
    let mut metadata = vec![MaybeUninit::uninit(); metadata_size(&config)?];
    let allocator = PageAllocator::new(&config, Miser::default(), &mut metadata)?;
    let atomic = Request::order(Order::ZERO).atomic();
    while allocator.alloc_raw(&atomic).is_ok() {}
    let request = Request::order(Order::ZERO);
    assert!(allocator.alloc_raw(&request).is_err());
    assert_eq!(allocator.platform().before_kills.get(), Some(17), "16 rounds without progress are allowed");
    assert!(allocator.alloc_raw(&request.try_hard()).is_err());
    assert_eq!(
        allocator.platform().before_kills.get(),
        Some(17),
        "nobody is killed for one that only tries hard"
    );
    Ok(())
}
