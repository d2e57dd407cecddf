// Which variables of containerd's environment the agent looks at. The rule: everything else may be a secret and is not
// kept.

const RELEVANT = /^(?:SSL_CERT_(?:FILE|DIR)|GODEBUG|PATH|HOME|(?:https?|all|no)_proxy)$/i

/** Keeps what decides how containerd connects and whom it trusts, out of `NAME=value` entries. */
export function relevantEnvironment(entries: readonly string[]): { readonly [name: string]: string } {
  const pairs = entries.map((entry): [string, string] => {
    const end = entry.indexOf('=')
    return end < 0 ? [entry, ''] : [entry.slice(0, end), entry.slice(end + 1)]
  })
  return Object.fromEntries(pairs.filter(([name]) => RELEVANT.test(name)))
}
