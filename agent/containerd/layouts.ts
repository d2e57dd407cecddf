// Where the well-known distributions keep their containerd: data, in the order in which a node is searched.
// The running process and its unit win over this table; it only answers when they cannot be seen.
// This room: what containerd is; the folders below hold its configuration, edits of it, host directories, and what a
// pull says.
// Begin here; then config/read.ts.
// May touch: nothing.
import { crictlEndpointOf } from './crictl.ts'

export type LayoutName = 'plain' | 'k3s' | 'rke2' | 'k0s' | 'microk8s'

export type NodeLayout = {
  readonly name: LayoutName
  readonly sockets: readonly string[]
  readonly configFile: string
  /** What config_path is set to where nothing sets it. */
  readonly certsDirectory: string
  readonly units: readonly string[]
  /** The distribution writes config.toml anew at each of its starts: an edit would be lost. */
  readonly isConfigGenerated: boolean
  /** Where it keeps a containerd of its own, whose unit starts another program; a `*` stands for one folder. */
  readonly binaries?: readonly string[]
  /** How a person sets config_path where config.toml is generated. */
  readonly setting?: string
  /** It makes config.toml of the files in a folder, and restarts containerd itself when one of them changes. */
  readonly dropIns?: DropIns
}

export type DropIns = {
  readonly folder: string
  /** The agent's own file in it. */
  readonly file: string
  /** What the distribution makes of them, and imports: the files of the folder say the same. */
  readonly merged: string
  /** The first line of a config.toml that the distribution still writes. */
  readonly mark: string
}

export const LAYOUTS: readonly NodeLayout[] = [
  {
    name: 'plain',
    sockets: ['/run/containerd/containerd.sock', '/var/run/containerd/containerd.sock'],
    configFile: '/etc/containerd/config.toml',
    certsDirectory: '/etc/containerd/certs.d',
    units: ['containerd.service'],
    isConfigGenerated: false,
  },
  {
    name: 'k3s',
    sockets: ['/run/k3s/containerd/containerd.sock'],
    configFile: '/var/lib/rancher/k3s/agent/etc/containerd/config.toml',
    certsDirectory: '/var/lib/rancher/k3s/agent/etc/containerd/certs.d',
    units: ['k3s.service', 'k3s-agent.service'],
    isConfigGenerated: true,
    binaries: ['/var/lib/rancher/k3s/data/current/bin/containerd'],
    setting: 'update k3s (every release since January 2024 sets it), or set it in config.toml.tmpl beside that file',
  },
  {
    name: 'rke2',
    sockets: ['/run/k3s/containerd/containerd.sock'],
    configFile: '/var/lib/rancher/rke2/agent/etc/containerd/config.toml',
    certsDirectory: '/var/lib/rancher/rke2/agent/etc/containerd/certs.d',
    units: ['rke2-server.service', 'rke2-agent.service'],
    isConfigGenerated: true,
    binaries: ['/var/lib/rancher/rke2/bin/containerd', '/var/lib/rancher/rke2/data/*/bin/containerd'],
    setting: 'update RKE2 (every release since January 2024 sets it), or set it in config.toml.tmpl beside that file',
  },
  {
    name: 'k0s',
    sockets: ['/run/k0s/containerd.sock'],
    configFile: '/etc/k0s/containerd.toml',
    certsDirectory: '/etc/containerd/certs.d',
    units: ['k0sworker.service', 'k0scontroller.service'],
    isConfigGenerated: true,
    binaries: ['/var/lib/k0s/bin/containerd'],
    setting: 'set it in that file yourself and restart k0s',
    // docs.k0sproject.io, Runtime: since 1.27.1.
    dropIns: {
      folder: '/etc/k0s/containerd.d',
      file: '/etc/k0s/containerd.d/registry-trust.toml',
      merged: '/run/k0s/containerd-cri.toml',
      mark: '# k0s_managed=true',
    },
  },
  {
    name: 'microk8s',
    sockets: ['/var/snap/microk8s/common/run/containerd.sock'],
    configFile: '/var/snap/microk8s/current/args/containerd.toml',
    certsDirectory: '/var/snap/microk8s/current/args/certs.d',
    units: ['snap.microk8s.daemon-containerd.service', 'snap.microk8s.daemon-kubelite.service'],
    // Of args/containerd-template.toml, by run-containerd-with-args.
    isConfigGenerated: true,
    binaries: ['/snap/microk8s/current/bin/containerd'],
    setting:
      'set it to "$SNAP_DATA/args/certs.d" in /var/snap/microk8s/current/args/containerd-template.toml and restart MicroK8s',
  },
]

/** The layout of this name; undefined for a name that is in no table. */
export function layoutNamed(name: string): NodeLayout | undefined {
  return LAYOUTS.find((layout) => layout.name === name)
}

/** Layouts that a socket belongs to; k3s and RKE2 share theirs and are told apart by unit or config file. */
export function layoutsOfSocket(socket: string): readonly NodeLayout[] {
  return LAYOUTS.filter((layout) => layout.sockets.includes(socket))
}

/** The socket that /etc/crictl.yaml names; undefined where it names none, or something that is not a unix socket. */
export function crictlEndpoint(text: string): string | undefined {
  const path = crictlEndpointOf(text, 'runtime-endpoint')
  return path?.startsWith('/') ? path : undefined
}
