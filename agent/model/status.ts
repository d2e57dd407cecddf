// What the agent tells about its node: the answer of GET /status and of `status --json`, as a type and as a JSON
// Schema. The two stand in one file and a test keeps them equal. Unknown values are null, never absent: jq needs no
// special case.
import type { Problem } from './errors.ts'
import type { FindingCode } from './finding.ts'
import { DRIFT_KINDS, type DriftKind, TARGET_NAMES, type TargetName } from './plan.ts'
import type { TransactionRecord } from './state.ts'

export const NODE_STATES = [
  'converged',
  'drifted',
  'applying',
  'restart-pending',
  'rolled-back',
  'rollback-failed',
  'failed',
  'audit',
  'no-containerd',
] as const
export type NodeState = (typeof NODE_STATES)[number]

export const REGISTRY_STATES = ['trusted', 'rehearsed', 'untrusted', 'unproved'] as const
export type RegistryState = (typeof REGISTRY_STATES)[number]

const PROVED_BY = ['live', 'rehearsal', 'tls'] as const
export type ProvedBy = (typeof PROVED_BY)[number]

export const PROOF_LEVELS = ['tls', 'manifest', 'pull'] as const

export type ContainerdStatus = {
  readonly version: string | null
  readonly socket: string | null
  readonly configFile: string | null
  /** The `version` key of config.toml as it takes effect. */
  readonly configVersion: number | null
  /** The certs.d directory in force; null while none is set. */
  readonly configPath: string | null
  readonly layout: string | null
}

/** What answers CRI on a node. */
export type RuntimeIdentity = {
  /** As CRI Version tells it: `containerd`, `cri-o`. */
  readonly name: string
  readonly version: string
  readonly socket: string
}

/** One certificate of an anchor; an anchor that holds none is one entry with nulls and its findings. */
export type AnchorStatus = {
  readonly name: string
  readonly subject: string | null
  readonly fingerprint: string | null
  readonly notAfter: string | null
  /** Files on the node that hold it because of the agent. */
  readonly installed: readonly string[]
  readonly findings: readonly Problem[]
}

/** A place that trusts: how much of it is ours, and whether it is as wanted. */
export type TargetStatus = {
  readonly target: TargetName
  readonly inSync: boolean
  /** Paths that the agent owns or has edited there. */
  readonly files: number
  /** Changes that were planned and not made. */
  readonly pending: number
}

export type LastProof = {
  readonly level: (typeof PROOF_LEVELS)[number]
  readonly by: ProvedBy
  readonly at: string
  readonly durationMs: number
}

export type RegistryFinding = {
  readonly code: FindingCode
  readonly message: string
  readonly remedy: string
  readonly evidence: {
    readonly text?: string
    readonly reference?: string
    readonly host?: string
    readonly notes?: readonly string[]
  }
}

export type RegistryStatus = {
  readonly host: string
  readonly state: RegistryState
  /** When `state` last changed. */
  readonly since: string | null
  readonly finding: RegistryFinding
  readonly lastProof: LastProof | null
}

export type DriftStatus = {
  /** `registry` and `source`: nothing on the node, `path` is then the registry host or the input file. */
  readonly target: TargetName | 'registry' | 'source'
  readonly path: string
  readonly kind: DriftKind
  readonly reason: string
}

export type LastRestart = {
  readonly at: string
  readonly reason: string
  readonly result: string
  readonly durationMs: number
}

export type RestartStatus = {
  readonly pending: boolean
  readonly reason: string | null
  readonly last: LastRestart | null
}

export type NodeStatus = {
  readonly node: string
  /** Version of the agent. */
  readonly version: string
  readonly mode: 'enforce' | 'audit'
  /** Of the desired state in force; empty before the first valid configuration. */
  readonly generation: string
  readonly state: NodeState
  readonly containerd: ContainerdStatus
  /** What answers CRI on this node, containerd or another runtime; null while nothing does. */
  readonly runtime: RuntimeIdentity | null
  readonly anchors: readonly AnchorStatus[]
  readonly registries: readonly RegistryStatus[]
  readonly targets: readonly TargetStatus[]
  readonly drift: readonly DriftStatus[]
  readonly restart: RestartStatus
  /** Newest last. */
  readonly transactions: readonly TransactionRecord[]
  /** What is wrong with the configuration or the node as a whole. */
  readonly problems: readonly Problem[]
  /** What is worth knowing although nothing is kept back because of it. */
  readonly warnings: readonly Problem[]
  /** Files the desired state was read from. */
  readonly sources: readonly string[]
}

/** The part of JSON Schema (2020-12) that is used here. */
export type JsonSchema = {
  readonly type?: string | readonly string[]
  readonly description?: string
  readonly enum?: readonly (string | number | null)[]
  readonly const?: string | number | boolean
  readonly format?: string
  readonly minimum?: number
  readonly items?: JsonSchema
  readonly properties?: { readonly [name: string]: JsonSchema }
  readonly required?: readonly string[]
  readonly additionalProperties?: boolean | JsonSchema
  readonly $ref?: string
}

const text: JsonSchema = { type: 'string' }
const textOrNull: JsonSchema = { type: ['string', 'null'] }
const time: JsonSchema = { type: 'string', description: 'RFC 3339, UTC' }
const count: JsonSchema = { type: 'integer', minimum: 0 }

/** An object whose properties are all required, save those named. */
export function objectSchema(
  description: string,
  properties: { readonly [name: string]: JsonSchema },
  options: { readonly nullable?: boolean; readonly optional?: readonly string[] } = {},
): JsonSchema {
  return {
    type: options.nullable === true ? ['object', 'null'] : 'object',
    description,
    properties,
    required: Object.keys(properties).filter((name) => options.optional?.includes(name) !== true),
    additionalProperties: false,
  }
}

export function listSchema(items: JsonSchema): JsonSchema {
  return { type: 'array', items }
}

export const PROBLEM_SCHEMA = objectSchema('What is wrong and what a person should do about it.', {
  code: text,
  message: text,
  remedy: text,
})

export const REGISTRY_SCHEMA = objectSchema('One declared registry, and whether this node trusts it.', {
  host: text,
  state: { type: 'string', enum: REGISTRY_STATES },
  since: { ...textOrNull, description: 'when the state last changed' },
  finding: objectSchema('The outcome of the last proof.', {
    code: text,
    message: text,
    remedy: text,
    evidence: objectSchema(
      'What the finding rests on.',
      {
        text: { ...text, description: "containerd's own words" },
        reference: { ...text, description: 'the image that was pulled' },
        host: { ...text, description: 'the host that failed, where it is not the registry itself' },
        notes: listSchema(text),
      },
      { optional: ['text', 'reference', 'host', 'notes'] },
    ),
  }),
  lastProof: objectSchema(
    'The last proof; null before the first.',
    {
      level: { type: 'string', enum: PROOF_LEVELS },
      by: { type: 'string', enum: PROVED_BY },
      at: time,
      durationMs: { type: 'number', minimum: 0 },
    },
    { nullable: true },
  ),
})

const ANCHOR_SCHEMA = objectSchema('One certificate of a declared anchor.', {
  name: text,
  subject: textOrNull,
  fingerprint: { ...textOrNull, description: 'sha256: and the hexadecimal digest of the DER' },
  notAfter: textOrNull,
  installed: { ...listSchema(text), description: 'files on the node that hold it because of the agent' },
  findings: listSchema(PROBLEM_SCHEMA),
})

const TARGET_SCHEMA = objectSchema('A place that trusts.', {
  target: { type: 'string', enum: TARGET_NAMES },
  inSync: { type: 'boolean' },
  files: { ...count, description: 'paths that the agent owns or has edited there' },
  pending: { ...count, description: 'changes that were planned and not made' },
})

const CONTAINERD_SCHEMA = objectSchema('The containerd of this node; null where not known.', {
  version: textOrNull,
  socket: textOrNull,
  configFile: textOrNull,
  configVersion: { type: ['integer', 'null'] },
  configPath: { ...textOrNull, description: 'the certs.d directory in force' },
  layout: textOrNull,
})

const RUNTIME_SCHEMA = objectSchema(
  'What answers CRI on this node, containerd or another runtime; null while nothing does.',
  { name: { ...text, description: 'containerd or cri-o, as it calls itself' }, version: text, socket: text },
  { nullable: true },
)

const RESTART_SCHEMA = objectSchema('Restarts of containerd by the agent.', {
  pending: { type: 'boolean' },
  reason: textOrNull,
  last: objectSchema(
    'null before the first',
    { at: time, reason: text, result: text, durationMs: { type: 'number', minimum: 0 } },
    { nullable: true },
  ),
})

const TRANSACTION_SCHEMA = objectSchema('One change of the node, committed or undone.', {
  id: text,
  generation: text,
  at: time,
  durationMs: { type: 'number', minimum: 0 },
  result: { type: 'string', enum: ['committed', 'rolled-back', 'rollback-failed', 'refused'] },
  changes: count,
  restarted: { type: 'boolean' },
  reason: text,
})

export const STATUS_SCHEMA = objectSchema('The state of one node.', {
  node: text,
  version: { ...text, description: 'of the agent' },
  mode: { type: 'string', enum: ['enforce', 'audit'] },
  generation: { ...text, description: 'of the desired state in force' },
  state: { type: 'string', enum: NODE_STATES },
  containerd: CONTAINERD_SCHEMA,
  runtime: RUNTIME_SCHEMA,
  anchors: listSchema(ANCHOR_SCHEMA),
  registries: listSchema(REGISTRY_SCHEMA),
  targets: listSchema(TARGET_SCHEMA),
  drift: listSchema(
    objectSchema('One thing that is not as it should be although the configuration did not change.', {
      target: text,
      path: text,
      kind: { type: 'string', enum: DRIFT_KINDS },
      reason: { ...text, description: 'how it differs and, where nothing can be written to put it right, what does' },
    }),
  ),
  restart: RESTART_SCHEMA,
  transactions: listSchema(TRANSACTION_SCHEMA),
  problems: listSchema(PROBLEM_SCHEMA),
  warnings: listSchema(PROBLEM_SCHEMA),
  sources: listSchema(text),
})
