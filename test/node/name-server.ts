// Run as a program beside a node: its DNS server. Answers A queries from a file of "NAME ADDRESS" lines that it reads anew each time,
// and "no such name" to everything else, so that nothing a node looks up ever leaves it.
// Why not /etc/hosts: Go programs such as containerd read that file at most every five seconds, so a new name would come late.
import { createSocket } from 'node:dgram'
import { readFileSync } from 'node:fs'

const HEADER_BYTES = 12
const TYPE_A = 1
const NO_ERROR = 0x8580
const NO_SUCH_NAME = 0x8583
/** The name is a pointer to the question; type A, class IN, TTL 0, 4 bytes. */
const ANSWER_HEAD = Buffer.from([0xc0, 0x0c, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4])

const [address = '', namesFile = ''] = process.argv.slice(2)

function addressOf(name: string): string | undefined {
  const lines = readFileSync(namesFile, 'utf8').split('\n').reverse()
  return lines.find((line) => line.startsWith(`${name} `))?.split(' ')[1]
}

/** The first question's name, and where the question ends. */
function question(query: Buffer): { readonly name: string; readonly type: number; readonly end: number } {
  const labels: string[] = []
  let at = HEADER_BYTES
  for (let length = query.readUInt8(at); length > 0; length = query.readUInt8(at)) {
    labels.push(query.toString('latin1', at + 1, at + 1 + length))
    at += 1 + length
  }
  return { name: labels.join('.').toLowerCase(), type: query.readUInt16BE(at + 1), end: at + 5 }
}

function answer(query: Buffer): Buffer {
  const { name, type, end } = question(query)
  const found = addressOf(name)
  const records = found !== undefined && type === TYPE_A ? [ANSWER_HEAD, Buffer.from(found.split('.').map(Number))] : []
  const header = Buffer.alloc(HEADER_BYTES)
  query.copy(header, 0, 0, 2)
  header.writeUInt16BE(found === undefined ? NO_SUCH_NAME : NO_ERROR, 2)
  header.writeUInt16BE(1, 4)
  header.writeUInt16BE(records.length > 0 ? 1 : 0, 6)
  return Buffer.concat([header, query.subarray(HEADER_BYTES, end), ...records])
}

const socket = createSocket('udp4')
socket.on('message', (query, peer) => {
  try {
    socket.send(answer(query), peer.port, peer.address)
  } catch (error) {
    console.error(`query not understood: ${error instanceof Error ? error.message : String(error)}`)
  }
})
socket.bind(53, address, () => console.log('listening'))
