"""Transactions of kafka-python (tests/clients/README.md)."""

from kafka import KafkaProducer, OffsetAndMetadata, TopicPartition
from kafka.errors import InvalidProducerEpochError, ProducerFencedError
import lines


def producer(bootstrap, name):
    out = KafkaProducer(bootstrap_servers=bootstrap.split(","), transactional_id=name, linger_ms=5)
    out.init_transactions()
    return out


def transact(bootstrap, name, group):
    out, sent = producer(bootstrap, name), []

    def send(topic, *fields):
        timestamp, key, value, headers = lines.parsed(*fields)
        sent.append(out.send(topic, value, key, headers, 0, timestamp))

    def flush():
        out.flush(60)
        for it in sent:
            it.get(60)
        sent.clear()

    def offset(topic, number):
        place = {TopicPartition(topic, 0): OffsetAndMetadata(int(number), "", -1)}
        out.send_offsets_to_transaction(place, group)

    def fenced(error):
        chain = (error, error.__cause__, error.__context__, *error.args)
        return any(isinstance(it, (ProducerFencedError, InvalidProducerEpochError)) for it in chain)

    do = {"begin": out.begin_transaction, "send": send, "flush": flush, "offset": offset}
    do |= {"commit": out.commit_transaction, "abort": out.abort_transaction}
    lines.transact(do, fenced)
