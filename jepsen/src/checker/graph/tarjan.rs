//! Strongly connected components by Tarjan's algorithm, without recursion: a history's graph is as deep as the
//! history is long.

use super::{Graph, Rels};

const UNSEEN: usize = usize::MAX;

/// Components of more than one vertex, each in ascending order, using only edges of these kinds. No vertex has an
/// edge to itself.
pub fn components(graph: &Graph, mask: Rels) -> Vec<Vec<usize>> {
    let mut search = Search {
        graph,
        mask,
        number: vec![UNSEEN; graph.len()],
        low: vec![0; graph.len()],
        on_stack: vec![false; graph.len()],
        stack: Vec::new(),
        next: 0,
        found: Vec::new(),
    };
    for root in 0..graph.len() {
        if search.number[root] == UNSEEN {
            search.from(root);
        }
    }
    search.found.sort();
    search.found
}

struct Search<'a> {
    graph: &'a Graph,
    mask: Rels,
    number: Vec<usize>,
    low: Vec<usize>,
    on_stack: Vec<bool>,
    stack: Vec<usize>,
    next: usize,
    found: Vec<Vec<usize>>,
}

impl Search<'_> {
    fn from(&mut self, root: usize) {
        // A vertex and how many of its edges have been followed.
        let mut path = vec![(root, 0)];
        self.enter(root);
        while let Some((vertex, edge)) = path.last_mut() {
            let vertex = *vertex;
            let Some((to, rels)) = self.graph.edge(vertex, *edge) else {
                path.pop();
                self.leave(vertex);
                if let Some((parent, _)) = path.last() {
                    self.low[*parent] = self.low[*parent].min(self.low[vertex]);
                }
                continue;
            };
            *edge += 1;
            if rels & self.mask == 0 {
                continue;
            }
            if self.number[to] == UNSEEN {
                self.enter(to);
                path.push((to, 0));
            } else if self.on_stack[to] {
                self.low[vertex] = self.low[vertex].min(self.number[to]);
            }
        }
    }

    fn enter(&mut self, vertex: usize) {
        self.number[vertex] = self.next;
        self.low[vertex] = self.next;
        self.next += 1;
        self.stack.push(vertex);
        self.on_stack[vertex] = true;
    }

    /// When the vertex is the first of its component, everything above it on the stack is the rest.
    fn leave(&mut self, vertex: usize) {
        if self.low[vertex] != self.number[vertex] {
            return;
        }
        let mut component = Vec::new();
        while let Some(member) = self.stack.pop() {
            self.on_stack[member] = false;
            component.push(member);
            if member == vertex {
                break;
            }
        }
        if component.len() > 1 {
            component.sort_unstable();
            self.found.push(component);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{WR, WW};
    use super::*;

    #[test]
    fn two_cycles_and_a_tail() {
        let mut graph = Graph::new(7);
        for (from, to) in [(0, 1), (1, 2), (2, 0), (2, 3), (3, 4), (4, 3), (4, 5)] {
            graph.link(from, to, WW);
        }
        graph.link(5, 6, WR);
        graph.link(6, 5, WW);
        graph.merge_edges();
        assert_eq!(components(&graph, WW), [vec![0, 1, 2], vec![3, 4]]);
        assert_eq!(components(&graph, WW | WR), [vec![0, 1, 2], vec![3, 4], vec![5, 6]]);
    }

    #[test]
    fn a_long_path_needs_no_deep_stack() {
        let length = 300_000;
        let mut graph = Graph::new(length);
        for vertex in 1..length {
            graph.link(vertex - 1, vertex, WR);
        }
        assert_eq!(components(&graph, WR), Vec::<Vec<usize>>::new());
        graph.link(length - 1, 0, WR);
        assert_eq!(components(&graph, WR)[0].len(), length);
    }
}
