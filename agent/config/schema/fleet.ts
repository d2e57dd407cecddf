// The section `fleet` of trust.yaml: what `registry-trust fleet` does. The agents read only `wakePods`: without it they
// ignore what they are asked to pull.
import { duration } from './parts.ts'

const SHARE = '(?:[1-9][0-9]?|100)%'
const LABEL = '[A-Za-z0-9._/-]{1,317}=[A-Za-z0-9._-]{0,63}'

const share = (description: string, texts: string, expected: string, preset: number | string) => ({
  description,
  type: ['integer', 'string'],
  minimum: 1,
  maximum: 100_000,
  pattern: `^(?:${texts})$`,
  'x-expected': expected,
  default: preset,
})

export const fleet = {
  description:
    'The fleet component (`registry-trust fleet`): how fast a change spreads, and how restarts are rolled out.',
  type: 'object',
  additionalProperties: false,
  properties: {
    touchesPerSecond: {
      description: 'How many agents are notified of a change each second.',
      type: 'integer',
      minimum: 1,
      maximum: 1000,
      default: 50,
    },
    startupTaint: {
      description:
        'remove: take the taint registry-trust.io/untrusted off a node that trusts every registry; keep: never.',
      enum: ['keep', 'remove'],
      default: 'keep',
    },
    nodeLabels: {
      description: 'Names of node labels that the agents are given, for `when.labels`: at most 16.',
      type: 'array',
      maxItems: 16,
      uniqueItems: true,
      items: { type: 'string', pattern: '^[A-Za-z0-9._/-]{1,317}$', 'x-expected': 'the name of a label' },
      default: [],
    },
    wakePods: {
      description:
        'Help Pods that wait in ImagePullBackOff for an image of a declared registry as soon as their node trusts it: the node pulls the image without a login, and the Pod is touched.',
      type: 'boolean',
      default: false,
    },
    rollout: {
      description: 'Restarts of containerd where restart.permit is fleet.',
      type: 'object',
      additionalProperties: false,
      properties: {
        canary: share(
          'Nodes that restart first: a number, a percentage ("5%") or the labels that they carry (LABEL=VALUE[,LABEL=VALUE]).',
          `${SHARE}|${LABEL}(?:,${LABEL})*`,
          'a number of nodes, a percentage such as "5%", or labels such as "canary=true"',
          1,
        ),
        maxUnavailable: share(
          'Nodes that may be unavailable at the same time, NotReady and cordoned ones included: a number or a percentage.',
          SHARE,
          'a number of nodes or a percentage such as "10%"',
          '10%',
        ),
        soak: duration('How long the canary has to be healthy before the others follow (1s to 24h).', '30s'),
        haltAfter: {
          description:
            'After this many failed restarts no more are granted, until a new generation or `registry-trust fleet resume`.',
          type: 'integer',
          minimum: 1,
          maximum: 1000,
          default: 1,
        },
      },
    },
  },
} as const
