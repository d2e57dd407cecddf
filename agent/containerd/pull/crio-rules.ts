// What a failed pull of CRI-O means, in the words of the library containers/image.
import type { Rule } from './rule.ts'

const PING = String.raw`pinging (?:container|docker) registry [\s\S]*`
const MANIFEST = String.raw`reading manifest [\s\S]*`
const DENIED = '(?:denied|requested access to the resource is denied)'
const LOGIN = '(?:unauthorized|authentication required)'
const ANSWERED = '(?:received unexpected HTTP status:|StatusCode:|invalid status code from registry)'

/**
 * What CRI-O gives, in the words of the library containers/image, as CRI-O 1.36 was seen to say it; its texts of TLS and
 * network are those of Go above.
 */
export const CRIO_RULES: readonly Rule[] = [
  {
    when: /SignatureValidationFailed|Source image rejected: /,
    code: 'forbidden',
    message: 'HOST served the image over verified TLS, and the signature policy of this node (policy.json) refuses it',
  },
  {
    when: /missing key (\S+) for client certificate (\S+)\.|missing client certificate (\S+) for key (\S+)/,
    code: 'ca-file-unreadable',
    message: 'a client certificate in the host directory has no key, or a key no certificate: $1$3 is missing',
  },
  {
    when: new RegExp(
      String.raw`(?:${PING}|${MANIFEST})[:\s](?:manifest|name) unknown|${MANIFEST}: StatusCode: 404\b`,
      'i',
    ),
    code: 'not-found',
    message: 'HOST does not have the image',
  },
  {
    when: new RegExp(
      String.raw`invalid username/password|(?:${PING}|${MANIFEST})[:\s]\s*${LOGIN}|${MANIFEST}[:\s]\s*${DENIED}|${ANSWERED} 401\b`,
      'i',
    ),
    code: 'unauthorized',
    message: 'HOST requires a login that may pull, or has no such repository',
  },
  {
    when: new RegExp(String.raw`${PING}[:\s]\s*${DENIED}|${ANSWERED} 403\b`, 'i'),
    code: 'forbidden',
    message: 'HOST refuses the pull (403)',
  },
  {
    when: new RegExp(String.raw`too many requests to registry|${ANSWERED} 429\b`),
    code: 'rate-limited',
    message: 'HOST limits the rate of requests (429)',
  },
  {
    when: new RegExp(String.raw`${ANSWERED} (5\d\d[^":;,]{0,60})`),
    code: 'server-error',
    message: 'HOST answers with a server error: $1',
  },
  {
    when: new RegExp(String.raw`${ANSWERED} (\d{3}[^":;,]{0,60})`),
    code: 'not-a-registry',
    message: 'HOST answers $1',
  },
  {
    when: /unsupported schema version 0|unexpected end of JSON input/,
    code: 'not-a-registry',
    message: 'HOST answered with something that is not the registry protocol',
  },
]
