// Transactions of @platformatic/kafka (tests/clients/README.md).

import { Producer } from '@platformatic/kafka'
import * as lines from './lines.js'

const producer = (base, id) => new Producer({ ...base, idempotent: true, transactionalId: id })

// By these it asks for an epoch of its own, and not for that of a producer 0.
const ANEW = { producerId: -1n, producerEpoch: -1 }

export async function transact (base, id) {
  const out = producer(base, id)
  // The first has it take its epoch, which the answer `ready` is to mean.
  let begun = await out.beginTransaction(ANEW)
  let [transaction, unsent, empty] = [null, [], true]
  const flush = async () => {
    const messages = unsent.splice(0)
    if (messages.length === 0) return
    empty = false
    await transaction.send({ messages })
  }
  const send = (topic, { timestamp, key, value, headers }) => unsent.push({
    topic, partition: 0, timestamp: BigInt(timestamp), key, value, headers: new Map(headers.map(([name, it]) => [Buffer.from(name), it]))
  })
  const begin = async () => {
    transaction = begun ?? await out.beginTransaction(ANEW)
    begun = null
    empty = true
  }
  const commit = async () => {
    await flush()
    // One with nothing in it was never begun at the coordinator: its end would be that of the transaction before.
    await (empty ? transaction.cancel() : transaction.commit())
  }
  const abort = () => transaction.abort()
  const offset = () => lines.lacks('offsets of who does not read in the group')
  const codes = error => [error?.apiCode, ...(error?.errors ?? []).flatMap(codes), ...(error?.cause ? codes(error.cause) : [])]
  const fenced = error => codes(error).some(code => code === 47 || code === 90)
  await lines.transact({ begin, send, flush, offset, commit, abort }, fenced)
  await out.close(true)
}
