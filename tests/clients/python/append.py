"""Appends with librdkafka (confluent-kafka), for what a stock producer can say with record headers.

append.py BOOTSTRAP [NAME=VALUE ...]    settings as the client names them

Standard input, fields between tabs: `TOPIC PARTITION KEY VALUE HEADER=VALUE...` hands a record to the producer
(partition `-`: the client chooses; value `-`: null), `flush` waits for all answers. Standard output: for each
record `NUMBER ok PARTITION OFFSET` or `NUMBER error CODE MESSAGE`, and `flushed`.
"""

import sys
import threading

from confluent_kafka import Producer


saying = threading.Lock()


def say(*words):
    with saying:
        print(*words, sep="\t", flush=True)


def main(bootstrap, *settings):
    producer = Producer(
        {"bootstrap.servers": bootstrap, "enable.idempotence": True, "log_level": 2}
        | dict(setting.split("=", 1) for setting in settings)
    )

    def answered(number):
        def told(error, message):
            if error is None:
                say(number, "ok", message.partition(), message.offset())
            else:
                say(number, "error", error.code(), error.str())

        return told

    def listen():
        while True:
            producer.poll(0.1)

    threading.Thread(target=listen, daemon=True).start()

    number = 0
    for line in sys.stdin:
        if line == "flush\n":
            left = producer.flush(120)
            say("flushed") if left == 0 else say("unanswered", left)
            continue
        topic, partition, key, value, *headers = line.rstrip("\n").split("\t")
        more = {} if partition == "-" else {"partition": int(partition)}
        headers = [tuple(header.split("=", 1)) for header in headers]
        value = None if value == "-" else value
        # A producer that has a fatal error says so here.
        producer.produce(topic, value, key, headers=headers, on_delivery=answered(number), **more)
        number += 1


if __name__ == "__main__":
    main(*sys.argv[1:])
