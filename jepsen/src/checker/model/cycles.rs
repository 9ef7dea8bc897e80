//! Cycles of dependencies, as Elle classifies them.
//!
//! Every strongly connected component is searched for the strongest statement first: the order of writes alone, then
//! with information flow, then with real time. Two names come out of a component: that some level's cycle exists
//! (`PL-1-cycle-exists`, ...), and the kind of one cycle that shows it (`G0`, `G1c`, `G1c-realtime`, ...), named after
//! what it takes to explain its edges. A history whose operations have no dependency at all shows nothing, so that
//! is an anomaly too (`empty-transaction-graph`). Edges of processes are in those of real time.
//!
//! Where the order of writes counts and a component has several cycles, the kind named is that of a shortest one,
//! Elle's that of the first it meets; both are allowed then, and the levels' names and the verdict are the same.

use std::collections::BTreeSet;

use super::Cases;
use crate::checker::analysis::Analysis;
use crate::checker::graph::{Graph, REALTIME, Rels, WR, WW, components, shortest_cycle};
use crate::checker::{SHOWN, WriteOrder};
use crate::history::{Body, Kind};

pub fn check(analysis: &Analysis<'_>, write_order: WriteOrder, cases: &mut Cases<'_>) {
    let passes: &[bool] = match write_order {
        WriteOrder::Off => &[false],
        WriteOrder::On => &[true],
        WriteOrder::Both => &[false, true],
    };
    if analysis.ops.is_empty() {
        return;
    }
    let mut graph = Graph::new(analysis.ops.len());
    link_reads(analysis, &mut graph);
    link_realtime(analysis, &mut graph);
    link_writes(analysis, &mut graph);
    graph.merge_edges();
    for pass in passes {
        cases.write_order = *pass;
        let all = WR | REALTIME | if *pass { WW } else { 0 };
        let empty = (0..graph.len()).all(|vertex| graph.next(vertex, all).next().is_none());
        if empty {
            cases.add(
                "empty-transaction-graph",
                || "no operation depends on another".to_owned(),
                [],
            );
        }
        for component in components(&graph, all) {
            classify(analysis, &graph.among(&component), &component, all, cases);
        }
    }
}

fn classify(
    analysis: &Analysis<'_>,
    graph: &Graph,
    component: &[usize],
    all: Rels,
    cases: &mut Cases<'_>,
) {
    let cyclic = |mask: Rels| !components(graph, mask & all).is_empty();
    let mut report = |exists: &str, mask: Rels| {
        let vertices = || component.iter().map(|position| analysis.index_of(*position));
        let case = || format!("among {} operations", component.len());
        cases.add(exists, case, vertices().take(SHOWN));
        if let Some(cycle) = shortest_cycle(graph, mask & all) {
            let name = name(graph, &cycle, all);
            let ops: Vec<usize> = cycle.iter().map(|vertex| component[*vertex]).collect();
            let indexes = ops.iter().map(|position| analysis.index_of(*position));
            cases.add(name, || explain(analysis, graph, &cycle, component, all), indexes);
        }
    };
    if cyclic(WW) {
        return report("PL-1-cycle-exists", WW);
    }
    let flow = cyclic(WW | WR);
    if flow {
        report("PL-2-cycle-exists", WW | WR);
    }
    if cyclic(WW | REALTIME) {
        report("strong-PL-1-cycle-exists", WW | REALTIME);
    } else if !flow {
        report("strong-PL-2-cycle-exists", WW | WR | REALTIME);
    }
}

/// An edge is explained by the strongest thing known of it.
fn name(graph: &Graph, cycle: &[usize], all: Rels) -> &'static str {
    let steps = steps(graph, cycle, all);
    let any = |rel: Rels| steps.contains(&rel);
    match (any(REALTIME), any(WR)) {
        (false, false) => "G0",
        (true, false) => "G0-realtime",
        (false, true) => "G1c",
        (true, true) => "G1c-realtime",
    }
}

fn steps(graph: &Graph, cycle: &[usize], all: Rels) -> Vec<Rels> {
    let next = cycle.iter().cycle().skip(1);
    cycle
        .iter()
        .zip(next)
        .map(|(from, to)| {
            let rels = graph.rels(*from, *to) & all;
            [WW, WR].into_iter().find(|rel| rels & rel != 0).unwrap_or(REALTIME)
        })
        .collect()
}

fn explain(
    analysis: &Analysis<'_>,
    graph: &Graph,
    cycle: &[usize],
    component: &[usize],
    all: Rels,
) -> String {
    let index = |vertex: usize| analysis.index_of(component[vertex]);
    let mut text = format!("operation {}", index(cycle[0]));
    for (at, rel) in steps(graph, cycle, all).into_iter().enumerate() {
        let how = match rel {
            WW => "wrote just before",
            WR => "wrote what was read by",
            _ => "succeeded before the beginning of",
        };
        text += &format!(", which {how} operation {}", index(cycle[(at + 1) % cycle.len()]));
    }
    text.replacen(", which", "", 1)
}

/// Writer before reader, for every value.
fn link_reads(analysis: &Analysis<'_>, graph: &mut Graph) {
    for known in analysis.keys.values() {
        for (value, readers) in &known.readers {
            let Some(writer) = known.writer.get(value) else { continue };
            for reader in readers.iter().filter(|reader| *reader != writer) {
                graph.link(*writer, *reader, WR);
            }
        }
    }
}

/// Writer before the writer of the next value in a partition.
fn link_writes(analysis: &Analysis<'_>, graph: &mut Graph) {
    for known in analysis.keys.values() {
        for (value, writer) in &known.writer {
            let before = known.order.previous(*value);
            let Some(before) = before.and_then(|value| known.writer.get(&value)) else { continue };
            if before != writer {
                graph.link(*before, *writer, WW);
            }
        }
    }
}

/// Success before whatever began later, without the edges that follow from others: an operation that succeeds
/// stands for all that had succeeded before it began.
fn link_realtime(analysis: &Analysis<'_>, graph: &mut Graph) {
    let mut latest: BTreeSet<usize> = BTreeSet::new();
    let mut before: Vec<Vec<usize>> = vec![Vec::new(); analysis.ops.len()];
    for (position, op) in analysis.ops.iter().enumerate() {
        if !matches!(op.body, Body::Send(_) | Body::Poll(_) | Body::Txn(_)) {
            continue;
        }
        match op.kind {
            Kind::Invoke => {
                let Some(completion) = analysis.other[position] else { continue };
                for ok in &latest {
                    graph.link(*ok, completion, REALTIME);
                }
                before[completion] = latest.iter().copied().collect();
            }
            Kind::Ok => {
                for implied in std::mem::take(&mut before[position]) {
                    latest.remove(&implied);
                }
                latest.insert(position);
            }
            Kind::Fail | Kind::Info => {}
        }
    }
}
