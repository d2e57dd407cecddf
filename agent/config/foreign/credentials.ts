// Reads the login of a registry when it is needed, and only then: a Secret that was renewed counts from the next proof
// on. The rule: nothing of what the files hold stands in a message.
import type { CredentialSource } from '../../model/desired-state.ts'
import type { InputFiles } from '../../model/ports.ts'
import { Secret } from '../../model/secret.ts'
import { readInput } from '../reading/input-lookup.ts'
import { credentialsFor, type ReadCredentials } from './docker-config.ts'

const MOST_BYTES = 1024 * 1024
/** OpenShift's integrated registry looks at the token alone. */
const ANY_USER = 'serviceaccount'

export type CredentialRequest = {
  readonly source: CredentialSource
  readonly host: string
  readonly image?: string | undefined
  /** Milliseconds since the epoch. */
  readonly now: number
}

export async function readCredentials(request: CredentialRequest, files: InputFiles): Promise<ReadCredentials> {
  const { source, host, image, now } = request
  switch (source.kind) {
    case 'docker-config': {
      const text = await readText(source.path, files, source.within)
      if (typeof text !== 'string') return text
      const found = credentialsFor(text, host, image)
      return found.ok ? found : { ...found, reason: `${source.path}: ${found.reason}` }
    }
    case 'password': {
      const username = await readLine(source.usernamePath, files, source.within)
      if (typeof username !== 'string') return username
      const password = await readLine(source.passwordPath, files, source.within)
      if (typeof password !== 'string') return password
      if (username.includes(':')) return { ok: false, reason: `${source.usernamePath}: a user name cannot hold ":"` }
      return { ok: true, credentials: { kind: 'password', username, password: new Secret(password) } }
    }
    case 'token': {
      const token = await readLine(source.tokenPath, files, source.within)
      if (typeof token !== 'string') return token
      const username =
        source.usernamePath === undefined ? ANY_USER : await readLine(source.usernamePath, files, source.within)
      if (typeof username !== 'string') return username
      const expiry = expiryOf(token)
      if (expiry !== undefined && expiry <= now)
        return {
          ok: false,
          expired: true,
          reason: `${source.tokenPath}: the token expired at ${new Date(expiry).toISOString()}`,
        }
      return { ok: true, credentials: { kind: 'password', username, password: new Secret(token) } }
    }
    default:
      return source satisfies never
  }
}

type Failed = Extract<ReadCredentials, { ok: false }>

async function readText(path: string, files: InputFiles, within: string | undefined): Promise<string | Failed> {
  const input = await readInput(files, path, MOST_BYTES, within)
  switch (input.kind) {
    case 'file':
      return input.bytes.toString('utf8')
    case 'absent':
      return { ok: false, reason: `${path}: there is no such file` }
    case 'folder':
      return { ok: false, reason: `${path}: this is a folder` }
    case 'too-large':
      return { ok: false, reason: `${path}: ${input.bytes} bytes are too much for credentials` }
    case 'unreadable':
      return { ok: false, reason: `${path}: cannot be read: ${input.reason}` }
    default:
      return input satisfies never
  }
}

/** Editors end a file with a line break, which is no part of a password. */
async function readLine(path: string, files: InputFiles, within: string | undefined): Promise<string | Failed> {
  const text = await readText(path, files, within)
  if (typeof text !== 'string') return text
  const line = text.replace(/(\r?\n)+$/, '')
  if (line === '') return { ok: false, reason: `${path}: the file is empty` }
  return /[\r\n]/.test(line) ? { ok: false, reason: `${path}: holds more than one line` } : line
}

/** Of a JSON web token, not verified: it only spares a login that cannot succeed. */
function expiryOf(token: string): number | undefined {
  const [, payload, signature] = token.split('.')
  if (payload === undefined || signature === undefined) return undefined
  try {
    const claims: unknown = JSON.parse(Buffer.from(payload, 'base64url').toString('utf8'))
    const expiry = typeof claims === 'object' && claims !== null && 'exp' in claims ? claims.exp : undefined
    return typeof expiry === 'number' && Number.isFinite(expiry) ? expiry * 1000 : undefined
  } catch {
    return undefined
  }
}
