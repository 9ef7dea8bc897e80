"""The web shop, in Python. sell.py BOOTSTRAP TOPIC COUNT"""

import json
import sys

from confluent_kafka import Producer

bootstrap, topic, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
producer = Producer({"bootstrap.servers": bootstrap})
for number in range(count):
    producer.produce(topic, key=f"shop-{number}", value=json.dumps({"from": "shop", "amount": 10}))
if producer.flush(60):
    sys.exit("not all orders were taken")
