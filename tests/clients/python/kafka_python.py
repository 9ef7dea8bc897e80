"""kafka-python behind the commands of the matrix (tests/clients/README.md)."""

import sys

from kafka import ConsumerRebalanceListener, KafkaAdminClient, KafkaConsumer, KafkaProducer
from kafka import OffsetAndMetadata, TopicPartition
from kafka.admin import ConfigResource
from kafka.errors import BrokerResponseError, CommitFailedError
from kafka_python_transactions import transact
from lines import given, record, run, say, settings, show, told_to_stop


def produce(bootstrap, topic, codec):
    producer = KafkaProducer(  # idempotent by default
        bootstrap_servers=bootstrap.split(","),
        compression_type=None if codec == "none" else codec,
        linger_ms=20,
    )
    sent = [
        producer.send(topic, value, key, headers, 0, timestamp)
        for timestamp, key, value, headers in given()
    ]
    for it in sent:
        it.get(60)
    producer.close()


def reader(bootstrap, group=None, **more):
    return KafkaConsumer(
        bootstrap_servers=bootstrap.split(","),
        group_id=group,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        fetch_max_wait_ms=100,
        **more,
    )


def read(consumer, count):
    left = count
    while left:
        came = consumer.poll(60000, max_records=left)
        if not came:
            sys.exit(f"{left} records did not come")
        for it in came[TopicPartition(consumer_topic(consumer), 0)]:
            show(it.offset, it.timestamp, it.key, it.value, it.headers)
            left -= 1
    consumer.close()


def consumer_topic(consumer):
    (partition,) = consumer.assignment()
    return partition.topic


def fetch(bootstrap, topic, count, *more):
    consumer = reader(bootstrap, **settings(more, isolation_level="isolation_level"))
    consumer.assign([TopicPartition(topic, 0)])
    consumer.seek_to_beginning()
    read(consumer, int(count))


def at(bootstrap, topic, time):
    consumer, partition = reader(bootstrap), TopicPartition(topic, 0)
    consumer.assign([partition])
    consumer.seek(partition, consumer.offsets_for_times({partition: int(time)})[partition].offset)
    read(consumer, 1)


class Listener(ConsumerRebalanceListener):
    def on_partitions_assigned(self, assigned):
        say("assigned", [it.partition for it in assigned])

    def on_partitions_revoked(self, revoked):
        say("revoked", [it.partition for it in revoked])

    def on_partitions_lost(self, lost):
        say("lost", [it.partition for it in lost])


def consume(bootstrap, topic, group, *more):
    more = settings(more, group_instance_id="group_instance_id", session_timeout_ms="session")
    session = int(more.pop("session", 6000))
    consumer = reader(bootstrap, group, session_timeout_ms=session, heartbeat_interval_ms=300, **more)
    consumer.subscribe([topic], listener=Listener())
    stop = told_to_stop()
    while not stop.is_set():
        read = {}
        for partition, records in consumer.poll(100).items():
            for it in records:
                record(it.partition, it.offset, it.value)
                read[partition] = OffsetAndMetadata(it.offset + 1, "", -1)
        sys.stdout.flush()
        try:
            if read:
                consumer.commit(read)
        except (CommitFailedError, BrokerResponseError) as error:
            print("error", repr(error), flush=True)
    consumer.close()


def code(do, *arguments, **named):
    """Kafka's number of the error, 0 for none."""
    try:
        do(*arguments, **named)
    except BrokerResponseError as error:
        return error.errno
    return 0


def retention(client, topic):
    wanted = ConfigResource("topic", topic, {"retention.ms": None})
    shown = client.describe_configs([wanted], config_filter="all")
    return shown["topic"][topic]["retention.ms"]["value"]


def delete_group(client, group):
    said = client.delete_groups([group])[group]
    return {"OK": 0, "GroupIdNotFoundError": 69}.get(said, said)


def admin(bootstrap, topic, group):
    client = KafkaAdminClient(bootstrap_servers=bootstrap.split(","))
    wanted = {"num_partitions": 2, "replication_factor": 3, "configs": {"retention.ms": "5000"}}
    print("create", code(client.create_topics, {topic: wanted}))
    print("create again", code(client.create_topics, {topic: wanted}))
    # Any broker may answer, and one that has not heard of the change yet answers as before it.
    while topic not in client.list_topics():
        pass
    print("listed true")
    print("grow", code(client.create_partitions, {topic: 3}))
    while len(client.describe_topics([topic])[0]["partitions"]) != 3:
        pass
    print("partitions 3")
    print("config", retention(client, topic))
    change = ConfigResource("topic", topic, {"retention.ms": "7000"})
    print("alter", code(client.alter_configs, [change]))
    while retention(client, topic) != "7000":
        pass
    print("altered 7000")
    print("delete", code(client.delete_topics, [topic]))
    print("delete again", code(client.delete_topics, [topic]))
    print("groups", str(any(it["group_id"] == group for it in client.list_groups())).lower())
    print("group", client.describe_groups([group])[group]["group_state"])
    print("offset", client.list_group_offsets(group)[group][TopicPartition(group, 0)].offset)
    print("delete group", delete_group(client, group))
    print("delete group again", delete_group(client, group))


if __name__ == "__main__":
    commands = {"produce": produce, "fetch": fetch, "at": at, "consume": consume, "admin": admin}
    run(commands | {"transact": transact})
