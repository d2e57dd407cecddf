// Each format by the rules of its documentation; what a provisioner does with it is shown in test/e2e/bootstrap.test.ts.
import t, { type Test } from 'tap'
import { parse, parseAllDocuments } from 'yaml'
import { FORMATS, type Format, MOST_OF_AKS, renderBootstrap } from '../../agent/cli/bootstrap/render.ts'
import type { DesiredState } from '../../agent/model/desired-state.ts'
import { Secret } from '../../agent/model/secret.ts'
import { parseToml } from '../../agent/text/toml.ts'
import { anchor, desired, makeCa, registry } from '../fixtures/scratch/sample.ts'

const [corp, lab] = [makeCa('Corp Root'), makeCa('Lab Root')]
const sample = desired({
  anchors: [anchor('corp', corp), anchor('lab', lab)],
  registries: [registry('harbor.example.net:5000', 'corp'), registry('lab.example.net', 'lab')],
})
const pems = sample.anchors.flatMap(({ certificates }) => certificates.map(({ pem }) => pem))
const render = (format: Format, what: DesiredState = sample) => renderBootstrap(format, what).text

type File = { readonly path: string; readonly content: string; readonly permissions: string; readonly owner: string }

function checkFiles(t: Test, files: readonly File[]) {
  t.strictSame(
    files.map(({ path }) => path),
    [
      '/usr/local/share/ca-certificates/corp.crt',
      '/usr/local/share/ca-certificates/lab.crt',
      '/etc/containerd/certs.d/harbor.example.net:5000/ca.crt',
      '/etc/containerd/certs.d/harbor.example.net:5000/hosts.toml',
      '/etc/containerd/certs.d/lab.example.net/ca.crt',
      '/etc/containerd/certs.d/lab.example.net/hosts.toml',
    ],
  )
  t.ok(files.every(({ permissions, owner }) => permissions === '0644' && owner === 'root:root'))
  t.equal(files[0]?.content, pems[0], 'byte for byte')
}

t.test('cloud-init and Cluster API write the same files and run the same command', async (t) => {
  const text = render('cloud-init')
  t.match(text, /^#cloud-config\n/, 'cloud-init tells its own format by this line')
  const cloud = parse(text)
  checkFiles(t, cloud.write_files)
  const { spec, kind } = parse(render('capi'))
  t.equal(kind, 'KubeadmConfigTemplate')
  checkFiles(t, spec.template.spec.files)
  t.strictSame([['sh', '-c', spec.template.spec.preKubeadmCommands[0]]], cloud.runcmd)
})

t.test('Ignition 3.4: every path once, data URLs that decode to the files, decimal modes', async (t) => {
  const { ignition, storage } = JSON.parse(render('ignition'))
  t.strictSame(ignition, { version: '3.4.0' })
  const paths = storage.files.map(({ path }: { path: string }) => path)
  t.equal(new Set(paths).size, paths.length)
  t.ok(paths.every((path: string) => path.startsWith('/')))
  t.equal(storage.files[0].mode, 420)
  const [, data = ''] = storage.files[0].contents.source.split('data:;base64,')
  t.equal(Buffer.from(data, 'base64').toString('utf8'), pems[0])
})

t.test('nodeadm and karpenter: one MIME part whose script holds every file', async (t) => {
  const mime = render('nodeadm')
  t.match(mime, /^MIME-Version: 1\.0\nContent-Type: multipart\/mixed; boundary="REGISTRY-TRUST"\n\n--REGISTRY-TRUST\n/)
  t.match(mime, /\n--REGISTRY-TRUST--\n$/)
  t.equal(mime.split("<<'REGISTRY_TRUST_END'").length - 1, 6)
  for (const pem of pems) t.ok(mime.includes(pem))
  const { kind, spec } = parse(render('karpenter'))
  t.equal(kind, 'EC2NodeClass')
  t.equal(spec.userData, mime)
})

t.test('Talos: a document for each root, and the CA of each registry in base64', async (t) => {
  const documents = parseAllDocuments(render('talos')).map((one) => one.toJS())
  t.match(documents.slice(0, 2), [
    { kind: 'TrustedRootsConfig', name: 'corp', certificates: pems[0] },
    { kind: 'TrustedRootsConfig', name: 'lab', certificates: pems[1] },
  ])
  const { config } = documents[2].machine.registries
  t.strictSame(Object.keys(config), ['harbor.example.net:5000', 'lab.example.net'])
  t.equal(Buffer.from(config['lab.example.net'].tls.ca, 'base64').toString('utf8'), pems[1])
})

t.test('Bottlerocket: settings that are TOML, a CA under a name that it takes, and mirrors', async (t) => {
  const capabilities = ['pull', 'resolve'] as const
  const mirrors = [{ url: 'https://mirror.example.net/v2', anchors: ['corp'], capabilities, overridePath: false }]
  const [first, ...others] = sample.registries
  if (first === undefined) throw new Error('the sample has a registry')
  const text = render('bottlerocket', {
    ...sample,
    anchors: [anchor('corp.root_1', corp), anchor('corp-root-1', lab)],
    registries: [{ ...first, mirrors }, ...others],
  })
  const { settings } = parseToml(text, { path: 'user-data', code: 'INTERNAL' }) as unknown as {
    settings: { pki: { [name: string]: { data: string; trusted: boolean } }; 'container-registry': object }
  }
  t.strictSame(Object.keys(settings.pki), ['registry-trust-corp-root-1-1', 'registry-trust-corp-root-1-2'])
  const decoded = Object.values(settings.pki).map(({ data }) => Buffer.from(data, 'base64').toString('utf8'))
  t.strictSame(decoded.toSorted(), [...pems].toSorted())
  t.match(settings['container-registry'], {
    mirrors: [{ registry: 'harbor.example.net:5000', endpoint: ['https://mirror.example.net/v2'] }],
  })
  t.match(renderBootstrap('bottlerocket', sample).notes, [/no CA for a single registry/, /apiclient apply/])
})

t.test('GKE names a secret for each set of anchors; AKS takes ten certificates and is told of the rest', async (t) => {
  const { privateRegistryAccessConfig: access } = parse(render('gke'))
  t.match(access.certificateAuthorityDomainConfig, [
    { fqdns: ['harbor.example.net:5000'] },
    { fqdns: ['lab.example.net'] },
  ])
  t.equal(render('aks'), pems.join(''))
  const many = desired({ anchors: Array.from({ length: 12 }, (_, at) => anchor(`ca-${at}`, makeCa(`Root ${at}`))) })
  const { text, notes } = renderBootstrap('aks', many)
  t.equal(text.split('BEGIN CERTIFICATE').length - 1, MOST_OF_AKS)
  t.match(notes, [/ca-10\.pem,ca-11\.pem/])
})

t.test('a client key is in no format', async (t) => {
  const [first] = sample.registries
  if (first === undefined) throw new Error('the sample has a registry')
  const key = '-----BEGIN PRIVATE KEY-----\nsecret\n-----END PRIVATE KEY-----\n'
  const clientCertificate = { certificate: pems[0] ?? '', key: new Secret(key), fingerprint: 'sha256:00' }
  const secret = { ...sample, registries: [{ ...first, clientCertificate }] }
  for (const format of FORMATS) t.notMatch(render(format, secret), /PRIVATE KEY|secret\n/, format)
  t.match(renderBootstrap('cloud-init', secret).notes, [/harbor\.example\.net:5000 is left to the agent/])
})
