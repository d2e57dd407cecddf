// The formats of node provisioning. Each of them replaces files that exist already.
import { stringify } from 'yaml'
import type { DesiredState, Registry } from '../../model/desired-state.ts'
import { trustOf } from '../../model/desired-state.ts'
import { renderString } from '../../text/toml.ts'
import { type BootstrapFile, type BootstrapFiles, bootstrapFiles, CERTS_D } from './files.ts'

export const FORMATS = [
  'cloud-init',
  'ignition',
  'nodeadm',
  'karpenter',
  'capi',
  'talos',
  'bottlerocket',
  'gke',
  'aks',
] as const
export type Format = (typeof FORMATS)[number]

/** Azure takes no more (AKS, custom certificate authority). */
export const MOST_OF_AKS = 10

export type Rendered = {
  readonly text: string
  /** What a person has to know or do in addition. */
  readonly notes: readonly string[]
}

export function renderBootstrap(format: Format, desired: DesiredState): Rendered {
  const files = bootstrapFiles(desired)
  const notes = files.leftOut.map(({ host, why }) => `${host} is left to the agent: ${why}`)
  const { text, notes: more = [] } = RENDERERS[format](files, desired)
  return { text, notes: [...notes, ...more] }
}

type Renderer = (files: BootstrapFiles, desired: DesiredState) => Pick<Rendered, 'text'> & Partial<Rendered>

const READS_CERTS_D = `containerd reads ${CERTS_D} only if config_path names it; containerd 2.2 and newer read it by default`

const RENDERERS: { readonly [format in Format]: Renderer } = {
  /** cloudinit.readthedocs.io, modules write_files and runcmd. */
  'cloud-init': (files) => ({
    text: `#cloud-config\n${yaml({
      write_files: onDisk(files).map(({ path, mode, content }) => ({
        path,
        owner: 'root:root',
        permissions: mode,
        content,
      })),
      runcmd: [['sh', '-c', UPDATE_STORE]],
    })}`,
    notes: [READS_CERTS_D],
  }),
  /** coreos.github.io/ignition, specification 3.4.0; Flatcar rebuilds its store from /etc/ssl/certs at each boot. */
  ignition: ({ anchors, hosts }) => ({
    text: `${JSON.stringify(
      {
        ignition: { version: '3.4.0' },
        storage: {
          files: [...anchors.map(({ name, pem }) => ({ path: `/etc/ssl/certs/${name}`, content: pem })), ...hosts].map(
            ({ path, content }) => ({
              path,
              overwrite: true,
              mode: 0o644,
              contents: { source: `data:;base64,${Buffer.from(content).toString('base64')}` },
            }),
          ),
        },
      },
      null,
      2,
    )}\n`,
    notes: [READS_CERTS_D],
  }),
  /** awslabs.github.io/amazon-eks-ami, user data of AL2023: shell script and NodeConfig in one MIME message. */
  nodeadm: (files) => ({ text: mime(files), notes: ['append the NodeConfig of the cluster as another part'] }),
  /** karpenter.sh, EC2NodeClass; karpenter adds the NodeConfig of the cluster itself. */
  karpenter: (files) => ({
    text: yaml({
      apiVersion: 'karpenter.k8s.aws/v1',
      kind: 'EC2NodeClass',
      metadata: { name: 'default' },
      spec: { amiFamily: 'AL2023', userData: mime(files) },
    }),
    notes: ['merge spec.userData into the EC2NodeClass that you have'],
  }),
  /** cluster-api.sigs.k8s.io, KubeadmConfigSpec. */
  capi: (files) => ({
    text: yaml({
      apiVersion: 'bootstrap.cluster.x-k8s.io/v1beta1',
      kind: 'KubeadmConfigTemplate',
      metadata: { name: 'registry-trust' },
      spec: {
        template: {
          spec: {
            files: onDisk(files).map(({ path, mode, content }) => ({
              path,
              owner: 'root:root',
              permissions: mode,
              content,
            })),
            preKubeadmCommands: [UPDATE_STORE],
          },
        },
      },
    }),
    notes: [READS_CERTS_D, 'merge files and preKubeadmCommands into the template that you have'],
  }),
  /** talos.dev, TrustedRootsConfig and machine.registries: nothing else can write there. */
  talos: ({ anchors }, desired) => ({
    text: [
      ...anchors.map(({ name, pem }) =>
        yaml({
          apiVersion: 'v1alpha1',
          kind: 'TrustedRootsConfig',
          name: name.replace(/\.pem$/, ''),
          certificates: pem,
        }),
      ),
      yaml({ machine: { registries: talosRegistries(desired) } }),
    ].join('---\n'),
    notes: [
      'apply it with `talosctl patch machineconfig`; the agent itself cannot run on Talos',
      'machine.registries is deprecated since Talos 1.12, which still reads it',
    ],
  }),
  /** bottlerocket.dev, settings.pki and settings.container-registry: nothing else can write there. */
  bottlerocket: ({ anchors }, desired) => ({
    text: [...anchors.map(bottlerocketAnchor), ...desired.registries.flatMap(bottlerocketMirror)].join('\n'),
    notes: [
      'every registry trusts these CAs: Bottlerocket has no CA for a single registry',
      'apply it as user data, or with `apiclient apply`, which restarts containerd; the agent itself cannot change trust on Bottlerocket',
    ],
  }),
  /** cloud.google.com/kubernetes-engine, customize containerd configuration. */
  gke: (_files, desired) => ({
    text: yaml({
      privateRegistryAccessConfig: {
        enabled: true,
        certificateAuthorityDomainConfig: byAnchors(desired).map(({ anchors, hosts }) => ({
          gcpSecretManagerCertificateConfig: {
            secretURI: `projects/PROJECT/secrets/${anchors.join('-')}/versions/1`,
          },
          fqdns: hosts,
        })),
      },
    }),
    notes: ['replace PROJECT, and put each CA into Secret Manager under the name that is given'],
  }),
  /** learn.microsoft.com, AKS custom certificate authority: the file of --custom-ca-trust-certificates. */
  aks: ({ anchors }) => ({
    text: anchors
      .slice(0, MOST_OF_AKS)
      .map(({ pem }) => pem)
      .join(''),
    notes:
      anchors.length > MOST_OF_AKS
        ? [
            `AKS takes ${MOST_OF_AKS} certificates: ${anchors.slice(MOST_OF_AKS).map(({ name }) => name)} are left to the agent`,
          ]
        : [],
  }),
}

const SOURCES = '/usr/local/share/ca-certificates'

/** Debian's folder first; RHEL and related distributions get a copy in theirs, which their own tool reads. */
const UPDATE_STORE = [
  'if command -v update-ca-certificates >/dev/null; then update-ca-certificates;',
  'elif command -v update-ca-trust >/dev/null; then',
  `for f in ${SOURCES}/*.crt; do install -m 0644 "$f" /etc/pki/ca-trust/source/anchors/; done; update-ca-trust; fi`,
].join(' ')

function onDisk({ anchors, hosts }: BootstrapFiles): readonly BootstrapFile[] {
  const sources = anchors.map(({ name, pem }) => ({
    path: `${SOURCES}/${name.replace(/\.pem$/, '.crt')}`,
    mode: '0644',
    content: pem,
  }))
  return [...sources, ...hosts]
}

/** Quoted here-documents: nothing in them is expanded; the names of hosts are checked by the schema. */
function script(files: BootstrapFiles): string {
  const writes = onDisk(files).map(
    ({ path, content }) =>
      `install -d "${path.slice(0, path.lastIndexOf('/'))}"\ncat > "${path}" <<'REGISTRY_TRUST_END'\n${content}REGISTRY_TRUST_END\nchmod 0644 "${path}"\n`,
  )
  return `#!/bin/sh\nset -e\n${writes.join('')}${UPDATE_STORE}\n`
}

function mime(files: BootstrapFiles): string {
  const boundary = 'REGISTRY-TRUST'
  return [
    'MIME-Version: 1.0',
    `Content-Type: multipart/mixed; boundary="${boundary}"`,
    '',
    `--${boundary}`,
    'Content-Type: text/x-shellscript; charset="us-ascii"',
    '',
    script(files).trimEnd(),
    '',
    `--${boundary}--`,
    '',
  ].join('\n')
}

function talosRegistries(desired: DesiredState) {
  const named = desired.registries.filter((registry) => trustOf(registry, desired).certificates.length > 0)
  const mirrored = desired.registries.filter(({ mirrors = [] }) => mirrors.length > 0)
  const ca = (registry: Registry) =>
    Buffer.from(
      trustOf(registry, desired)
        .certificates.map(({ pem }) => pem)
        .join(''),
    ).toString('base64')
  return {
    ...(mirrored.length === 0
      ? {}
      : {
          mirrors: Object.fromEntries(
            mirrored.map(({ host, mirrors = [] }) => [host, { endpoints: mirrors.map(({ url }) => url) }]),
          ),
        }),
    config: Object.fromEntries(named.map((registry) => [registry.host, { tls: { ca: ca(registry) } }])),
  }
}

/** The number tells apart names that differ only in characters that Bottlerocket does not allow. */
function bottlerocketAnchor({ name, pem }: BootstrapFiles['anchors'][number], index: number): string {
  const key = `${name.replace(/\.pem$/, '').replace(/[^A-Za-z0-9-]+/g, '-')}-${index + 1}`
  return `[settings.pki.registry-trust-${key}]\ndata = "${Buffer.from(pem).toString('base64')}"\ntrusted = true\n`
}

function bottlerocketMirror({ host, mirrors = [] }: Registry): readonly string[] {
  if (mirrors.length === 0) return []
  const endpoint = mirrors.map(({ url }) => renderString(url)).join(', ')
  return [`[[settings.container-registry.mirrors]]\nregistry = ${renderString(host)}\nendpoint = [${endpoint}]\n`]
}

/** Registries that trust the same anchors, together. */
function byAnchors({
  registries,
}: DesiredState): readonly { readonly anchors: readonly string[]; readonly hosts: string[] }[] {
  const groups = new Map<string, { anchors: readonly string[]; hosts: string[] }>()
  for (const { host, anchors } of registries.filter((one) => one.anchors.length > 0)) {
    const group = groups.get(anchors.join(' ')) ?? { anchors, hosts: [] }
    group.hosts.push(host)
    groups.set(anchors.join(' '), group)
  }
  return [...groups.values()]
}

function yaml(value: object): string {
  return stringify(value, { lineWidth: 0 })
}
