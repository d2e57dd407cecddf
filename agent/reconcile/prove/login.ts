// Decides which credentials a proof may hand to containerd, which sends them six times per pull: only those that the
// registry has just accepted from the agent's own, single attempt. What was refused is not sent again until it changes,
// or hours have passed.

import { createHmac, randomBytes } from 'node:crypto'
import { readCredentials } from '../../config/foreign/credentials.ts'
import { defaultServer } from '../../containerd/hosts/hosts-toml.ts'
import { type DesiredState, type Registry, trustOf } from '../../model/desired-state.ts'
import { asAgentError } from '../../model/errors.ts'
import { type Finding, finding } from '../../model/finding.ts'
import { PROBE_REPOSITORY } from '../../model/image-reference.ts'
import type {
  CallOptions,
  Clock,
  InputFiles,
  LoginAnswer,
  NodeFiles,
  RegistryCredentials,
  RegistryLogin,
} from '../../model/ports.ts'
import type { LoginDesk } from '../../model/run-ports.ts'
import { readSystemRoots } from '../observe/system-roots.ts'

const FIRST_PAUSE_MS = 3_600_000
const LONGEST_PAUSE_MS = 6 * 3_600_000
const ATTEMPT_MS = 5_000

export type LoginPorts = {
  readonly inputs: InputFiles
  readonly files: NodeFiles
  readonly clock: Clock
  readonly login: RegistryLogin
}

type Refusal = {
  readonly digest: string /** Monotonic. */
  readonly nextAt: number
  readonly pauseMs: number
  readonly finding: Finding
}

/** One for the life of the process: it remembers what was refused. */
export function createLoginDesk({ inputs, files, clock, login }: LoginPorts): LoginDesk {
  // Keyed by a number of this process: what is remembered of a password cannot be looked up elsewhere.
  const key = randomBytes(32)
  const refusals = new Map<string, Refusal>()
  const digestOf = (credentials: RegistryCredentials) =>
    createHmac('sha256', key)
      .update(JSON.stringify([credentials.kind, userOf(credentials), secretOf(credentials)]))
      .digest('hex')

  const attempt = async (
    registry: Registry,
    desired: DesiredState,
    credentials: RegistryCredentials,
    options: CallOptions,
  ): Promise<LoginAnswer> =>
    await login.attempt(
      {
        server: defaultServer(registry.host),
        credentials,
        repository: repositoryOf(registry),
        roots: await rootsFor(registry, desired, files),
        tokenHosts: tokenHostsOf(registry),
      },
      { ...options, timeoutMs: Math.min(ATTEMPT_MS, options.timeoutMs) },
    )

  return {
    forgive: () => refusals.clear(),
    for: (desired) => async (registry, options) => {
      const { credentials: source, host, proof } = registry
      if (source === undefined) return undefined
      const read = await readCredentials({ source, host, image: proof.image, now: clock.now() }, inputs)
      if (!read.ok) {
        const code = read.expired === true ? 'login-expired' : 'bad-credentials-file'
        return { kind: 'failed', finding: finding(code, `the login for ${host} cannot be used: ${read.reason}`) }
      }
      const { credentials } = read
      const digest = digestOf(credentials)
      const known = refusals.get(host)
      if (known?.digest === digest && clock.monotonic() < known.nextAt)
        return { kind: 'failed', finding: known.finding }
      // One registry's login is no reason to prove none of the others.
      const answer = await attempt(registry, desired, credentials, options).catch((thrown: unknown): LoginAnswer => {
        options.signal?.throwIfAborted()
        return { outcome: 'failed', reason: asAgentError(thrown).message }
      })
      const who = whoIs(credentials)
      switch (answer.outcome) {
        case 'accepted':
          refusals.delete(host)
          return { kind: 'accepted', credentials: { ...credentials, ...boundServer(registry) }, who }
        case 'not-asked':
          return { kind: 'not-needed' }
        case 'failed':
          return {
            kind: 'failed',
            finding: finding('login-untried', `the login of ${who} at ${host} could not be tried: ${answer.reason}`),
          }
        case 'refused': {
          const pauseMs = known?.digest === digest ? Math.min(known.pauseMs * 2, LONGEST_PAUSE_MS) : FIRST_PAUSE_MS
          const again = new Date(clock.now() + pauseMs).toISOString()
          const text = `${answer.by} refuses the login of ${who} (${answer.status})`
          const notes = [`not sent again before ${again} unless the credentials change`]
          const found = finding('login-refused', text, { notes })
          refusals.set(host, { digest, nextAt: clock.monotonic() + pauseMs, pauseMs, finding: found })
          return { kind: 'failed', finding: found }
        }
        default:
          return answer satisfies never
      }
    },
  }
}

async function rootsFor(registry: Registry, desired: DesiredState, files: NodeFiles): Promise<readonly string[]> {
  const system = await readSystemRoots(files)
  return [...trustOf(registry, desired).certificates.map(({ pem }) => pem), ...system.map(({ der }) => toPem(der))]
}

/** Docker Hub has had its token service under another name from the first day on. */
const TOKEN_SERVICES: { readonly [host: string]: readonly string[] } = { 'docker.io': ['auth.docker.io'] }

function tokenHostsOf({ host, credentials }: Registry): readonly string[] {
  return [...(credentials?.hosts ?? []), ...(TOKEN_SERVICES[host] ?? [])]
}

/**
 * containerd hands a login to every endpoint that asks for one, unless it is told a server; it can be told one alone.
 */
function boundServer({ host, mirrors = [], credentials }: Registry): { readonly server?: string } {
  const declared = new Set(credentials?.hosts)
  const isForAll = mirrors.length > 0 && mirrors.every(({ url }) => declared.has(new URL(url).host))
  return isForAll ? {} : { server: defaultServer(host) }
}

function toPem(der: Buffer): string {
  const lines = der.toString('base64').replace(/.{1,64}/g, '$&\n')
  return `-----BEGIN CERTIFICATE-----\n${lines}-----END CERTIFICATE-----\n`
}

/** Of the image named, so that a robot account limited to its project is asked about that one. */
function repositoryOf({ host, proof }: Registry): string {
  if (proof.image === undefined) return PROBE_REPOSITORY
  return proof.image
    .slice(host.length + 1)
    .replace(/@.*$/, '')
    .replace(/:[^/]*$/, '')
}

function userOf(credentials: RegistryCredentials): string {
  return credentials.kind === 'registry-token' ? '' : credentials.username
}

function secretOf(credentials: RegistryCredentials): string {
  return credentials.kind === 'password' ? credentials.password.reveal() : credentials.token.reveal()
}

function whoIs(credentials: RegistryCredentials): string {
  return userOf(credentials) === '' ? 'the declared token' : userOf(credentials)
}
