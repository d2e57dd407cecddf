// A status that uses every field of the contract: what is missing in a schema, a page or a text shows against it.
import type { NodeStatus, RegistryStatus } from '../../agent/model/status.ts'

export const UNTRUSTED: RegistryStatus = {
  host: 'harbor.example.net',
  state: 'untrusted',
  since: '2026-11-21T10:00:00.000Z',
  finding: {
    code: 'unknown-authority',
    message: 'the certificate of harbor.example.net is issued by an authority this node does not know',
    remedy: 'Declare the CA.',
    evidence: {
      text: 'x509: certificate signed by unknown authority',
      reference: 'harbor.example.net/registry-trust/probe:does-not-exist',
      host: 'harbor.example.net',
      notes: ['served by CN=harbor <script>alert(1)</script>'],
    },
  },
  lastProof: { level: 'manifest', by: 'live', at: '2026-11-21T10:58:00.000Z', durationMs: 41.5 },
}

export const TRUSTED: RegistryStatus = {
  host: 'registry.example.net:5000',
  state: 'trusted',
  since: '2026-11-20T10:00:00.000Z',
  finding: { code: 'trusted', message: 'pulled', remedy: 'Nothing to do.', evidence: {} },
  lastProof: { level: 'pull', by: 'live', at: '2026-11-21T10:59:00.000Z', durationMs: 120 },
}

export const UNPROVED: RegistryStatus = {
  host: 'new.example.net',
  state: 'unproved',
  since: null,
  finding: { code: 'not-proved-yet', message: 'not proved yet', remedy: 'Wait.', evidence: {} },
  lastProof: null,
}

export const NOW = Date.parse('2026-11-21T11:00:00.000Z')

export const SAMPLE: NodeStatus = {
  node: 'worker-1',
  version: '0.1.0',
  mode: 'enforce',
  generation: '0a1b2c3d4e5f',
  state: 'drifted',
  containerd: {
    version: '2.1.9',
    socket: '/run/containerd/containerd.sock',
    configFile: '/etc/containerd/config.toml',
    configVersion: 3,
    configPath: '/etc/containerd/certs.d',
    layout: 'plain',
  },
  anchors: [
    {
      name: 'corp-root',
      subject: 'CN=Corp Root',
      fingerprint: `sha256:${'ab'.repeat(32)}`,
      notAfter: '2026-12-01T00:00:00.000Z',
      installed: [
        '/etc/containerd/certs.d/harbor.example.net/ca.crt',
        '/usr/local/share/ca-certificates/corp-root.crt',
      ],
      findings: [],
    },
    {
      name: 'lab',
      subject: null,
      fingerprint: null,
      notAfter: null,
      installed: [],
      findings: [{ code: 'ANCHOR_EMPTY', message: 'lab.pem has no bytes', remedy: 'Put the certificate into it.' }],
    },
  ],
  registries: [TRUSTED, UNPROVED, UNTRUSTED],
  targets: [
    { target: 'system-trust', inSync: true, files: 4, pending: 0 },
    { target: 'containerd-hosts', inSync: false, files: 2, pending: 1 },
  ],
  drift: [
    {
      target: 'containerd-hosts',
      path: '/etc/containerd/certs.d/harbor.example.net/ca.crt',
      kind: 'changed',
      reason: 'its content differs',
    },
  ],
  restart: {
    pending: true,
    reason: 'config_path is not loaded yet',
    last: { at: '2026-11-20T09:00:00.000Z', reason: 'config_path', result: 'succeeded', durationMs: 900 },
  },
  transactions: [
    {
      id: 't1',
      generation: '0a1b2c3d4e5f',
      at: '2026-11-20T09:00:00.000Z',
      durationMs: 1234,
      result: 'committed',
      changes: 3,
      restarted: true,
      reason: 'first apply',
    },
  ],
  warnings: [
    { code: 'SANDBOX_IMAGE_MISSING', message: 'the sandbox image pause:3.9 is not on this node', remedy: 'Pull it.' },
  ],
  problems: [{ code: 'CONFIG_INVALID', message: 'trust.yaml:3:5: unknown key', remedy: 'Correct the file.' }],
  sources: ['/etc/registry-trust/trust.yaml'],
}
