use super::*;

/// A post and where its answer arrives.
fn post(bytes: usize) -> (Post, oneshot::Receiver<Vec<u8>>) {
    let (answer, answered) = oneshot::channel();
    (Post { lane: (1, 11), body: vec![0; bytes], answer }, answered)
}

#[tokio::test]
async fn each_question_of_a_call_is_answered_in_its_place() {
    let bodies: Vec<Vec<u8>> = [3_u64, 1, 2].iter().map(encode).collect();
    let double = |question: u64| async move { question * 2 };
    let answered = answer(Bytes::from(encode(&bodies)), double).await.unwrap();
    let answers: Vec<Vec<u8>> = decode(&answered).unwrap();
    let answers: Vec<u64> = answers.iter().map(|it| decode(it).unwrap()).collect();
    assert_eq!(answers, [6, 2, 4]);
}

#[tokio::test]
async fn bytes_that_are_no_questions_are_refused() {
    let echo = |question: u64| async move { question };
    for body in [vec![], encode(&7_u64), encode(&vec![vec![3_u8, 200]])] {
        let refused = answer(Bytes::from(body), echo).await;
        assert!(matches!(refused, Err(CallError::Refused(_))), "{refused:?}");
    }
    let many = vec![encode(&1_u64); POSTS_MAX + 1];
    let refused = answer(Bytes::from(encode(&many)), echo).await;
    assert!(matches!(refused, Err(CallError::Refused(_))), "{refused:?}");
}

#[test]
fn what_waits_goes_together_as_far_as_a_call_has_room() {
    let mut waiting = Waiting::default();
    let answers: Vec<_> = (0..=POSTS_MAX)
        .map(|_| {
            let (post, answered) = post(10);
            push(&mut waiting, post);
            answered
        })
        .collect();
    assert_eq!(take(&mut waiting).len(), POSTS_MAX);
    assert_eq!((take(&mut waiting).len(), waiting.bytes), (1, 0));
    drop(answers);
    let (large, _answered) = post(CALL_BYTES_MAX);
    let (small, _other) = post(1);
    push(&mut waiting, large);
    push(&mut waiting, small);
    assert_eq!((take(&mut waiting).len(), take(&mut waiting).len()), (1, 1));
}

#[test]
fn nothing_is_carried_for_those_who_gave_up() {
    let mut waiting = Waiting::default();
    let (given_up, _) = post(10);
    push(&mut waiting, given_up);
    assert_eq!((take(&mut waiting).len(), waiting.bytes), (0, 0));
}

#[test]
fn a_lane_is_bounded_and_says_so_at_once() {
    let mut waiting = Waiting::default();
    let (first, _answered) = post(LANE_BYTES_MAX);
    push(&mut waiting, first);
    let (second, mut refused) = post(1);
    push(&mut waiting, second);
    assert!(refused.try_recv().is_err_and(|it| it == oneshot::error::TryRecvError::Closed));
    assert_eq!(waiting.posts.len(), 1);
}
