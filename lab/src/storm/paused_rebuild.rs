//! Storm `paused-rebuild`: who rebuilds the zonelists is stopped at each of its steps, until all others have been served who
//! may not wait: on other CPUs, and on its own, where they interrupt it.

use std::sync::atomic::Ordering::Relaxed;
use std::thread;
use std::time::Duration;

use anyhow::Result;
use zonal::{NodeId, RebuildStep};
use zonal_linux::WordKind;

use super::call::Call;
use super::engine::Run;
use super::request::Class;
use super::scene::{Actor, FAR, Part, Scene, Script};
use super::words::Sense;
use super::{Finding, Storm};

/// Actors that ask.
const ASKERS: usize = 3;
/// The place of who rebuilds, behind theirs.
const WRITER: usize = ASKERS;
/// Calls that each of them completes while the writer stands still.
const CALLS: u64 = 8;
/// How often it is looked whether they have.
const GLANCE: Duration = Duration::from_micros(50);

/// A writer that stands still.
pub(super) struct PausedRebuild;

impl Storm for PausedRebuild {
    fn name(&self) -> &'static str {
        "paused-rebuild"
    }

    fn about(&self) -> &'static str {
        "a rebuild of the zonelists stops at each of its steps until all who may not wait have been served"
    }

    fn faults(&self) -> &'static [&'static str] {
        &["WriterAwaited", "RebuildInPlace"]
    }

    fn words(&self) -> Sense {
        Sense::Only(WordKind::Locked, "its zones are too small to leave words to their CPUs")
    }

    fn rage(&'static self, run: Run) -> Result<Finding> {
        let scene = Scene::build(self, ASKERS + 1)?;
        (0..=FAR.0).for_each(|node| scene.make_short(NodeId(node)));
        let mut parts: [Part; ASKERS + 1] = [ask; ASKERS + 1];
        parts[WRITER] = Actor::rebuild;
        scene.rage(self.name(), run, &parts)
    }
}

impl Script for PausedRebuild {
    /// An interrupt of the writer asks, too; then the writer waits for all others.
    fn step(&self, scene: &'static Scene, _step: RebuildStep) {
        let mut interrupt = Actor::new(scene, WRITER, fastrand::u64(..));
        (0..CALLS).for_each(|_| ask(&mut interrupt));
        interrupt.end();
        let served = || scene.seats.iter().take(ASKERS).map(|seat| seat.calls.load(Relaxed));
        let until: Vec<u64> = served().map(|calls| calls + CALLS).collect();
        while !scene.is_over() && served().zip(&until).any(|(calls, until)| calls < *until) {
            thread::sleep(GLANCE);
        }
        scene.note_round();
    }
}

/// One request that may not wait, up the ladder: for any node, or for one.
fn ask(actor: &mut Actor) {
    match actor.dice.u8(..8) {
        0 => actor.look_at_lists(),
        1 => {
            let cpu = actor.dice.usize(..usize::from(FAR.0));
            actor.call(Call::Drain, |allocator| allocator.drain_cpu(cpu));
        }
        2 | 3 => {
            let node = NodeId(actor.dice.u16(..=FAR.0));
            actor.must_have(Class::Atomic, |request| request.node(node).this_node());
        }
        _ => actor.must_have(Class::Atomic, |request| request),
    }
}
