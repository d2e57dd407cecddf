// Who may POST: the bearer of the token. No token configured means that no one may.
import { createHash, timingSafeEqual } from 'node:crypto'
import { AgentError } from '../model/errors.ts'

/** Throws AgentError NO_TOKEN_CONFIGURED or UNAUTHENTICATED. */
export function authorize(header: string | undefined, token: string | undefined): void {
  const expected = token?.trim() ?? ''
  if (expected === '') {
    throw new AgentError(
      'NO_TOKEN_CONFIGURED',
      'this agent has no token, so it accepts no requests that change something',
    )
  }
  const presented = /^Bearer +(\S+) *$/i.exec(header ?? '')?.[1]
  if (presented === undefined) throw new AgentError('UNAUTHENTICATED', 'the request carries no bearer token')
  if (!isSame(presented, expected)) throw new AgentError('UNAUTHENTICATED', 'the bearer token is not the right one')
}

/** Digests have one length, so neither the length nor the first wrong character of the token can be measured. */
function isSame(presented: string, expected: string): boolean {
  return timingSafeEqual(digest(presented), digest(expected))
}

function digest(text: string): Buffer {
  return createHash('sha256').update(text).digest()
}
