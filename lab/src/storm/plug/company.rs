//! Who is there besides those who ask and the one who plugs: a kswapd for each node, and one who moves the sets that tasks are in.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use fastrand::Rng;
use zonal::NodeId;

use super::super::gate::Gate;
use super::super::sets::Mover;
use super::ground::Company;
use super::world::World;

/// How long sets stay where they are.
const STAY: Duration = Duration::from_millis(10);

/// The others.
pub(super) struct Others {
    world: &'static World,
    mover: Mover<'static, 'static>,
    /// The mover's place at the gate, before the kswapds'.
    place: usize,
    is_over: Arc<AtomicBool>,
    kswapds: Vec<JoinHandle<()>>,
}

impl Others {
    /// Has the kswapds begin, if there are to be any. Their places at the gate begin here.
    pub(super) fn begin(world: &'static World, place: usize, dice: Rng) -> Result<Self> {
        let (mover, is_over) = (Mover::new(world.sets, dice), Arc::new(AtomicBool::new(false)));
        let nodes = if world.ground.company == Company::All { world.ground.nodes } else { 0 };
        let begin = |node: u16| {
            let is_over = Arc::clone(&is_over);
            let work = move || {
                Gate::sit(place + 1 + usize::from(node));
                world.be_kswapd(NodeId(node), || is_over.load(Relaxed));
            };
            thread::Builder::new().spawn(work).context("a thread for kswapd")
        };
        let kswapds = (0..nodes).map(begin).collect::<Result<_>>()?;
        Ok(Self { world, mover, place, is_over, kswapds })
    }

    /// This thread moves the sets, if there is company, until the burst is over.
    pub(super) fn move_sets(&mut self, is_over: &AtomicBool) -> Result<()> {
        Gate::sit(self.place);
        while self.world.ground.company == Company::All && !is_over.load(Relaxed) {
            self.world.gate.inside(|| self.mover.step())?;
            thread::sleep(STAY);
        }
        Ok(())
    }

    /// Waits for the kswapds' end.
    pub(super) fn end(self) -> Result<()> {
        self.is_over.store(true, Relaxed);
        self.world.wake_all();
        let ended = self.kswapds.into_iter().try_for_each(JoinHandle::join);
        ended.map_err(|_| anyhow!("a kswapd of the storm panicked"))
    }
}
