// A certificate of the distribution that a declared registry is verified by alone stays where it is, with a real TLS
// server and a store with its root.
import { once } from 'node:events'
import { mkdirSync, writeFileSync } from 'node:fs'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { createServer } from 'node:tls'
import t from 'tap'
import type { Plan } from '../../../agent/model/plan.ts'
import { systemClock } from '../../../agent/node/clock.ts'
import { nodeFiles } from '../../../agent/node/files/files.ts'
import { tlsProbe } from '../../../agent/node/tls/tls.ts'
import { decodeCertificates } from '../../../agent/pki/decode/decode.ts'
import { sparedByDistrust } from '../../../agent/reconcile/run/judgements/orphaning-distrust.ts'
import {
  alternativeNames,
  basicConstraints,
  build,
  ecPair,
  keyPem,
  type Pair,
  toPem,
} from '../../fixtures/pki/certificate-builder.ts'
import { anchor, desired, registry } from '../../fixtures/scratch/sample.ts'

const [caKey, serverKey] = [ecPair(), ecPair()]
const day = 86_400_000
const validity = { notBefore: new Date(Date.now() - day), notAfter: new Date(Date.now() + 30 * day) }
const rootOf = (subject: string, key: Pair) =>
  toPem(build({ ...validity, subject, issuer: subject, key, signer: key, extensions: [basicConstraints(true)] }))
const ca = rootOf('Old Root', caKey)
const other = rootOf('Other Root', ecPair())
const leaf = toPem(
  build({
    ...validity,
    subject: 'localhost',
    issuer: 'Old Root',
    key: serverKey,
    signer: caKey,
    extensions: [alternativeNames([{ dns: 'localhost' }])],
  }),
)
const fingerprintOf = (pem: string) => decodeCertificates(Buffer.from(pem)).certificates[0]?.fingerprint ?? ''

t.test('what a registry needs stays, and its host is named', async (t) => {
  const server = createServer({ cert: leaf, key: keyPem(serverKey) }, (socket) => socket.on('error', () => undefined))
  server.on('tlsClientError', () => undefined)
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => server.close())
  const host = `localhost:${(server.address() as AddressInfo).port}`
  const root = t.testdir()
  mkdirSync(join(root, 'etc/ssl/certs'), { recursive: true })
  writeFileSync(join(root, 'etc/ssl/certs/ca-certificates.crt'), ca + other)
  const ports = { files: nodeFiles({ root }), tls: tlsProbe(), clock: systemClock() }
  const fingerprints = [fingerprintOf(ca), fingerprintOf(other)]
  const wanted = desired({ registries: [registry(host)], distrust: { fingerprints, problems: [] } })
  const plan = { distrusts: fingerprints } as unknown as Plan
  const spared = await sparedByDistrust(plan, wanted, ports)
  t.match(spared.problems, [
    { code: 'ANCHOR_WOULD_ORPHAN', message: new RegExp(`^${host} is trusted now by .*Old Root`) },
  ])
  t.same(spared.desired.distrust?.fingerprints, [fingerprintOf(other)])

  const [own] = decodeCertificates(Buffer.from(ca)).certificates
  const scoped = { ...anchor('old', ...(own === undefined ? [] : [own])), scope: 'registries' as const }
  const declared = { ...wanted, anchors: [scoped], registries: [registry(host, 'old')] }
  t.same(
    await sparedByDistrust(plan, declared, ports),
    { desired: declared, problems: [] },
    'an anchor of its own will do',
  )
})
