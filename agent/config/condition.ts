// Whether a `when` holds on this node. Pure. A fact that is not known now makes it unknown, unless another one decides
// against it.
import type { Condition, NodeFacts } from '../model/desired-state.ts'

export type Verdict = {
  readonly holds: 'yes' | 'no' | 'unknown'
  /** For people: `when.arch is arm64, and this node has amd64`. Empty: it holds. */
  readonly why: string
}

/** The first that does not hold decides; then the first that is not known. */
export function judgeCondition(condition: Condition, facts: NodeFacts): Verdict {
  const verdicts = [
    judgeName(condition, facts),
    judgeOneOf('os', condition.os, facts.os, 'the ID in os-release'),
    judgeOneOf('arch', condition.arch, facts.arch, 'the architecture'),
    judgeVersion(condition, facts),
    judgeLabels(condition, facts),
  ]
  const of = (holds: Verdict['holds']) => verdicts.find((verdict) => verdict.holds === holds)
  return of('no') ?? of('unknown') ?? YES
}

const YES: Verdict = { holds: 'yes', why: '' }
const no = (why: string): Verdict => ({ holds: 'no', why })
const unknown = (what: string): Verdict => ({ holds: 'unknown', why: `${what} of this node is not known now` })

function judgeName({ nodes }: Condition, { name }: NodeFacts): Verdict {
  if (nodes === undefined) return YES
  if (name === undefined) return unknown('the name')
  if (nodes.some((pattern) => matchesName(pattern, name))) return YES
  return no(`when.nodes is ${nodes.join(', ')}, and this node is ${name}`)
}

/** `*` stands for any characters, `?` for one; no other character is special. Steps: at most pattern × name. */
function matchesName(pattern: string, name: string): boolean {
  let places = new Set([0])
  for (const sign of pattern) {
    const next = new Set<number>()
    for (const at of places) {
      if (sign === '*') for (let to = at; to <= name.length; to += 1) next.add(to)
      else if (at < name.length && (sign === '?' || sign === name[at])) next.add(at + 1)
    }
    places = next
  }
  return places.has(name.length)
}

function judgeOneOf(
  key: string,
  wanted: readonly string[] | undefined,
  value: string | undefined,
  what: string,
): Verdict {
  if (wanted === undefined) return YES
  if (value === undefined) return unknown(what)
  return wanted.includes(value) ? YES : no(`when.${key} is ${wanted.join(', ')}, and this node has ${value}`)
}

function judgeVersion({ containerd: range }: Condition, { containerd: version }: NodeFacts): Verdict {
  if (range === undefined) return YES
  const found = version === undefined ? undefined : numbersOf(version)
  if (found === undefined) return unknown('the version of containerd')
  return isInRange(range, found) ? YES : no(`when.containerd is ${range}, and this node has ${version}`)
}

/** `1.6.20~ds1`, `v2.1.9-k3s1`: what follows the numbers counts for nothing. */
function numbersOf(version: string): readonly number[] | undefined {
  const found = /^v?(\d+)(?:\.(\d+))?(?:\.(\d+))?/.exec(version)
  return found === null ? undefined : found.slice(1).map((part) => Number(part ?? 0))
}

/** A version is compared by as many numbers as the range names: 2.1.9 is <=2.1. */
function isInRange(range: string, version: readonly number[]): boolean {
  return [...range.matchAll(/(<=|>=|<|>|=) *v?(\d+(?:\.\d+){0,2})/g)].every(([, operator, limit = '']) => {
    const order = compare(version, limit.split('.').map(Number))
    switch (operator) {
      case '<':
        return order < 0
      case '<=':
        return order <= 0
      case '>':
        return order > 0
      case '>=':
        return order >= 0
      default:
        return order === 0
    }
  })
}

function compare(version: readonly number[], limit: readonly number[]): number {
  for (const [index, part] of limit.entries()) {
    const difference = (version[index] ?? 0) - part
    if (difference !== 0) return difference
  }
  return 0
}

function judgeLabels({ labels }: Condition, { labels: found, hasOtherLabels }: NodeFacts): Verdict {
  if (labels === undefined) return YES
  if (found === undefined) return { holds: 'unknown', why: 'the labels of this node are not known now' }
  let verdict = YES
  for (const [key, value] of Object.entries(labels)) {
    const has = Object.hasOwn(found, key) ? found[key] : undefined
    if (has === undefined && hasOtherLabels === true)
      verdict = {
        holds: 'unknown',
        why: `the label ${key} of this node is not known: fleet.nodeLabels does not name it`,
      }
    else if (has === undefined || has === null) return no(`when.labels has ${key}, and this node does not`)
    else if (value !== '*' && has !== value) return no(`when.labels has ${key}: ${value}, and this node has ${has}`)
  }
  return verdict
}
