// What the Node clients of the matrix have in common: the lines of tests/clients/README.md.

import process from 'node:process'
import { text as whole } from 'node:stream/consumers'

const octets = field => (field === '-' ? null : Buffer.from(field, 'hex'))
const text = value => (value === null || value === undefined ? '-' : Buffer.from(value).toString('hex'))

// The records on standard input: timestamp, key, value and headers of each.
export async function given () {
  const lines = (await whole(process.stdin)).split('\n').slice(0, -1)
  return lines.map(line => {
    const [timestamp, key, value, headers] = line.split('\t')
    const pairs = headers === '' ? [] : headers.split(',').map(pair => pair.split(':'))
    return { timestamp, key: octets(key), value: octets(value), headers: pairs.map(([k, v]) => [k, octets(v)]) }
  })
}

export const print = line => process.stdout.write(line + '\n')

export function show (offset, timestamp, key, value, headers) {
  const pairs = headers.map(([name, octet]) => `${name}:${text(octet)}`).join(',')
  print([offset, timestamp, text(key), text(value), pairs].join('\t'))
}

export const say = (word, partitions) => print(`${word} ${[...partitions].sort().join(',')}`)

// Resolves when standard input ends.
export const toldToStop = () => new Promise(resolve => process.stdin.on('end', resolve).resume())

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
