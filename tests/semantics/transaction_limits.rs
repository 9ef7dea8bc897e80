//! What one request may name of transactions, and how long lists of them come in pages.

use super::create_on_first;
use crate::support::cluster::Cluster;
use crate::support::kafka::{INVALID_REQUEST, NONE};
use crate::support::transactions::{ADD_PARTITIONS, Producer, begin};
use crate::support::wire::{Encoder, Wire};

/// Partitions that a transaction has at most.
const PARTITIONS_MAX: usize = 20_000;

/// AddPartitionsToTxn version 5 of producers, each with partition 0 so many times: the errors of each.
fn add_all(wire: &mut Wire, topic: &str, named: &[(&Producer, usize)]) -> Vec<Vec<i16>> {
    let body = named.iter().fold(Encoder::default().count(named.len()), |body, (it, times)| {
        let body = body.text(&it.id).i64(it.producer).i16(it.epoch).i8(0);
        let body = body.count(1).text(topic).count(*times);
        (0..*times).fold(body, |body, _| body.i32(0)).zero().zero()
    });
    let mut decoder = wire.call_flexible(ADD_PARTITIONS, 5, body);
    assert_eq!((decoder.i32(), decoder.i16()), (0, NONE));
    let transactions = decoder.rows(|decoder| {
        decoder.text();
        let topics = decoder.rows(|decoder| {
            decoder.text();
            decoder.rows(|decoder| (decoder.i32(), decoder.i16())).unwrap()
        });
        topics.unwrap().into_iter().flatten().map(|(_, error)| error).collect()
    });
    transactions.unwrap()
}

#[test]
fn no_more_partitions_are_named_than_a_transaction_may_have_in_either_form() {
    let (cluster, topic) = (Cluster::shared(), "tx-many-named");
    create_on_first(&cluster, topic, 1);
    let (mut wire, producer) = begin(&cluster, topic);
    let one_more = vec![0; PARTITIONS_MAX + 1];
    let refused = vec![INVALID_REQUEST; PARTITIONS_MAX + 1];
    assert_eq!(producer.add(&mut wire, topic, &one_more), refused);
    let told = add_all(&mut wire, topic, &[(&producer, PARTITIONS_MAX + 1), (&producer, 1)]);
    assert_eq!(told, [refused, vec![NONE]], "each transaction by itself");
    // One partition, however often it is named.
    let most = vec![NONE; PARTITIONS_MAX];
    assert_eq!(producer.add(&mut wire, topic, &one_more[1..]), most);
    assert_eq!(add_all(&mut wire, topic, &[(&producer, PARTITIONS_MAX)]), [most]);
    assert_eq!(producer.end(&mut wire, false), NONE);
}

/// Which coordinator an id is at home in.
fn home(id: &str) -> u32 {
    let hash = id.bytes().fold(0_i32, |hash, it| hash.wrapping_mul(31).wrapping_add(it.into()));
    (hash & i32::MAX) as u32 % 32
}

#[test]
fn the_ids_of_one_coordinator_are_listed_in_pages_each_once() {
    let cluster = Cluster::shared();
    let ids = (0..1_000).map(|number| format!("tx-paged-{number:03}"));
    let ids: Vec<String> = ids.filter(|id| home(id) == home("tx-paged-000")).take(5).collect();
    ids.iter().for_each(|id| drop(begin(&cluster, id)));
    for broker in cluster.brokers() {
        let (mut found, mut after) = (Vec::new(), Some("tx-paged-".to_owned()));
        while let Some(from) = after.filter(|it| it.starts_with("tx-paged-")) {
            let path = format!("/v1/transactions?limit=2&after={from}");
            let page = broker.get(&path).unwrap().ok();
            let rows = page["transactions"].as_array().unwrap();
            assert!(rows.len() <= 2, "{page}");
            found.extend(rows.iter().map(|it| it["transactional_id"].as_str().unwrap().to_owned()));
            after = page["next"].as_str().map(str::to_owned);
        }
        // Behind them come those of other tests.
        found.truncate(ids.len());
        assert_eq!(found, ids, "asked of broker {}", broker.id);
    }
}
