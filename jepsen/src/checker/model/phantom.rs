//! `phantom`: a value was read that nobody sent. Jepsen's checker throws an exception here.

use super::Cases;
use crate::checker::analysis::Analysis;

pub fn check(analysis: &Analysis<'_>, cases: &mut Cases<'_>) {
    for (key, known) in &analysis.keys {
        let mut phantoms: Vec<(&i64, &Vec<usize>)> =
            known.readers.iter().filter(|(value, _)| !known.writer.contains_key(value)).collect();
        phantoms.sort();
        for (value, readers) in phantoms {
            let ops = readers.iter().take(2).map(|reader| analysis.index_of(*reader));
            cases.add("phantom", || format!("key {key} value {value} was read, never sent"), ops);
        }
    }
}
