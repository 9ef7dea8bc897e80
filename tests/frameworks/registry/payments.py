"""Writes and reads payments with Confluent's own serializers, whose schemas are in a registry; does what it is told line by line."""

import json
import sys

from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroDeserializer, AvroSerializer
from confluent_kafka.serialization import MessageField, SerializationContext

bootstrap, registry, topic = sys.argv[1:]
context = SerializationContext(topic, MessageField.VALUE)


def fields(version):
    """What a payment has in a version of its schema."""
    more = [{"name": f"note{n}", "type": "string", "default": f"none{n}"} for n in range(2, version + 1)]
    return [{"name": "id", "type": "long"}, {"name": "amount", "type": "long"}, *more]


def write(version, first, last):
    # A client of its own knows no schema yet, and asks.
    client = SchemaRegistryClient({"url": registry})
    schema = json.dumps({"type": "record", "name": "Payment", "fields": fields(version)})
    serializer = AvroSerializer(client, schema)
    producer = Producer({"bootstrap.servers": bootstrap, "enable.idempotence": True})
    failed = []
    for number in range(first, last + 1):
        payment = {"id": number, "amount": number * 100}
        payment |= {f"note{n}": f"{number} of {n}" for n in range(2, version + 1)}
        value = serializer(payment, context)
        producer.produce(topic, value, partition=0, on_delivery=lambda error, _: error and failed.append(error))
    producer.flush()
    assert not failed, failed
    return f"wrote {last - first + 1}"


def read(version, count):
    client = SchemaRegistryClient({"url": registry})
    schema = json.dumps({"type": "record", "name": "Payment", "fields": fields(version)})
    deserializer = AvroDeserializer(client, schema)
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "none", "enable.auto.commit": False})
    consumer.assign([TopicPartition(topic, 0, 0)])
    for _ in range(count):
        message = consumer.poll()
        assert not message.error(), message.error()
        # Its schema's id stands in front of it: a zero, and four bytes.
        ident = int.from_bytes(message.value()[1:5], "big")
        print(ident, json.dumps(deserializer(message.value(), context)), flush=True)
    consumer.close()
    return "read"


for line in sys.stdin:
    command, *numbers = line.split()
    print({"write": write, "read": read}[command](*map(int, numbers)), flush=True)
