//! ListTransactions (key 66), versions 0–2: the transactional ids that this broker coordinates (KIP-664).
//!
//! Tools ask every broker. One that is about to coordinate answers that it is, never a part of its ids.
//!
//! | since version | what is new |
//! |---|---|
//! | 0 | flexible from the beginning; by state and by producer |
//! | 1 | by how long a transaction has been open (KIP-994) |
//! | 2 | by a regular expression that the whole id has to match (KIP-1152) |

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use kafka_wire::list_transactions_response::TransactionState as Row;
use kafka_wire::{ListTransactionsRequest, ListTransactionsResponse};
use regex::bytes::{Regex, RegexBuilder};
use tokio::time::timeout;

use crate::kafka::call::Call;
use crate::kafka::error::ErrorCode;
use crate::kafka::server::KafkaServer;
use crate::kafka::transactions::{self, REQUEST_WAIT};
use crate::transaction::{TransactionDescription, TransactionError};

/// A longer pattern is none.
const PATTERN_BYTES_MAX: usize = 1024;
/// Bytes of a compiled pattern, which is a stranger's; they bound the time that an id takes.
const COMPILED_BYTES_MAX: usize = 64 << 10;
/// Ids of one answer at most. Of more than that a tool has to say which it wants.
const IDS_MAX: usize = 50_000;
/// What an id takes in the answer and in its making.
const ROW_BYTES: usize = 160;

pub(in crate::kafka) async fn handle(
    server: Arc<KafkaServer>,
    call: Call,
    request: ListTransactionsRequest,
) -> ListTransactionsResponse {
    let mut answer = ListTransactionsResponse::default();
    let unknown = |name: &&kafka_wire_core::StrBytes| transactions::state_of(name).is_none();
    answer.unknown_state_filters = request.state_filters.iter().filter(unknown).cloned().collect();
    let filter = match Filter::of(&request) {
        Ok(filter) => filter,
        Err(code) => {
            answer.error_code = code.count(&call);
            return answer;
        }
    };
    let passes = |it: &TransactionDescription| filter.passes(it);
    let listed = server.context.transactions.list(IDS_MAX + 1, &passes);
    let listed = timeout(REQUEST_WAIT, listed).await.unwrap_or(Err(TransactionError::NotAvailable));
    match rows(listed) {
        Ok(rows) => answer.transaction_states = rows,
        Err(code) => answer.error_code = code.count(&call),
    }
    answer
}

/// All that were found or none: a part of them would be taken for the whole.
fn rows(
    listed: Result<Vec<TransactionDescription>, TransactionError>,
) -> Result<Vec<Row>, ErrorCode> {
    let mut all = listed.map_err(|error| ErrorCode::from(&error))?;
    if all.len() > IDS_MAX {
        return Err(ErrorCode::PolicyViolation);
    }
    all.sort_by(|one, other| one.transactional_id.cmp(&other.transactional_id));
    Ok(all.into_iter().map(row).collect())
}

/// Returns about how many bytes an answer takes.
pub(in crate::kafka) fn weigh_answer(answer: &ListTransactionsResponse) -> usize {
    answer.transaction_states.iter().map(|it| ROW_BYTES + it.transactional_id.len()).sum()
}

/// What is asked for; everything has to apply.
struct Filter {
    /// `None` for all, and nothing where only unknown ones are named.
    states: Option<HashSet<&'static str>>,
    producers: Option<HashSet<i64>>,
    /// Only those that have been open for longer.
    longer_than: Option<Duration>,
    pattern: Option<Regex>,
}

impl Filter {
    fn of(request: &ListTransactionsRequest) -> Result<Filter, ErrorCode> {
        let named = request.state_filters.iter();
        let states = named.filter_map(|it| transactions::state_of(it)).map(transactions::name_of);
        let producers = &request.producer_id_filters;
        let pattern = request.transactional_id_pattern.as_deref().filter(|it| !it.is_empty());
        Ok(Filter {
            states: (!request.state_filters.is_empty()).then(|| states.collect()),
            producers: (!producers.is_empty()).then(|| producers.iter().copied().collect()),
            longer_than: u64::try_from(request.duration_filter).ok().map(Duration::from_millis),
            pattern: pattern.map(compiled).transpose()?,
        })
    }

    fn passes(&self, it: &TransactionDescription) -> bool {
        let open = u64::try_from(it.open_ms).ok().map(Duration::from_millis);
        self.states.as_ref().is_none_or(|states| states.contains(transactions::name_of(it.state)))
            && self.producers.as_ref().is_none_or(|ids| ids.contains(&it.producer_id))
            && self.longer_than.is_none_or(|least| open.is_some_and(|open| open > least))
            && self
                .pattern
                .as_ref()
                .is_none_or(|it_is| it_is.is_match(it.transactional_id.as_bytes()))
    }
}

fn compiled(pattern: &str) -> Result<Regex, ErrorCode> {
    if pattern.len() > PATTERN_BYTES_MAX {
        return Err(ErrorCode::InvalidRegularExpression);
    }
    // By itself first: `a)|(b` is none, whatever is put around it.
    let build = |pattern: &str| {
        let mut builder = RegexBuilder::new(pattern);
        // Classes as in RE2: of ASCII.
        builder.unicode(false).size_limit(COMPILED_BYTES_MAX).dfa_size_limit(COMPILED_BYTES_MAX);
        builder.build().map_err(|_| ErrorCode::InvalidRegularExpression)
    };
    build(pattern)?;
    build(&format!("^(?:{pattern})$"))
}

fn row(of: TransactionDescription) -> Row {
    let mut row = Row::default();
    row.transactional_id = of.transactional_id.into();
    row.producer_id = of.producer_id;
    row.transaction_state = transactions::name_of(of.state).into();
    row
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transaction::TransactionState;

    fn open(id: &str, producer_id: i64, open_ms: i64) -> TransactionDescription {
        TransactionDescription {
            transactional_id: id.to_owned(),
            state: TransactionState::Ongoing,
            producer_id,
            epoch: 0,
            timeout_ms: 60_000,
            start_ms: 1,
            open_ms,
            partitions: Vec::new(),
        }
    }

    fn listed(request: &ListTransactionsRequest) -> Vec<String> {
        let empty = TransactionDescription {
            state: TransactionState::Empty,
            open_ms: -1,
            ..open("orders-0", 3, -1)
        };
        let all = [open("orders-1", 1, 5_000), open("orders-22", 2, 0), empty];
        let filter = Filter::of(request).unwrap();
        let passing = all.into_iter().filter(|it| filter.passes(it));
        passing.map(|it| it.transactional_id).collect()
    }

    #[test]
    fn everything_that_is_asked_for_has_to_apply() {
        let all = ListTransactionsRequest::default();
        assert_eq!(listed(&all).len(), 3);
        let mut states = all.clone();
        states.state_filters = vec!["Ongoing".into(), "ongoing".into()];
        assert_eq!(listed(&states), ["orders-1", "orders-22"]);
        states.producer_id_filters = vec![2, 3];
        assert_eq!(listed(&states), ["orders-22"]);
        states.state_filters = vec!["Lost".into()];
        assert!(listed(&states).is_empty(), "of a state that nobody knows there is none");
        let mut long = all.clone();
        for (least, found) in [(0, vec!["orders-1"]), (4_999, vec!["orders-1"]), (5_000, vec![])] {
            long.duration_filter = least;
            assert_eq!(listed(&long), found, "{least}");
        }
    }

    #[test]
    fn a_pattern_matches_whole_ids() {
        let mut request = ListTransactionsRequest::default();
        for (pattern, found) in [
            ("orders-.", vec!["orders-1", "orders-0"]),
            ("orders", vec![]),
            ("orders-2|orders-22", vec!["orders-22"]),
            ("", vec!["orders-1", "orders-22", "orders-0"]),
        ] {
            request.transactional_id_pattern = Some(pattern.into());
            assert_eq!(listed(&request), found, "{pattern}");
        }
        for bad in ["(", "a)|(b", "(((a{100}){100}){100})"] {
            request.transactional_id_pattern = Some(bad.into());
            let refused = Filter::of(&request).err();
            assert_eq!(refused, Some(ErrorCode::InvalidRegularExpression), "{bad}");
        }
    }

    #[test]
    fn an_answer_has_all_ids_or_says_why_not() {
        let many =
            |count: usize| (0..count).rev().map(|it| open(&format!("{it:05}"), 1, 0)).collect();
        let told = rows(Ok(many(IDS_MAX))).unwrap();
        let ids: Vec<_> = told.iter().map(|row| row.transactional_id.to_string()).collect();
        assert!(ids.len() == IDS_MAX && ids.is_sorted());
        assert_eq!(rows(Ok(many(IDS_MAX + 1))), Err(ErrorCode::PolicyViolation));
        let unheard = rows(Err(TransactionError::NotAvailable));
        assert_eq!(unheard, Err(ErrorCode::CoordinatorNotAvailable));
    }
}
