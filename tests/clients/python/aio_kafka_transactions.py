"""Transactions of aiokafka (tests/clients/README.md)."""

import asyncio

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.errors import InvalidProducerEpoch, KafkaError, ProducerFenced
import lines


def producer(bootstrap, name):
    return AIOKafkaProducer(bootstrap_servers=bootstrap, transactional_id=name, linger_ms=5)


async def transact(bootstrap, name, group):
    out, sent, loop = producer(bootstrap, name), [], asyncio.get_running_loop()
    await out.start()

    async def send(topic, *fields):
        timestamp, key, value, headers = lines.parsed(*fields)
        sent.append(await out.send(topic, value, key, 0, timestamp, headers))

    async def flush():
        waiting, sent[:] = sent[:], []
        await asyncio.gather(*waiting)

    async def offset(topic, number):
        await out.send_offsets_to_transaction({TopicPartition(topic, 0): int(number)}, group)

    do = {"begin": out.begin_transaction, "send": send, "flush": flush, "offset": offset}
    do |= {"commit": out.commit_transaction, "abort": out.abort_transaction}

    def waiting(word):
        return lambda *fields: asyncio.run_coroutine_threadsafe(do[word](*fields), loop).result(90)

    def fenced(error):
        return isinstance(error, (ProducerFenced, InvalidProducerEpoch))

    await asyncio.to_thread(lines.transact, {word: waiting(word) for word in do}, fenced)


async def rewind(reader):
    """Back to where the group is, for what was aborted to be read again."""
    for partition in reader.assignment():
        committed = await reader.committed(partition)
        if committed is None:
            await reader.seek_to_beginning(partition)
        else:
            reader.seek(partition, committed)


async def process(bootstrap, source, target, group, name):
    told, done = lines.Told(), 0
    reader = AIOKafkaConsumer(
        source,
        bootstrap_servers=bootstrap,
        group_id=group,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        isolation_level="read_committed",
    )
    async with producer(bootstrap, name) as out, reader:
        while not told.stop.is_set():
            came = await reader.getmany(timeout_ms=100, max_records=40)
            records = [it for some in came.values() for it in some]
            if not records:
                continue
            read = {TopicPartition(source, it.partition): it.offset + 1 for it in records}
            try:
                async with out.transaction():
                    for it in records:
                        await out.send(target, it.value, it.key, it.partition, it.timestamp)
                    await out.flush()
                    if not await asyncio.to_thread(told.to_go_on, len(records)):
                        break
                    await out.send_offsets_to_transaction(read, group)
            except ProducerFenced:
                raise
            except KafkaError as error:
                print("aborted", repr(error), flush=True)
                await rewind(reader)
                continue
            done += len(records)
            print("committed", done, flush=True)
