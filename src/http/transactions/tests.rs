use super::*;

fn transaction(id: &str, state: TransactionState, producer_id: i64) -> Transaction {
    Transaction {
        transactional_id: id.to_owned(),
        state,
        producer_id,
        epoch: 0,
        timeout_ms: 60_000,
        start_ms: None,
        open_ms: None,
        coordinator: 1,
    }
}

fn listed(ids: &[&str], next: Option<&str>) -> TransactionList {
    let rows = ids.iter().map(|id| transaction(id, TransactionState::Empty, 1));
    let (unreachable, coordinators, missing) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    TransactionList {
        transactions: rows.collect(),
        next: next.map(str::to_owned),
        unreachable,
        coordinators,
        missing,
    }
}

fn ids(list: &TransactionList) -> Vec<&str> {
    list.transactions.iter().map(|it| it.transactional_id.as_str()).collect()
}

#[test]
fn a_page_ends_with_the_id_that_the_next_begins_after() {
    let mut all = listed(&["c", "a"], None);
    all.add_all(&[2, 3], vec![Some(listed(&["b", "a"], None)), None]);
    all.cut(2);
    assert_eq!((ids(&all), all.next.as_deref()), (vec!["a", "b"], Some("b")));
    assert_eq!(all.unreachable, BTreeSet::from([3]));

    let mut last = listed(&["c"], None);
    last.cut(2);
    assert_eq!((ids(&last), last.next.as_deref()), (vec!["c"], None));
    // Another broker has more behind its page.
    let mut more = listed(&[], None);
    more.add_all(&[2], vec![Some(listed(&["x"], Some("x")))]);
    more.cut(2);
    assert_eq!(more.next.as_deref(), Some("x"));
}

#[test]
fn a_list_is_narrowed_by_id_state_and_producer() {
    let it = TransactionDescription {
        transactional_id: "b".to_owned(),
        state: transaction::TransactionState::Ongoing,
        producer_id: 7,
        epoch: 0,
        timeout_ms: 60_000,
        start_ms: 1,
        open_ms: 1,
        partitions: Vec::new(),
    };
    let wanted = TransactionsWanted { limit: None, after: None, state: None, producer_id: None };
    assert!(wanted.wants(&it));
    let after = |id: &str| TransactionsWanted { after: Some(id.to_owned()), ..wanted.clone() };
    assert!(after("a").wants(&it) && !after("b").wants(&it));
    let state = |state| TransactionsWanted { state: Some(state), ..wanted.clone() };
    assert!(state(TransactionState::Ongoing).wants(&it));
    assert!(!state(TransactionState::Empty).wants(&it));
    assert!(TransactionsWanted::of_producer(7).wants(&it));
    assert!(!TransactionsWanted::of_producer(8).wants(&it));
}

#[test]
fn what_is_prepared_is_open_until_it_is_complete() {
    use TransactionState as S;
    let open = [S::Ongoing, S::PrepareCommit, S::PrepareAbort, S::PrepareEpochFence];
    assert!(open.into_iter().all(S::is_open));
    assert!(![S::Empty, S::CompleteCommit, S::CompleteAbort].into_iter().any(S::is_open));
}
