// What the Node clients of the matrix have in common: the lines of tests/clients/README.md.

import process from 'node:process'
import { createInterface } from 'node:readline'
import { text as whole } from 'node:stream/consumers'

const octets = field => (field === '-' ? null : Buffer.from(field, 'hex'))
const text = value => (value === null || value === undefined ? '-' : Buffer.from(value).toString('hex'))

// Timestamp, key, value and headers of a record.
function parsed ([timestamp, key, value, headers]) {
  const pairs = headers === '' ? [] : headers.split(',').map(pair => pair.split(':'))
  return { timestamp, key: octets(key), value: octets(value), headers: pairs.map(([k, v]) => [k, octets(v)]) }
}

// The records on standard input.
export async function given () {
  const lines = (await whole(process.stdin)).split('\n').slice(0, -1)
  return lines.map(line => parsed(line.split('\t')))
}

export const print = line => process.stdout.write(line + '\n')

export function show (offset, timestamp, key, value, headers) {
  const pairs = headers.map(([name, octet]) => `${name}:${text(octet)}`).join(',')
  print([offset, timestamp, text(key), text(value), pairs].join('\t'))
}

export const say = (word, partitions) => print(`${word} ${[...partitions].sort().join(',')}`)

// Resolves when standard input ends.
export const toldToStop = () => new Promise(resolve => process.stdin.on('end', resolve).resume())

// Does what standard input says about transactions, by its words, and answers every line.
export async function transact (actions, fenced) {
  print('ready')
  for await (const line of createInterface({ input: process.stdin })) {
    const [word, ...fields] = line.split('\t')
    try {
      if (word === 'send') await actions.send(fields[0], parsed(fields.slice(1)))
      else await actions[word](...fields)
      print('ok')
    } catch (error) {
      print(fenced(error) ? 'fenced' : `error ${error}`)
    }
  }
}

// Whoever reads and writes in transactions is told when to go on, and by the end of standard input to stop.
export function told () {
  const [lines, waiting] = [[], []]
  const tell = line => (waiting.length > 0 ? waiting.shift()(line) : lines.push(line))
  const it = { stop: false }
  it.ended = new Promise(resolve => {
    createInterface({ input: process.stdin }).on('line', tell).on('close', () => {
      it.stop = true
      tell(null)
      resolve()
    })
  })
  // Says that so many records are written, and waits to be told.
  it.toGoOn = async count => {
    print(`open ${count}`)
    return (lines.length > 0 ? lines.shift() : await new Promise(resolve => waiting.push(resolve))) !== null
  }
  return it
}

// Ends with the exit code for what a client does not offer; the matrix says why.
export function lacks (what) {
  process.stderr.write(`this client has no ${what}\n`)
  process.exit(3)
}

// The settings `name=value`.
export const settings = list => Object.fromEntries(list.map(it => it.split('=')))

// Does what the command line says, or fails within a minute or two.
export async function run (commands) {
  const [name, ...args] = process.argv.slice(2)
  if (!commands[name]) lacks(`command ${name}`)
  await commands[name](...args)
  // Not before all of it is written, which takes longer than this where a pipe is full.
  process.stdout.write('', () => process.exit(0))
}
