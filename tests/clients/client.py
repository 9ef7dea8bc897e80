"""A Kafka client for the tests: confluent-kafka (librdkafka) behind a few commands.

write BOOTSTRAP TOPIC CODEC FILE     each line `key TAB value` of FILE to partition 0, acks=all
read BOOTSTRAP TOPIC COUNT FILE      COUNT records of partition 0 as lines `offset TAB key TAB value`
admin BOOTSTRAP TOPIC                the life of a topic through the admin client; prints what it saw
consume BOOTSTRAP TOPIC GROUP [NAME=VALUE ...]
                                     subscribes until standard input ends, then leaves; prints
                                     `assigned 0,1`, `revoked 0`, `record PARTITION OFFSET VALUE` and,
                                     once it is committed, `committed PARTITION OFFSET`
groups BOOTSTRAP TOPIC GROUP         the life of a group through the admin client; prints what it saw
load BOOTSTRAP TOPIC PARTITIONS      numbered records round robin until standard input ends; each
                                     acknowledged one is printed as `partition offset number`
"""

import json
import sys
import threading

from confluent_kafka import (
    Consumer,
    ConsumerGroupTopicPartitions,
    KafkaError,
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
    OffsetSpec,
    ResourceType,
)


def producer(bootstrap, **more):
    settings = {"bootstrap.servers": bootstrap, "enable.idempotence": True, "linger.ms": 5}
    settings |= {"log_level": 2}  # lost connections are what the tests are about
    return Producer(settings | {"message.timeout.ms": 120000} | more)


def write(bootstrap, topic, codec, path):
    sender = producer(bootstrap, **{"compression.type": codec})
    failures = []

    def delivered(error, _message):
        if error is not None:
            failures.append(str(error))

    with open(path, encoding="utf-8") as lines:
        for line in lines:
            key, value = line.rstrip("\n").split("\t")
            while True:
                try:
                    sender.produce(topic, value, key, partition=0, on_delivery=delivered)
                    break
                except BufferError:
                    sender.poll(0.1)
            sender.poll(0)
    left = sender.flush(120)
    if left or failures:
        sys.exit(f"{left} unanswered, {len(failures)} failed: {failures[:3]}")


def read(bootstrap, topic, count, path):
    consumer = Consumer(
        {"bootstrap.servers": bootstrap, "group.id": "none", "enable.auto.commit": False}
        | {"auto.offset.reset": "error", "fetch.wait.max.ms": 100}
    )
    consumer.assign([TopicPartition(topic, 0, 0)])
    left = int(count)
    with open(path, "w", encoding="utf-8") as out:
        while left:
            batch = consumer.consume(min(left, 10000), timeout=60)
            if not batch:
                sys.exit(f"{left} records did not come")
            for message in batch:
                if message.error():
                    sys.exit(str(message.error()))
                key, value = message.key().decode(), message.value().decode()
                out.write(f"{message.offset()}\t{key}\t{value}\n")
            left -= len(batch)
    consumer.close()


def outcome(futures):
    """The name of the error of the only future, or its result."""
    (future,) = futures.values()
    try:
        return future.result(timeout=60)
    except KafkaException as error:
        return error.args[0].name()


def in_force(client, topic, name, expected):
    """Any broker may answer, and one that has not heard of the change yet answers the former value."""
    value = None
    while value != expected:
        shown = outcome(client.describe_configs([ConfigResource(ResourceType.TOPIC, topic)]))
        value = shown[name].value
    return value


def admin(bootstrap, topic):
    client = AdminClient({"bootstrap.servers": bootstrap})
    seen = {}
    new = NewTopic(topic, num_partitions=2, replication_factor=3, config={"retention.ms": "5000"})
    seen["create"] = outcome(client.create_topics([new]))
    seen["create again"] = outcome(client.create_topics([new]))
    wide = NewTopic(topic + "-wide", num_partitions=1, replication_factor=9)
    seen["create wide"] = outcome(client.create_topics([wide]))
    bad = NewTopic(topic + "-bad", num_partitions=1, config={"retention.ms": "soon"})
    seen["create bad config"] = outcome(client.create_topics([bad]))
    seen["grow"] = outcome(client.create_partitions([NewPartitions(topic, 3)]))
    seen["shrink"] = outcome(client.create_partitions([NewPartitions(topic, 1)]))
    configs = outcome(client.describe_configs([ConfigResource(ResourceType.TOPIC, topic)]))
    seen["configs"] = {name: entry.value for name, entry in configs.items()}
    single = ConfigEntry("retention.ms", "7000", incremental_operation=AlterConfigOpType.SET)
    single = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=[single])
    seen["alter"] = outcome(client.incremental_alter_configs([single]))
    seen["altered"] = in_force(client, topic, "retention.ms", "7000")
    whole = ConfigResource(ResourceType.TOPIC, topic, set_config={"retention.bytes": "900000"})
    seen["replace"] = outcome(client.alter_configs([whole]))
    seen["replaced"] = in_force(client, topic, "retention.bytes", "900000")
    seen["back"] = in_force(client, topic, "retention.ms", "604800000")
    whole = ConfigResource(ResourceType.TOPIC, topic, set_config={"retention.bytes": "lots"})
    seen["replace bad"] = outcome(client.alter_configs([whole]))
    sender = producer(bootstrap)
    for n in range(10):
        sender.produce(topic, str(n), partition=0)
    seen["unsent"] = sender.flush(60)
    known = client.list_topics(timeout=30)
    seen["brokers"] = sorted(known.brokers)
    seen["replicas"] = [len(p.replicas) for p in known.topics[topic].partitions.values()]
    first = TopicPartition(topic, 0)
    cut = outcome(client.delete_records([TopicPartition(topic, 0, 4)]))
    seen["low watermark"] = getattr(cut, "low_watermark", cut)
    for name, spec in (("earliest", OffsetSpec.earliest()), ("latest", OffsetSpec.latest())):
        seen[name] = outcome(client.list_offsets({first: spec})).offset
    seen["delete"] = outcome(client.delete_topics([topic]))
    seen["delete again"] = outcome(client.delete_topics([topic]))
    print(json.dumps(seen))


def told_to_stop():
    """An event that is set when standard input ends."""
    stop = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), stop.set()), daemon=True).start()
    return stop


def say(word, partitions):
    print(word, ",".join(str(it.partition) for it in sorted(partitions)), flush=True)


def consume(bootstrap, topic, group, *settings):
    more = dict(setting.split("=", 1) for setting in settings)
    # Where the coordinator assigns it also says how often it is to be told.
    classic = {"session.timeout.ms": 6000, "heartbeat.interval.ms": 300}
    consumer = Consumer(
        {"bootstrap.servers": bootstrap, "group.id": group, "enable.auto.commit": False}
        | {"auto.offset.reset": "earliest", "fetch.wait.max.ms": 100, "log_level": 2}
        | (classic if more.get("group.protocol") != "consumer" else {})
        | more
    )
    consumer.subscribe(
        [topic],
        on_assign=lambda _, partitions: say("assigned", partitions),
        on_revoke=lambda _, partitions: say("revoked", partitions),
        on_lost=lambda _, partitions: say("lost", partitions),
    )
    stop = told_to_stop()
    while not stop.is_set():
        read = {}
        for message in consumer.consume(100, timeout=0.1):
            if message.error():
                print("error", message.error(), flush=True)
                continue
            print("record", message.partition(), message.offset(), message.value().decode())
            read[message.partition()] = message.offset() + 1
        if read:
            offsets = [TopicPartition(topic, partition, read[partition]) for partition in read]
            try:
                for done in consumer.commit(offsets=offsets, asynchronous=False):
                    word = "error" if done.error else "committed"
                    print(word, done.partition, done.offset, done.error or "")
            except KafkaException as error:
                print("error", error.args[0].name())
        sys.stdout.flush()
    consumer.close()


def groups(bootstrap, topic, group):
    client = AdminClient({"bootstrap.servers": bootstrap})
    seen = {}
    client.create_topics([NewTopic(topic, num_partitions=2)])[topic].result(60)
    offsets = [TopicPartition(topic, 0, 7, "note"), TopicPartition(topic, 1, 8)]

    def told(kind, future):
        try:
            return kind(future.result(60))
        except KafkaException as error:
            return error.args[0].name()

    def committed(result):
        def of(it):
            return it.error.name() if it.error else (it.offset, it.metadata)

        return [of(it) for it in sorted(result.topic_partitions)]

    def alter():
        wanted = ConsumerGroupTopicPartitions(group, offsets)
        return client.alter_consumer_group_offsets([wanted])[group]

    def listed():
        result = client.list_consumer_groups().result(60)
        return [(it.group_id, it.state.name) for it in result.valid if it.group_id == group]

    def described(result):
        return (result.state.name, len(result.members), result.partition_assignor)

    one = ConsumerGroupTopicPartitions(group)
    seen["alter"] = told(committed, alter())
    seen["offsets"] = told(committed, client.list_consumer_group_offsets([one])[group])
    seen["list"] = listed()
    seen["describe"] = told(described, client.describe_consumer_groups([group])[group])
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": group})
    consumer.subscribe([topic])
    while not consumer.assignment():
        consumer.poll(0.1)
    seen["living"] = told(described, client.describe_consumer_groups([group])[group])
    seen["delete living"] = told(str, client.delete_consumer_groups([group])[group])
    seen["alter living"] = told(committed, alter())
    consumer.close()
    seen["delete"] = told(str, client.delete_consumer_groups([group])[group])
    seen["delete again"] = told(str, client.delete_consumer_groups([group])[group])
    seen["list deleted"] = listed()
    seen["offsets deleted"] = told(committed, client.list_consumer_group_offsets([one])[group])
    print(json.dumps(seen))


def load(bootstrap, topic, partitions):
    sender = producer(bootstrap)
    stop = told_to_stop()

    def delivered(error, message):
        if error is None:
            print(message.partition(), message.offset(), message.value().decode(), flush=False)
        else:
            print("failed", message.value().decode(), error, flush=True)

    number = 0
    while not stop.is_set():
        try:
            sender.produce(
                topic, str(number), partition=number % int(partitions), on_delivery=delivered
            )
            number += 1
        except BufferError:
            sender.poll(0.1)
        sender.poll(0.001 if number % 10 == 0 else 0)
    left = sender.flush(120)
    sys.stdout.flush()
    if left:
        sys.exit(f"{left} unanswered")


if __name__ == "__main__":
    commands = {"write": write, "read": read, "admin": admin, "load": load}
    commands |= {"consume": consume, "groups": groups}
    commands[sys.argv[1]](*sys.argv[2:])
