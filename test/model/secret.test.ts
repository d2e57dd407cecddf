import { inspect } from 'node:util'
import t from 'tap'
import { problem } from '../../agent/model/errors.ts'
import { redactKnown, redactText, redactUserInfo, Secret } from '../../agent/model/secret.ts'

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

t.test('what a registry, a proxy or a program may repeat of a login is removed, whatever its form', async (t) => {
  const secret = 'hunter2canary'
  const forms = [
    ...[
      `https://user:pa/ss${secret}@host/x`,
      `//user:${secret}@host`,
      `user:${secret}@host:5000/img`,
      `socks5://u:${secret}@p`,
    ],
    ...[
      'token',
      'access_token',
      'refresh_token',
      'client_secret',
      'X-Goog-Signature',
      'sig',
      'apikey',
      'key',
      'code',
    ].map((name) => `Get "https://h/x?a=b&${name}=${secret}": EOF`),
    ...['Authorization: [Bearer', 'map[Authorization:[Basic', '{"Authorization":["Digest'].map(
      (head) => `${head} ${secret}]`,
    ),
    ...['X-Registry-Auth', 'Cookie', 'Set-Cookie', 'X-API-Key', 'Private-Token', 'Proxy-Authorization'].map(
      (name) => `${name}: ${secret}; path=/`,
    ),
    ...[
      `{"password":"${secret}"}`,
      `{\\"password\\":\\"${secret}\\"}`,
      `"token": "${secret}"`,
      `{"access_token":"${secret}"}`,
    ],
    ...[
      `password=${secret}`,
      `password: ${secret}`,
      `auth = "${secret}"`,
      `identity_token: ${secret}`,
      `token=${secret}`,
    ],
    ...[`--password ${secret}`, `--token=${secret}`, `eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.${secret}`],
    ...['REGISTRY_PASS', 'ARTIFACTORY_TOKEN', 'AWS_SECRET_ACCESS_KEY', 'DB_PWD'].map(
      (name) => `env ${name}=${secret} x`,
    ),
    ...[`X-JFrog-Art-Api: ${secret}`, `Cookie: theme=dark; session=${secret}; b=${secret}`],
    ...[`docker login -u robot -p ${secret} h`, `curl -u robot:${secret} https://h`, `curl --user 'robot:${secret}' h`],
    ...[`password%3D${secret}`, `https%3A%2F%2Fu%3A${secret}%40h`],
  ]
  for (const form of forms) t.notMatch(redactText(form), secret, form)
})

t.test('a problem repeats no login that somebody wrote before a host, with a scheme or without', async (t) => {
  for (const login of ['u:canary@', 'https://u:canary@', 'https://u:can/canary@', 'canary.u:p@'])
    for (const text of [`found "${login}h.example/x"`, `configs["${login}h.example"] must`, `${login}[fd00::1]:5000`]) {
      t.notMatch(problem('CONFIG_INVALID', text).message, /canary/, text)
      t.notMatch(redactUserInfo(text), /canary/, text)
    }
  const image = 'trust.yaml:1:41: found "h.example:5000/x:1@sha256:00", port 5000, h.example:tag'
  t.equal(redactUserInfo(image), image)
})

t.test('words are left alone', async (t) => {
  const texts = [
    'failed to fetch anonymous token: unexpected status from GET request to https://h/token: 401 Unauthorized',
    'h.example.net:5000/team/image:1@sha256:00, and http://h:5000/x@sha512:00',
    'a kubernetes.io/dockerconfigjson Secret: the longest key counts',
    'the password: it is wrong; the secret: of somebody; unexpected token: }',
    'credentials.passwordFile: pw.txt is not there; passwordFile names pw1.txt',
    'https://h/v2/_catalog?n=100&last=x&ns=docker.io',
    'SSH_AUTH_SOCK=/run/x PASSES=3 BYPASS_HOST=h HTTPS_PROXY=http://proxy:3128',
    'tar -p file -u root, and the login -u of somebody',
    'keyUsage: keyCertSign; keys=2; monkey=3; /key=4',
  ]
  for (const text of texts) t.equal(redactText(text), text)
})

t.test('known secrets are removed as they are, encoded for a URL and in Base64', async (t) => {
  const secrets = ['robot:p+w/d', 'p+w/d', 'abc', '']
  const text = `p+w/d p%2Bw%2Fd ${Buffer.from('robot:p+w/d').toString('base64')} abc robot:p+w/d`
  t.equal(redactKnown(text, secrets), '[redacted] [redacted] [redacted] abc [redacted]')
})

t.test('hostile text costs linear time', async (t) => {
  const started = process.cpuUsage()
  const pieces = [
    'a://',
    '-----BEGIN PRIVATE KEY-----',
    'Bearer ',
    '?token=',
    '"auth":"',
    'a+',
    '@',
    'a:',
    'a-',
    'eyJa.',
  ]
  for (const piece of [...pieces, '%3A%2F%2F', 'x-a-', 'password', '?a', '//a:b', 'cookie: ', 'password: a', ' \\\\"'])
    redactText(piece.repeat(20_000))
  t.ok(process.cpuUsage(started).user < 2_000_000, 'less than two seconds of the processor')
})
