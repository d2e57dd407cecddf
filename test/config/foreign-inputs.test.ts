import t from 'tap'
import { readK3sRegistries } from '../../agent/config/foreign-inputs.ts'
import { desiredOf, type Files, loadFiles, told, wrongWith } from '../fixtures/config/fixture.ts'
import { makeCa } from '../fixtures/scratch/sample.ts'

const [caA, caB] = [makeCa('Corp Root A'), makeCa('Corp Root B')]

async function registries(folder: string, files: Files, paths: readonly string[]) {
  const desired = desiredOf(await loadFiles(folder, files, paths))
  const held = new Map(
    desired.anchors.map(({ name, certificates }) => [name, certificates.map(({ fingerprint }) => fingerprint)]),
  )
  return desired.registries.map(({ host, anchors, mirrors }) => ({
    host,
    trusts: anchors.flatMap((name) => held.get(name) ?? []),
    ...(mirrors === undefined
      ? {}
      : { mirrors: mirrors.map(({ url, anchors: names }) => [url, ...names.flatMap((name) => held.get(name) ?? [])]) }),
  }))
}

t.test("OpenShift's additional CAs: one file for each host, a port after two dots", async (t) => {
  const files = {
    'cas/registry.example.net': caA.pem,
    'cas/harbor.example.net..5000': caB.pem,
    'cas/updateservice-registry': caA.pem,
  }
  t.same(await registries(t.testdir(), files, ['cas']), [
    { host: 'harbor.example.net:5000', trusts: [caB.fingerprint] },
    { host: 'registry.example.net', trusts: [caA.fingerprint] },
  ])
})

t.test('a tree as docker has it: all *.crt of a host', async (t) => {
  const files = {
    'certs.d/harbor.example.net:5000/ca.crt': caA.pem,
    'certs.d/harbor.example.net:5000/next.crt': caB.pem,
    'certs.d/harbor.example.net:5000/client.cert': 'x',
  }
  t.same(await registries(t.testdir(), files, ['certs.d']), [
    { host: 'harbor.example.net:5000', trusts: [caA.fingerprint, caB.fingerprint] },
  ])
})

t.test('it adds to trust.yaml, and a host in both is a conflict', async (t) => {
  const files = {
    'trust.yaml': 'registries: [{ host: a.example.net, ca: a.pem }]',
    'a.pem': caA.pem,
    'cas/b.example.net': caB.pem,
  }
  t.match(await registries(t.testdir(), files, ['.', 'cas']), [{ host: 'a.example.net' }, { host: 'b.example.net' }])
  const folder = t.testdir()
  const both = await loadFiles(folder, { ...files, 'cas/a.example.net': caB.pem }, ['.', 'cas'])
  t.match(told(wrongWith(both), folder), [/^CONFIG_CONFLICT cas:.*is already declared at trust\.yaml/])
})

t.test('a folder of CA files stays a folder of CA files', async (t) => {
  const files = {
    'trust.yaml': 'registries: [{ host: a.example.net, ca: corp-root.pem }]',
    'cas/corp-root.pem': caA.pem,
    'cas/other.example.net': 'no certificate',
  }
  t.same(await registries(t.testdir(), files, ['.', 'cas']), [{ host: 'a.example.net', trusts: [caA.fingerprint] }])
})

t.test('the registries.yaml of k3s and RKE2', async (t) => {
  const yaml = `mirrors:
  harbor.example.net:
    endpoint: ["https://mirror.example.net:5000", "https://harbor.example.net"]
  "docker.io":
    endpoint: [https://mirror.example.net:5000/v2]
configs:
  harbor.example.net: { tls: { ca_file: corp.pem }, auth: { username: u, password: hunter2 } }
  "mirror.example.net:5000": { tls: { ca_file: lab.pem } }
`
  const files = { 'registries.yaml': yaml, 'corp.pem': caA.pem, 'lab.pem': caB.pem }
  const mirrors = [['https://mirror.example.net:5000', caB.fingerprint]]
  t.same(await registries(t.testdir(), files, ['registries.yaml']), [
    { host: 'harbor.example.net', trusts: [caA.fingerprint], mirrors },
    { host: 'mirror.example.net:5000', trusts: [caB.fingerprint] },
    { host: 'docker.io', trusts: [], mirrors },
  ])
  t.notMatch(JSON.stringify(readK3sRegistries(yaml)), /hunter2/)
})

t.test('what k3s can do and containerd cannot is refused as a whole', async (t) => {
  const folder = t.testdir()
  const files = {
    'registries.yaml': 'mirrors: { docker.io: { endpoint: ["https://m.example.net"], rewrite: { "^a": b } } }',
  }
  const result = await loadFiles(folder, files, ['registries.yaml'])
  t.match(told(result.problems, folder), [
    /^CONFIG_NOT_SUPPORTED_YET registries\.yaml: mirrors\["docker\.io"\]\.rewrite has no counterpart/,
  ])
})

t.test('insecure_skip_verify needs the policy here too', async (t) => {
  const folder = t.testdir()
  const files = { 'registries.yaml': 'configs: { h.example.net: { tls: { insecure_skip_verify: true } } }' }
  const result = await loadFiles(folder, files, ['registries.yaml'])
  t.match(told(result.problems, folder), [/skipVerify is true, which needs policy\.allowSkipVerify/])
})

t.test(
  'a bundle of trust-manager, a projected ClusterTrustBundle and a TKG value are anchors like any other',
  async (t) => {
    const twice = Buffer.from(Buffer.from(caB.pem).toString('base64')).toString('base64')
    const files = {
      'trust.yaml': 'registries: [{ host: a.example.net, ca: trust-bundle.pem }, { host: b.example.net, ca: tkg }]',
      'trust-bundle.pem': `# Corp\n${caA.pem}${caB.pem}`,
      tkg: twice,
    }
    t.same(await registries(t.testdir(), files, ['.']), [
      { host: 'a.example.net', trusts: [caA.fingerprint, caB.fingerprint] },
      { host: 'b.example.net', trusts: [caB.fingerprint] },
    ])
  },
)
