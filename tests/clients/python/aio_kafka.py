"""aiokafka behind the commands of the matrix (tests/clients/README.md)."""

import asyncio
import sys

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRebalanceListener, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import KafkaError
from aio_kafka_transactions import process, transact
from lines import given, record, run, say, settings, show, told_to_stop


async def produce(bootstrap, topic, codec):
    producer = AIOKafkaProducer(
        bootstrap_servers=bootstrap,
        compression_type=None if codec == "none" else codec,
        enable_idempotence=True,
        linger_ms=20,
        max_request_size=1 << 20,
    )
    async with producer:
        sent = [
            await producer.send(topic, value, key, 0, timestamp, headers)
            for timestamp, key, value, headers in given()
        ]
        await asyncio.gather(*sent)


def reader(bootstrap, group=None, **more):
    return AIOKafkaConsumer(
        bootstrap_servers=bootstrap,
        group_id=group,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        fetch_max_wait_ms=100,
        **more,
    )


async def read(consumer, count):
    for _ in range(count):
        it = await asyncio.wait_for(consumer.getone(), 60)
        show(it.offset, it.timestamp, it.key, it.value, it.headers)


async def fetch(bootstrap, topic, count, *more):
    more = settings(more, isolation_level="isolation_level")
    async with reader(bootstrap, **more) as consumer:
        consumer.assign([TopicPartition(topic, 0)])
        await consumer.seek_to_beginning()
        await read(consumer, int(count))


async def at(bootstrap, topic, time):
    async with reader(bootstrap) as consumer:
        partition = TopicPartition(topic, 0)
        consumer.assign([partition])
        found = await consumer.offsets_for_times({partition: int(time)})
        consumer.seek(partition, found[partition].offset)
        await read(consumer, 1)


class Listener(ConsumerRebalanceListener):
    def on_partitions_assigned(self, assigned):
        say("assigned", [it.partition for it in assigned])

    def on_partitions_revoked(self, revoked):
        say("revoked", [it.partition for it in revoked])


async def consume(bootstrap, topic, group, *more):
    more = settings(more, group_instance_id="group_instance_id", session_timeout_ms="session")
    session = int(more.pop("session", 6000))
    stop = told_to_stop()
    consumer = reader(
        bootstrap, group, session_timeout_ms=session, heartbeat_interval_ms=300, **more
    )
    consumer.subscribe([topic], listener=Listener())
    async with consumer:
        while not stop.is_set():
            read = {}
            for partition, records in (await consumer.getmany(timeout_ms=100)).items():
                for it in records:
                    record(it.partition, it.offset, it.value)
                    read[partition] = it.offset + 1
            sys.stdout.flush()
            try:
                if read:
                    await consumer.commit(read)
            except KafkaError as error:
                print("error", repr(error), flush=True)


def code(answer):
    """Kafka's number of the first error of an answer about one topic, 0 for none."""
    told = answer.to_object()
    rows = next(rows for rows in told.values() if isinstance(rows, list))
    return rows[0]["error_code"]


async def retention(client, topic):
    (answer,) = await client.describe_configs([ConfigResource(ConfigResourceType.TOPIC, topic)])
    (resource,) = answer.to_object()["resources"]
    values = {it["config_names"]: it["config_value"] for it in resource["config_entries"]}
    return values["retention.ms"]


async def admin(bootstrap, topic, group):
    client = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await client.start()
    new = NewTopic(topic, 2, 3, topic_configs={"retention.ms": "5000"})
    print("create", code(await client.create_topics([new])))
    print("create again", code(await client.create_topics([new])))
    # Any broker may answer, and one that has not heard of the change yet answers as before it.
    while topic not in await client.list_topics():
        pass
    print("listed true")
    print("grow", code(await client.create_partitions({topic: NewPartitions(3)})))
    while len((await client.describe_topics([topic]))[0]["partitions"]) != 3:
        pass
    print("partitions 3")
    print("config", await retention(client, topic))
    change = ConfigResource(ConfigResourceType.TOPIC, topic, {"retention.ms": "7000"})
    (answer,) = await client.alter_configs([change])
    print("alter", code(answer))
    while await retention(client, topic) != "7000":
        pass
    print("altered 7000")
    print("delete", code(await client.delete_topics([topic])))
    print("delete again", code(await client.delete_topics([topic])))
    listed = await client.list_consumer_groups()
    print("groups", str(any(it[0] == group for it in listed)).lower())
    (described,) = await client.describe_consumer_groups([group])
    print("group", described.to_object()["groups"][0]["state"])
    offsets = await client.list_consumer_group_offsets(group)
    print("offset", offsets[TopicPartition(group, 0)].offset)
    await client.close()


def waiting(do):
    return lambda *arguments: asyncio.run(do(*arguments))


if __name__ == "__main__":
    commands = {"produce": produce, "fetch": fetch, "at": at, "consume": consume, "admin": admin}
    commands |= {"transact": transact, "process": process}
    run({name: waiting(do) for name, do in commands.items()})
