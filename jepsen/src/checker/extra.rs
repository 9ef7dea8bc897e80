//! What a replicated log promises beyond what Jepsen's checker looks for: one file for each promise.

mod batches;
mod content;
mod coverage;
mod dense;
mod list_offsets;
mod liveness;
mod realtime_order;
mod removed;
mod replicas;
mod watermarks;

use super::analysis::Analysis;
use super::{Findings, Options};
use crate::history::{Edn, Op, keyword};

pub use coverage::Coverage;
pub use list_offsets::list_offsets;

pub fn check(history: &[Op], analysis: &Analysis<'_>, options: &Options, found: &mut Findings) {
    realtime_order::check(analysis, found);
    if options.dense {
        dense::check(analysis, found);
        removed::check(analysis, found);
    }
    watermarks::check(analysis, found);
    content::check(analysis, found);
    replicas::check(history, found);
    batches::check(history, found);
    liveness::check(history, options.resume_within, found);
    coverage::check(history, &options.coverage, found);
}

/// A number in a map with keywords for keys.
pub(super) fn number(map: &Edn, name: &str) -> Option<i64> {
    match field(map, name)? {
        Edn::Integer(number) => Some(*number),
        _ => None,
    }
}

pub(super) fn field<'a>(map: &'a Edn, name: &str) -> Option<&'a Edn> {
    match map {
        Edn::Map(map) => map.get(&keyword(name)),
        _ => None,
    }
}

pub(super) fn list(value: Option<&Edn>) -> &[Edn] {
    match value {
        Some(Edn::Vector(list) | Edn::List(list)) => list,
        _ => &[],
    }
}
