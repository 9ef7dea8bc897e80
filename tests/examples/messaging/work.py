"""Works on orders until the queue is empty. work.py BOOTSTRAP TOPIC GROUP [DIES_AFTER]

As many workers of one group as there are partitions share the queue. With a number it dies after so many orders, and has
not said that it did the last.
"""

import os
import sys

from confluent_kafka import Consumer, KafkaError

bootstrap, topic, group, *dies_after = sys.argv[1:]
consumer = Consumer({
    "bootstrap.servers": bootstrap,
    "group.id": group,
    "auto.offset.reset": "earliest",
    "enable.auto.commit": False,
    "enable.partition.eof": True,
    "session.timeout.ms": 6000,
})
empty, done = set(), 0


def assigned(_, partitions):
    global mine
    mine = {it.partition for it in partitions}
    empty.clear()


mine = None
consumer.subscribe([topic], on_assign=assigned)
while mine is None or not mine <= empty:
    message = consumer.poll(1)
    if message is None:
        continue
    if message.error():
        if message.error().code() != KafkaError._PARTITION_EOF:
            sys.exit(str(message.error()))
        empty.add(message.partition())
        continue
    print(message.value().decode(), flush=True)
    done += 1
    if dies_after and done == int(dies_after[0]):
        os._exit(1)
    # Done: nobody of the group gets it again.
    consumer.commit(message, asynchronous=False)
consumer.close()
