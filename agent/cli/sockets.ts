// Where the sidecars listen and containerd is, unless a flag says otherwise.

export const DEFAULT_CRI_PROXY = '/run/registry-trust/cri.sock'
export const DEFAULT_RESTARTER = '/run/registry-trust/restarter.sock'
export const DEFAULT_CONTAINERD = '/run/containerd/containerd.sock'

/** Where the cri-proxy that listens on `socket` lets the agent wait for the end of containerd. */
export function pulseSocketOf(socket: string): string {
  return `${socket}.pulse`
}
