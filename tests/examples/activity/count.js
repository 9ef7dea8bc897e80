// Counts the views of each page, and by how many visitors, from the beginning of the topic to its end as it is now.
// count.js BOOTSTRAP TOPIC

const { Kafka, logLevel } = require('kafkajs')

async function main ([bootstrap, topic]) {
  const kafka = new Kafka({ clientId: 'dashboard', brokers: bootstrap.split(','), logLevel: logLevel.ERROR })
  const admin = kafka.admin()
  await admin.connect()
  const ends = await admin.fetchTopicOffsets(topic)
  await admin.disconnect()
  const unread = new Set(ends.filter(it => it.high !== it.low).map(it => it.partition))
  const end = partition => Number(ends.find(it => it.partition === partition).high)

  const pages = new Map()
  // A group of its own each time: it reads everything.
  const consumer = kafka.consumer({ groupId: `dashboard-${process.pid}-${Date.now()}` })
  await consumer.connect()
  await consumer.subscribe({ topics: [topic], fromBeginning: true })
  await new Promise(resolve => consumer.run({
    autoCommit: false,
    eachMessage: async ({ partition, message }) => {
      const { page } = JSON.parse(message.value)
      const seen = pages.get(page) ?? { views: 0, visitors: new Set() }
      pages.set(page, seen)
      seen.views++
      seen.visitors.add(message.key.toString())
      if (Number(message.offset) + 1 >= end(partition)) unread.delete(partition)
      if (unread.size === 0) resolve()
    }
  }))
  await consumer.disconnect()
  for (const [page, { views, visitors }] of [...pages].sort()) {
    console.log(`${page}: ${views} views by ${visitors.size} visitors`)
  }
}

main(process.argv.slice(2))
