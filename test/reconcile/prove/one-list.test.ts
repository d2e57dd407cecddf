// Proving many registries costs one question for the images of the node, directly and through the cri-proxy: a node with
// many images is slow to answer it.
import { join } from 'node:path'
import t, { type Test } from 'tap'
import type { CriClient } from '../../../agent/model/ports.ts'
import { systemClock } from '../../../agent/node/clock.ts'
import { connectCri } from '../../../agent/node/cri/client.ts'
import { proveRegistries } from '../../../agent/reconcile/prove/pull.ts'
import { startCriProxy } from '../../../agent/sidecar/cri-proxy.ts'
import type { Declared } from '../../../agent/sidecar/declared.ts'
import { shortFolder } from '../../fixtures/node/private-containerd.ts'
import { registry } from '../../fixtures/scratch/sample.ts'
import { scratchPorts } from '../../fixtures/scratch/scratch-runtime.ts'

// The proxy lets 60 pulls a minute through.
const HOSTS = Array.from({ length: 40 }, (_, index) => `r${index}.example.net`)
const REGISTRIES = HOSTS.map((host) => registry(host))
const DIGEST = `sha256:${'0'.repeat(64)}`
const OPTIONS = { clock: systemClock(), timeoutMs: 5_000 }

/** A runtime that has an image of r7 and one of a host whose name begins like that of r3. */
function runtime(t: Test): { readonly cri: CriClient; readonly asked: () => number } {
  const ports = scratchPorts(t.testdir())
  let asked = 0
  const cri = {
    ...ports.connectCri(''),
    async imageDigests() {
      asked += 1
      return [`r7.example.net/app@${DIGEST}`, `r3.example.network/app@${DIGEST}`]
    },
    imageExists: async () => true,
    pullImage: async () => ({ ok: true, imageRef: DIGEST }) as const,
  }
  return { cri, asked: () => asked }
}

function requireOwnImages(t: Test, references: readonly (string | undefined)[]): void {
  t.equal(references[7], `r7.example.net/app@${DIGEST}`, 'what is there is asked for')
  t.equal(references[3], 'r3.example.net/registry-trust/probe:does-not-exist', 'a part of a host is no host')
}

t.test('asks the runtime once for its images, however many registries are proved', async (t) => {
  const { cri, asked } = runtime(t)
  const proofs = await proveRegistries(REGISTRIES, cri, OPTIONS)
  requireOwnImages(
    t,
    proofs.map(({ reference }) => reference),
  )
  t.equal(asked(), 1)
})

t.test('asks once for its images through the proxy, and is shown those of declared registries', async (t) => {
  const { cri, asked } = runtime(t)
  const socket = join(shortFolder(t), 'proxy.sock')
  const log = { debug() {}, info() {}, warn() {}, error() {} }
  const declared: Declared = { current: async () => ({ registries: REGISTRIES, restart: undefined }) }
  const proxy = await startCriProxy({ socket, cri, declared, log })
  const through = connectCri(socket)
  t.teardown(async () => {
    through.close()
    await proxy.close()
  })
  const proofs = await proveRegistries(REGISTRIES, through, OPTIONS)
  requireOwnImages(
    t,
    proofs.map(({ reference }) => reference),
  )
  t.equal(asked(), 1)
  t.same(await through.imageDigests(OPTIONS), [`r7.example.net/app@${DIGEST}`])
})

t.test('a list that failed is asked for again', async (t) => {
  const { cri } = runtime(t)
  let asked = 0
  const failing = {
    ...cri,
    async imageDigests() {
      asked += 1
      throw new Error('no')
    },
  }
  await proveRegistries(REGISTRIES, failing, OPTIONS)
  t.ok(asked > 1)
})
