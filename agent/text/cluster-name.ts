// Names that Pods can resolve and a node cannot: containerd asks the resolver of the node, which knows nothing of the
// cluster's DNS. https://kubernetes.io/docs/concepts/services-networking/dns-pod-service/

/**
 * @param host `NAME[:PORT]`, with or without the dot at the end.
 * @returns true for names of Services (`*.svc`, `*.svc.…`, `*.cluster.local`) and for names without a domain, which only
 * a search list makes whole; false for addresses and for localhost.
 */
export function isClusterName(host: string): boolean {
  if (host.startsWith('[')) return false
  const name = host.toLowerCase().replace(/:\d+$/, '').replace(/\.$/, '')
  if (name === '' || name === 'localhost' || name.includes(':')) return false
  const labels = name.split('.')
  if (labels.length === 1) return true
  return labels.indexOf('svc') > 0 || name.endsWith('.cluster.local')
}
