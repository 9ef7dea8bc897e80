//! `precommitted-read`: an operation read what it had sent itself. Until a transaction has committed nobody may
//! see its records, not even the transaction.

use super::Cases;
use crate::checker::analysis::Analysis;

pub fn check(analysis: &Analysis<'_>, cases: &mut Cases<'_>) {
    for (position, writes) in analysis.writes.iter().enumerate() {
        for (key, written) in writes {
            let read = analysis.reads[position].iter().find(|(other, _)| other == key);
            let seen = read.and_then(|(_, read)| {
                written.iter().find(|(_, value)| read.iter().any(|(_, other)| other == value))
            });
            if let Some((_, value)) = seen {
                let case =
                    || format!("key {key} value {value} was read by the operation that sent it");
                cases.add("precommitted-read", case, [analysis.index_of(position)]);
            }
        }
    }
}
