// What the manifests promise, read from what kubectl renders: valid objects, and no more rights than each profile says.
import t from 'tap'
import {
  allContainers,
  type Container,
  isSidecar,
  type KubernetesObject,
  OVERLAYS,
  type PodSpec,
  podSpec,
  render,
} from '../fixtures/deploy/objects.ts'
import { invalid, isDescribed, unknownFields } from '../fixtures/deploy/schemas.ts'

t.setTimeout(480_000)

const FOLDERS = ['base', 'example', ...OVERLAYS.map((name) => `overlays/${name}`), 'overlays/fleet']
const rendered = new Map<string, readonly KubernetesObject[]>()
for (const folder of FOLDERS) rendered.set(folder, await render(folder))

function objectsOf(folder: string): readonly KubernetesObject[] {
  return rendered.get(folder) ?? []
}

function isOfNode({ volumes = [] }: PodSpec, name: string): boolean {
  return volumes.find((volume) => volume.name === name)?.hostPath !== undefined
}

function specOf(overlay: string): PodSpec {
  return podSpec(objectsOf(`overlays/${overlay}`))
}

function named(spec: PodSpec, name: string): Container {
  const found = allContainers(spec).find((container) => container.name === name)
  if (found === undefined) throw new Error(`no container ${name}`)
  return found
}

/** Folders of the node that the container may write. */
function writable(spec: PodSpec, name: string): readonly string[] {
  const host = new Map(
    (spec.volumes ?? []).flatMap((volume) => (volume.hostPath ? [[volume.name, volume.hostPath.path]] : [])),
  )
  return (named(spec, name).volumeMounts ?? [])
    .filter((mount) => mount.readOnly !== true)
    .flatMap((mount) => host.get(mount.name) ?? [])
    .toSorted()
}

t.test('every object is valid, and Kubernetes knows every field', async (t) => {
  const described = FOLDERS.flatMap((folder) => objectsOf(folder).filter(isDescribed))
  t.ok(described.length > 40, `${described.length} objects`)
  for (const folder of FOLDERS)
    for (const object of objectsOf(folder).filter(isDescribed))
      t.equal(invalid(object), undefined, `${folder}: ${object.kind} ${object.metadata.name}`)
  t.equal(await unknownFields(described), '')
})

t.test('a wrong value and an unknown field are found', async (t) => {
  const [object] = objectsOf('base').filter(({ kind }) => kind === 'DaemonSet')
  if (object === undefined) throw new Error('no DaemonSet')
  const wrong = JSON.parse(JSON.stringify(object).replace('"dnsPolicy":"Default"', '"dnsPolicy":3')) as KubernetesObject
  t.match(invalid(wrong), /dnsPolicy must be string/)
  const unknown = JSON.parse(JSON.stringify(object).replace('"dnsPolicy"', '"dnsPolcy"')) as KubernetesObject
  t.match(await unknownFields([unknown]), /dnsPolcy/)
})

t.test('every agent that serves HTTP is told of the file in which the optional Secret has its token', async (t) => {
  const item = { key: 'token', path: 'http-token' }
  for (const folder of FOLDERS) {
    const spec = podSpec(objectsOf(folder))
    const agent = allContainers(spec).find(({ name }) => name === 'agent')
    if (agent === undefined) continue
    t.match(
      agent.env?.find(({ name }) => name === 'REGISTRY_TRUST_TOKEN_FILE'),
      { value: `/etc/registry-trust/${item.path}` },
      folder,
    )
    const sources = spec.volumes?.find(({ name }) => name === 'inputs')?.projected?.sources
    const secret = sources?.flatMap((source) => ('secret' in source ? (source.secret ?? []) : []))
    const http = secret?.find(({ name }) => name === 'registry-trust-http')
    t.match(http, { optional: true }, folder)
    t.ok(JSON.stringify(http?.items).includes(JSON.stringify(item)), folder)
  }
})

const CLUSTER_WIDE =
  /^(Namespace|SecurityContextConstraints|ClusterRole(Binding)?|ValidatingAdmissionPolicy(Binding)?)$/

t.test('names, namespace and label are the contract', async (t) => {
  for (const folder of FOLDERS)
    for (const { kind, metadata } of objectsOf(folder)) {
      t.match(metadata.name, /^registry-trust(-scc|-fleet(-[a-z-]+)?)?$/, `${folder}: ${kind}`)
      const home = metadata.name === 'registry-trust-fleet-events' ? 'default' : 'registry-trust'
      if (!CLUSTER_WIDE.test(kind)) t.equal(metadata.namespace, home)
      if (kind !== 'ConfigMap')
        t.match(metadata.labels?.['app.kubernetes.io/name'], /^registry-trust(-fleet)?$/, `${folder}: ${kind}`)
    }
})

for (const folder of FOLDERS)
  t.test(`${folder}: least privilege for each container`, async (t) => {
    const spec = podSpec(objectsOf(folder))
    t.equal(spec.automountServiceAccountToken, false)
    t.match([spec.hostNetwork, spec.hostPID, spec.hostIPC], [undefined, undefined, undefined])
    t.equal(spec.dnsPolicy, 'Default')
    t.equal(spec.terminationGracePeriodSeconds, 60)
    t.equal(spec.securityContext?.seccompProfile?.type, 'RuntimeDefault')
    for (const { name, securityContext, resources } of allContainers(spec)) {
      t.match(
        securityContext,
        { privileged: false, allowPrivilegeEscalation: false, readOnlyRootFilesystem: true },
        name,
      )
      t.same(securityContext?.capabilities, { drop: ['ALL'] }, name)
      t.ok(resources?.limits?.memory, `${name} has a limit of memory`)
      t.notOk(resources?.limits?.cpu, `${name} is never throttled`)
    }
  })

for (const folder of FOLDERS)
  t.test(
    `${folder}: folders are mounted, the hosts file alone as a file, and none of the node inside another that can be written`,
    async (t) => {
      const spec = podSpec(objectsOf(folder))
      for (const { name, hostPath } of spec.volumes ?? []) {
        if (hostPath === undefined) continue
        t.match(hostPath.type, hostPath.path === '/etc/hosts' ? 'File' : /^Directory(OrCreate)?$/, name)
        t.notMatch(hostPath.path, /^\/(etc|var|run|proc|sys|root|home|boot)?$/, name)
      }
      for (const { volumeMounts = [], name } of allContainers(spec))
        for (const outer of volumeMounts.filter(
          (mount) => mount.readOnly !== true && mount.mountPath.startsWith('/host/'),
        ))
          t.notOk(
            volumeMounts.some((one) => one.mountPath.startsWith(`${outer.mountPath}/`) && isOfNode(spec, one.name)),
            `${name}: ${outer.mountPath}`,
          )
    },
  )

t.test('each profile can write what it says and nothing else', async (t) => {
  t.same(writable(specOf('audit'), 'agent'), ['/var/lib/registry-trust'])
  t.same(writable(specOf('hosts'), 'agent'), ['/etc/containerd/certs.d', '/var/lib/registry-trust'])
  t.same(writable(specOf('hosts-proof'), 'agent'), ['/etc/containerd/certs.d', '/var/lib/registry-trust'])
  const full = ['/etc/containerd', '/etc/ssl/certs', '/usr/local/share/ca-certificates', '/var/lib/registry-trust']
  t.same(writable(specOf('full'), 'agent'), full)
  for (const name of ['k3s', 'rke2'])
    t.same(
      writable(specOf(name), 'agent').filter((path) => path.includes('rancher')),
      [`/etc/rancher/${name}`, `/var/lib/rancher/${name}/agent/etc/containerd`],
    )
  const [containerd, state] = ['/etc/containerd', '/var/lib/registry-trust']
  t.same(writable(specOf('rhel'), 'agent'), [containerd, '/etc/pki/ca-trust', state])
  t.same(writable(specOf('suse'), 'agent'), [containerd, '/etc/pki/trust', '/var/lib/ca-certificates', state])
  t.same(writable(specOf('photon'), 'agent'), [containerd, '/etc/pki/tls/certs', '/etc/ssl/certs', state])
  for (const name of ['flatcar', 'cos'])
    t.same(writable(specOf(name), 'agent'), [containerd, '/etc/ssl/certs', state], 'nothing below /usr')
  t.same(writable(specOf('k0s'), 'agent'), [containerd, '/etc/k0s/containerd.d', ...full.slice(1)])
  t.same(writable(specOf('microk8s'), 'agent'), [...full.slice(1), '/var/snap/microk8s'])
  for (const name of ['k0s', 'microk8s'])
    t.same(writable(specOf(name), 'sidecar'), [state], 'no config.toml to put back')
  for (const name of ['crio', 'openshift']) {
    t.same(writable(specOf(name), 'agent'), ['/etc/containers', '/var/lib/registry-trust'])
    t.same(writable(specOf(name), 'sidecar'), [])
  }
  t.same(writable(specOf('hosts-proof'), 'sidecar'), [])
  t.same(writable(specOf('full'), 'sidecar'), ['/etc/containerd', '/var/lib/registry-trust'])
})

t.test('the sockets of the node are seen by the sidecar alone, and each where the profile needs it', async (t) => {
  for (const overlay of OVERLAYS) {
    const spec = specOf(overlay)
    const seeing = (path: RegExp) => {
      const volumes = (spec.volumes ?? [])
        .filter(({ hostPath }) => path.test(hostPath?.path ?? ''))
        .map(({ name }) => name)
      return allContainers(spec)
        .filter(({ volumeMounts = [] }) => volumeMounts.some(({ name }) => volumes.includes(name)))
        .map(({ name }) => name)
    }
    const expected = /^(audit|hosts)$/.test(overlay) ? [] : ['sidecar']
    const isCrio = /(^|-)(crio|openshift)$/.test(overlay)
    t.same(
      seeing(/^(\/run\/((k3s\/)?containerd|k0s)|\/var\/snap\/microk8s\/common\/.*)$/),
      isCrio ? [] : expected,
      overlay,
    )
    t.same(seeing(/^\/run\/crio$/), isCrio ? ['sidecar'] : [], overlay)
    t.same(seeing(/^\/run\/dbus/), isCrio || /^(audit|hosts|hosts-proof)$/.test(overlay) ? [] : ['sidecar'], overlay)
  }
})

t.test('the sidecar knows no secret: of the configuration it sees the ConfigMap alone', async (t) => {
  for (const overlay of ['full', 'hosts-proof'])
    t.match(
      named(specOf(overlay), 'sidecar').volumeMounts?.filter(({ mountPath }) => mountPath.startsWith('/etc/')),
      [{ name: 'config', readOnly: true }],
    )
  t.match(
    specOf('full').volumes?.find(({ name }) => name === 'config'),
    { configMap: { name: 'registry-trust' } },
  )
})

t.test('the sidecar starts before the agent and ends after it, and the agent says how it is', async (t) => {
  const spec = specOf('full')
  t.same(
    allContainers(spec).map(({ name }) => name),
    ['sidecar', 'agent'],
  )
  t.same(spec.initContainers?.map(isSidecar), [true])
  const { startupProbe, livenessProbe, readinessProbe, ports } = named(spec, 'agent')
  t.match(
    [startupProbe, livenessProbe, readinessProbe].map((probe) => probe?.httpGet?.path),
    ['/livez', '/livez', '/readyz'],
  )
  t.match(ports, [{ name: 'http', containerPort: 9461 }])
})

t.test('plain-sidecars: no field that is younger than Kubernetes 1.29', async (t) => {
  const text = JSON.stringify(objectsOf('overlays/plain-sidecars'))
  t.notMatch(text, /"restartPolicy"|recursiveReadOnly|appArmorProfile|initContainers/)
  t.same(
    allContainers(specOf('plain-sidecars'))
      .map(({ name }) => name)
      .toSorted(),
    ['agent', 'sidecar'],
  )
})

for (const [profile, overlay] of [
  ['full', 'uninstall'],
  ['k3s', 'uninstall-k3s'],
  ['rke2', 'uninstall-rke2'],
  ['crio', 'uninstall-crio'],
  ['openshift', 'uninstall-openshift'],
] as const)
  t.test(`${overlay}: with the rights of ${profile}, once, after the sidecar`, async (t) => {
    const [whole, uninstall] = [specOf(profile), specOf(overlay)]
    t.same(
      allContainers(uninstall).map(({ name }) => name),
      ['sidecar', 'uninstall', 'done'],
    )
    t.same(named(uninstall, 'uninstall').volumeMounts, named(whole, 'agent').volumeMounts)
    t.same(named(uninstall, 'uninstall').env, named(whole, 'agent').env)
    t.same(named(uninstall, 'uninstall').securityContext, named(whole, 'agent').securityContext)
    t.same(named(uninstall, 'done').volumeMounts, undefined)
    t.match(JSON.stringify(uninstall.volumes), /"configMap":\{"name":"registry-trust","optional":true\}/)
  })

t.test(
  'no container is given a type of SELinux or a profile of AppArmor but where nothing works without',
  async (t) => {
    for (const folder of FOLDERS) {
      const found = JSON.stringify(objectsOf(folder).filter(({ kind }) => kind === 'DaemonSet'))
      t.equal(found.includes('seLinuxOptions'), /openshift$/.test(folder), folder)
      const profiles = allContainers(podSpec(objectsOf(folder))).flatMap(({ name, securityContext }) =>
        securityContext?.appArmorProfile === undefined ? [] : [`${name} ${securityContext.appArmorProfile.type}`],
      )
      const hasProfile = found.includes('REGISTRY_TRUST_RESTARTER_SOCKET') && folder !== 'overlays/plain-sidecars'
      t.same(profiles, hasProfile ? ['sidecar Unconfined'] : [], folder)
      t.equal(podSpec(objectsOf(folder)).securityContext?.appArmorProfile, undefined, folder)
    }
  },
)

t.test('the namespace allows what the hostPath volumes need, and warns of them', async (t) => {
  const [namespace] = objectsOf('base').filter(({ kind }) => kind === 'Namespace')
  t.match(namespace?.metadata.labels, {
    'pod-security.kubernetes.io/enforce': 'privileged',
    'pod-security.kubernetes.io/warn': 'baseline',
  })
})

t.test(
  'no manifest names a place to pull from: the image is the one of the node until somebody says otherwise',
  async (t) => {
    for (const folder of FOLDERS)
      for (const { image } of allContainers(podSpec(objectsOf(folder)))) t.match(image, /^localhost\//)
  },
)

t.test('the SecurityContextConstraints allow every kind of volume that the Pods have', async (t) => {
  const objects = await render('overlays/openshift')
  const allowed = objects.find(({ kind }) => kind === 'SecurityContextConstraints')?.['volumes'] as readonly string[]
  const used = (podSpec(objects).volumes ?? []).flatMap(({ name: _, ...source }) => Object.keys(source))
  t.same(
    [...new Set(used)].filter((kind) => !allowed.includes(kind)),
    [],
  )
})
