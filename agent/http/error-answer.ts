// How an error leaves over HTTP: a status code and {code, message, remedy}. What is not an AgentError tells nothing of
// its inside.
import { AgentError, type ErrorCode, type Problem, problem } from '../model/errors.ts'
import { redactText } from '../model/secret.ts'

export type ErrorAnswer = { readonly status: number; readonly body: Problem }

const STATUS: { readonly [code in ErrorCode]?: number } = {
  NOT_FOUND: 404,
  METHOD_NOT_ALLOWED: 405,
  REQUEST_INVALID: 400,
  UNAUTHENTICATED: 401,
  NO_TOKEN_CONFIGURED: 403,
  LOCKED: 409,
  INTERNAL: 500,
}

export function errorAnswer(thrown: unknown): ErrorAnswer {
  if (thrown instanceof AgentError) {
    const status = STATUS[thrown.code] ?? (thrown.retryable ? 503 : 500)
    return { status, body: { code: thrown.code, message: redactText(thrown.message), remedy: thrown.remedy } }
  }
  const status = clientErrorStatus(thrown)
  if (status !== undefined) {
    return {
      status,
      body: problem(
        'REQUEST_INVALID',
        thrown instanceof Error ? redactText(thrown.message) : 'the request is not valid',
      ),
    }
  }
  return { status: 500, body: problem('INTERNAL', 'the request could not be answered; the log of the agent says why') }
}

/** Fastify's own complaints about a request (body too large, bad URL …) carry a 4xx statusCode. */
function clientErrorStatus(thrown: unknown): number | undefined {
  if (!(thrown instanceof Error)) return undefined
  const { statusCode } = thrown as { readonly statusCode?: unknown }
  return typeof statusCode === 'number' && statusCode >= 400 && statusCode < 500 ? statusCode : undefined
}
