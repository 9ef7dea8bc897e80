"""Reads payments and writes an alert for each large one, exactly once. alert.py BOOTSTRAP SOURCE TARGET [DIES_IN]

Alerts and the position up to which payments were read are one transaction: both are there or neither. With a number it dies
in the middle of that transaction, when the alerts of it are written and it is not committed.
"""

import json
import os
import sys

from confluent_kafka import Consumer, Producer, TopicPartition

LARGE = 900
PAYMENTS = 50

bootstrap, source, target, *dies_in = sys.argv[1:]
consumer = Consumer({
    "bootstrap.servers": bootstrap,
    "group.id": "alerts",
    "auto.offset.reset": "earliest",
    "enable.auto.commit": False,
    "isolation.level": "read_committed",
    "enable.partition.eof": True,
    "session.timeout.ms": 6000,
})
# Who comes next with this id ends what its predecessor has left open.
producer = Producer({"bootstrap.servers": bootstrap, "transactional.id": "alerts"})
producer.init_transactions()
consumer.subscribe([source])

transactions, at_end = 0, False
while not at_end:
    payments = []
    while len(payments) < PAYMENTS and not at_end:
        message = consumer.poll(1)
        if message is not None and message.error():
            at_end = True
        elif message is not None:
            payments.append(message)
    if not payments:
        break
    transactions += 1
    producer.begin_transaction()
    for payment in payments:
        amount = json.loads(payment.value())["amount"]
        if amount >= LARGE:
            producer.produce(target, key=payment.key(), value=f"{payment.key().decode()} pays {amount}")
    producer.flush()
    if dies_in and transactions == int(dies_in[0]):
        os._exit(1)
    position = TopicPartition(source, 0, payments[-1].offset() + 1)
    producer.send_offsets_to_transaction([position], consumer.consumer_group_metadata())
    producer.commit_transaction()
print(f"{transactions} transactions committed")
consumer.close()
