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
  },
  {
    name: 'rke2',
    sockets: ['/run/k3s/containerd/containerd.sock'],
    configFile: '/var/lib/rancher/rke2/agent/etc/containerd/config.toml',
    certsDirectory: '/var/lib/rancher/rke2/agent/etc/containerd/certs.d',
    units: ['rke2-server.service', 'rke2-agent.service'],
    isConfigGenerated: true,
  },
  {
    name: 'k0s',
    sockets: ['/run/k0s/containerd.sock'],
    configFile: '/etc/k0s/containerd.toml',
    certsDirectory: '/etc/containerd/certs.d',
    units: ['k0sworker.service', 'k0scontroller.service'],
    isConfigGenerated: true,
  },
  {
    name: 'microk8s',
    sockets: ['/var/snap/microk8s/common/run/containerd.sock'],
    configFile: '/var/snap/microk8s/current/args/containerd.toml',
    certsDirectory: '/var/snap/microk8s/current/args/certs.d',
    units: ['snap.microk8s.daemon-containerd.service', 'snap.microk8s.daemon-kubelite.service'],
    isConfigGenerated: false,
  },
]

/** Layouts that a socket belongs to; k3s and RKE2 share theirs and are told apart by unit or config file. */
export function layoutsOfSocket(socket: string): readonly NodeLayout[] {
  return LAYOUTS.filter((layout) => layout.sockets.includes(socket))
}

/** The socket that /etc/crictl.yaml names; undefined where it names none, or something that is not a unix socket. */
export function crictlEndpoint(text: string): string | undefined {
  const path = crictlEndpointOf(text, 'runtime-endpoint')
  return path?.startsWith('/') ? path : undefined
}
