// Run by scripts/fuzz: mutates real certificates, containers and handshakes, and builds hostile ones, for a given time.
// Every input must end in certificates or in a reason, within a time that depends on its size alone, and memory must
// not grow. The inputs follow from the seed: a failure is written to a file and can be run again with --replay FILE.
import { execFileSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { Secret } from '../agent/model/secret.ts'
import { readTranscript } from '../agent/node/tls/tls-transcript.ts'
import { judgeCertificates } from '../agent/pki/anchor/judge.ts'
import { remarksOn } from '../agent/pki/anchor/remarks.ts'
import { readChainCertificate } from '../agent/pki/certificate/chain-certificate.ts'
import { explainChain } from '../agent/pki/chain/explain.ts'
import { rootsInPem } from '../agent/pki/chain/roots.ts'
import { decodeCertificates } from '../agent/pki/decode/decode.ts'

const { values, positionals } = parseArgs({ options: { replay: { type: 'string' } }, allowPositionals: true })
const seconds = Number(positionals[0] ?? '60')
const seed = Number(positionals[1] ?? Date.now() % 1_000_000)
const SLOWEST_MS = 4_000
const MOST_GROWTH = 120 * 1024 * 1024

let state = seed
function random(below: number): number {
  state = (state + 0x6d2b79f5) | 0
  let value = Math.imul(state ^ (state >>> 15), 1 | state)
  value = (value + Math.imul(value ^ (value >>> 7), 61 | value)) ^ value
  return ((value ^ (value >>> 14)) >>> 0) % Math.max(1, below)
}

function pick<T>(from: readonly T[]): T {
  return from[random(from.length)] as T
}

/** What real programs write: the mutations start from there. */
function samples(): readonly Buffer[] {
  const folder = mkdtempSync(join(tmpdir(), 'fuzz-'))
  const openssl = (...argv: readonly string[]) => execFileSync('openssl', argv, { cwd: folder, stdio: 'pipe' })
  const read = (name: string) => readFileSync(join(folder, name))
  try {
    const extensions = [
      'subjectAltName=DNS:a.example.net,IP:192.0.2.1,email:a@b.c,URI:https://d.e/',
      'nameConstraints=critical,permitted;DNS:example.net,excluded;IP:10.0.0.0/255.0.0.0',
      'keyUsage=critical,keyCertSign',
      'extendedKeyUsage=serverAuth',
      'authorityInfoAccess=caIssuers;URI:http://a.b/c',
    ].flatMap((one) => ['-addext', one])
    const found: Buffer[] = []
    for (const [name, key] of [
      ['ec', ['ec', '-pkeyopt', 'ec_paramgen_curve:P-256']],
      ['rsa', ['rsa:2048']],
      ['ed', ['ed25519']],
    ] as const) {
      openssl(
        'req',
        '-x509',
        '-newkey',
        ...key,
        '-nodes',
        '-keyout',
        `${name}.key`,
        '-out',
        `${name}.pem`,
        '-subj',
        `/O=Fuzz/CN=${name}`,
        ...extensions,
      )
      openssl('x509', '-in', `${name}.pem`, '-outform', 'DER', '-out', `${name}.der`)
      openssl('x509', '-in', `${name}.pem`, '-trustout', '-addtrust', 'serverAuth', '-out', `${name}.trusted`)
      found.push(read(`${name}.pem`), read(`${name}.der`), read(`${name}.trusted`), read(`${name}.key`))
    }
    for (const form of ['PEM', 'DER']) {
      openssl(
        'crl2pkcs7',
        '-nocrl',
        '-certfile',
        'ec.pem',
        '-certfile',
        'rsa.pem',
        '-outform',
        form,
        '-out',
        `p7.${form}`,
      )
      found.push(read(`p7.${form}`))
    }
    for (const options of [
      [],
      ['-legacy'],
      ['-nomac', '-certpbe', 'NONE'],
      ['-certpbe', 'PBE-SHA1-3DES'],
      ['-macalg', 'sha512'],
    ]) {
      openssl('pkcs12', '-export', '-nokeys', '-in', 'ec.pem', '-passout', 'pass:fuzz', '-out', 'store.p12', ...options)
      found.push(read('store.p12'))
    }
    openssl('pkcs12', '-export', '-in', 'ec.pem', '-inkey', 'ec.key', '-passout', 'pass:fuzz', '-out', 'key.p12')
    found.push(read('key.p12'))
    return found
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

const LENGTHS = ['80', '8180', '8200ff', '847fffffff', '84ffffffff', '8400000001', '00', '7f', 'ff'].map((hex) =>
  Buffer.from(hex, 'hex'),
)

function mutate(sample: Buffer, all: readonly Buffer[]): Buffer {
  let bytes = Buffer.from(sample)
  for (let count = 1 + random(5); count > 0; count -= 1) {
    const at = random(bytes.length)
    switch (random(8)) {
      case 0:
        bytes[at] = random(256)
        break
      case 1:
        bytes = bytes.subarray(0, at)
        break
      case 2:
        bytes = Buffer.concat([bytes.subarray(0, at), pick(LENGTHS), bytes.subarray(at)])
        break
      case 3:
        pick(LENGTHS).copy(bytes, at)
        break
      case 4:
        bytes = Buffer.concat([bytes.subarray(0, at), pick(all).subarray(random(200)), bytes.subarray(at)])
        break
      case 5:
        bytes = Buffer.concat([bytes, bytes.subarray(0, 20_000)])
        break
      case 6:
        bytes = Buffer.from(bytes.toString(pick(['base64', 'base64url', 'hex', 'latin1'] as const)))
        break
      default:
        bytes.fill(random(256), at, Math.min(bytes.length, at + random(40)))
    }
  }
  return bytes.subarray(0, 2 * 1024 * 1024)
}

/** Shapes that no mutation finds soon: depth, width, endless lengths, work. */
function hostile(): Buffer {
  const size = pick([10, 1_000, 100_000, 500_000])
  switch (random(8)) {
    case 0:
      return Buffer.alloc(
        size * 2,
        pick(['3080', '2480', 'a080', '3000', '0500'].map((hex) => Buffer.from(hex, 'hex'))),
      )
    case 1:
      return Buffer.concat(
        Array.from({ length: Math.min(size, 2_000) }, (_, depth) =>
          Buffer.from([0x30, 0x84, 0, 0, 0x7f, depth & 0xff]),
        ),
      )
    case 2:
      return Buffer.from('-----BEGIN CERTIFICATE-----\n'.repeat(Math.min(size, 30_000)))
    case 3:
      return Buffer.from(`-----BEGIN CERTIFICATE-----\n${'A'.repeat(size)}`)
    case 4:
      return Buffer.from(`data:${';base64'.repeat(Math.min(size, 1_000))},${'QUFB'.repeat(Math.min(size, 100_000))}`)
    case 5:
      return Buffer.from(
        '30820100020103308200f906092a864886f70d010701'
          .padEnd(size, pick(['a0', '80', '30', '00']))
          .slice(0, size - (size % 2)),
        'hex',
      )
    case 6:
      return Buffer.from(' \n\t'.repeat(Math.min(size, 300_000)))
    default:
      return Buffer.alloc(pick([1024 * 1024, 1024 * 1024 + 1, 100 * 1024 * 1024]), random(256))
  }
}

const NOW = Date.now()
const password = new Secret('fuzz')

/** Everything that reads bytes of others. Throws when a rule is broken. */
function feed(bytes: Buffer): void {
  const decoded = decodeCertificates(bytes, { password })
  if (decoded.certificates.length + decoded.problems.length === 0) throw new Error('neither certificates nor a reason')
  if (decoded.problems.some(({ message }) => message === '' || message.length > 4_000))
    throw new Error('a reason is empty or endless')
  const hasKey = decoded.problems.some(({ code }) => code === 'ANCHOR_PRIVATE_KEY')
  if (hasKey && decoded.certificates.length > 0) throw new Error('something of an input with a private key was used')
  judgeCertificates(decoded.certificates, { now: NOW, minRsaBits: 2048 })
  for (const one of decoded.certificates.slice(0, 20)) remarksOn(one, { now: NOW, system: new Set() })
  if (bytes.length > 200_000) return
  const roots = rootsInPem(decoded.certificates.map(({ pem }) => pem).join(''))
  const chain = [bytes, ...roots.map(({ der }) => der)].slice(0, 10)
  const trusted = roots.map((certificate) => ({ certificate, origin: 'fuzz' }))
  const { finding } = explainChain({
    registry: 'a.example.net',
    host: 'a.example.net',
    chain,
    roots: trusted,
    isDeclared: true,
    now: NOW,
  })
  if (finding.message === '' || finding.remedy === '') throw new Error('a finding without words')
  readChainCertificate(bytes)
  readTranscript(bytes, bytes.subarray(0, 32))
  readTranscript(
    Buffer.concat([Buffer.from([22, 3, 3, (bytes.length >> 8) & 0xff, bytes.length & 0xff]), bytes]),
    undefined,
  )
}

if (values.replay !== undefined) {
  feed(readFileSync(values.replay))
  console.log('no fault')
  process.exit(0)
}

const all = samples()
for (const sample of all) feed(sample)
let inputs = 0
let slowest = 0
let baseline = 0
const end = Date.now() + seconds * 1_000
while (Date.now() < end) {
  const bytes = random(12) === 0 ? hostile() : mutate(pick(all), all)
  const started = performance.now()
  try {
    feed(bytes)
    const took = performance.now() - started
    slowest = Math.max(slowest, took)
    if (took > SLOWEST_MS) throw new Error(`took ${Math.round(took)} ms`)
  } catch (error) {
    const file = join(tmpdir(), `fuzz-${seed}-${inputs}.bin`)
    writeFileSync(file, bytes)
    console.error(
      `fault after ${inputs} inputs of seed ${seed}: ${error instanceof Error ? error.stack : String(error)}\nreplay: scripts/fuzz --replay ${file}`,
    )
    process.exit(1)
  }
  inputs += 1
  if (inputs % 2_000 !== 0) continue
  globalThis.gc?.()
  // Not the resident size: the allocator keeps the 100 MB inputs that this program itself made.
  const { heapUsed, external } = process.memoryUsage()
  const used = heapUsed + external
  if (inputs === 2_000) baseline = used
  else if (used - baseline > MOST_GROWTH) {
    console.error(
      `memory grew by ${Math.round((used - baseline) / 1024 / 1024)} MB in ${inputs} inputs of seed ${seed}`,
    )
    process.exit(1)
  }
}
console.log(
  `${inputs} inputs in ${seconds} s, seed ${seed}: no fault; slowest ${Math.round(slowest)} ms, ${Math.round(process.memoryUsage().rss / 1024 / 1024)} MB at the end`,
)
