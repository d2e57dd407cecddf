// What a registry serves, watched over time: a real TLS server, and a clock that is set by hand. The whole of it in the
// daemon, against a real registry, is in test/e2e/advisories.test.ts.
import { once } from 'node:events'
import { createServer } from 'node:https'
import type { AddressInfo } from 'node:net'
import t, { type Test } from 'tap'
import { servedWatch } from '../../agent/daemon/watch/served-chains.ts'
import type { Registry } from '../../agent/model/desired-state.ts'
import { tlsProbe } from '../../agent/node/tls/tls.ts'
import {
  alternativeNames,
  basicConstraints,
  build,
  ecPair,
  keyPem,
  toPem,
} from '../fixtures/pki/certificate-builder.ts'

const MINUTE = 60_000
const key = ecPair()

function certificate(issuer: string, days: number): string {
  const [notBefore, notAfter] = [new Date(Date.now() - MINUTE), new Date(Date.now() + days * 1440 * MINUTE)]
  const extensions = [alternativeNames([{ dns: 'localhost' }]), basicConstraints(false)]
  return toPem(build({ subject: 'registry', issuer, key, signer: ecPair(), notBefore, notAfter, extensions }))
}

async function place(t: Test) {
  const first = certificate('First Root', 30)
  const server = createServer({ key: keyPem(key), cert: first }, (_, answer) => answer.end())
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => server.close())
  const host = `localhost:${(server.address() as AddressInfo).port}`
  let now = Date.parse('2026-11-21T10:00:00Z')
  const asked: string[] = []
  const events: string[] = []
  const note = (event: string) => void events.push(event)
  const watch = servedWatch({
    tls: tlsProbe(),
    clock: { now: () => now, monotonic: () => now, sleep: async () => undefined },
    log: { debug: note, info: note, warn: note, error: note },
    onChanged: (changed) => asked.push(changed),
  })
  const registry: Registry = { host, anchors: [], proof: { level: 'manifest', everyMs: 600_000 } } as never
  return {
    host,
    watch,
    asked,
    events,
    serve: (issuer: string, days: number) =>
      server.setSecureContext({ key: keyPem(key), cert: certificate(issuer, days) }),
    serveFirst: () => server.setSecureContext({ key: keyPem(key), cert: first }),
    async look(passedMs: number, failed?: ReadonlySet<string>) {
      now += passedMs
      await watch.refresh([registry], failed === undefined ? {} : { failed })
    },
    at: () => new Date(now).toISOString(),
    forget: () => watch.refresh([]),
  }
}

t.test('a renewed certificate asks for a proof at once, and is drift until that proof has succeeded', async (t) => {
  const { host, watch, asked, events, serve, look, at } = await place(t)
  await look(0)
  t.match(watch.of(host), { issuer: 'CN=First Root', chain: [/^sha256:/] })
  await look(10 * MINUTE)
  t.same([asked, watch.changed()], [[], []], 'the same chain is nothing new')
  const before = at()
  serve('First Root', 60)
  await look(9 * MINUTE)
  t.same(asked, [], 'not before it is time')
  await look(MINUTE)
  t.same(asked, [host])
  t.match(watch.changed(), [{ target: 'registry', path: host, kind: 'chain-changed' }])
  t.same(events, ['chain-changed'])
  watch.proved(host, before)
  t.equal(watch.changed().length, 1, 'a proof from before says nothing about it')
  watch.proved(host, at())
  t.same(watch.changed(), [])
})

t.test(
  'a failed proof has the chain looked at within seconds; what is told is the chain that was proved last',
  async (t) => {
    const { host, watch, serve, look, asked } = await place(t)
    await look(0)
    serve('Second Root', 30)
    await look(1_000, new Set([host]))
    t.same(asked, [], 'a registry is not asked without a pause')
    await look(5_000, new Set([host]))
    serve('Third Root', 30)
    await look(5_000, new Set([host]))
    t.match(watch.changed(), [{ reason: /by CN=Third Root, before: \S+ by CN=First Root;/ }])
    t.same(asked, [host, host])
  },
)

t.test('the chain of before is no drift any more, nor is a registry that is no longer declared', async (t) => {
  const { host, watch, serve, serveFirst, look, forget } = await place(t)
  await look(0)
  serve('Second Root', 30)
  await look(10 * MINUTE)
  t.equal(watch.changed().length, 1)
  serveFirst()
  await look(10 * MINUTE)
  t.equal(watch.changed().length, 0)
  serve('Second Root', 30)
  await look(10 * MINUTE)
  t.equal(watch.changed().length, 1)
  await forget()
  t.same([watch.changed(), watch.of(host)], [[], undefined])
})
