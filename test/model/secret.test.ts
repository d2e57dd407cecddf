import { inspect } from 'node:util'
import t from 'tap'
import { redactText, Secret } from '../../agent/model/secret.ts'

t.test('a Secret tells its value only when asked', async (t) => {
  const secret = new Secret('canary')
  t.equal(secret.reveal(), 'canary')
  for (const text of [
    String(secret),
    `${secret}`,
    JSON.stringify({ secret }),
    inspect({ secret }, { depth: 9, showHidden: true }),
    Object.keys(secret).join(),
  ]) {
    t.notMatch(text, /canary/)
  }
})

t.test('secrets are removed from text by their form', async (t) => {
  const table: readonly (readonly [string, string])[] = [
    ['nothing secret in https://harbor.example.net/v2/', 'nothing secret in https://harbor.example.net/v2/'],
    ['https://u:p@h/x', 'https://[redacted]@h/x'],
    ['https://u:p@ss@h', 'https://[redacted]@h'],
    ['https://token@h:5000', 'https://[redacted]@h:5000'],
    ['two http://a:b@c and https://d:e@f', 'two http://[redacted]@c and https://[redacted]@f'],
    ['https://h/v2/a@sha256:00', 'https://h/v2/a@sha256:00'],
    ['Authorization: Bearer abc.def-123', 'Authorization: [redacted]'],
    ['authorization: basic secretword, next', 'authorization: [redacted], next'],
    ['"authorization":"opaque"', '"authorization":"[redacted]"'],
    ['sent Basic dXNlcjpwYXNz to h', 'sent Basic [redacted] to h'],
    ['sent bearer abc.def-123', 'sent bearer [redacted]'],
    ['the certificate has no basic constraints', 'the certificate has no basic constraints'],
    ['Basic Constraints: CA', 'Basic Constraints: CA'],
    ['Bearer authentication failed', 'Bearer authentication failed'],
    ['Bearer realm="https://h/token"', 'Bearer realm="https://h/token"'],
    ['Bearer error_description="no"', 'Bearer error_description="no"'],
    ['GET /blob?x=1&X-Amz-Signature=abc&y=2', 'GET /blob?x=1&X-Amz-Signature=[redacted]&y=2'],
    ['{"auths":{"h":{"auth":"abc=","email":"e"}}}', '{"auths":{"h":{"auth":"[redacted]","email":"e"}}}'],
    ['a -----BEGIN RSA PRIVATE KEY-----\nMII\n-----END RSA PRIVATE KEY----- b', 'a [redacted] b'],
    ['a -----BEGIN PRIVATE KEY-----\nMII', 'a [redacted]'],
    [
      '-----BEGIN CERTIFICATE-----\nMII\n-----END CERTIFICATE-----',
      '-----BEGIN CERTIFICATE-----\nMII\n-----END CERTIFICATE-----',
    ],
  ]
  for (const [text, expected] of table) t.equal(redactText(text), expected)
})

t.test('hostile text costs linear time', async (t) => {
  const started = process.cpuUsage()
  for (const piece of ['a://', '-----BEGIN PRIVATE KEY-----', 'Bearer ', '?token=', '"auth":"', 'a+', '@'])
    redactText(piece.repeat(20_000))
  t.ok(process.cpuUsage(started).user < 2_000_000, 'less than two seconds of the processor')
})
