// Transactions of kafkajs (tests/clients/README.md).

import { setTimeout as pause } from 'node:timers/promises'
import kafkajs from 'kafkajs'
import * as lines from './lines.js'

const { Partitioners } = kafkajs

const producer = (kafka, id) => kafka.producer({
  transactionalId: id, idempotent: true, maxInFlightRequests: 1, createPartitioner: Partitioners.DefaultPartitioner
})

export async function transact (kafka, object, id, group) {
  const out = producer(kafka, id)
  await out.connect()
  // The first has it take its epoch, which the answer `ready` is to mean.
  let begun = await out.transaction()
  let [transaction, unsent] = [null, []]
  const flush = async () => {
    const sent = unsent.splice(0)
    for (const { topic, message } of sent) await transaction.send({ topic, messages: [message] })
  }
  const send = (topic, it) => unsent.push({ topic, message: { ...it, partition: 0, headers: object(it.headers) } })
  const begin = async () => {
    transaction = begun ?? await out.transaction()
    begun = null
  }
  const offset = (topic, number) =>
    transaction.sendOffsets({ consumerGroupId: group, topics: [{ topic, partitions: [{ partition: 0, offset: number }] }] })
  const commit = async () => {
    await flush()
    await transaction.commit()
  }
  const abort = () => transaction.abort()
  const FENCED = ['PRODUCER_FENCED', 'INVALID_PRODUCER_EPOCH']
  const fenced = error => FENCED.includes(error.type) || FENCED.includes(error.cause?.type)
  await lines.transact({ begin, send, flush, offset, commit, abort }, fenced)
}

// Reads, writes and commits both at once. After an error the producer is a new one, as kafkajs does not say what may be
// tried again; its epoch is given when the transaction before has ended, and the group then says how.
export async function work (kafka, source, target, group, id) {
  const [told, admin] = [lines.told(), kafka.admin()]
  const consumer = kafka.consumer({ groupId: group, maxWaitTimeInMs: 100, sessionTimeout: 10000, readUncommitted: false })
  let [out, begun, done] = [producer(kafka, id), null, 0]
  await Promise.all([out.connect(), consumer.connect(), admin.connect()])
  await consumer.subscribe({ topics: [source], fromBeginning: true })

  const once = async (partition, records) => {
    const transaction = begun ?? await out.transaction()
    begun = null
    const messages = records.map(it => ({ key: it.key, value: it.value, timestamp: it.timestamp, partition }))
    await transaction.send({ topic: target, messages })
    if (!await told.toGoOn(records.length)) return false
    const offset = String(BigInt(records.at(-1).offset) + 1n)
    await transaction.sendOffsets({ consumerGroupId: group, topics: [{ topic: source, partitions: [{ partition, offset }] }] })
    await transaction.commit()
    lines.print(`committed ${done += records.length}`)
    return true
  }
  const patiently = async action => {
    while (true) {
      try {
        return await action()
      } catch (error) {
        lines.print(`again ${error}`)
        await pause(300)
      }
    }
  }
  const renew = async () => {
    const old = out
    out = producer(kafka, id)
    await out.connect()
    begun = await out.transaction()
    await old.disconnect()
  }
  const rewind = async partition => {
    const [offsets] = await admin.fetchOffsets({ groupId: group, topics: [source] })
    const offset = BigInt(offsets.partitions.find(it => it.partition === partition)?.offset ?? -1)
    consumer.seek({ topic: source, partition, offset: String(offset < 0n ? 0n : offset) })
  }
  await consumer.run({
    autoCommit: false,
    eachBatchAutoResolve: false,
    eachBatch: async ({ batch, resolveOffset, isStale, isRunning }) => {
      for (let at = 0; at < batch.messages.length && !isStale() && isRunning(); at += 40) {
        const records = batch.messages.slice(at, at + 40)
        try {
          if (!await once(batch.partition, records)) return
          resolveOffset(records.at(-1).offset)
        } catch (error) {
          lines.print(`aborted ${error}`)
          await patiently(renew)
          await patiently(() => rewind(batch.partition))
          return
        }
      }
    }
  })
  await told.ended
  // The consumer ends with the process: stopping it when a broker has just come back can take for ever, as kafkajs
  // (2.2.4, FetchManager) begins its fetchers anew behind the stop, and they then never leave the event loop.
  await Promise.all([out.disconnect(), admin.disconnect()])
}
