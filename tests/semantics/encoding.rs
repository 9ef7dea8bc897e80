//! The flexible encoding (KIP-482): fields that a newer client may add, and those that need not be written.

use crate::support::cluster::Cluster;
use crate::support::kafka::{API_VERSIONS, METADATA, NONE, topic_rows};
use crate::support::wire::{Encoder, Wire};

/// Two tagged fields that nobody here knows: tag 77 with three bytes, and tag 300 with none.
fn unknown(mut body: Encoder) -> Encoder {
    body.0.extend([2, 77, 3, b'n', b'e', b'w', 0xac, 0x02, 0]);
    body
}

#[test]
fn tagged_fields_that_nobody_knows_are_skipped_wherever_they_stand() {
    let cluster = Cluster::shared();
    cluster.create_topic("tagged", 1, 1);
    let mut wire = Wire::connect(cluster.broker(2).kafka);
    // Of the header, a topic, and the request.
    let body = unknown(Encoder::default()).count(1).id([0; 16]).text("tagged");
    let body = unknown(unknown(body).i8(0).i8(0));
    cluster.wait("the topic is known", || {
        let mut decoder = wire.call(METADATA, 12, &body);
        assert!(decoder.tagged().is_empty(), "of the answer's header");
        let topic = topic_rows(&mut decoder).remove(0);
        assert!(decoder.tagged().is_empty());
        decoder.end();
        assert_eq!(topic.name.as_deref(), Some("tagged"));
        (topic.error == NONE).then_some(())
    });
    let body = unknown(Encoder::default()).text("a-client").text("9.9");
    let mut decoder = wire.call(API_VERSIONS, 3, &unknown(body));
    assert_eq!(decoder.i16(), NONE);
    let announced = decoder.rows(|row| (row.i16(), row.i16(), row.i16())).unwrap();
    assert!(announced.contains(&(METADATA, 0, 13)), "{announced:?}");
    decoder.i32();
    decoder.tags();
    decoder.end();
}
