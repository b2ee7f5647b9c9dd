//! Storm `everything`: all at once. What `hotplug` does, while threads also drain, isolate, compact, change the knobs and have
//! the zonelists made anew; while the sets that they ask from move and policies change, as in `cpuset`; while caches take what
//! there is and kswapds and requests have it given back, as in `pressure`; while frames turn out bad and are healed; and while timers interrupt them in the midst of it,
//! whose handlers take, free and drain, as in `signals`.

use anyhow::Result;
use fastrand::Rng;
use zonal::{BLOCK_FRAMES, FrameRange, NodeId, Pfn, Tuning};

use super::super::engine::Run;
use super::super::sets::Whence;
use super::super::violation::Violation;
use super::super::wish::Wish;
use super::super::{Finding, Storm};
use super::ground::{Company, Ground, Refusals};
use super::hotplug::Hotplug;
use super::rows::Rows;
use super::{Hand, Plugger, Plugging, State};

/// How long it rages if nothing else is asked for.
const SECONDS: u64 = 60;

/// All at once.
pub(in super::super) struct Everything;

impl Storm for Everything {
    fn name(&self) -> &'static str {
        "everything"
    }

    fn about(&self) -> &'static str {
        "all at once: what hotplug, cpuset, pressure and signals do, while lists and marks change, blocks are drained, isolated, compacted"
    }

    fn faults(&self) -> &'static [&'static str] {
        &[
            "UnplugUsed",
            "EvictionDropsFrame",
            "IsolateNoDebit",
            "HardwallSoft",
            "VetoKeepsIsolated",
            "KillsSoon",
        ]
    }

    fn seconds(&self) -> u64 {
        SECONDS
    }

    fn rage(&'static self, run: Run) -> Result<Finding> {
        super::rage(self, run)
    }
}

impl Plugging for Everything {
    fn ground(&self) -> Ground {
        Ground {
            nodes: 2,
            blocks: 32,
            sections: 2,
            cpus: 2,
            refusals: Refusals::Fair,
            company: Company::All,
            rows: Rows::Lent,
        }
    }

    fn rows(&self) -> &'static [Rows] {
        Hotplug.rows()
    }

    fn threads(&self) -> usize {
        4
    }

    fn held(&self) -> usize {
        Hotplug.held()
    }

    fn wish(&self, dice: &mut Rng) -> Wish {
        Hotplug.wish(dice)
    }

    fn whence(&self, dice: &mut Rng) -> Whence {
        Whence::any(dice)
    }

    fn plug(&self, plugger: &mut Plugger) -> Result<bool, Violation> {
        if plugger.dice.u8(..32) == 0 {
            plugger.world.poison_one(&mut plugger.dice)?;
        }
        // Memory that comes must not be bad.
        let offline = |state: &State| !matches!(state, State::Online(_));
        let hot = plugger.world.hot.iter().zip(&plugger.states);
        hot.filter(|(_, state)| offline(state)).try_for_each(|(range, _)| plugger.world.heal_in(*range))?;
        Hotplug.plug(plugger)
    }

    fn chore(&self, hand: &mut Hand) {
        let Some(allocator) = hand.world.allocator() else { return };
        let (chore, cpu) = (hand.dice.u8(..64), hand.dice.usize(..allocator.cpus()));
        let start = Pfn::new(hand.dice.u64(..self.ground().blocks) * BLOCK_FRAMES);
        let block = FrameRange::new(start, start.add(BLOCK_FRAMES));
        let kbytes = hand.dice.u64(256..2048);
        hand.world.inside(|| match chore {
            0 => drop(allocator.drain_all()),
            1 | 2 => drop(allocator.drain_cpu(cpu)),
            3 if allocator.isolate(block).is_ok() => drop(allocator.unisolate(block)),
            4 => drop(allocator.compact(NodeId((cpu % 2) as u16))),
            5 => drop(allocator.set_tuning(Tuning { min_free_kbytes: Some(kbytes), ..Tuning::default() })),
            6 => allocator.rebuild_zonelists(),
            7 => drop(allocator.age_caches()),
            _ => {}
        });
    }
}
