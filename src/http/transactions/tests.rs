use super::*;

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
