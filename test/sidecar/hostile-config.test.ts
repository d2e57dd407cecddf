// A configuration that is made to be costly, before the sidecars as they run in a Pod: they answer at once what needs
// no configuration, answer the rest from the last good one, and go on running in the heap that the manifest gives them.
import { once } from 'node:events'
import { mkdirSync, writeFileSync } from 'node:fs'
import { connect } from 'node:net'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import { connectCri } from '../../agent/node/cri/client.ts'
import { type Sidecar, sidecar, stillRuns } from '../fixtures/sidecar/process.ts'

/** All of them in each file; else the first one. */
const FULL = process.env['REGISTRY_TRUST_FULL'] === '1'
const GOOD = 'registries: [{ host: harbor.example.net }]\nrestart: { unit: corp.service }\n'
const OTHER = 'registries: [{ host: other.example.net }]\nrestart: { unit: other.service }\n'
/** Files are looked at again after a second. */
const FRESH_MS = 1_200
const AT_ONCE_MS = 1_000
/** The thread that reads has five seconds of its own CPU time for each file. */
const IN_TIME_MS = 30_000
t.setTimeout(240_000)
// They wait for the clock, most of the time.
t.jobs = 2

const HOSTILE: { readonly [what: string]: string } = {
  '200 KB of long keys above many values': `a:\n${Array.from({ length: 180 }, (_, at) => ` ${'k'.repeat(500)}${at}: [${'1,'.repeat(300)}]`).join('\n')}`,
  '1 MB of open maps': '{a: '.repeat(250_000),
  'as much as a ConfigMap holds': `? ${'k'.repeat(500_000)}\n: [${'1,'.repeat(70_000)}]`.padEnd(
    1024 * 1024 - OTHER.length,
  ),
}

async function ask(socket: string, question: object): Promise<string> {
  const connection = connect(socket)
  connection.write(`${JSON.stringify(question)}\n`)
  const [answer] = (await once(connection, 'data')) as [Buffer]
  connection.destroy()
  return answer.toString('utf8')
}

/** What it knows of the configuration, by what it refuses. */
const KNOWS: { readonly [sidecar: string]: (one: Sidecar) => Promise<unknown> } = {
  async restarter({ socket }) {
    const answers = ['corp.service', 'other.service'].map((unit) => ask(socket, { verb: 'facts', unit }))
    return (await Promise.all(answers)).map((answer) => /RESTART_REFUSED/.test(answer))
  },
  async 'cri-proxy'({ socket }) {
    const cri = connectCri(socket)
    const pulls = ['harbor', 'other'].map((name) =>
      cri.pullImage(`${name}.example.net/registry-trust/probe:does-not-exist`, { timeoutMs: IN_TIME_MS }),
    )
    const answers = (await Promise.all(pulls)).map((pull) => !pull.ok && /is not a declared registry/.test(pull.text))
    cri.close()
    return answers
  },
}

for (const command of ['restarter', 'cri-proxy'] as const)
  t.test(`${command}: the last good configuration is in force, and the next good one counts`, async (t) => {
    const one = await sidecar(t, command)
    const knows = () => KNOWS[command]?.(one)
    const main = join(one.config, 'trust.yaml')
    writeFileSync(main, GOOD)
    await sleep(FRESH_MS)
    t.same(await knows(), [false, true])
    mkdirSync(join(one.config, 'registries.d'))
    const [first] = Object.entries(HOSTILE)
    for (const [what, text] of FULL ? Object.entries(HOSTILE) : first === undefined ? [] : [first])
      for (const file of ['registries.d/b.yaml', 'trust.yaml']) {
        writeFileSync(join(one.config, file), file === 'trust.yaml' ? `${OTHER}${text}` : text)
        await sleep(FRESH_MS)
        const known = knows()
        if (command === 'restarter') {
          const begun = performance.now()
          t.match(await ask(one.socket, { verb: 'facts' }), /"ok":true/)
          t.ok(performance.now() - begun < AT_ONCE_MS, `${what}: ${Math.round(performance.now() - begun)} ms`)
        }
        t.same(await known, [false, true], `${what} in ${file}`)
        stillRuns(t, one)
        writeFileSync(main, GOOD)
      }
    writeFileSync(join(one.config, 'registries.d/b.yaml'), 'registries: []\n')
    writeFileSync(main, OTHER)
    await sleep(FRESH_MS)
    t.same(await knows(), [true, false])
  })
