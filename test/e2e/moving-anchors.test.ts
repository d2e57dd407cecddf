// Go's own loader reads while anchors move: containerd pulls from two registries without end, and the agent applies one
// configuration after another that declares both, under other names, split, merged, shared, in another order and in
// other files. No pull fails, from the first apply to the last. What openssl and other readers see, over thousands of
// sequences, is in test/targets/system-trust/sequences.test.ts.
import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import { BY_SIGNAL, sampledGenerations, startPrivateRegistry } from '../fixtures/e2e/agent-on-node.ts'
import { nodeWithRegistry } from '../fixtures/e2e/registry-node.ts'
import { defaultConfig, withConfigPath } from '../fixtures/node/sandbox-node.ts'
import { partOf } from '../fixtures/turn.ts'

const PULL_EVERY_MS = 50
const [ONE, TWO] = ['one.example.net', 'two.example.net'] as const

type Trust = {
  readonly anchors: { readonly [name: string]: object }
  readonly registries: readonly object[]
  readonly targets?: object
}

/** The certificates lie in one.pem and two.pem, and both in both.pem. */
const MOVES: readonly (readonly [name: string, trust: Trust])[] = [
  ['two anchors', withAnchors({ one: 'one.pem', two: 'two.pem' }, ['one'], ['two'])],
  ['renamed', withAnchors({ first: 'one.pem', second: 'two.pem' }, ['first'], ['second'])],
  ['names changed over', withAnchors({ second: 'one.pem', first: 'two.pem' }, ['second'], ['first'])],
  ['merged into one file', withAnchors({ both: 'both.pem' }, ['both'], ['both'])],
  ['split again, shared by both', withAnchors({ two: 'two.pem', one: 'one.pem' }, ['two', 'one'], ['one', 'two'])],
  ['the same under three names', withAnchors({ a: 'one.pem', b: 'one.pem', c: 'both.pem' }, ['a', 'b'], ['c'])],
  [
    'another scope',
    {
      ...withAnchors({}, ['one'], ['two']),
      anchors: { one: { file: 'one.pem', scope: 'registries' }, two: { file: 'two.pem', scope: 'registries' } },
    },
  ],
  [
    'other file names',
    {
      ...withAnchors({ one: 'one.pem', two: 'two.pem' }, ['one'], ['two']),
      targets: { systemTrust: { fileName: 'ours-{name}.pem' } },
    },
  ],
]

/** After these, `plan` is asked whether anything is left to do. */
const PLANNED = partOf(MOVES, 4).map(([name]) => name)

function withAnchors(
  files: { readonly [name: string]: string },
  one: readonly string[],
  two: readonly string[],
): Trust {
  return {
    anchors: Object.fromEntries(Object.entries(files).map(([name, file]) => [name, { file }])),
    registries: [
      { host: ONE, anchors: one },
      { host: TWO, anchors: two },
    ],
  }
}

for (const generation of sampledGenerations())
  t.test(`containerd ${generation.label}: no pull fails while anchors move`, { timeout: 240_000 }, async (t) => {
    const config = withConfigPath(defaultConfig(generation))
    const { node, registry, authority, agent } = await nodeWithRegistry(t, ONE, { generation, config })
    const other = await startPrivateRegistry(node, TWO)
    const files = {
      'one.pem': authority.pem,
      'two.pem': other.authority.pem,
      'both.pem': `${authority.pem}${other.authority.pem}`,
    }
    const references = [registry.reference(), other.registry.reference()]
    for (const reference of references) t.match(await node.pull(reference), { ok: false, message: /x509/ })

    let isOver = false
    t.teardown(() => {
      isOver = true
    })
    const pulls = { worked: 0, failed: [] as string[] }
    let during = 'nothing'
    const pulling = async (reference: string) => {
      while (!isOver) {
        const pulled = await node.pull(reference)
        if (pulled.ok) pulls.worked += 1
        else pulls.failed.push(`${during}: ${pulled.message}`)
        await sleep(PULL_EVERY_MS)
      }
    }
    let readers: readonly Promise<void>[] = []
    for (const [name, trust] of MOVES) {
      during = name
      await agent.configure({ ...trust, ...BY_SIGNAL }, files)
      const { code, report } = await agent.apply()
      t.equal(code, 0, `${name}: ${JSON.stringify(report.problems)}`)
      t.same(
        report.findings.map(({ host, finding }) => [host, finding.code]),
        [
          [ONE, 'trusted'],
          [TWO, 'trusted'],
        ],
        name,
      )
      if (PLANNED.includes(name)) t.equal((await agent.plan()).code, 0, `${name}: nothing is left to do`)
      // From the first apply on both are declared all the time.
      if (readers.length === 0) readers = references.map(pulling)
    }
    isOver = true
    await Promise.all(readers)
    t.same(pulls.failed, [])
    t.ok(pulls.worked >= 4 * MOVES.length, `${pulls.worked} pulls`)
  })
