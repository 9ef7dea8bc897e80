use super::broker::{Broker, records};
use crate::partition::command::{Times, append_payload};

const DAY_MS: i64 = 86_400_000;
/// More than are kept in memory, and enough that a checkpoint is due for them alone.
const PRODUCERS: i64 = 6000;

/// Each producer writes its first batch.
async fn all_write(broker: &Broker) {
    let mut pending = Vec::new();
    for id in 0..PRODUCERS {
        pending.push(broker.propose(&records(1, 5, 10).producer(id, 0, 0)).await);
    }
    for pending in pending {
        pending.await.unwrap();
    }
}

/// As if the leader had been in office for so long.
async fn led_for(broker: &Broker, log_ms: i64) {
    let batch = records(1, 5, 10).build();
    let payload = append_payload(Times { wall_ms: 0, log_ms }, [&batch[..]]);
    let term = broker.partition.fence().unwrap();
    broker.partition.propose(payload, term).await.unwrap().await.unwrap();
}

#[tokio::test]
async fn producers_that_memory_has_forgotten_are_known_also_after_a_restart() {
    let mut broker = Broker::start().await;
    all_write(&broker).await;
    for round in 0..2 {
        assert!(!broker.partition.group().machine().knows_producer(3), "round {round}");
        let again = broker.append(&records(1, 5, 10).producer(3, 0, 0)).await;
        assert_eq!(again.base_offset, 3, "round {round}");
        broker = broker.restart().await;
    }
    assert_eq!(broker.partition.summary().producers, PRODUCERS.unsigned_abs());
}

#[tokio::test]
async fn producers_that_are_forgotten_give_their_places_back() {
    let broker = Broker::start().await;
    all_write(&broker).await;
    assert_eq!(broker.partition.forget().await.unwrap(), 0, "all wrote just now");
    led_for(&broker, 2 * DAY_MS).await;
    assert_eq!(broker.partition.forget().await.unwrap(), PRODUCERS as usize);
    assert_eq!(broker.partition.summary().producers, 0);
    assert_eq!(
        broker.append(&records(1, 5, 10).producer(3, 0, 0)).await.base_offset,
        PRODUCERS + 1,
        "a new producer"
    );
}
