//! Dependencies between operations, and the cycles they must not have.
//!
//! Vertices are positions of completions among the operations of clients. An edge says that one operation came before
//! another, and in which ways that is known.

mod shortest;
mod tarjan;

pub use shortest::shortest_cycle;
pub use tarjan::components;

/// Ways to know that an operation came before another, as a set.
pub type Rels = u8;
/// It wrote the value just before one of the other's in a partition.
pub const WW: Rels = 1;
/// It wrote what the other read.
pub const WR: Rels = 2;
/// It had succeeded before the other began.
pub const REALTIME: Rels = 4;

/// See the module.
#[derive(Default)]
pub struct Graph {
    edges: Vec<Vec<(usize, Rels)>>,
}

impl Graph {
    pub fn new(vertices: usize) -> Graph {
        Graph { edges: vec![Vec::new(); vertices] }
    }

    pub fn len(&self) -> usize {
        self.edges.len()
    }

    pub fn link(&mut self, from: usize, to: usize, rel: Rels) {
        self.edges[from].push((to, rel));
    }

    /// Makes one edge of all between the same two vertices. Call it once, before anything is asked.
    pub fn merge_edges(&mut self) {
        for edges in &mut self.edges {
            edges.sort_unstable();
            edges.dedup_by(|next, kept| {
                let same = next.0 == kept.0;
                if same {
                    kept.1 |= next.1;
                }
                same
            });
        }
    }

    /// Where edges of any of these kinds lead.
    pub fn next(&self, from: usize, mask: Rels) -> impl Iterator<Item = usize> {
        self.edges[from].iter().filter(move |(_, rels)| rels & mask != 0).map(|(to, _)| *to)
    }

    /// The ways in which the first comes before the second.
    pub fn rels(&self, from: usize, to: usize) -> Rels {
        let edges = &self.edges[from];
        edges.binary_search_by_key(&to, |(to, _)| *to).map_or(0, |at| edges[at].1)
    }

    /// The `at`-th edge from a vertex.
    fn edge(&self, from: usize, at: usize) -> Option<(usize, Rels)> {
        self.edges[from].get(at).copied()
    }

    /// These vertices, ascending, renumbered from 0, with the edges among them.
    pub fn among(&self, vertices: &[usize]) -> Graph {
        let mut graph = Graph::new(vertices.len());
        for (number, vertex) in vertices.iter().enumerate() {
            for (to, rels) in &self.edges[*vertex] {
                if let Ok(to) = vertices.binary_search(to) {
                    graph.link(number, to, *rels);
                }
            }
        }
        graph
    }
}
