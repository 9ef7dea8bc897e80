//! A short cycle, to show to a person: breadth first from one vertex after the other, within a bound of work.

use std::collections::VecDeque;

use super::{Graph, Rels, components};

/// Edges followed before the shortest cycle found so far has to do.
const WORK: usize = 4_000_000;

/// The vertices of a cycle of edges of these kinds, in order, without the first one again at the end.
pub fn shortest_cycle(graph: &Graph, mask: Rels) -> Option<Vec<usize>> {
    let component = components(graph, mask).into_iter().min_by_key(Vec::len)?;
    let graph_of = graph.among(&component);
    let mut best: Option<Vec<usize>> = None;
    let mut work = 0;
    for start in 0..graph_of.len() {
        let longest = best.as_ref().map_or(usize::MAX, |cycle| cycle.len() - 1);
        if let Some(cycle) = from(&graph_of, mask, start, longest, &mut work) {
            best = Some(cycle);
        }
        if best.as_ref().is_some_and(|cycle| cycle.len() == 2 || work > WORK) {
            break;
        }
    }
    best.map(|cycle| cycle.into_iter().map(|number| component[number]).collect())
}

/// The shortest cycle through `start` of at most `longest` vertices.
fn from(
    graph: &Graph,
    mask: Rels,
    start: usize,
    longest: usize,
    work: &mut usize,
) -> Option<Vec<usize>> {
    let mut before = vec![None; graph.len()];
    let mut queue = VecDeque::from([(start, 1)]);
    while let Some((vertex, length)) = queue.pop_front() {
        if length > longest {
            return None;
        }
        for to in graph.next(vertex, mask) {
            *work += 1;
            if to == start {
                let mut cycle = vec![vertex];
                let mut vertex = vertex;
                while let Some(previous) = before[vertex] {
                    cycle.push(previous);
                    vertex = previous;
                }
                cycle.reverse();
                return Some(cycle);
            }
            if before[to].is_none() {
                before[to] = Some(vertex);
                queue.push_back((to, length + 1));
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::super::WW;
    use super::*;

    #[test]
    fn the_shorter_of_two_cycles_is_shown() {
        let mut graph = Graph::new(6);
        for (from, to) in [(0, 1), (1, 2), (2, 3), (3, 0), (2, 4), (4, 5), (5, 2)] {
            graph.link(from, to, WW);
        }
        graph.merge_edges();
        assert_eq!(shortest_cycle(&graph, WW), Some(vec![2, 4, 5]));
    }
}
