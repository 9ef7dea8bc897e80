"""Makes payments. pay.py BOOTSTRAP TOPIC COUNT"""

import json
import sys

from confluent_kafka import Producer

bootstrap, topic, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
producer = Producer({"bootstrap.servers": bootstrap, "enable.idempotence": True})
for number in range(count):
    payment = {"amount": number * 37 % 1000}
    producer.produce(topic, key=f"customer-{number}", value=json.dumps(payment))
sys.exit("not all were taken") if producer.flush(60) else print(f"{count} payments")
