"""Transactions of confluent-kafka (tests/clients/README.md)."""

import sys

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka import OFFSET_BEGINNING
import lines

FENCED = (KafkaError._FENCED, KafkaError.PRODUCER_FENCED, KafkaError.INVALID_PRODUCER_EPOCH)


def producer(bootstrap, name, **more):
    return Producer(
        {"bootstrap.servers": bootstrap, "transactional.id": name, "linger.ms": 5, "log_level": 2}
        | more
    )


def consumer(bootstrap, group):
    return Consumer(
        {"bootstrap.servers": bootstrap, "group.id": group, "enable.auto.commit": False}
        | {"auto.offset.reset": "earliest", "isolation.level": "read_committed"}
        | {"log_level": 2}
    )


def transact(bootstrap, name, group):
    failures = []
    out = producer(bootstrap, name)
    out.init_transactions(60)
    member_of_none = consumer(bootstrap, group)

    def delivered(error, _message):
        if error is not None:
            failures.append(error)

    def send(topic, *fields):
        timestamp, key, value, headers = lines.parsed(*fields)
        how = {"timestamp": timestamp, "headers": headers, "on_delivery": delivered}
        out.produce(topic, value, key, 0, **how)

    def flush():
        left = out.flush(60)
        if left or failures:
            raise KafkaException(failures[0] if failures else KafkaError._TIMED_OUT)

    def offset(topic, number):
        place = TopicPartition(topic, 0, int(number))
        out.send_offsets_to_transaction([place], member_of_none.consumer_group_metadata(), 60)

    def fenced(error):
        return isinstance(error, KafkaException) and error.args[0].code() in FENCED

    do = {"begin": out.begin_transaction, "send": send, "flush": flush, "offset": offset}
    do |= {"commit": out.commit_transaction, "abort": out.abort_transaction}
    lines.transact(do, fenced)


def until_done(call, *arguments):
    """What may be tried again is, as its documentation says."""
    while True:
        try:
            return call(*arguments)
        except KafkaException as error:
            if not error.args[0].retriable():
                raise
            print("again", error.args[0].name(), flush=True)


def rewind(reader):
    """Back to where the group is, for what was aborted to be read again."""
    for place in until_done(reader.committed, reader.assignment(), 10):
        place.offset = place.offset if place.offset >= 0 else OFFSET_BEGINNING
        reader.seek(place)


def process(bootstrap, source, target, group, name):
    told, done = lines.Told(), 0
    reader, out = consumer(bootstrap, group), producer(bootstrap, name)
    reader.subscribe([source])
    until_done(out.init_transactions, 60)
    while not told.stop.is_set():
        records = [it for it in reader.consume(40, timeout=0.1) if not it.error()]
        if not records:
            continue
        read = {it.partition(): it.offset() + 1 for it in records}
        try:
            out.begin_transaction()
            for it in records:
                at = it.timestamp()[1]
                out.produce(target, it.value(), it.key(), it.partition(), timestamp=at)
            out.flush(60)
            if not told.to_go_on(len(records)):
                break
            offsets = [TopicPartition(source, partition, read[partition]) for partition in read]
            group_metadata = reader.consumer_group_metadata()
            until_done(out.send_offsets_to_transaction, offsets, group_metadata, 30)
            until_done(out.commit_transaction, 30)
        except KafkaException as error:
            if error.args[0].fatal():
                sys.exit(f"cannot go on: {error}")
            print("aborted", error.args[0].name(), flush=True)
            until_done(out.abort_transaction, 30)
            rewind(reader)
            continue
        done += len(records)
        print("committed", done, flush=True)
    reader.close()
