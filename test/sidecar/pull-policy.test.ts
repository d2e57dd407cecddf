// Which images a compromised agent could make the node pull: none but those that prove a declared registry.
import t from 'tap'
import type { Registry } from '../../agent/model/desired-state.ts'
import { mayPull } from '../../agent/sidecar/pull-policy.ts'
import { RateLimit } from '../../agent/sidecar/rate-limit.ts'

const DIGEST = `sha256:${'a'.repeat(64)}`

function registry(host: string, image?: string): Registry {
  return {
    host,
    anchors: [],
    proof: { level: 'pull', everyMs: 1, ...(image === undefined ? {} : { image }) },
    source: 'test',
  }
}

const scope = {
  registries: [
    registry('harbor.example.net', 'harbor.example.net/library/pause:3.10'),
    registry('registry.example.net:5000'),
  ],
}
const present = async () => true
const absent = async () => false

t.test('allows the probe of a declared registry', async (t) => {
  t.equal(await mayPull('harbor.example.net/registry-trust/probe:does-not-exist', scope, absent), undefined)
  t.equal(await mayPull('registry.example.net:5000/registry-trust/probe:does-not-exist', scope, absent), undefined)
})

t.test('allows the proof image as the configuration names it, and no other tag of it', async (t) => {
  t.equal(await mayPull('harbor.example.net/library/pause:3.10', scope, absent), undefined)
  t.match(await mayPull('harbor.example.net/library/pause:latest', scope, present), /neither the probe/)
  t.match(await mayPull('registry.example.net:5000/library/pause:3.10', scope, present), /neither the probe/)
})

t.test('allows the tag that does not exist beside the proof image', async (t) => {
  t.equal(await mayPull('harbor.example.net/library/pause:does-not-exist', scope, absent), undefined)
  t.match(await mayPull('harbor.example.net/library/other:does-not-exist', scope, absent), /neither the probe/)
})

t.test('allows an image by digest only when the node has it: nothing new comes, no tag moves', async (t) => {
  t.equal(await mayPull(`harbor.example.net/app@${DIGEST}`, scope, present), undefined)
  t.match(await mayPull(`harbor.example.net/app@${DIGEST}`, scope, absent), /neither the probe/)
  t.match(await mayPull('harbor.example.net/app:1', scope, present), /neither the probe/)
})

for (const reference of [
  'other.example.net/registry-trust/probe:does-not-exist',
  'harbor.example.net:443/registry-trust/probe:does-not-exist',
  'HARBOR.example.net/registry-trust/probe:does-not-exist',
  'registry.example.net/registry-trust/probe:does-not-exist',
  'library/pause:3.10',
  'pause',
  '',
  '/harbor.example.net/library/pause:3.10',
  'evil.example.net/harbor.example.net/library/pause:3.10',
])
  t.test(`refuses ${JSON.stringify(reference)}`, async (t) => {
    t.match(await mayPull(reference, scope, present), /is not a declared registry/)
  })

t.test('nothing is declared before the configuration was read', async (t) => {
  t.match(await mayPull('harbor.example.net/registry-trust/probe:does-not-exist', { registries: [] }, present), /not a/)
})

t.test('a limit counts what was taken within the time, and lets go of what is older', async (t) => {
  let now = 0
  const limit = new RateLimit({ most: 2, perMs: 100, now: () => now })
  t.same([limit.take(), limit.take(), limit.take()], [true, true, false])
  now = 99
  t.equal(limit.take(), false)
  now = 101
  t.equal(limit.take(), true)
})
