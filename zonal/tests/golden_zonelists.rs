//! Zonelists against golden vectors and against an order computed the slow way by code that shares nothing with ours.

mod support;

use proptest::prelude::*;
use support::{Setup, allocator, built};
use zonal::{Fallback, NodeId, ZoneId, ZoneKind};
use zonal_testkit::{BLOCK, Class, Machine, Matrix, Memory, Model, zonelist_order};

/// A machine with one Normal zone a node that has memory, one CPU a node that has CPUs.
fn machine(matrix: &Matrix) -> Machine {
    let nodes = matrix.distances.len() as u16;
    let has = |flags: &[bool], node: &u16| flags[usize::from(*node)];
    let memory = |node| Memory::of(node, u64::from(node) * BLOCK..u64::from(node) * BLOCK + BLOCK);
    Machine {
        memory: (0..nodes).filter(|node| has(&matrix.has_memory, node)).map(memory).collect(),
        distances: matrix.distances.concat(),
        cpus: (0..nodes).filter(|node| has(&matrix.has_cpus, node)).collect(),
        ..Machine::one_block()
    }
}

/// The order in which each node's requests visit the nodes.
fn orders(matrix: &Matrix) -> Vec<Vec<usize>> {
    let (allocator, _) = allocator(&machine(matrix));
    let order = |node| allocator.node_order(NodeId(node)).map(|near| usize::from(near.0)).collect();
    (0..matrix.distances.len() as u16).map(order).collect()
}

fn digits(matrix: &Matrix) -> Vec<String> {
    let text = |list: &Vec<usize>| list.iter().map(usize::to_string).collect();
    orders(matrix).iter().map(text).collect()
}

#[test]
fn golden_four_equidistant_nodes() {
    assert_eq!(digits(&Matrix::full(4, |_, _| 20)), ["0123", "1230", "2301", "3012"]);
}

#[test]
fn golden_ring_of_four() {
    let ring = Matrix::full(4, |from, to| if from.abs_diff(to) == 2 { 30 } else { 20 });
    assert_eq!(digits(&ring), ["0132", "1203", "2310", "3021"]);
}

#[test]
fn golden_eight_equidistant_nodes() {
    let matrix = Matrix::full(8, |_, _| 32);
    let rotated: Vec<Vec<usize>> = (0..8).map(|node| (node..8).chain(0..node).collect()).collect();
    assert_eq!(orders(&matrix), rotated);
}

#[test]
fn golden_two_nodes_with_cpus_and_two_without() {
    let mut matrix = Matrix::full(4, |from, to| match (from.min(to), from.max(to)) {
        (0, 1) => 20,
        (0, 2) | (1, 3) => 17,
        _ => 28,
    });
    matrix.has_cpus = vec![true, true, false, false];
    assert_eq!(digits(&matrix), ["0213", "1302", "2031", "3120"]);
}

#[test]
fn a_node_without_memory_visits_the_others_and_is_in_no_list() {
    let mut matrix = Matrix::full(4, |from, to| if from.abs_diff(to) == 1 { 15 } else { 25 });
    matrix.has_memory = vec![true, false, true, false];
    assert_eq!(orders(&matrix), zonelist_order(&matrix));
    let (allocator, _) = allocator(&machine(&matrix));
    let own = |node| allocator.zonelist(NodeId(node), Fallback::ThisNode).count();
    assert_eq!([own(0), own(1), own(2), own(3)], [1, 0, 1, 0]);
    let all = |node| allocator.zonelist(NodeId(node), Fallback::Nodes).count();
    assert_eq!([all(0), all(1), all(2), all(3)], [2, 2, 2, 2]);
}

#[test]
fn an_unreachable_node_comes_last() {
    let matrix = Matrix::full(3, |from, to| if from.max(to) == 2 { 255 } else { 20 });
    assert_eq!(orders(&matrix), zonelist_order(&matrix));
    assert_eq!(digits(&matrix)[..2], ["012", "102"]);
}

/// The lists that the allocator and the model give for each node, as node and kind.
fn compare_lists(machine: &Machine) {
    let (allocator, _) = built(&Setup::of(machine));
    let model = Model::new(machine);
    let infos: Vec<_> = allocator.zones().collect();
    let named = |id: ZoneId| {
        let info = infos.iter().find(|info| info.id == id).expect("zonelists name zones that exist");
        (info.node.0, info.kind)
    };
    let expected = |zones: Vec<usize>| -> Vec<(u16, ZoneKind)> {
        zones
            .iter()
            .map(|&at| (model.zones()[at].node, support::zone_kind(model.zones()[at].class)))
            .collect()
    };
    for node in 0..machine.nodes() as u16 {
        let listed = |fallback| -> Vec<_> { allocator.zonelist(NodeId(node), fallback).map(named).collect() };
        assert_eq!(listed(Fallback::Nodes), expected(model.zonelist(node, Class::Movable)), "node {node}");
        assert_eq!(
            listed(Fallback::ThisNode),
            expected(model.own_zones(node, Class::Movable)),
            "node {node}"
        );
    }
}

#[test]
fn zones_go_from_high_to_low_inside_a_node() {
    let machine = Machine::two_nodes();
    let (allocator, _) = allocator(&machine);
    let kinds: Vec<_> = allocator.zones().map(|info| (info.node.0, info.kind)).collect();
    use ZoneKind::{Dma, Dma32, Movable, Normal};
    assert_eq!(kinds, [(0, Dma), (0, Dma32), (0, Normal), (0, Movable), (1, Normal), (1, Movable)]);
    let list =
        |node, fallback| -> Vec<u16> { allocator.zonelist(NodeId(node), fallback).map(|id| id.0).collect() };
    assert_eq!(list(0, Fallback::Nodes), [3, 2, 1, 0, 5, 4]);
    assert_eq!(list(1, Fallback::Nodes), [5, 4, 3, 2, 1, 0]);
    assert_eq!(list(0, Fallback::ThisNode), [3, 2, 1, 0]);
    assert_eq!(list(1, Fallback::ThisNode), [5, 4]);
    compare_lists(&machine);
}

#[test]
fn a_node_whose_memory_is_all_reserved_is_in_no_list() {
    let mut machine = Machine::equal_nodes(3, 1, 0, BLOCK);
    machine.reserved.push(BLOCK..2 * BLOCK);
    compare_lists(&machine);
}

#[test]
fn many_nodes() {
    for nodes in [64, 256] {
        let matrix = Matrix::full(nodes, |from, to| 11 + (from ^ to).count_ones() as u8 * 7);
        assert_eq!(orders(&matrix), zonelist_order(&matrix));
    }
}

fn matrix() -> impl Strategy<Value = Matrix> {
    (1usize..=12).prop_flat_map(|nodes| {
        // Few distinct distances, so that ties and loads decide often; sometimes any at all, not even symmetric.
        let distance = prop_oneof![8 => prop::sample::select(vec![11u8, 12, 20, 21, 32]), 1 => 11u8..=255];
        let distances = prop::collection::vec(prop::collection::vec(distance, nodes), nodes);
        let flags = || prop::collection::vec(prop::bool::weighted(0.8), nodes);
        (distances, flags(), flags(), 0..nodes).prop_map(
            |(mut distances, mut has_memory, mut has_cpus, one)| {
                for (node, row) in distances.iter_mut().enumerate() {
                    row[node] = 10;
                }
                has_memory[one] = true;
                has_cpus[one] = true;
                Matrix { distances, has_memory, has_cpus }
            },
        )
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_matrices(matrix in matrix()) {
        prop_assert_eq!(orders(&matrix), zonelist_order(&matrix));
        compare_lists(&machine(&matrix));
    }
}
