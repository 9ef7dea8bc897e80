// Visitors look at pages. view.js BOOTSTRAP TOPIC VISITORS VIEWS

const { Kafka, Partitioners, logLevel } = require('kafkajs')

const PAGES = ['/', '/cart', '/search', '/pay']

async function main ([bootstrap, topic, visitors, views]) {
  const kafka = new Kafka({ clientId: 'site', brokers: bootstrap.split(','), logLevel: logLevel.ERROR })
  const producer = kafka.producer({ idempotent: true, createPartitioner: Partitioners.DefaultPartitioner })
  await producer.connect()
  for (let view = 0; view < Number(views); view++) {
    const messages = []
    for (let visitor = 0; visitor < Number(visitors); visitor++) {
      const page = PAGES[view % (1 + visitor % PAGES.length)]
      messages.push({ key: `visitor-${visitor}`, value: JSON.stringify({ page, at: Date.now() }) })
    }
    await producer.send({ topic, messages })
  }
  console.log(`${visitors * views} views tracked`)
  await producer.disconnect()
}

main(process.argv.slice(2))
