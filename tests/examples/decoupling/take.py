"""A department that takes orders, whoever sends them. take.py BOOTSTRAP TOPIC DEPARTMENT COUNT

Each department is a group of its own, so each gets all orders, at its own pace, from where it was.
"""

import json
import sys
from collections import Counter

from confluent_kafka import Consumer

bootstrap, topic, department, count = sys.argv[1:]
consumer = Consumer({
    "bootstrap.servers": bootstrap,
    "group.id": department,
    "auto.offset.reset": "earliest",
    "enable.auto.commit": False,
})
consumer.subscribe([topic])
amounts = Counter()
for _ in range(int(count)):
    message = None
    while message is None:
        message = consumer.poll(1)
    if message.error():
        sys.exit(str(message.error()))
    order = json.loads(message.value())
    amounts[order["from"]] += order["amount"]
consumer.commit(asynchronous=False)
consumer.close()
print(f"{department}: " + ", ".join(f"{source} {amount}" for source, amount in sorted(amounts.items())))
