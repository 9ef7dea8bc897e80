//! ACLs: there is no authorizer, which is what a Kafka without one says too, and what its clients are prepared for. An API
//! that is not there at all they take for a fault.

use crate::support::cluster::Cluster;
use crate::support::wire::{Decoder, Encoder, Wire};

const DESCRIBE_ACLS: i16 = 29;
const CREATE_ACLS: i16 = 30;
const DELETE_ACLS: i16 = 31;
const SECURITY_DISABLED: i16 = 54;

/// Any resource's ACL: its kind and name, how the name is meant, whose, from where, what may be done, and whether.
fn filter(body: Encoder) -> Encoder {
    body.i8(1).null().i8(1).null().null().i8(1).i8(1)
}

/// That everybody may read a topic.
fn acl(body: Encoder) -> Encoder {
    body.i8(2).string("orders").i8(3).string("User:*").string("*").i8(3).i8(3)
}

fn refusal(decoder: &mut Decoder) -> (i16, bool) {
    (decoder.i16(), decoder.string().is_some())
}

/// DescribeAcls, CreateAcls and DeleteAcls.
#[test]
fn who_asks_for_acls_is_told_that_there_is_no_authorizer() {
    let cluster = Cluster::shared();
    let mut wire = Wire::connect(cluster.broker(2).kafka);
    let refused = (SECURITY_DISABLED, true);

    let mut answer = wire.call(DESCRIBE_ACLS, 1, &filter(Encoder::default()));
    assert_eq!((answer.i32(), refusal(&mut answer), answer.i32()), (0, refused, 0));
    answer.end();

    let mut answer = wire.call(CREATE_ACLS, 1, &acl(acl(Encoder::default().i32(2))));
    assert_eq!((answer.i32(), answer.list(refusal)), (0, vec![refused; 2]));
    answer.end();

    let mut answer = wire.call(DELETE_ACLS, 1, &filter(Encoder::default().i32(1)));
    let row = |answer: &mut Decoder| (refusal(answer), answer.i32());
    assert_eq!((answer.i32(), answer.list(row)), (0, vec![(refused, 0)]));
    answer.end();
}

#[test]
fn the_flexible_versions_say_the_same() {
    let cluster = Cluster::shared();
    let mut wire = Wire::connect(cluster.broker(1).kafka);
    // A nullable text that is null is a zero, and so is an end without tags, which the call adds.
    let body = Encoder::default().i8(1).zero().i8(1).zero().zero().i8(1).i8(1);
    let mut answer = wire.call_flexible(DESCRIBE_ACLS, 3, body);
    assert_eq!((answer.i32(), answer.i16()), (0, SECURITY_DISABLED));
    assert!(answer.text().is_some());
    assert_eq!(answer.rows(Decoder::i32), Some(Vec::new()));
    answer.tags();
    answer.end();
}
