// A corpus of certificate chains, right and wrong in every way that decides a verification, alone and combined. The same seed gives the same
// corpus, so a disagreement can be looked at again.
import {
  type AlternativeName,
  alternativeNames,
  authorityKeyId,
  type Blueprint,
  basicConstraints,
  build,
  type Digest,
  ecPair,
  ed25519Pair,
  extendedKeyUsage,
  keyPem,
  keyUsage,
  nameConstraints,
  type Pair,
  rsaPair,
  subjectKeyId,
  toPem,
  unknownExtension,
} from '../pki/certificate-builder.ts'

export type CorpusChain = {
  readonly host: string
  /** What was done to it, for messages. */
  readonly story: readonly string[]
  /** DER, as served. */
  readonly served: readonly Buffer[]
  readonly roots: readonly Buffer[]
  readonly chainPem: string
  readonly keyPem: string
  readonly rootsPem: string
}

const DAY = 86_400_000
const SERVER_AUTH = '1.3.6.1.5.5.7.3.1'
const CLIENT_AUTH = '1.3.6.1.5.5.7.3.2'
const ANY_USE = '2.5.29.37.0'

export function chainCorpus(count: number, seed: number): readonly CorpusChain[] {
  const random = randomFrom(seed)
  const pairs = [rsaPair(), rsaPair(), ed25519Pair(), ...Array.from({ length: 9 }, ecPair)]
  return Array.from({ length: count }, (_, index) => new Author(random, pairs).chain(`c${index}.corpus.example.net`))
}

/** Mulberry32. */
function randomFrom(seed: number): () => number {
  let state = seed
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let value = Math.imul(state ^ (state >>> 15), 1 | state)
    value = (value + Math.imul(value ^ (value >>> 7), 61 | value)) ^ value
    return ((value ^ (value >>> 14)) >>> 0) / 4_294_967_296
  }
}

type Draft = { subject: string; key: Pair; keyId: string }

class Author {
  readonly #random: () => number
  readonly #pairs: readonly Pair[]
  readonly #story: string[] = []

  constructor(random: () => number, pairs: readonly Pair[]) {
    this.#random = random
    this.#pairs = pairs
  }

  chain(host: string): CorpusChain {
    const depth = Math.floor(this.#random() * 4)
    const faults = this.#random() < 0.15 ? 0 : this.#random() < 0.7 ? 1 : 2
    const faulty = Array.from({ length: faults }, () => Math.floor(this.#random() * (depth + 3)))
    const drafts: Draft[] = Array.from({ length: depth + 2 }, (_, level) => ({
      subject: level === 0 ? host : level === depth + 1 ? `Root of ${host}` : `Issuer ${level} of ${host}`,
      key: this.#pair(),
      keyId: `key ${level} of ${host}`,
    }))
    const certificates = drafts.map((draft, level) => {
      const issuer = drafts[level + 1] ?? draft
      const bad = faulty.includes(level)
      return level === 0 ? this.#leaf(host, draft, issuer, bad) : this.#authority(host, draft, issuer, level, bad)
    })
    const root = certificates.at(-1) ?? Buffer.alloc(0)
    const isOddlyServed = faulty.includes(depth + 2)
    const served = this.#served(certificates.slice(0, -1), root, isOddlyServed && this.#random() < 0.6)
    const roots = this.#roots(drafts, certificates, isOddlyServed)
    return {
      host,
      story: this.#story,
      served,
      roots,
      chainPem: served.map(toPem).join(''),
      keyPem: keyPem(drafts[0]?.key ?? this.#pair()),
      rootsPem: roots.map(toPem).join(''),
    }
  }

  #pair(): Pair {
    return this.#pick(this.#pairs)
  }

  #pick<T>(from: readonly T[]): T {
    const found = from[Math.floor(this.#random() * from.length)]
    if (found === undefined) throw new Error('nothing to pick from')
    return found
  }

  #leaf(host: string, draft: Draft, issuer: Draft, isBad: boolean): Buffer {
    const plan: Plan = {
      names: [{ dns: this.#random() < 0.3 ? host.replace(/^[^.]+/, '*') : host }],
      uses: this.#random() < 0.2 ? [] : [SERVER_AUTH],
      extensions: this.#random() < 0.5 ? [basicConstraints(false), keyUsage(0)] : [],
    }
    if (isBad) this.#pick(LEAF_FAULTS)(plan, host, this.#story)
    return this.#build(plan, draft, issuer)
  }

  #authority(host: string, draft: Draft, issuer: Draft, level: number, isBad: boolean): Buffer {
    const plan: Plan = { names: [], uses: [], extensions: [basicConstraints(true), keyUsage(5, 6)] }
    if (isBad) this.#pick(AUTHORITY_FAULTS)(plan, host, this.#story, level)
    return this.#build(plan, draft, issuer)
  }

  #build(plan: Plan, draft: Draft, issuer: Draft): Buffer {
    const isEd = issuer.key.privateKey.asymmetricKeyType === 'ed25519'
    const blueprint: Blueprint = {
      subject: draft.subject,
      issuer: plan.issuer ?? issuer.subject,
      key: draft.key,
      signer: plan.wrongKey ? this.#pick(this.#pairs.filter((pair) => pair !== issuer.key)) : issuer.key,
      notBefore: new Date(Date.now() + (plan.from ?? -10) * DAY),
      notAfter: new Date(Date.now() + (plan.until ?? 300) * DAY),
      version: plan.version ?? 3,
      digest: isEd ? 'sha256' : (plan.digest ?? (this.#random() < 0.2 ? 'sha384' : 'sha256')),
      extensions: [
        ...(plan.names.length > 0 || plan.hasEmptyNames ? [alternativeNames(plan.names, plan.areNamesCritical)] : []),
        ...(plan.uses.length > 0 ? [extendedKeyUsage(...plan.uses)] : []),
        ...(this.#random() < 0.7 ? [subjectKeyId(draft.keyId)] : []),
        ...(this.#random() < 0.7 ? [authorityKeyId(plan.keyId ?? issuer.keyId)] : []),
        ...plan.extensions,
      ],
    }
    return build(blueprint)
  }

  #served(chain: readonly Buffer[], root: Buffer, isOdd: boolean): readonly Buffer[] {
    const [leaf = Buffer.alloc(0), ...rest] = chain
    if (!isOdd) return this.#random() < 0.2 ? [leaf, ...rest, root] : [leaf, ...rest]
    const odd = this.#pick([
      'reversed',
      'without the last',
      'without the first',
      'twice',
      'alone',
      'with a stranger',
    ] as const)
    this.#story.push(`served ${odd}`)
    switch (odd) {
      case 'reversed':
        return [leaf, root, ...rest.toReversed()]
      case 'without the last':
        return [leaf, ...rest.slice(0, -1)]
      case 'without the first':
        return [leaf, ...rest.slice(1)]
      case 'twice':
        return [leaf, ...rest, leaf, ...rest]
      case 'alone':
        return [leaf]
      case 'with a stranger':
        return [leaf, this.#stranger('Stranger'), ...rest]
      default:
        throw odd satisfies never
    }
  }

  #stranger(subject: string, options: Partial<Blueprint> = {}): Buffer {
    const key = this.#pair()
    const dates = { notBefore: new Date(Date.now() - 10 * DAY), notAfter: new Date(Date.now() + 300 * DAY) }
    return build({
      subject,
      issuer: subject,
      key,
      signer: key,
      ...dates,
      extensions: [basicConstraints(true), keyUsage(5)],
      ...options,
    })
  }

  #roots(drafts: readonly Draft[], certificates: readonly Buffer[], isOdd: boolean): readonly Buffer[] {
    const root = certificates.at(-1)
    const draft = drafts.at(-1)
    if (root === undefined || draft === undefined) return []
    if (!isOdd) return [root]
    const odd = this.#pick([
      'right',
      'right',
      'stranger',
      'namesake',
      'namesake and right',
      'worn twin and right',
      'worn twin',
      'leaf',
      'second',
    ] as const)
    this.#story.push(`declared: ${odd}`)
    const worn = { notBefore: new Date(Date.now() - 90 * DAY), notAfter: new Date(Date.now() - DAY) }
    const twin = () => this.#stranger(draft.subject, { key: draft.key, signer: draft.key, ...worn })
    switch (odd) {
      case 'right':
        return [root]
      case 'stranger':
        return [this.#stranger('Stranger Root')]
      case 'namesake':
        return [this.#stranger(draft.subject)]
      case 'namesake and right':
        return [this.#stranger(draft.subject), root]
      case 'worn twin and right':
        return [twin(), root]
      case 'worn twin':
        return [twin()]
      case 'leaf':
        return [certificates[0] ?? root]
      case 'second':
        return [certificates[1] ?? root]
      default:
        throw odd satisfies never
    }
  }
}

type Plan = {
  names: readonly AlternativeName[]
  hasEmptyNames?: boolean
  areNamesCritical?: boolean
  uses: readonly string[]
  extensions: readonly Buffer[]
  from?: number
  until?: number
  digest?: Digest
  version?: 1 | 3
  issuer?: string
  keyId?: string
  wrongKey?: boolean
}

type Fault = (plan: Plan, host: string, story: string[], level?: number) => void

function fault(what: string, change: (plan: Plan, host: string) => void): Fault {
  return (plan, host, story, level = 0) => {
    story.push(`${level === 0 ? 'leaf' : `authority ${level}`}: ${what}`)
    change(plan, host)
  }
}

const BOTH: readonly Fault[] = [
  fault('expired', (plan) => Object.assign(plan, { from: -90, until: -1 })),
  fault('not yet valid', (plan) => Object.assign(plan, { from: 1 })),
  fault('SHA-1', (plan) => Object.assign(plan, { digest: 'sha1' })),
  fault('signed by another key', (plan) => Object.assign(plan, { wrongKey: true })),
  fault('another issuer name', (plan) => Object.assign(plan, { issuer: 'Nobody' })),
  fault('another authority key id', (plan) => Object.assign(plan, { keyId: 'other' })),
  fault('client authentication only', (plan) => Object.assign(plan, { uses: [CLIENT_AUTH] })),
  fault('any purpose', (plan) => Object.assign(plan, { uses: [CLIENT_AUTH, ANY_USE] })),
  fault('version 1', (plan) => Object.assign(plan, { version: 1 })),
  fault('unknown critical extension', (plan) =>
    Object.assign(plan, { extensions: [...plan.extensions, unknownExtension(true)] }),
  ),
  fault('unknown extension', (plan) =>
    Object.assign(plan, { extensions: [...plan.extensions, unknownExtension(false)] }),
  ),
]

const LEAF_FAULTS: readonly Fault[] = [
  ...BOTH,
  fault('no names', (plan) => Object.assign(plan, { names: [] })),
  fault('other name', (plan) => Object.assign(plan, { names: [{ dns: 'other.example.net' }] })),
  fault('mail name only', (plan) => Object.assign(plan, { names: [{ email: 'a@example.net' }] })),
  fault('critical empty names', (plan) =>
    Object.assign(plan, { names: [], hasEmptyNames: true, areNamesCritical: true }),
  ),
  fault('address only', (plan) => Object.assign(plan, { names: [{ ip: '192.0.2.1' }] })),
  fault('upper case', (plan, host) => Object.assign(plan, { names: [{ dns: host.toUpperCase() }] })),
  fault('dot at the end', (plan, host) => Object.assign(plan, { names: [{ dns: `${host}.` }] })),
  fault('wildcard two levels up', (plan) => Object.assign(plan, { names: [{ dns: '*.example.net' }] })),
  fault('part of a wildcard', (plan, host) => Object.assign(plan, { names: [{ dns: host.replace(/^c/, 'c*') }] })),
  fault('wildcard in the middle', (plan, host) =>
    Object.assign(plan, { names: [{ dns: host.replace('.corpus.', '.*.') }] }),
  ),
  fault('many names', (plan, host) =>
    Object.assign(plan, { names: [{ dns: 'a.b' }, { ip: '192.0.2.9' }, { dns: host }] }),
  ),
  fault('is a CA', (plan) => Object.assign(plan, { extensions: [basicConstraints(true), keyUsage(5)] })),
]

const AUTHORITY_FAULTS: readonly Fault[] = [
  ...BOTH,
  fault('no CA', (plan) => Object.assign(plan, { extensions: [basicConstraints(false)] })),
  fault('no basicConstraints', (plan) => Object.assign(plan, { extensions: [keyUsage(5)] })),
  fault('may not sign', (plan) => Object.assign(plan, { extensions: [basicConstraints(true), keyUsage(6)] })),
  fault('no keyUsage', (plan) => Object.assign(plan, { extensions: [basicConstraints(true)] })),
  fault('path length 0', (plan) => Object.assign(plan, { extensions: [basicConstraints(true, 0), keyUsage(5)] })),
  fault('path length 1', (plan) => Object.assign(plan, { extensions: [basicConstraints(true, 1), keyUsage(5)] })),
  ...[
    ['permits the domain', ['example.net'], []],
    ['permits below the domain', ['.corpus.example.net'], []],
    ['permits another domain', ['example.org'], []],
    ['excludes the domain', [], ['corpus.example.net']],
    ['excludes another domain', [], ['other.example.net']],
    ['permits and excludes', ['example.net'], ['corpus.example.net']],
    ['permits everything', [''], []],
  ].map(([what, permitted, excluded]) =>
    fault(String(what), (plan) =>
      Object.assign(plan, {
        extensions: [...plan.extensions, nameConstraints(permitted as string[], excluded as string[])],
      }),
    ),
  ),
  fault('server authentication only', (plan) => Object.assign(plan, { uses: [SERVER_AUTH] })),
]
