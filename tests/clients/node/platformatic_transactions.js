// Transactions of @platformatic/kafka (tests/clients/README.md).

import { setTimeout as pause } from 'node:timers/promises'
import { Consumer, Producer } from '@platformatic/kafka'
import * as lines from './lines.js'

const producer = (base, id) => new Producer({ ...base, idempotent: true, transactionalId: id })

// By these it asks for an epoch of its own, and not for that of a producer 0.
const ANEW = { producerId: -1n, producerEpoch: -1 }

export async function transact (base, id) {
  const out = producer(base, id)
  // The first has it take its epoch, which the answer `ready` is to mean.
  let begun = await out.beginTransaction(ANEW)
  let [transaction, unsent] = [null, []]
  const flush = async () => {
    const messages = unsent.splice(0)
    if (messages.length > 0) await transaction.send({ messages })
  }
  const send = (topic, { timestamp, key, value, headers }) => unsent.push({
    topic, partition: 0, timestamp: BigInt(timestamp), key, value, headers: new Map(headers.map(([name, it]) => [Buffer.from(name), it]))
  })
  const begin = async () => {
    transaction = begun ?? await out.beginTransaction(ANEW)
    begun = null
  }
  const commit = async () => {
    await flush()
    await transaction.commit()
  }
  const abort = () => transaction.abort()
  const offset = () => lines.lacks('offsets of who does not read in the group')
  const codes = error => [error?.apiCode, ...(error?.errors ?? []).flatMap(codes), ...(error?.cause ? codes(error.cause) : [])]
  const fenced = error => codes(error).some(code => code === 47 || code === 90)
  await lines.transact({ begin, send, flush, offset, commit, abort }, fenced)
  await out.close(true)
}

// Reads, writes and commits both at once; after an error with a new producer, from where the group is.
export async function work (base, source, target, group, id) {
  const told = lines.told()
  let [out, done] = [producer(base, id), 0]
  const consumer = new Consumer({ ...base, groupId: group, maxWaitTime: 100, isolationLevel: 1 })
  // A stream that nobody listens to fetches nothing, and one that had an error fetches no more.
  let [stream, came, failed] = [null, [], null]
  const begin = async () => {
    [came, failed] = [[], null]
    stream = await consumer.consume({ topics: [source], mode: 'committed', fallbackMode: 'earliest', autocommit: false })
    stream.on('data', it => came.push(it))
    stream.on('error', error => { failed = error })
  }
  await begin()
  const once = async records => {
    const transaction = await out.beginTransaction(ANEW)
    const messages = records.map(it => ({ topic: target, partition: it.partition, timestamp: it.timestamp, key: it.key, value: it.value }))
    await transaction.send({ messages })
    if (!await told.toGoOn(records.length)) return
    await transaction.addConsumer(consumer)
    const last = new Map(records.map(it => [it.partition, it]))
    for (const it of last.values()) await transaction.addOffset(it)
    await transaction.commit()
    lines.print(`committed ${done += records.length}`)
  }
  // With an epoch the transaction before has ended; that of the new producer has nothing yet, and nobody knows of it.
  const again = async () => {
    if (!failed) await stream.close()
    await out.close(true)
    out = producer(base, id)
    const transaction = await out.beginTransaction(ANEW)
    await transaction.cancel()
    await begin()
  }
  while (!told.stop) {
    const records = came.splice(0, 40)
    try {
      if (records.length > 0) await once(records)
      else if (failed) throw failed
      else await pause(50)
    } catch (error) {
      lines.print(`aborted ${error}`)
      while (true) {
        try {
          await again()
          break
        } catch (error) {
          lines.print(`again ${error}`)
          await pause(300)
        }
      }
    }
  }
  await stream.close()
  await consumer.close(true)
}
