//! What is listed of a coordinator's ids.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn of_each_coordinator_no_more_is_listed_than_is_asked_for_and_that_is_what_is_wanted() {
    let scene = Scene::start().await;
    let first = "id-000".to_owned();
    let ids = (0..1_000).map(|number| format!("id-{number:03}"));
    let ids: Vec<String> = ids.filter(|id| home(id) == home(&first)).take(5).collect();
    for (id, fresh_id) in ids.iter().zip(500..) {
        scene.init(id, fresh_id).await;
    }
    let listed = async |max: usize, wanted: fn(&TransactionDescription) -> bool| {
        let listed = again(async || scene.transactions().list(max, &wanted).await).await;
        listed.into_iter().map(|it| it.transactional_id).collect::<Vec<_>>()
    };
    assert_eq!(ids.len(), 5);
    assert_eq!(listed(usize::MAX, |_| true).await, ids);
    assert_eq!(listed(3, |_| true).await, ids[..3]);
    assert_eq!(listed(2, |it| it.producer_id > 501).await, ids[2..4]);
    scene.broker.stop().await;
}
