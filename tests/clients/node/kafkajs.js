// kafkajs behind the commands of the matrix (tests/clients/README.md).

import zlib from 'node:zlib'
import process from 'node:process'
import { lz4Compress, lz4Decompress } from '@platformatic/wasm-utils'
import kafkajs from 'kafkajs'
import snappy from 'kafkajs-snappy'
import * as transactions from './kafkajs_transactions.js'
import { given, lacks, print, run, say, settings, show, toldToStop } from './lines.js'

const { CompressionCodecs, CompressionTypes, ConfigResourceTypes, Kafka, Partitioners, logLevel } = kafkajs
process.env.KAFKAJS_NO_PARTITIONER_WARNING = '1'
CompressionCodecs[CompressionTypes.Snappy] = snappy
// The plug-ins for these two, kafkajs-lz4 and @kafkajs/zstd, need native code that no longer compiles.
CompressionCodecs[CompressionTypes.LZ4] = () => ({
  compress: async encoder => lz4Compress(encoder.buffer),
  decompress: async buffer => lz4Decompress(buffer)
})
CompressionCodecs[CompressionTypes.ZSTD] = () => ({
  compress: async encoder => zlib.zstdCompressSync(encoder.buffer),
  decompress: async buffer => zlib.zstdDecompressSync(buffer)
})
const CODECS = { none: 'None', gzip: 'GZIP', snappy: 'Snappy', lz4: 'LZ4', zstd: 'ZSTD' }

const client = bootstrap => new Kafka({ brokers: bootstrap.split(','), logLevel: logLevel.NOTHING })

// Headers are an object: what one name has more than once is an array.
function object (headers) {
  const all = {}
  for (const [name, value] of headers) all[name] = name in all ? [all[name], value].flat() : value
  return all
}

async function produce (bootstrap, topic, codec) {
  const producer = client(bootstrap).producer({
    idempotent: true, maxInFlightRequests: 1, allowAutoTopicCreation: true, createPartitioner: Partitioners.DefaultPartitioner
  })
  await producer.connect()
  const messages = (await given()).map(it => ({ ...it, partition: 0, headers: object(it.headers) }))
  await producer.send({ topic, messages, compression: CompressionTypes[CODECS[codec]] })
  await producer.disconnect()
}

// It reads in groups only; this one has one member and commits nothing.
async function read (bootstrap, topic, offset, count, more = {}) {
  const consumer = client(bootstrap).consumer({ groupId: `reader-${topic}-${process.pid}`, maxWaitTimeInMs: 100, rebalanceTimeout: 6000, ...more })
  await consumer.connect()
  await consumer.subscribe({ topics: [topic], fromBeginning: true })
  await new Promise((resolve, reject) => {
    setTimeout(() => reject(new Error(`${count} records did not come`)), 60000).unref()
    consumer.run({
      autoCommit: false,
      eachMessage: async ({ partition, message }) => {
        if (partition !== 0 || BigInt(message.offset) < BigInt(offset) || count === 0) return
        const headers = Object.entries(message.headers).flatMap(([name, value]) => [value].flat().map(it => [name, it]))
        show(message.offset, message.timestamp, message.key, message.value, headers)
        if (--count === 0) resolve()
      }
    }).catch(reject)
    consumer.seek({ topic, partition: 0, offset: String(offset) })
  })
  await consumer.disconnect()
}

async function at (bootstrap, topic, time) {
  const admin = client(bootstrap).admin()
  await admin.connect()
  const [found] = await admin.fetchTopicOffsetsByTimestamp(topic, Number(time))
  await admin.disconnect()
  await read(bootstrap, topic, found.offset, 1)
}

async function consume (bootstrap, topic, group, ...more) {
  const chosen = settings(more)
  if (chosen['group.instance.id']) lacks('static members')
  if (chosen['group.protocol']) lacks('consumer protocol')
  const consumer = client(bootstrap).consumer({
    groupId: group, sessionTimeout: 6000, rebalanceTimeout: 6000, heartbeatInterval: 300, maxWaitTimeInMs: 100
  })
  let mine = []
  const handOver = partitions => {
    say('revoked', mine)
    mine = partitions
    say('assigned', mine)
  }
  consumer.on(consumer.events.GROUP_JOIN, ({ payload }) => handOver(payload.memberAssignment[topic] ?? []))
  await consumer.connect()
  await consumer.subscribe({ topics: [topic], fromBeginning: true })
  const stop = toldToStop()
  await consumer.run({
    eachBatchAutoResolve: false,
    autoCommitThreshold: 1,
    eachBatch: async ({ batch, resolveOffset, commitOffsetsIfNecessary, isStale }) => {
      if (isStale()) return
      for (const message of batch.messages) {
        print(`record ${batch.partition} ${message.offset} ${message.value}`)
        resolveOffset(message.offset)
      }
      await commitOffsetsIfNecessary()
    }
  })
  await stop
  await consumer.disconnect()
}

// Kafka's number of the error, 0 for none.
async function code (promise) {
  try {
    await promise
    return 0
  } catch (error) {
    const inner = error.errors?.[0] ?? error.groups?.[0] ?? error.cause ?? error
    return inner.errorCode ?? inner.code ?? error.code
  }
}

async function admin (bootstrap, topic, group) {
  const admin = client(bootstrap).admin()
  await admin.connect()
  const wanted = { topics: [{ topic, numPartitions: 2, replicationFactor: 3, configEntries: [{ name: 'retention.ms', value: '5000' }] }] }
  print(`create ${await code(admin.createTopics(wanted))}`)
  // It takes a topic that is there for made already, and says false.
  print(`create again ${(await admin.createTopics(wanted)) ? 0 : 36}`)
  // Any broker may answer, and one that has not heard of the change yet answers as before it.
  while (!(await admin.listTopics()).includes(topic));
  print('listed true')
  print(`grow ${await code(admin.createPartitions({ topicPartitions: [{ topic, count: 3 }] }))}`)
  while ((await admin.fetchTopicMetadata({ topics: [topic] })).topics[0].partitions.length !== 3);
  print('partitions 3')
  const resource = { type: ConfigResourceTypes.TOPIC, name: topic }
  const retention = async () => {
    const { resources } = await admin.describeConfigs({ resources: [{ ...resource, configNames: ['retention.ms'] }] })
    return resources[0].configEntries[0].configValue
  }
  print(`config ${await retention()}`)
  const change = { ...resource, configEntries: [{ name: 'retention.ms', value: '7000' }] }
  print(`alter ${await code(admin.alterConfigs({ validateOnly: false, resources: [change] }))}`)
  while ((await retention()) !== '7000');
  print('altered 7000')
  print(`delete ${await code(admin.deleteTopics({ topics: [topic] }))}`)
  print(`delete again ${await code(admin.deleteTopics({ topics: [topic] }))}`)
  print(`groups ${(await admin.listGroups()).groups.some(it => it.groupId === group)}`)
  print(`group ${(await admin.describeGroups([group])).groups[0].state}`)
  print(`offset ${(await admin.fetchOffsets({ groupId: group, topics: [group] }))[0].partitions[0].offset}`)
  print(`delete group ${await code(admin.deleteGroups([group]))}`)
  print(`delete group again ${await code(admin.deleteGroups([group]))}`)
  await admin.disconnect()
}

async function fetch (bootstrap, topic, count, ...more) {
  const isolation = settings(more)['isolation.level'] ?? 'read_committed'
  await read(bootstrap, topic, 0, Number(count), { readUncommitted: isolation === 'read_uncommitted' })
}

const transact = (bootstrap, id, group) => transactions.transact(client(bootstrap), object, id, group)
const work = (bootstrap, ...names) => transactions.work(client(bootstrap), ...names)

await run({ produce, fetch, at, consume, admin, transact, process: work })
