// policy.fragments: what the author of each fragment may declare. What goes beyond it is refused with the fragment, and
// stops nothing else.
import { posix } from 'node:path'
import { parseUrl } from '../../containerd/hosts/endpoint.ts'
import type { FragmentRule, Policy } from '../../model/desired-state.ts'
import type { ConfigFile } from '../reading/config-file.ts'
import type { Declarations, DeclaredRegistry } from '../reading/declared.ts'
import { hostName } from '../reading/registry-host.ts'
import type { Report } from '../reading/report.ts'

type Rules = Policy['fragments']

export function checkFragmentRules({ anchors, registries }: Declarations, rules: Rules, report: Report): void {
  for (const { file, pointer, name, entry } of anchors) {
    if (!file.isFragment) continue
    const { anchors: reach = 'registries' } = rules === undefined ? {} : ruleOf(file, rules)
    const rule = rules === undefined ? 'policy.fragments' : `${ruleName(file, rules)}.anchors`
    const add = (text: string) =>
      report.add('FRAGMENT_NOT_ALLOWED', file.place(pointer, 'key'), file.subject(pointer), text)
    if (reach === 'none') add(`declares the anchor ${name}, and ${rule} is none`)
    else if (reach === 'registries' && entry.scope === 'system')
      add(`has the scope system, and ${rule} does not permit it`)
  }
  for (const registry of registries) {
    if (!registry.file.isFragment) continue
    checkAddresses(registry, rules, report)
    if (rules !== undefined) checkHosts(registry, rules, report)
  }
}

/** Every program of the node resolves by the hosts file, as every program believes an anchor of the system store. */
function checkAddresses({ entry, file, pointer }: DeclaredRegistry, rules: Rules, report: Report): void {
  if (entry.addresses === undefined) return
  if (rules !== undefined && ruleOf(file, rules).addresses === true) return
  const at = `${pointer}/addresses`
  const rule = rules === undefined ? 'policy.fragments' : ruleName(file, rules)
  const text = `is for the hosts file of the node, and ${rule} does not permit it (addresses: true)`
  report.add('FRAGMENT_NOT_ALLOWED', file.place(at, 'key'), file.subject(at), text)
}

function checkHosts({ entry, file, pointer }: DeclaredRegistry, rules: NonNullable<Rules>, report: Report): void {
  const rule = ruleOf(file, rules)
  const patterns = rule.hosts ?? []
  const check = (host: string, at: string) => {
    if (patterns.some((pattern) => matchesHost(pattern, host))) return
    const allowed = patterns.length === 0 ? 'no host' : patterns.slice(0, 10).join(', ')
    const text = `is ${host}, and ${ruleName(file, rules)}.hosts allows ${allowed}`
    report.add('FRAGMENT_NOT_ALLOWED', file.place(at, 'value'), file.subject(at), text)
  }
  check(entry.host, `${pointer}/host`)
  entry.mirrors?.forEach(({ url }, index) => {
    const host = parseUrl(url)?.host
    if (host !== undefined) check(host, `${pointer}/mirrors/${index}/url`)
  })
  if (entry.ca !== undefined && rule.anchors === 'none') {
    const text = `names an anchor, and ${ruleName(file, rules)}.anchors is none`
    report.add('FRAGMENT_NOT_ALLOWED', file.place(`${pointer}/ca`, 'key'), file.subject(`${pointer}/ca`), text)
  }
}

function ruleOf(file: ConfigFile, rules: NonNullable<Rules>): FragmentRule {
  return rules[ruleKey(file, rules)] ?? {}
}

function ruleKey({ path }: ConfigFile, rules: NonNullable<Rules>): string {
  const name = posix.basename(path)
  return Object.hasOwn(rules, name) ? name : '*'
}

function ruleName(file: ConfigFile, rules: NonNullable<Rules>): string {
  return `policy.fragments["${ruleKey(file, rules)}"]`
}

/** `*` alone stands for every host, and for the wildcard registry; a pattern without a port for each port. */
export function matchesHost(pattern: string, host: string): boolean {
  const [wanted, given] = [pattern.toLowerCase(), host.toLowerCase()]
  if (wanted === '*' || wanted === given) return true
  if (given === '*') return false
  const name = hostName(given)
  if (!wanted.startsWith('*.')) return wanted === name
  const suffix = wanted.slice(1)
  return (
    (name.endsWith(suffix) && name.length > suffix.length) || (given.endsWith(suffix) && given.length > suffix.length)
  )
}
