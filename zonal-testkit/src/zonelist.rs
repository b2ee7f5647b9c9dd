//! The order in which a node's requests visit the nodes, written the slow way from the rule itself.
//!
//! The rule (Linux since 5.18): a node with memory comes first in its own list; then, again and again, the unused node
//! with memory for which `(distance + (n < local) + (n has CPUs)) * 1024 + load[n]` is least, ties to the lowest
//! number. When the chosen node's distance differs from the one chosen before it, its load grows by one. Lists are
//! made in the order of the nodes, from loads of zero.
//!
//! Invariant: every list holds each node with memory exactly once.

/// Linux's `MAX_NUMNODES`: what a unit of distance weighs against the loads.
const WEIGHT: u64 = 1024;

/// A square matrix of distances with what is known of each node.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Matrix {
    /// `distances[from][to]`, 10 on the diagonal.
    pub distances: Vec<Vec<u8>>,
    /// Whether the node has memory.
    pub has_memory: Vec<bool>,
    /// Whether the node has CPUs.
    pub has_cpus: Vec<bool>,
}

impl Matrix {
    /// Nodes that all have memory and CPUs, at the distance that `between` gives for each pair.
    pub fn full(nodes: usize, between: impl Fn(usize, usize) -> u8) -> Self {
        let row = |from| (0..nodes).map(|to| if from == to { 10 } else { between(from, to) }).collect();
        Self {
            distances: (0..nodes).map(row).collect(),
            has_memory: vec![true; nodes],
            has_cpus: vec![true; nodes],
        }
    }

    fn cost(&self, local: usize, node: usize, load: &[u64]) -> u64 {
        let mut cost = u64::from(self.distances[local][node]);
        if node < local {
            cost += 1;
        }
        if self.has_cpus[node] {
            cost += 1;
        }
        cost * WEIGHT + load[node]
    }
}

/// For each node, the nodes with memory in the order its requests visit them.
pub fn zonelist_order(matrix: &Matrix) -> Vec<Vec<usize>> {
    let nodes = matrix.distances.len();
    let mut load = vec![0; nodes];
    let mut lists = Vec::new();
    for local in 0..nodes {
        let mut list: Vec<usize> = Vec::new();
        let mut previous = local;
        loop {
            let unused = |node: &usize| matrix.has_memory[*node] && !list.contains(node);
            let next = if unused(&local) {
                Some(local)
            } else {
                // `min_by_key` keeps the first of equals: the lowest number.
                (0..nodes).filter(unused).min_by_key(|&node| matrix.cost(local, node, &load))
            };
            let Some(next) = next else { break };
            if matrix.distances[local][next] != matrix.distances[local][previous] {
                load[next] += 1;
            }
            previous = next;
            list.push(next);
        }
        lists.push(list);
    }
    lists
}

#[cfg(test)]
mod tests {
    use super::{Matrix, zonelist_order};

    fn orders(matrix: &Matrix) -> Vec<String> {
        let text = |list: &Vec<usize>| list.iter().map(usize::to_string).collect();
        zonelist_order(matrix).iter().map(text).collect()
    }

    #[test]
    fn four_equidistant_nodes_rotate() {
        assert_eq!(orders(&Matrix::full(4, |_, _| 20)), ["0123", "1230", "2301", "3012"]);
    }

    #[test]
    fn a_ring_of_four() {
        let ring = Matrix::full(4, |from, to| if from.abs_diff(to) == 2 { 30 } else { 20 });
        assert_eq!(orders(&ring), ["0132", "1203", "2310", "3021"]);
    }

    #[test]
    fn eight_equidistant_nodes_rotate() {
        let expected: Vec<String> =
            (0..8).map(|n| (n..8).chain(0..n).map(|node: usize| node.to_string()).collect()).collect();
        assert_eq!(orders(&Matrix::full(8, |_, _| 32)), expected);
    }

    #[test]
    fn nodes_without_cpus_come_earlier() {
        let mut matrix = Matrix::full(4, |from, to| match (from.min(to), from.max(to)) {
            (0, 1) => 20,
            (0, 2) | (1, 3) => 17,
            _ => 28,
        });
        matrix.has_cpus = vec![true, true, false, false];
        assert_eq!(orders(&matrix), ["0213", "1302", "2031", "3120"]);
    }

    #[test]
    fn a_node_without_memory_is_in_no_list_and_has_one() {
        let mut matrix = Matrix::full(3, |_, _| 20);
        matrix.has_memory[1] = false;
        assert_eq!(orders(&matrix), ["02", "20", "20"]);
    }
}
