"""Puts orders into a queue. send.py BOOTSTRAP TOPIC COUNT"""

import sys

from confluent_kafka import Producer

bootstrap, topic, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
producer = Producer({"bootstrap.servers": bootstrap})
failures = []


def answered(error, _):
    if error is not None:
        failures.append(error)


for number in range(1, count + 1):
    # Orders of one customer stay in their order, as they have one key.
    producer.produce(topic, key=f"customer-{number % 5}", value=f"order {number}", on_delivery=answered)
    producer.poll(0)
producer.flush()
if failures:
    sys.exit(f"{len(failures)} orders were not taken: {failures[0]}")
print(f"{count} orders are stored on a majority of their replicas")
