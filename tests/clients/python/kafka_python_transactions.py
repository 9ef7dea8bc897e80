"""Transactions of kafka-python (tests/clients/README.md)."""

from kafka import KafkaConsumer, KafkaProducer, OffsetAndMetadata, TopicPartition
from kafka.errors import InvalidProducerEpochError, KafkaError, ProducerFencedError
import lines


def producer(bootstrap, name):
    out = KafkaProducer(
        bootstrap_servers=bootstrap.split(","), transactional_id=name, linger_ms=5
    )
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


def rewind(reader):
    """Back to where the group is, for what was aborted to be read again."""
    for partition in reader.assignment():
        committed = reader.committed(partition)
        if committed is None:
            reader.seek_to_beginning(partition)
        else:
            reader.seek(partition, committed)


def process(bootstrap, source, target, group, name):
    told, done = lines.Told(), 0
    out = producer(bootstrap, name)
    reader = KafkaConsumer(
        source,
        bootstrap_servers=bootstrap.split(","),
        group_id=group,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        isolation_level="read_committed",
        max_poll_records=40,
    )
    while not told.stop.is_set():
        records = [it for some in reader.poll(100).values() for it in some]
        if not records:
            continue
        read = {TopicPartition(source, it.partition): it.offset + 1 for it in records}
        try:
            out.begin_transaction()
            for it in records:
                out.send(target, it.value, it.key, None, it.partition, it.timestamp)
            out.flush()
            if not told.to_go_on(len(records)):
                break
            offsets = {it: OffsetAndMetadata(offset, "", -1) for it, offset in read.items()}
            out.send_offsets_to_transaction(offsets, reader.group_metadata())
            out.commit_transaction()
        except ProducerFencedError:
            raise
        except KafkaError as error:
            print("aborted", repr(error), flush=True)
            out.abort_transaction()
            rewind(reader)
            continue
        done += len(records)
        print("committed", done, flush=True)
    reader.close()
