//! Storm `nodemask`: requests that may use one node only, the last on their list, while other nodes' memory comes and goes and every
//! list changes with it.
//!
//! The node is always there and nearly empty, so such a request is never refused, and nobody is killed for one. Now and then one
//! has its instructions counted, the slowest reader of all: lists are published by the dozen while it follows one.

use anyhow::Result;
use zonal::{NodeId, OnlineType, Pfn, SECTION_FRAMES};
use zonal_linux::WordKind;

use super::call::Call;
use super::engine::Run;
use super::request::Class;
use super::scene::{Actor, FAR, Part, Scene, Script, hot};
use super::words::Sense;
use super::{Finding, Storm};

/// One node for all.
pub(super) struct Nodemask;

impl Storm for Nodemask {
    fn name(&self) -> &'static str {
        "nodemask"
    }

    fn about(&self) -> &'static str {
        "requests that may use one node are served while other nodes' memory comes and goes"
    }

    fn faults(&self) -> &'static [&'static str] {
        &["ListTrusted"]
    }

    fn words(&self) -> Sense {
        Sense::Only(WordKind::Locked, "its zones are too small to leave words to their CPUs")
    }

    fn rage(&'static self, run: Run) -> Result<Finding> {
        let scene = Scene::build(self, PARTS.len())?;
        // No fast walk finds anything there, so each request goes by the list again, down to the min mark.
        scene.make_short(FAR);
        scene.rage(self.name(), run, PARTS)
    }
}

const PARTS: &[Part] = &[plug, ask, take];

impl Script for Nodemask {}

/// A section of one of the other nodes comes or goes; now and then the lists are only written again.
fn plug(actor: &mut Actor) {
    let range = hot(actor.dice.u16(..FAR.0));
    let online = actor.call(Call::Online, |allocator| allocator.online_memory(range, OnlineType::Movable));
    if !matches!(online, Some(Ok(_))) {
        // It is there already, and goes unless somebody has frames of it.
        let _ = actor.call(Call::Offline, |allocator| allocator.offline_memory(range, &mut |_| {}));
    }
    if actor.dice.u8(..8) == 0 {
        actor.rebuild();
    }
    actor.scene.note_round();
}

/// A request for the far node, said in one way or another. One thread's only: where frames move meanwhile, a request walks
/// again whatever it believes.
fn ask(actor: &mut Actor) {
    match actor.dice.u8(..8) {
        0 => actor.must_have(Class::Kernel, |request| request.below(Pfn::new(SECTION_FRAMES))),
        1 => actor.must_have(Class::Atomic, |request| request.node(FAR).this_node()),
        // Its frames are the lowest.
        _ => actor.must_have(Class::Atomic, |request| request.below(Pfn::new(SECTION_FRAMES))),
    }
}

/// A request for a node of which part comes and goes.
fn take(actor: &mut Actor) {
    let node = NodeId(actor.dice.u16(..FAR.0));
    match actor.dice.u8(..4) {
        0 => actor.may_have(Class::User),
        1 => actor.must_have(Class::Kernel, |request| request.node(node).this_node()),
        _ => actor.must_have(Class::Atomic, |request| request.node(node).this_node()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_far_node_alone_lies_below_the_limit() {
        let scene = Scene::build(&Nodemask, 0).unwrap();
        let below =
            |zone: &zonal::ZoneInfo| zone.span.frames() > 0 && zone.span.start < Pfn::new(SECTION_FRAMES);
        let nodes: Vec<NodeId> =
            scene.allocator().unwrap().zones().filter(below).map(|zone| zone.node).collect();
        assert_eq!(nodes, [FAR]);
    }
}
