// Hostile and large configurations through the thread that the agent and its sidecars use: whatever a file holds, the
// event loop goes on, the heap of this process stays as it is, and the file to blame is named. A run takes a third of the
// hostile files, all with REGISTRY_TRUST_FULL=1.
import { mkdirSync, statSync, utimesSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import { guardedLoad } from '../../agent/config/guarded-load.ts'
import type { ReadingThread } from '../../agent/model/ports.ts'
import { inputFiles } from '../../agent/node/files/input-files.ts'
import { readingThread } from '../../agent/node/threads/reading-thread.ts'
import { blockedBy } from '../fixtures/blocked-by.ts'
import { DIST } from '../fixtures/e2e/agent-on-node.ts'
import { createKey, createRoot, openssl, readIn } from '../fixtures/pki/openssl.ts'
import { partOf } from '../fixtures/turn.ts'

const program = join(DIST, 'registry-trust-reader.cjs')
const certificates = t.testdir()
const key = createKey(certificates)
const root = createRoot(certificates, key, '/O=Corp/CN=Corp Root')
const MB = 1024 * 1024
// Heaps are filled on purpose here.
t.setTimeout(180_000)

let count = 0
function folderWith(files: { readonly [name: string]: string | Buffer }): string {
  const folder = join(certificates, `case-${count++}`)
  mkdirSync(join(folder, 'registries.d'), { recursive: true })
  for (const [name, content] of Object.entries(files)) writeFileSync(join(folder, name), content)
  return folder
}

function loading(folder: string, limits: { readonly heapMb?: number; readonly patienceMs?: number } = {}) {
  let threads = 0
  const real = readingThread({ program, heapMb: 40, ...limits })
  const thread: ReadingThread = (job, onNote) => {
    threads += 1
    return real(job, onNote)
  }
  const load = guardedLoad({
    paths: [folder],
    files: inputFiles({ freshMs: 0 }),
    clock: { now: Date.now, monotonic: () => performance.now() },
    thread,
  })
  return { load, threads: () => threads }
}

const MAIN = 'registries:\n  - host: harbor.example.net\n    ca: corp-root.pem\n'

/** Each is a product of two lengths that are small by themselves, or as large as a ConfigMap may be. */
const HOSTILE: { readonly [name: string]: string } = {
  'long keys above many values, 200 KB': `a:\n${Array.from({ length: 180 }, (_, at) => ` ${'k'.repeat(500)}${at}: [${'1,'.repeat(300)}]`).join('\n')}`,
  'one long key above many values, 1 MB': `? ${'k'.repeat(500_000)}\n: [${'1,'.repeat(70_000)}]${' '.repeat(350_000)}`,
  'a list as long as the tokens allow': `[${'a,'.repeat(70_000)}]`,
  'brackets, 1 MB': '['.repeat(1_000_000),
  'open maps, 1 MB': '{a: '.repeat(250_000),
  'a long text behind many aliases': `a: &a ["${'x'.repeat(100_000)}"]\nregistries: [${'*a,'.repeat(30_000)}]`,
  'aliases of aliases': `a0: &a0 [1]\n${Array.from({ length: 30 }, (_, at) => `a${at + 1}: &a${at + 1} [*a${at}, *a${at}]`).join('\n')}`,
  'a list whose items are compared with each other': `registries: [{host: a.b, mirrors: [{url: "https://a", capabilities: [${'1,'.repeat(60_000)}]}]}]`,
  'as many errors as values': `registries: [${'{a: 1},'.repeat(20_000)}]`,
  'unknown anchors by the thousand': `registries:\n${Array.from({ length: 900 }, (_, at) => `  - host: r${at}.example.net\n    anchors: [${Array.from({ length: 40 }, (__, n) => `n${n}${'x'.repeat(60)}`).join(', ')}]`).join('\n')}`,
  'comments, 1 MB': '# a\n'.repeat(260_000),
  'one text, 1 MB': `anchors: { a: { pem: "${'x'.repeat(1_000_000)}" } }`,
  'quotes that are never closed, 1 MB': `a: "${'\\x41'.repeat(260_000)}`,
}

for (const [name, text] of partOf(Object.entries(HOSTILE), 3)) {
  t.test(`${name}: read apart, named, and nothing waits for it`, async (t) => {
    const folder = folderWith({ 'trust.yaml': MAIN, 'corp-root.pem': root, 'registries.d/b.yaml': text })
    const { load } = loading(folder)
    globalThis.gc?.()
    const before = process.memoryUsage().heapUsed
    const blocked = await blockedBy(load, 5)
    t.ok(blocked < 1000, `the event loop was held for ${Math.round(blocked)} ms`)
    t.ok(process.memoryUsage().heapUsed - before < 16 * MB, 'the heap of this process is as before')
    const result = await load()
    if (!result.ok || result.problems.length > 0) t.match(result.problems[0]?.message, 'registries.d/b.yaml')
  })
}

t.test('a thousand registries with everything declared fit into the heap of a sidecar', async (t) => {
  const registries = Array.from(
    { length: 1000 },
    (_, at) =>
      `  - host: r${at}.example.net\n    anchors: [corp]\n    mirrors:\n      - url: https://m${at}.example.net:5000/x\n        anchors: [corp]\n        capabilities: [pull, resolve]\n        overridePath: true\n    fallback: true\n    credentials: { dockerConfigFile: login }\n    proof: { image: r${at}.example.net/a:b, level: pull, every: 10m }\n`,
  ).join('')
  const text = `anchors: { corp: { file: corp-root.pem } }\nregistries:\n${registries}`
  const folder = folderWith({ 'trust.yaml': text, 'corp-root.pem': root, login: '{}' })
  const { load, threads } = loading(folder)
  const result = await load()
  t.ok(result.ok)
  if (result.ok) t.equal(result.desired.registries.length, 1000)
  await load()
  t.equal(threads(), 1, 'what has not changed is not decoded again')
})

t.test('a file that uses up the heap or the time is named, and counts again once it is another', async (t) => {
  const folder = folderWith({
    'trust.yaml': MAIN,
    'corp-root.pem': root,
    'registries.d/b.yaml': HOSTILE['brackets, 1 MB'] ?? '',
  })
  writeFileSync(join(folder, 'registries.d/b.yaml'), `[${'a,'.repeat(70_000)}]`)
  const memory = loading(folder, { heapMb: 24 })
  const first = await memory.load()
  // The fragment alone is refused: the rest is in force.
  t.match((first.ok ? first.refused : first.problems)[0], {
    code: 'CONFIG_TOO_LARGE',
    message: /registries\.d\/b\.yaml: the file is not used: reading it takes more than 24 MB of memory$/,
  })
  const time = await loading(folder, { patienceMs: 150 }).load()
  const told = [...time.problems, ...(time.ok ? time.refused : [])]
  t.match(told.map(({ message }) => message).join(), 'takes longer than 0.15 s')
  writeFileSync(join(folder, 'registries.d/b.yaml'), 'registries: [{ host: b.example.net }]')
  const mended = await memory.load()
  t.ok(mended.ok)
  if (mended.ok)
    t.same(
      mended.desired.registries.map(({ host }) => host),
      ['harbor.example.net', 'b.example.net'],
    )
})

t.test('a small configuration starts no thread', async (t) => {
  const { load, threads } = loading(folderWith({ 'trust.yaml': MAIN, 'corp-root.pem': root }))
  t.ok((await load()).ok)
  t.equal(threads(), 0)
})

t.test('what is as it was is not read again, and whatever changes is', async (t) => {
  const folder = folderWith({ 'trust.yaml': MAIN, 'corp-root.pem': root })
  const inputs = inputFiles({ freshMs: 0 })
  let read = 0
  const load = guardedLoad({
    paths: [folder],
    files: {
      ...inputs,
      read(path, options) {
        read += 1
        return inputs.read(path, options)
      },
    },
    clock: { now: Date.now, monotonic: () => performance.now() },
    thread: () => Promise.reject(new Error('no thread is needed')),
  })
  const readsOf = async (options: { readonly isAnew?: boolean } = {}) => {
    read = 0
    return { result: await load(options), read }
  }
  const first = await load()
  t.ok(first.ok)
  // A change within one tick of the kernel's clock would leave no trace.
  await sleep(150)
  t.ok((await readsOf()).read > 0, 'what was read when it was new is read once more')
  const again = await readsOf()
  t.equal(again.result, first, 'the same object, so that the plan made from it is known to be for it')
  const absent = again.read
  t.ok(absent < 4, `${absent}: what does not exist is asked for, and no file is read`)
  t.ok((await readsOf({ isAnew: true })).read >= absent + 2)
  t.equal((await readsOf()).read, absent)
  const path = join(folder, 'trust.yaml')
  const { atime, mtime } = statSync(path)
  writeFileSync(path, MAIN.replace('harbor.example.net', 'horbar.example.net'))
  utimesSync(path, atime, mtime)
  const { result } = await readsOf()
  t.ok(result.ok)
  if (result.ok) t.equal(result.desired.registries[0]?.host, 'horbar.example.net', 'although its time was put back')
})

t.test('a costly store is opened once, apart from the process, and its key never comes back as text', async (t) => {
  const folder = folderWith({ password: 'secret\n', 'ca.pem': root })
  openssl(
    folder,
    'pkcs12',
    '-export',
    '-nokeys',
    '-in',
    'ca.pem',
    '-iter',
    '600000',
    '-nomaciter',
    '-passout',
    'pass:secret',
    '-out',
    'store.p12',
  )
  const declared = 'anchors: { a: { file: store.p12, passwordFile: password } }\n'
  writeFileSync(join(folder, 'trust.yaml'), `${declared}registries: [{ host: a.example.net, anchors: [a] }]\n`)
  const { load, threads } = loading(folder)
  const started = performance.now()
  const blocked = await blockedBy(load, 5)
  const cold = performance.now() - started
  t.ok(blocked < 1000, `the event loop waited ${Math.round(blocked)} ms of ${Math.round(cold)}`)
  t.equal(threads(), 1)
  const again = performance.now()
  const result = await load()
  t.ok(performance.now() - again < cold / 4, 'the second look decodes nothing')
  if (result.ok) t.equal(result.desired.anchors[0]?.certificates.length, 1)
  // Another file changes: the store is still the same.
  writeFileSync(join(folder, 'trust.yaml'), `${declared}registries: [{ host: b.example.net, anchors: [a] }]\n`)
  const other = performance.now()
  t.ok((await load()).ok)
  t.equal(threads(), 2)
  t.comment(`cold ${Math.round(cold)} ms, store known ${Math.round(performance.now() - other)} ms`)
})

t.test('the key of a client certificate is a secret again on this side of the thread', async (t) => {
  const folder = folderWith({ 'client.pem': root, 'client.key': readIn(certificates, key), filler: '' })
  const filler = `#${' '.repeat(20_000)}\n`
  writeFileSync(
    join(folder, 'trust.yaml'),
    `${filler}registries: [{ host: a.example.net, clientCertificate: { certFile: client.pem, keyFile: client.key } }]\n`,
  )
  const { load, threads } = loading(folder)
  const result = await load()
  t.equal(threads(), 1)
  t.ok(result.ok)
  if (!result.ok) return
  const secret = result.desired.registries[0]?.clientCertificate?.key
  t.equal(JSON.stringify(secret), '"[redacted]"')
  t.match(secret?.reveal(), 'PRIVATE KEY')
})
