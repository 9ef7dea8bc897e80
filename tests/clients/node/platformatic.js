// @platformatic/kafka behind the commands of the matrix (tests/clients/README.md).

import process from 'node:process'
import { Admin, ConfigResourceTypes, Consumer, IncrementalAlterConfigOperationTypes, Producer } from '@platformatic/kafka'
import * as transactions from './platformatic_transactions.js'
import { given, lacks, print, run, say, settings, show, toldToStop } from './lines.js'

const base = bootstrap => ({ clientId: 'matrix', bootstrapBrokers: bootstrap.split(',') })

async function produce (bootstrap, topic, codec) {
  const producer = new Producer({ ...base(bootstrap), idempotent: true, autocreateTopics: true, compression: codec })
  const messages = (await given()).map(({ timestamp, key, value, headers }) => ({
    // Every buffer is a key of its own, so that a name may come twice.
    topic, partition: 0, timestamp: BigInt(timestamp), key, value, headers: new Map(headers.map(([name, it]) => [Buffer.from(name), it]))
  }))
  await producer.send({ messages })
  await producer.close()
}

async function read (bootstrap, topic, offset, count, more = {}) {
  const consumer = new Consumer({ ...base(bootstrap), groupId: `reader-${topic}-${process.pid}`, maxWaitTime: 100, ...more })
  const stream = await consumer.consume({ topics: [topic], mode: 'manual', autocommit: false, offsets: [{ topic, partition: 0, offset: BigInt(offset) }] })
  for await (const it of stream) {
    show(it.offset, it.timestamp, it.key, it.value, it.headerEntries)
    if (--count === 0) break
  }
  await consumer.close(true)
}

async function at (bootstrap, topic, time) {
  const consumer = new Consumer({ ...base(bootstrap), groupId: 'times' })
  const offsets = await consumer.listOffsets({ topics: [topic], timestamp: BigInt(time) })
  await consumer.close(true)
  await read(bootstrap, topic, offsets.get(topic)[0], 1)
}

async function consume (bootstrap, topic, group, ...more) {
  const chosen = settings(more)
  const protocol = chosen['group.protocol'] === 'consumer'
    ? { groupProtocol: 'consumer' }
    : { sessionTimeout: Number(chosen['session.timeout.ms'] ?? 6000), rebalanceTimeout: 30000, heartbeatInterval: 300 }
  const instance = chosen['group.instance.id'] ? { groupInstanceId: chosen['group.instance.id'] } : {}
  const consumer = new Consumer({ ...base(bootstrap), groupId: group, maxWaitTime: 100, ...protocol, ...instance })
  // A fetch that is under way when partitions change hands is delivered whoever has them then, and read again from
  // where they were committed: what changed is told when those that were under way have ended.
  const fetch = consumer.fetch.bind(consumer)
  const underWay = new Set()
  consumer.fetch = (options, callback) => {
    const ended = new Promise(resolve => fetch(options, (...answer) => resolve(callback(...answer))))
    underWay.add(ended)
    ended.then(() => underWay.delete(ended))
  }
  let mine = []
  const owned = () => (consumer.assignments ?? []).filter(it => it.topic === topic).flatMap(it => it.partitions)
  const change = (word, partitions) => partitions.length === 0 || say(word, partitions)
  const lose = async () => {
    await Promise.all(underWay)
    const now = owned()
    change('revoked', mine.filter(it => !now.includes(it)))
    mine = mine.filter(it => now.includes(it))
  }
  const gain = async () => {
    await lose()
    const now = owned()
    change('assigned', now.filter(it => !mine.includes(it)))
    mine = now
  }
  consumer.on('consumer:heartbeat:end', lose)
  const stream = await consumer.consume({ topics: [topic], mode: 'committed', fallbackMode: 'earliest', autocommit: false })
  stream.on('offsets', gain)
  stream.on('error', error => print(`error ${error.message}`))
  stream.on('data', async message => {
    print(`record ${message.partition} ${message.offset} ${message.value}`)
    try {
      await message.commit()
    } catch (error) {
      print(`error ${error.message}`)
    }
  })
  await toldToStop()
  await stream.close()
  await consumer.close(true)
}

// Kafka's number of the error, 0 for none.
async function code (promise) {
  try {
    await promise
    return 0
  } catch (error) {
    const find = it => it?.apiCode ?? (it?.errors ?? []).map(find).find(found => found !== undefined)
    return find(error) ?? error
  }
}

async function admin (bootstrap, topic, group) {
  const admin = new Admin(base(bootstrap))
  const wanted = { topics: [topic], partitions: 2, replicas: 3, configs: [{ name: 'retention.ms', value: '5000' }] }
  print(`create ${await code(admin.createTopics(wanted))}`)
  print(`create again ${await code(admin.createTopics(wanted))}`)
  // Any broker may answer, and one that has not heard of the change yet answers as before it.
  while (!(await admin.listTopics()).includes(topic));
  print('listed true')
  print(`grow ${await code(admin.createPartitions({ topics: [{ name: topic, count: 3, assignments: null }] }))}`)
  const partitions = async () => (await admin.metadata({ topics: [topic], forceUpdate: true })).topics.get(topic).partitions.length
  while ((await partitions()) !== 3);
  print('partitions 3')
  const resource = { resourceType: ConfigResourceTypes.TOPIC, resourceName: topic }
  const retention = async () => {
    const [shown] = await admin.describeConfigs({ resources: [{ ...resource, configurationKeys: ['retention.ms'] }] })
    return shown.configs[0].value
  }
  print(`config ${await retention()}`)
  const change = { ...resource, configs: [{ name: 'retention.ms', value: '7000', configOperation: IncrementalAlterConfigOperationTypes.SET }] }
  print(`alter ${await code(admin.incrementalAlterConfigs({ resources: [change] }))}`)
  while ((await retention()) !== '7000');
  print('altered 7000')
  print(`delete ${await code(admin.deleteTopics({ topics: [topic] }))}`)
  print(`delete again ${await code(admin.deleteTopics({ topics: [topic] }))}`)
  print(`groups ${(await admin.listGroups()).has(group)}`)
  const state = (await admin.describeGroups({ groups: [group] })).get(group).state
  print(`group ${state[0]}${state.slice(1).toLowerCase()}`)
  const [offsets] = await admin.listConsumerGroupOffsets({ groups: [group] })
  print(`offset ${offsets.topics.find(it => it.name === group).partitions[0].committedOffset}`)
  print(`delete group ${await code(admin.deleteGroups({ groups: [group] }))}`)
  print(`delete group again ${await code(admin.deleteGroups({ groups: [group] }))}`)
  await admin.close()
}

async function fetch (bootstrap, topic, count, ...more) {
  const isolation = settings(more)['isolation.level'] ?? 'read_uncommitted'
  // Of a producer it drops what one aborted transaction of a fetch has, and no more.
  if (isolation === 'read_committed') lacks('list of aborted transactions')
  await read(bootstrap, topic, 0, Number(count), { isolationLevel: 0 })
}

const transact = (bootstrap, id) => transactions.transact(base(bootstrap), id)

await run({ produce, fetch, at, consume, admin, transact })
