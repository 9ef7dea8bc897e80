"""confluent-kafka (librdkafka) behind the commands of the matrix (tests/clients/README.md)."""

import sys

from confluent_kafka import (
    Consumer,
    ConsumerGroupTopicPartitions,
    KafkaException,
    Producer,
    TopicPartition,
)
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewPartitions,
    NewTopic,
    ResourceType,
)
from librdkafka_transactions import process, transact
from lines import given, record, run, say, show, told_to_stop


def produce(bootstrap, topic, codec):
    producer = Producer(
        {"bootstrap.servers": bootstrap, "enable.idempotence": True, "linger.ms": 20}
        | {"compression.type": codec, "message.timeout.ms": 60000}
    )
    failures = []

    def delivered(error, _message):
        if error is not None:
            failures.append(str(error))

    for timestamp, key, value, headers in given():
        producer.produce(
            topic, value, key, 0, timestamp=timestamp, headers=headers, on_delivery=delivered
        )
    left = producer.flush(60)
    if left or failures:
        sys.exit(f"{left} unanswered, {len(failures)} failed: {failures[:3]}")


def reader(bootstrap, **more):
    return Consumer(
        {"bootstrap.servers": bootstrap, "group.id": "none", "enable.auto.commit": False}
        | {"auto.offset.reset": "earliest", "fetch.wait.max.ms": 100, "log_level": 2}
        | more
    )


def read(consumer, topic, offset, count):
    consumer.assign([TopicPartition(topic, 0, offset)])
    for left in range(count, 0, -1):
        message = consumer.poll(60)
        if message is None or message.error():
            sys.exit(f"{left} records did not come: {message and message.error()}")
        (_, timestamp), headers = message.timestamp(), message.headers()
        show(message.offset(), timestamp, message.key(), message.value(), headers)
    consumer.close()


def fetch(bootstrap, topic, count, *more):
    more = dict(setting.split("=", 1) for setting in more)
    read(reader(bootstrap, **more), topic, 0, int(count))


def at(bootstrap, topic, time):
    consumer = reader(bootstrap)
    (found,) = consumer.offsets_for_times([TopicPartition(topic, 0, int(time))], timeout=60)
    read(consumer, topic, found.offset, 1)


def consume(bootstrap, topic, group, *more):
    more = dict(setting.split("=", 1) for setting in more)
    # Where the coordinator assigns it also says how often it is to be told.
    if more.get("group.protocol") != "consumer":
        more = {"session.timeout.ms": 6000, "heartbeat.interval.ms": 300} | more
    consumer = reader(bootstrap, **{"group.id": group} | more)
    consumer.subscribe(
        [topic],
        on_assign=lambda _, partitions: say("assigned", [it.partition for it in partitions]),
        on_revoke=lambda _, partitions: say("revoked", [it.partition for it in partitions]),
        on_lost=lambda _, partitions: say("lost", [it.partition for it in partitions]),
    )
    stop = told_to_stop()
    while not stop.is_set():
        read = {}
        for message in consumer.consume(100, timeout=0.1):
            if message.error():
                print("error", message.error(), flush=True)
                continue
            record(message.partition(), message.offset(), message.value())
            read[message.partition()] = message.offset() + 1
        sys.stdout.flush()
        if read:
            offsets = [TopicPartition(topic, partition, read[partition]) for partition in read]
            try:
                consumer.commit(offsets=offsets, asynchronous=False)
            except KafkaException as error:
                print("error", error.args[0].name(), flush=True)
    consumer.close()


def outcome(future):
    """Kafka's number of the error, 0 for none."""
    try:
        future.result(60)
    except KafkaException as error:
        return error.args[0].code()
    return 0


def retention(client, topic):
    (shown,) = client.describe_configs([ConfigResource(ResourceType.TOPIC, topic)]).values()
    return shown.result(60)["retention.ms"].value


def admin(bootstrap, topic, group):
    client = AdminClient({"bootstrap.servers": bootstrap})
    new = NewTopic(topic, 2, 3, config={"retention.ms": "5000"})
    print("create", outcome(client.create_topics([new])[topic]))
    print("create again", outcome(client.create_topics([new])[topic]))
    # Any broker may answer, and one that has not heard of the change yet answers as before it.
    while topic not in client.list_topics(timeout=60).topics:
        pass
    print("listed true")
    print("grow", outcome(client.create_partitions([NewPartitions(topic, 3)])[topic]))
    while len(client.list_topics(topic, timeout=60).topics[topic].partitions) != 3:
        pass
    print("partitions 3")
    print("config", retention(client, topic))
    change = ConfigEntry("retention.ms", "7000", incremental_operation=AlterConfigOpType.SET)
    change = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=[change])
    print("alter", outcome(client.incremental_alter_configs([change])[change]))
    while retention(client, topic) != "7000":
        pass
    print("altered 7000")
    print("delete", outcome(client.delete_topics([topic])[topic]))
    print("delete again", outcome(client.delete_topics([topic])[topic]))
    listed = client.list_consumer_groups().result(60).valid
    print("groups", str(any(it.group_id == group for it in listed)).lower())
    described = client.describe_consumer_groups([group])[group].result(60)
    print("group", described.state.name.capitalize())
    one = ConsumerGroupTopicPartitions(group)
    offsets = client.list_consumer_group_offsets([one])[group].result(60).topic_partitions
    print("offset", *[it.offset for it in offsets if (it.topic, it.partition) == (group, 0)])
    print("delete group", outcome(client.delete_consumer_groups([group])[group]))
    print("delete group again", outcome(client.delete_consumer_groups([group])[group]))


if __name__ == "__main__":
    commands = {"produce": produce, "fetch": fetch, "at": at, "consume": consume, "admin": admin}
    run(commands | {"transact": transact, "process": process})
