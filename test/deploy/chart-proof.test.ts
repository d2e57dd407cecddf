// `helm test`: the script that its Pod runs, against the agent's own HTTP server.
import { execFile } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import type { NodeStatus } from '../../agent/model/status.ts'
import { CHART } from '../fixtures/deploy/helm.ts'
import { SAMPLE, TRUSTED, UNTRUSTED } from '../fixtures/http/sample-status.ts'
import { startFixture } from '../fixtures/http/served-page.ts'
import { openssl } from '../fixtures/pki/openssl.ts'

type Answer = { readonly code: number; readonly stdout: string }

async function prove(t: Test, status: NodeStatus, registries = ''): Promise<Answer> {
  const { server } = startFixture(t, { status: () => status })
  const { port } = await server.listen('127.0.0.1:0')
  return await run({ AGENTS: '127.0.0.1', PORT: String(port), REGISTRIES: registries })
}

async function run(env: NodeJS.ProcessEnv): Promise<Answer> {
  const args = [join(CHART, 'scripts/prove.mjs')]
  return await new Promise((resolve) => {
    execFile(process.execPath, args, { env: { ...env, TIMEOUT_SECONDS: '0' } }, (error, stdout) => {
      resolve({ code: error === null ? 0 : Number(error.code), stdout })
    })
  })
}

t.test('every registry that the node itself pulled from is proved', async (t) => {
  const registries = [TRUSTED, { ...TRUSTED, host: 'other.example.net', state: 'rehearsed' as const }]
  t.match(await prove(t, { ...SAMPLE, registries }), {
    code: 0,
    stdout: /ok {5}worker-1: .*: trusted\n[\s\S]*proved on 1 node\n/,
  })
})

t.test('one that is not trusted fails, with its node and the reason', async (t) => {
  const { code, stdout } = await prove(t, { ...SAMPLE, registries: [TRUSTED, UNTRUSTED] })
  t.equal(code, 1)
  t.match(stdout, `NOT OK worker-1: ${UNTRUSTED.host}: ${UNTRUSTED.state}: `)
  t.match(stdout, /^ok/m)
})

t.test('agents that serve HTTPS are asked with the certificate of the release, and with no other', async (t) => {
  const folder = t.testdir({})
  const made = (name: string) => {
    const [key, cert] = [join(folder, `${name}.key`), join(folder, `${name}.crt`)]
    openssl(
      folder,
      ...['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days', '2'],
      ...['-subj', `/CN=${name}`, '-keyout', key, '-out', cert],
    )
    return { cert, key }
  }
  const [own, other] = [made('agents'), made('somebody')]
  const pair = { cert: readFileSync(own.cert), key: readFileSync(own.key) }
  const status = { ...SAMPLE, registries: [TRUSTED] }
  const { server } = startFixture(t, { status: () => status, certificate: async () => pair })
  const { port } = await server.listen('127.0.0.1:0')
  const asked = (file: string) => run({ AGENTS: '127.0.0.1', PORT: String(port), TLS_CERT_FILE: file })
  t.match(await asked(own.cert), { code: 0, stdout: /proved on 1 node/ })
  t.match(await asked(other.cert), { code: 1, stdout: /does not answer: / })
  t.match(await asked(join(folder, 'absent')), { code: 1, stdout: /does not answer: / }, 'HTTP is not what they speak')
})

t.test('what was asked for and is not declared fails, and so does a node that declares nothing', async (t) => {
  const status = { ...SAMPLE, registries: [TRUSTED] }
  t.match(await prove(t, status, TRUSTED.host), { code: 0 })
  t.match(await prove(t, status, 'quay.io'), { code: 1, stdout: /quay\.io is not declared/ })
  t.match(await prove(t, { ...SAMPLE, registries: [] }), { code: 1, stdout: /declares no registry/ })
})

t.test('an agent that does not answer fails, and so does a release without agents', async (t) => {
  t.match(await run({ AGENTS: '127.0.0.1', PORT: '1' }), { code: 1, stdout: /does not answer: / })
  t.match(await run({ AGENTS: 'no-such-name.invalid' }), { code: 1, stdout: /no agent runs/ })
})
