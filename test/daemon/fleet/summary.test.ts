import { Ajv2020 } from 'ajv/dist/2020.js'
import t from 'tap'
import { summaryOf } from '../../../agent/daemon/fleet/summary.ts'
import { SUMMARY_SCHEMA } from '../../../agent/model/summary.ts'
import { SAMPLE, UNTRUSTED } from '../../fixtures/http/sample-status.ts'

const FACTS = { config: 'c'.repeat(64), grant: null, runtimeReady: true, uptimeSeconds: 9 }
const size = (value: object) => Buffer.byteLength(JSON.stringify(value))

t.test('it stays within 1 KiB and 40 bytes a registry, whatever is wrong', async (t) => {
  for (const count of [0, 1, 10, 300]) {
    for (const length of [10, 100, 253]) {
      const registries = Array.from({ length: count }, (_, index) => ({
        ...UNTRUSTED,
        host: `r${index}.${'x'.repeat(300)}`.slice(0, length),
      }))
      const restart = {
        pending: true,
        reason: 'y'.repeat(2000),
        last: { at: '2026-11-21T11:10:00.000Z', reason: 'z', result: 'rolled-back', durationMs: 1 },
      }
      const status = { ...SAMPLE, node: 'n'.repeat(253), registries, restart }
      const grant = { id: 'a'.repeat(64), generation: '0123456789ab', phase: 'done', ok: true } as const
      const summary = summaryOf(status, { ...FACTS, grant })
      t.ok(size(summary) <= 1024 + 40 * count, `${count} registries of ${length}: ${size(summary)} bytes`)
      t.equal(summary.untrusted.length + summary.untrustedMore, count)
      t.equal(summary.registries, count)
    }
  }
})

t.test('it is what its schema says, and names what is not trusted', async (t) => {
  const summary = summaryOf({ ...SAMPLE, registries: [UNTRUSTED] }, FACTS)
  t.same(summary.untrusted, [{ host: UNTRUSTED.host, code: UNTRUSTED.finding.code }])
  t.ok(new Ajv2020({ allowUnionTypes: true }).compile(SUMMARY_SCHEMA)(summary))
})

t.test('a restart that lacks nothing but the grant is told apart from one that lacks something else', async (t) => {
  const of = (reason: string) => summaryOf({ ...SAMPLE, restart: { pending: true, reason, last: null } }, FACTS).restart
  t.match(of("waits for the fleet's grant (grant aaaaaaaa is used up)"), { pending: true, awaitsGrant: true })
  t.match(of('outside the maintenance window'), { pending: true, awaitsGrant: false })
})
