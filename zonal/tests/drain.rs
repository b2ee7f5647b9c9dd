//! Slot words emptied from outside: by how many steps, and what a pass of the upkeep leaves to whom.

mod support;

use support::{FakeCpu, Leaked, Setup, audited, built, order};
use zonal::{Caching, GROUP_FRAMES, Gfp, NodeId, Order, Pfn, Request};
use zonal_testkit::{Machine, Memory};

/// Frames of a node.
const NODE: u64 = 64 * 512;
/// Groups that a CPU caches of a kind.
const GROUPS: usize = 6;
/// The kinds.
const KINDS: [Gfp; 3] = [Gfp::KERNEL, Gfp::KERNEL.union(Gfp::MOVABLE), Gfp::KERNEL.union(Gfp::RECLAIMABLE)];
/// Frames that a CPU's words for a zone hold at most.
const MOST: u64 = (KINDS.len() * GROUPS) as u64 * GROUP_FRAMES;

/// Two nodes with a Normal zone each, the first with all CPUs but one.
fn machine(cpus: usize) -> Machine {
    Machine {
        memory: vec![Memory::of(0, 0..NODE), Memory::of(1, NODE..2 * NODE)],
        reserved: Vec::new(),
        distances: vec![10, 20, 20, 10],
        cpus: [vec![0; cpus - 1], vec![1]].concat(),
        marks: Vec::new(),
        dma_end: 0,
        dma32_end: 0,
    }
}

fn of(cpus: usize, caching: Caching) -> (Leaked, &'static FakeCpu) {
    built(&Setup::of(&machine(cpus)).caching(caching))
}

/// Fills so many words a kind with a node's groups: taken whole, freed frame by frame, the first of each group first.
fn fill(allocator: &Leaked, node: u16, words: usize) {
    for gfp in KINDS {
        let request = Request::order(Order::GROUP).node(NodeId(node)).gfp(gfp).expect("a good mask");
        let groups: Vec<Pfn> =
            (0..words).map(|_| allocator.alloc_raw(&request).expect("a group is free")).collect();
        for at in 0..GROUP_FRAMES {
            // SAFETY: the groups were allocated just above, parts of such runs may be freed, each once.
            groups.iter().for_each(|group| unsafe {
                allocator.free_raw(group.add(at), order(0)).expect("it is the test's");
            });
        }
    }
}

fn cached(allocator: &Leaked, node: u16) -> u64 {
    let of_node = allocator.zones().filter(|zone| zone.node == NodeId(node));
    of_node.map(|zone| zone.cached).sum()
}

fn pair(allocator: &Leaked, node: u16) {
    let request = Request::order(Order::ZERO).node(NodeId(node));
    let pfn = allocator.alloc_raw(&request).expect("a frame is free");
    // SAFETY: allocated in the line above, freed once.
    unsafe { allocator.free_raw(pfn, order(0)) }.expect("it is the test's");
}

/// Hits expect what the CPU's last step left. Here its words have been emptied since, and their frames gone elsewhere and come back.
#[test]
fn a_hit_that_expects_what_is_gone_is_served_and_takes_back_all_the_same() {
    let (allocator, cpu) = of(3, Caching::Local);
    let frame = Request::order(Order::ZERO).node(NodeId(0));
    let take = || allocator.alloc_raw(&frame).expect("a frame is free");
    // SAFETY: each is given back once.
    let give = |pfn| unsafe { allocator.free_raw(pfn, Order::ZERO) };
    let here: Vec<Pfn> = (0..GROUP_FRAMES / 2).map(|_| take()).collect();
    here.iter().for_each(|&pfn| give(pfn).expect("it is the test's"));
    let before = audited(&allocator);
    assert!(allocator.drain_cpu(0) > 0, "the words held frames");
    cpu.move_to(1);
    let groups = Request::order(Order::GROUP).this_node().node(NodeId(0)).atomic();
    let mut all: Vec<Pfn> = Vec::new();
    while !all.last().is_some_and(|group| here.contains(group)) {
        all.push(allocator.alloc_raw(&groups).expect("a group is free"));
    }
    let (there, others): (Vec<Pfn>, Vec<Pfn>) = all.into_iter().partition(|group| here.contains(group));
    // SAFETY: allocated just above with this order, each given back once.
    others.into_iter().for_each(|group| unsafe { allocator.free_raw(group, Order::GROUP) }.expect("ours"));
    cpu.move_to(0);
    // The CPU's words are of this group, and as far as it knows hold each of its frames.
    for frame in there.iter().flat_map(|group| (0..GROUP_FRAMES).map(|at| group.add(at))) {
        give(frame).expect("it was another CPU's");
        assert!(give(frame).is_err(), "{frame} is free");
    }
    let taken: Vec<Pfn> = (0..8 * GROUP_FRAMES).map(|_| take()).collect();
    let mut distinct = taken.clone();
    distinct.sort_unstable();
    distinct.dedup();
    assert_eq!(distinct.len(), taken.len(), "a frame was handed out twice");
    taken.into_iter().for_each(|pfn| give(pfn).expect("it is the test's"));
    assert_eq!(audited(&allocator).free + allocator.drain_all(), before.free + before.cached);
}

#[test]
fn an_idle_cache_shrinks_pass_by_pass() {
    let (allocator, _) = of(3, Caching::Local);
    fill(&allocator, 0, GROUPS);
    let full = cached(&allocator, 0);
    assert_eq!(allocator.age_caches(), 0, "it was used since the last pass");
    let landed: Vec<u64> = (0..GROUPS).map(|_| allocator.age_caches()).collect();
    let words = 1..=KINDS.len() as u64 * GROUP_FRAMES;
    assert!(landed.iter().all(|landed| words.contains(landed)), "a word of each kind lands: {landed:?}");
    assert_eq!((landed.iter().sum(), cached(&allocator, 0)), (full, 0));
    assert_eq!(allocator.age_caches(), 0, "nothing is left");
    assert_eq!(audited(&allocator).allocated, 0);
}

#[test]
fn a_cache_in_use_stays() {
    for (caching, node) in [(Caching::Local, 0), (Caching::All, 1)] {
        let (allocator, _) = of(3, caching);
        fill(&allocator, node, GROUPS);
        let landed = (0..64).filter(|_| {
            let landed = allocator.age_caches();
            pair(&allocator, node);
            landed > 0
        });
        // One look in 64 is mistaken for another; expiry takes three in a row.
        assert!(landed.count() < if node == 0 { 8 } else { 1 }, "node {node}: a cache in use ages");
        assert_eq!(audited(&allocator).allocated, 0);
    }
}

#[test]
fn what_a_cpu_caches_of_another_node_expires_at_its_third_idle_pass() {
    let (allocator, cpu) = of(3, Caching::All);
    cpu.move_to(1);
    fill(&allocator, 1, GROUPS);
    let full = cached(&allocator, 1);
    let passes: Vec<u64> = (0..5).map(|_| allocator.age_caches()).collect();
    assert_eq!(passes, [0, 0, 0, full, 0]);
    assert_eq!(audited(&allocator).cached, 0);
    // A word used in between: from the beginning.
    fill(&allocator, 1, 1);
    let passes: Vec<u64> = (0..3).map(|_| allocator.age_caches()).collect();
    assert_eq!(passes, [0, 0, 0]);
    let held = allocator.alloc_raw(&Request::order(Order::ZERO).node(NodeId(1))).expect("a frame is cached");
    let passes: Vec<u64> = (0..4).map(|_| allocator.age_caches()).collect();
    assert_eq!(passes, [0, 0, 0, MOST / GROUPS as u64 - 1]);
    // SAFETY: allocated above, freed once.
    unsafe { allocator.free_raw(held, order(0)) }.expect("it is the test's");
    assert_eq!(audited(&allocator).allocated, 0);
}

/// How many locked steps a drain takes.
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod bounds {
    use zonal::FrameRange;
    use zonal_testkit::stepper::{Window, trace};

    use super::*;

    /// Of a word with frames: announced, taken, its bits set, its block and its zone counted, arrived.
    const OF_A_WORD: u64 = 6;
    /// Of all words of one call together: their blocks' hints, by kind and class, in trees of two levels.
    const OF_HINTS: u64 = 3 * 3 * 2;
    /// More than any call here takes.
    const INSTRUCTIONS: usize = 1 << 20;

    /// Locked instructions of a call, and what it returned.
    fn locked(call: impl FnOnce() -> u64) -> (u64, u64) {
        let window = Window::of_program().expect("this process is on Linux");
        let (frames, trace) = trace(&window, INSTRUCTIONS, call).expect("it is short");
        (trace.locked(), frames)
    }

    #[test]
    fn a_drain_of_a_cpu_takes_six_steps_for_each_word_that_holds_frames() {
        for words in 0..=GROUPS {
            let (allocator, _) = of(3, Caching::Local);
            fill(&allocator, 0, words);
            let frames = cached(&allocator, 0);
            let words = (words * KINDS.len()) as u64;
            let steps = if words > 0 { words * OF_A_WORD + OF_HINTS } else { 0 };
            let (locked, drained) = locked(|| allocator.drain_cpu(0));
            assert_eq!(drained, frames);
            assert!(locked <= steps, "{words} words: {locked} locked steps");
        }
    }

    #[test]
    fn a_drain_of_everything_costs_by_cpus_that_cache_and_not_by_cpus() {
        let steps = [3, 65].map(|cpus| {
            let (allocator, cpu) = of(cpus, Caching::Local);
            cpu.move_to(cpus - 2);
            fill(&allocator, 0, 2);
            let (locked, drained) = locked(|| allocator.drain_all());
            assert!(drained > KINDS.len() as u64 * GROUP_FRAMES, "{drained} frames were cached");
            locked
        });
        assert_eq!(steps[0], steps[1], "locked steps with 3 CPUs, and with 65");
        assert!(steps[0] <= 2 * KINDS.len() as u64 * OF_A_WORD + OF_HINTS, "{steps:?}");
    }

    #[test]
    fn a_drain_of_a_range_lands_its_groups_only() {
        let (allocator, _) = of(3, Caching::Local);
        fill(&allocator, 0, GROUPS);
        let nothing = locked(|| allocator.drain_range(FrameRange::new(Pfn::new(NODE / 2), Pfn::new(NODE))));
        assert_eq!(nothing, (0, 0), "locked steps and frames of a range of which nothing is cached");
        let all = FrameRange::new(Pfn::new(0), Pfn::new(NODE));
        let full = cached(&allocator, 0);
        let (locked, drained) = locked(|| allocator.drain_range(all));
        assert_eq!(drained, full);
        assert!(locked <= MOST / GROUP_FRAMES * OF_A_WORD + OF_HINTS, "{locked} locked steps");
    }

    #[test]
    fn a_pass_lands_three_words_of_a_cache_at_most() {
        let (allocator, _) = of(3, Caching::Local);
        fill(&allocator, 0, GROUPS);
        // Of each zone it also looks at whose the words are.
        let (review, landed) = locked(|| allocator.age_caches());
        assert_eq!(landed, 0, "frames of the first pass");
        let (locked, _) = locked(|| allocator.age_caches());
        assert!(locked <= KINDS.len() as u64 * OF_A_WORD + OF_HINTS + review, "{locked} locked steps");
        assert!(review <= 2 * OF_A_WORD, "{review} locked steps of a pass of which nothing lands");
    }
}
