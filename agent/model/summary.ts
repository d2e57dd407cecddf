// What the agent tells the fleet component about its node: the answer of GET /status/summary, as a type and as a JSON
// Schema. It stays small whatever is wrong: at most SUMMARY_BYTES and SUMMARY_BYTES_A_REGISTRY for each declared
// registry.
import { GRANT_PHASES, type GrantReport, type PullReport } from './fleet.ts'
import { type JsonSchema, listSchema, NODE_STATES, type NodeState, objectSchema } from './status.ts'

export const SUMMARY_BYTES = 1024
export const SUMMARY_BYTES_A_REGISTRY = 40

export type NodeSummary = {
  readonly node: string
  readonly version: string
  readonly containerd: string | null
  /** Of the desired state in force. */
  readonly generation: string
  /**
   * Digest of the configuration files that the last finished run read (config/config-digest.ts); empty before the
   * first.
   */
  readonly config: string
  readonly state: NodeState
  /** Declared registries. */
  readonly registries: number
  /** Those that are not trusted, with the finding; as many as fit. */
  readonly untrusted: readonly { readonly host: string; readonly code: string }[]
  /** How many are not trusted and not named above. */
  readonly untrustedMore: number
  readonly drift: number
  /** The first problem of the configuration or the node. */
  readonly problem: string | null
  /** The runtime answers and calls itself ready. */
  readonly runtimeReady: boolean
  readonly restart: {
    readonly pending: boolean
    /** Only the fleet's grant is missing. */
    readonly awaitsGrant: boolean
    readonly reason: string | null
    readonly last: { readonly at: string; readonly result: string } | null
  }
  readonly grant: GrantReport | null
  /** Pulls for waiting Pods that have ended; absent where trust.yaml does not want them, and from older agents. */
  readonly pulls?: readonly PullReport[]
  readonly uptimeSeconds: number
}

const text: JsonSchema = { type: 'string' }
const textOrNull: JsonSchema = { type: ['string', 'null'] }
const count: JsonSchema = { type: 'integer', minimum: 0 }

const SUMMARY_FIELDS = {
  node: text,
  version: { ...text, description: 'of the agent' },
  containerd: { ...textOrNull, description: 'version' },
  generation: { ...text, description: 'of the desired state in force' },
  config: { ...text, description: 'digest of the configuration files that the last finished run read' },
  state: { type: 'string', enum: NODE_STATES },
  registries: { ...count, description: 'how many are declared' },
  untrusted: listSchema(objectSchema('A registry that is not trusted.', { host: text, code: text })),
  untrustedMore: { ...count, description: 'registries that are not trusted and not listed, for lack of room' },
  drift: count,
  problem: { ...textOrNull, description: 'code of the first problem' },
  runtimeReady: { type: 'boolean' },
  restart: objectSchema('Restarts of containerd by the agent.', {
    pending: { type: 'boolean' },
    awaitsGrant: { type: 'boolean', description: "only the fleet's grant is missing" },
    reason: textOrNull,
    last: objectSchema('null before the first', { at: text, result: text }, { nullable: true }),
  }),
  grant: objectSchema(
    'The last grant that the agent saw; null: none.',
    { id: text, generation: text, phase: { type: 'string', enum: GRANT_PHASES }, ok: { type: 'boolean' } },
    { nullable: true },
  ),
  pulls: listSchema(
    objectSchema('An image that the note tells to pull, once that has ended; only where fleet.wakePods is on.', {
      image: { ...text, description: 'first 12 hexadecimal digits of the SHA-256 of its reference' },
      ok: { type: 'boolean', description: 'it is on the node' },
    }),
  ),
  uptimeSeconds: count,
} satisfies { readonly [name: string]: JsonSchema }

export const SUMMARY_SCHEMA = objectSchema('The state of one node in short, for the fleet component.', SUMMARY_FIELDS, {
  optional: ['pulls'],
})
