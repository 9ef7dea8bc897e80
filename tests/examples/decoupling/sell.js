// The app, in JavaScript. sell.js BOOTSTRAP TOPIC COUNT

const { Kafka, Partitioners, logLevel } = require('kafkajs')

async function main ([bootstrap, topic, count]) {
  const kafka = new Kafka({ brokers: bootstrap.split(','), logLevel: logLevel.ERROR })
  const producer = kafka.producer({ createPartitioner: Partitioners.DefaultPartitioner })
  await producer.connect()
  const messages = [...Array(Number(count)).keys()].map(number => (
    { key: `app-${number}`, value: JSON.stringify({ from: 'app', amount: 20 }) }
  ))
  await producer.send({ topic, messages })
  await producer.disconnect()
}

main(process.argv.slice(2))
