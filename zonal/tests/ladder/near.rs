//! What the fast walk asks of nodes: whether more of their frames may be dirtied, and whether a near one gives some back.

use zonal::{Event, Gfp, NodeId, Task};

use crate::stage::{MARKS, Plan, Stage, give, lose};

const WRITTEN: Gfp = Gfp::KERNEL.union(Gfp::WRITE);

fn two_nodes() -> &'static Stage {
    Plan::of(&[16, 16]).build()
}

#[test]
fn frames_that_will_be_dirtied_are_of_nodes_where_that_may_be() {
    let stage = two_nodes();
    stage.script.dirty.set(Some(NodeId(0)));
    for order in [0, 3, 9] {
        let before = [0, 1].map(|zone| stage.free(zone));
        assert!(stage.ask(WRITTEN, order).is_ok());
        assert!(stage.ask(Gfp::KERNEL, order).is_ok(), "others do not care");
        assert_eq!([0, 1].map(|zone| stage.free(zone)), before.map(|free| free - (1 << order)));
    }
    // Above the low mark of another node; below that it is as good as any.
    stage.leave(1, MARKS.low);
    let before = stage.free(0);
    assert!(stage.ask(WRITTEN, 0).is_ok());
    assert_eq!((stage.free(0), stage.free(1)), (before - 1, MARKS.low));
    stage.check();
}

#[test]
fn a_near_node_gives_frames_back_before_others_are_asked() {
    let stage = two_nodes();
    stage.leave(0, MARKS.low);
    stage.script.near.borrow_mut().push_back(give(32));
    assert!(stage.ask(Gfp::KERNEL, 0).is_ok());
    let asked = stage.near();
    let seen: Vec<_> =
        asked.iter().map(|(from, demand)| (*from, demand.node, demand.frames, demand.priority)).collect();
    assert_eq!(seen, [(NodeId(0), NodeId(0), 32, 4)]);
    assert_eq!((stage.free(0), stage.free(1)), (MARKS.low + 31, 16 * 512));
    assert_eq!((stage.woken(), stage.demands()), (vec![], vec![]), "nobody else was asked");
    // It gives nothing, or others had it: the next node serves.
    stage.leave(0, MARKS.low);
    stage.script.near.borrow_mut().extend([lose(0)]);
    assert!(stage.ask(Gfp::KERNEL, 0).is_ok());
    stage.script.near.borrow_mut().extend([lose(32)]);
    assert!(stage.ask(Gfp::KERNEL, 0).is_ok());
    assert_eq!((stage.free(0), stage.free(1)), (MARKS.low, 16 * 512 - 2));
    let events = stage.allocator.events();
    assert_eq!(
        [Event::ZoneReclaimSuccess, Event::ZoneReclaimFailed].map(|event| events.count(event)),
        [2, 1]
    );
    stage.check();
}

#[test]
fn who_must_not_reclaim_does_not_ask_near_nodes() {
    let stage = two_nodes();
    stage.leave(0, MARKS.low);
    let memalloc = Task { memalloc: true, ..Task::default() };
    let interrupt = Task { interrupt: true, ..Task::default() };
    for (gfp, task) in [
        (Gfp::ATOMIC, Task::default()),
        (Gfp::NOWAIT, Task::default()),
        (Gfp::KERNEL, memalloc),
        (Gfp::KERNEL, interrupt),
    ] {
        stage.script.task.set(task);
        stage.script.near.borrow_mut().push_back(give(32));
        assert!(stage.ask(gfp, 0).is_ok());
        assert!(stage.near().is_empty(), "{gfp} {task:?}");
        stage.script.near.borrow_mut().clear();
    }
    stage.check();
}
