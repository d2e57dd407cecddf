// Every decoder of bytes that others write, with mutated and hostile inputs: each ends in a value or in a reason, and
// none holds the event loop or the heap for long. The limits are those of the reading thread: a heap of 64 MiB; a
// second for one input is what /livez has. A run takes 2,500 inputs, others in the next turn (REGISTRY_TRUST_TURN), and
// 15,000 with REGISTRY_TRUST_FULL=1. Run once with 1,000,000 inputs (docs/security.md):
// REGISTRY_TRUST_FUZZ_INPUTS=1000000 REGISTRY_TRUST_FUZZ_SEED=1 node test/config/decoders.test.ts
import { execFileSync } from 'node:child_process'
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { Worker } from 'node:worker_threads'
import t from 'tap'
import type { DecoderJob, DecoderReport } from '../fixtures/config/decoder-worker.ts'
import { KEYTOOL } from '../fixtures/pki/java-keystores.ts'
import { createKey, createRoot } from '../fixtures/pki/openssl.ts'
import { TURN } from '../fixtures/turn.ts'

const INPUTS = Number(
  process.env['REGISTRY_TRUST_FUZZ_INPUTS'] ?? (process.env['REGISTRY_TRUST_FULL'] === '1' ? 15_000 : 2_500),
)
const SEED = Number(process.env['REGISTRY_TRUST_FUZZ_SEED'] ?? 20_261_126 + TURN)
const HEAP_MB = 64
const LONGEST_MS = 1_000
t.setTimeout(120_000 + INPUTS * 20)

function samples(): DecoderJob['samples'] {
  const folder = t.testdir()
  const key = createKey(folder)
  const root = Buffer.from(createRoot(folder, key, '/O=Corp/CN=Corp Root'))
  const openssl = (...argv: readonly string[]) => execFileSync('openssl', argv, { cwd: folder, input: root })
  const der = openssl('x509', '-outform', 'DER')
  const pkcs12 = openssl('pkcs12', '-export', '-nokeys', '-passout', 'pass:secret', '-iter', '64', '-maciter')
  const golden = new URL('../containerd/golden/', import.meta.url)
  const configs = readdirSync(golden, { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.toml'))
    .map((name) => readFileSync(new URL(name, golden)).subarray(0, 6_000))
  const trust = [
    `mode: enforce\nanchors: { a: { file: a.pem, pins: [] } }\nregistries:\n  - host: a.net:5000\n    anchors: [a]\n    mirrors: [{ url: "https://m.net/v2/x", overridePath: true }]\n    proof: { image: a.net:5000/x:1, level: pull }\n`,
    `x: &x [a, b]\nregistries: [{ host: b.net, ca: "c.pem", headers: { X-A: b } }]\npolicy: { fragments: { "*": { hosts: ["*.b.net"] } } }\n`,
    JSON.stringify({ registries: [{ host: 'c.net', credentials: { dockerConfigFile: 'd.json' } }] }),
  ]
  const k3s = `mirrors:\n  "a.net:5000":\n    endpoint: ["https://m.net/v2"]\n    rewrite: { "^a/(.*)": "b/$1" }\nconfigs:\n  m.net:\n    auth: { username: u, password: p }\n    tls: { ca_file: /a.crt, insecure_skip_verify: true }\n`
  const hosts = `server = "https://a.net:5000"\n\n[host."https://m.net/v2"]\n  capabilities = ["pull", "resolve"]\n  ca = ["a.crt", 'b.crt']\n  client = [["c.pem", "k.pem"]]\n  override_path = true\n  [host."https://m.net/v2".header]\n    x-a = ["b"]\n`
  const docker = JSON.stringify({
    auths: { 'https://a.net:5000/v2/': { auth: 'YTpi' } },
    credHelpers: { 'b.net': 'x' },
  })
  const texts = (...all: readonly string[]) => all.map((one) => Buffer.from(one))
  return {
    'trust.yaml': texts(...trust),
    'registries.yaml': texts(k3s),
    'config.toml': configs,
    'config.toml, edited': texts(
      'version = 2\n[plugins.a]\n  config_path = "/x" # why\n  b = [1, {c = 2}]\n[plugins."d".e]\n',
    ),
    'hosts.toml': texts(hosts),
    'hosts.toml, merged': texts(hosts),
    'docker config': texts(docker),
    'crictl.yaml': texts('runtime-endpoint: unix:///run/containerd/containerd.sock\nimage-endpoint: ""\ntimeout: 2\n'),
    'note of the fleet': texts(
      JSON.stringify({
        config: 'a'.repeat(64),
        nodes: 3,
        grant: { id: 'abcdef01', generation: 'a'.repeat(12), ttlSeconds: 60 },
      }),
    ),
    'host name': texts('registry.example.net:5000', '[fd00::1]:443', '10.0.0.1'),
    certificates: [
      root,
      der,
      Buffer.concat([root, root]),
      Buffer.from(der.toString('base64')),
      ...Object.values(KEYTOOL),
    ],
    'PKCS#12': [pkcs12],
    'text with secrets': texts(
      'failed to do request: Head "https://u:p@h:5000/v2/x?token=abc&ns=docker.io": 401 Authorization: Bearer abc.def1',
      '{"auth":"YTpi","password": "x1", "token":"eyJhbGciOiJI.eyJzdWIi.x"} Set-Cookie: a=b; --password x user:p@h',
    ),
    handshake: [Buffer.concat([Buffer.from([22, 3, 3, 0, 200, 2, 0, 0, 70]), der])],
  }
}

function decode(job: DecoderJob): Promise<DecoderReport> {
  return new Promise((resolve, reject) => {
    const worker = new Worker(join(import.meta.dirname, '../fixtures/config/decoder-worker.ts'), {
      workerData: job,
      env: {},
      execArgv: [],
      resourceLimits: { maxOldGenerationSizeMb: HEAP_MB, maxYoungGenerationSizeMb: 4 },
    })
    worker.on('message', resolve)
    worker.on('error', reject)
  })
}

t.test('every input ends in a value or in a reason, within the bounds of time and heap', async (t) => {
  const report = await decode({ seed: SEED, inputs: INPUTS, samples: samples() })
  t.comment(JSON.stringify({ seed: SEED, ...report, slowest: { ...report.slowest, input: '' } }))
  t.same(report.failures, [])
  t.ok(report.slowest.ms < LONGEST_MS, `${report.slowest.decoder}: ${report.slowest.ms} ms, ${report.slowest.input}`)
  const counted = Object.values(report.inputs).reduce((sum, one) => sum + one, 0)
  t.equal(counted, INPUTS, 'none is left out')
})
