import { Ajv2020 } from 'ajv/dist/2020.js'
import t from 'tap'
import { FLEET_SCHEMA, fleetReport } from '../../agent/fleet/report/report.ts'
import { createFleetServer } from '../../agent/fleet/report/server.ts'
import type { FleetPicture, NodeLine } from '../../agent/fleet/state/picture.ts'
import { NEW_RECORD } from '../../agent/fleet/state/record.ts'
import { readSummary } from '../../agent/fleet/state/summary-text.ts'
import { conditionOf } from '../../agent/fleet/state/verdict.ts'
import { DEFAULT_FLEET } from '../../agent/model/fleet.ts'
import { lineOf as line, WELL } from '../fixtures/fleet/pictures.ts'
import { SUMMARY } from '../fixtures/http/sample-status.ts'
import { SILENT } from '../fixtures/scratch/carry-out.ts'

function serverOf(lines: readonly NodeLine[], halted?: string) {
  const picture: FleetPicture = {
    ...{ isLeading: true, isSynced: true, config: 'c'.repeat(64), lines, nodes: [], record: NEW_RECORD, halted },
  }
  return createFleetServer({
    version: '1',
    report: (query) => fleetReport(picture, DEFAULT_FLEET.rollout, query),
    metrics: { contentType: 'text/plain', text: async () => '' },
    readiness: () => ({ ready: true, checks: [] }),
    liveness: () => ({ ready: true, checks: [] }),
    log: SILENT,
  })
}

const LINES = [
  line('n1', WELL),
  line('n2', { ...WELL, untrusted: [{ host: 'harbor.example.net', code: 'unknown-authority' }] }),
  line('n3', WELL, true),
  line('<script>alert(1)</script>', { ...WELL, state: 'rolled-back' }),
]

t.test('GET /fleet is what its schema says: worst first, filtered, in pages', async (t) => {
  const server = serverOf(LINES)
  const all = (await server.inject({ url: '/fleet' })).json()
  t.ok(new Ajv2020({ allowUnionTypes: true }).compile(FLEET_SCHEMA)(all))
  t.same(
    all.nodes.map(({ state }: { state: string }) => state),
    ['rolled-back', 'untrusted', 'unreachable', 'trusted'],
  )
  t.match(all.registries, [{ host: 'harbor.example.net', code: 'unknown-authority', nodes: 1, examples: ['n2'] }])
  t.match((await server.inject({ url: '/fleet?registry=harbor.example.net' })).json(), {
    matching: 1,
    nodes: [{ node: 'n2' }],
  })
  t.match((await server.inject({ url: '/fleet?state=unreachable' })).json(), {
    nodes: [{ error: 'no answer within 5 s' }],
  })
  t.match((await server.inject({ url: '/fleet?offset=3&limit=1' })).json(), { matching: 4, nodes: [{ node: 'n1' }] })
  for (const query of ['state=good', 'limit=x', 'limit=5000', 'offset=-1', 'state=a&state=b'])
    t.equal((await server.inject({ url: `/fleet?${query}` })).statusCode, 400, query)
  t.equal((await server.inject({ url: '/nothing' })).statusCode, 404)
})

t.test('the page says the worst first, and nothing of what nodes say is markup', async (t) => {
  const { body, headers } = await serverOf(LINES).inject({ url: '/' })
  t.match(body, /3 of 4 nodes are not healthy/)
  t.notMatch(body, '<script>alert')
  t.match(headers['content-security-policy'], /script-src 'sha256-/)
  t.match(
    (await serverOf(LINES, 'one node failed (n1)').inject({ url: '/' })).body,
    /The roll-out is halted: one node failed/,
  )
  t.match((await serverOf([line('n1', WELL)]).inject({ url: '/' })).body, /The one node trusts every declared registry/)
})

t.test('the document names every path', async (t) => {
  const { paths } = (await serverOf([]).inject({ url: '/openapi.json' })).json()
  for (const path of Object.keys(paths)) t.equal((await serverOf([]).inject({ url: path })).statusCode, 200, path)
})

t.test(
  'the condition: True with every registry, False with the worst finding, Unknown without an answer',
  async (t) => {
    const [well, untrusted, silent, rolledBack] = LINES.map(({ facts }) => conditionOf(facts))
    t.match(well, { status: 'True', reason: 'Trusted' })
    t.match(untrusted, { status: 'False', reason: 'UnknownAuthority', message: /^harbor.example.net is not trusted/ })
    t.match(silent, { status: 'Unknown', reason: 'AgentUnreachable' })
    t.match(rolledBack, { status: 'False', reason: 'RolledBack' })
    const waiting = { node: 'n', summary: WELL, isUnreachable: false, isCurrent: false, isGranted: false }
    t.equal(conditionOf(waiting), undefined, 'nothing new is said while a change is under way')
  },
)

t.test('an answer that is not a summary of that node is none', async (t) => {
  const text = JSON.stringify(SUMMARY)
  t.match(readSummary(text, SUMMARY.node), { node: SUMMARY.node })
  t.equal(readSummary(text, 'other'), undefined)
  t.equal(readSummary('{', SUMMARY.node), undefined)
  for (const key of Object.keys(SUMMARY))
    t.equal(readSummary(JSON.stringify({ ...SUMMARY, [key]: { a: 1 } }), SUMMARY.node), undefined, key)
})
